"""A heatmap as a Secondary Capture, the DICOM image in colour that every viewer shows."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

import hilum
from hilum.serving.derived_object import PROGRAM, complete, result_uid, stub
from hilum.serving.dicom_codes import shortened
from hilum.serving.model_file import ModelFile

if TYPE_CHECKING:
    from pydicom import Dataset

SERIES = 9002


def heatmap_object(picture: NDArray[np.uint8], source: Dataset, model: ModelFile, now: datetime) -> Dataset:
    """The object of one picture.

    Args:
        picture: In RGB, of shape (H, W, 3).
        source: Header of the image that it explains.
        model: Who gave the answer.
        now: When it is made, in local time.
    """
    from highdicom.sc import SCImage
    from pydicom import Dataset
    from pydicom.uid import ExplicitVRLittleEndian

    known = stub(source)
    made = SCImage(
        pixel_array=np.ascontiguousarray(picture),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "F"),  # highdicom asks for one; it is taken back below
        study_instance_uid=known.StudyInstanceUID,
        series_instance_uid=result_uid(known, model, "series-heatmap"),
        series_number=SERIES,
        sop_instance_uid=result_uid(known, model, "heatmap"),
        instance_number=1,
        manufacturer="The hilum developers",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        series_description=shortened(f"AI heatmap: {model.name}"),
        manufacturer_model_name=PROGRAM,
        software_versions=hilum.__version__,
    )
    made.Modality = "OT"
    made.PatientOrientation = ""  # of two pictures side by side, and not known of the source
    made.BodyPartExamined = "CHEST"
    made.BurnedInAnnotation = "YES"
    made.ImageType = ["DERIVED", "SECONDARY"]
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = known.SOPClassUID, known.SOPInstanceUID
    made.SourceImageSequence = [reference]
    made.DerivationDescription = "Class activation or occlusion map over the radiograph. Not for diagnosis."
    complete(made, source, now)
    made.DateOfSecondaryCapture, made.TimeOfSecondaryCapture = made.ContentDate, made.ContentTime
    return made
