const fs = require("fs");
const dcmjs = require(process.argv[2]);
const bytes = fs.readFileSync(process.argv[3]);
const read = dcmjs.data.DicomMessage.readFile(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
const dataset = dcmjs.data.DicomMetaDictionary.naturalizeDataset(read.dict);
const one = (x) => (Array.isArray(x) ? x[0] : x);
const all = (x) => (x === undefined ? [] : Array.isArray(x) ? x : [x]);
function item(x) {
  const name = one(x.ConceptNameCodeSequence);
  const code = one(x.ConceptCodeSequence), number = one(x.MeasuredValueSequence);
  return {
    type: x.ValueType,
    name: name && name.CodeMeaning,
    value: code ? code.CodeMeaning : number ? Number(one(number.NumericValue)) : x.TextValue || x.UID,
    code: code && (code.CodeValue || code.LongCodeValue),
    unit: number && one(number.MeasurementUnitsCodeSequence).CodeValue,
    image: x.ReferencedSOPSequence && one(x.ReferencedSOPSequence).ReferencedSOPInstanceUID,
    children: all(x.ContentSequence).map(item),
  };
}
console.log(JSON.stringify({ class: dataset.SOPClassUID, patient: dataset.PatientName, tree: item(dataset) }, null, 1));
