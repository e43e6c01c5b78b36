-- Sends the radiographs of a study to hilum's node once the study has not changed for StableAge seconds.
-- The report that comes back makes the study stable again, and its images are sent again: the node knows them by
-- their SOP Instance UID, and answers "success" without another report.
function OnStableStudy(studyId, tags, metadata)
   local images = {}
   for _, series in ipairs(ParseJson(RestApiGet('/studies/' .. studyId .. '/series'))) do
      local modality = series['MainDicomTags']['Modality']
      if modality == 'CR' or modality == 'DX' then
         for _, instance in ipairs(series['Instances']) do
            table.insert(images, instance)
         end
      end
   end
   if #images > 0 then
      RestApiPost('/modalities/HILUM/store', DumpJson({ Resources = images, Synchronous = false }), true)
   end
end
