"""An answer as a DICOM structured report (TID 1500), which archives keep beside the image and viewers show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

import hilum
from hilum.decision.operating_point import ABSTAIN, CLEAR, FLAG, READ
from hilum.errors import ImageError, UsageError
from hilum.extras import require
from hilum.serving import dicom_codes
from hilum.serving.derived_object import (
    CHARACTERS,
    PADDING,
    PROGRAM,
    UID,
    check_source,
    complete,
    derived_uid,
    quiet,
    result_uid,
    stub,
)
from hilum.serving.dicom_codes import Term, label_term, probability_term
from hilum.serving.heatmap_object import heatmap_object
from hilum.serving.legend import legend
from hilum.serving.model_file import ModelFile
from hilum.serving.prediction import Prediction

if TYPE_CHECKING:
    from highdicom.sr import (
        CodedConcept,
        CoordinatesForMeasurement,
        Measurement,
        MeasurementReport,
        QualitativeEvaluation,
        ScoordContentItem,
        TextContentItem,
    )
    from pydicom import Dataset

MANUFACTURER = "The hilum developers"
SERIES = 9001  # behind what modalities number
PERCENT = Term("%", "UCUM", "Percent")  # as CAD reports give probabilities (PS3.16, TID 4006); viewers show the code


@dataclass(frozen=True)
class ReportedImage:
    """An image and what was said about it.

    Attributes:
        prediction: With its ``error`` where there is no answer.
        source: Header of the image; its pixels are not needed.
        heatmap: Picture of the reasons in RGB, of shape (H, W, 3), where there is one.
    """

    prediction: Prediction
    source: Dataset
    heatmap: NDArray[np.uint8] | None = None


def result_objects(
    image: ReportedImage,
    model: ModelFile,
    *,
    enhanced: bool = False,
    device_uid: str | None = None,
    now: datetime | None = None,
) -> list[Dataset]:
    """The objects to send to an archive for one image: the structured report first, then the heatmap if there is one.

    Their UIDs depend on the image, the model file, the version of hilum and what they are, and not on the clock, so
    that an archive to which they are sent twice keeps them once.

    Args:
        image: With its answer.
        model: Who gave it.
        enhanced: Make an Enhanced SR, for archives that refuse the Comprehensive 3D SR.
        device_uid: Of the device that observed; by default one that stands for hilum wherever it runs.
        now: When they are made, in local time; by default the present.

    Raises:
        ImageError: The image lacks an identifier, so that a report about it would have no place.
        UsageError: `device_uid` is no UID.
        ExtraError: The extra ``[node]`` is not installed.
    """
    require("node", "a structured report", "highdicom", "pydicom")
    if device_uid is not None and (len(device_uid) > 64 or not UID.fullmatch(device_uid)):
        msg = f"{device_uid}: is no UID (numbers and dots, at most 64). Give one of your institution."
        raise UsageError(msg, code="no-uid")
    moment = now or datetime.now()
    with quiet():
        check_source(image.source)
        made = [
            report_object(
                image, model, texts(image.prediction, model), moment, enhanced=enhanced, device_uid=device_uid
            )
        ]
        if image.heatmap is not None and not image.prediction.error:
            made.append(heatmap_object(image.heatmap, image.source, model, moment))
    return made


def report_uid(image: ReportedImage, model: ModelFile, *, enhanced: bool = False) -> str:
    """SOP Instance UID of the report that `result_objects` makes."""
    return result_uid(image.source, model, _kind(image, enhanced=enhanced))


def series_uid(image: ReportedImage, model: ModelFile, *, enhanced: bool = False) -> str:
    """Series Instance UID of the report that `result_objects` makes."""
    return result_uid(image.source, model, f"series-{_kind(image, enhanced=enhanced)}")


def tracking_uid(source: Dataset, model: ModelFile) -> str:
    """By which the measurements of an image are tracked."""
    return result_uid(source, model, "tracking")


def tracking_identifier(source: Dataset, model: ModelFile) -> str:
    """The same for people."""
    return f"{model.name}, image {str(source.SOPInstanceUID).strip(PADDING)}"


def _kind(image: ReportedImage, *, enhanced: bool) -> str:
    """What a report is, for its UID: an image that could not be read may be answered about another time."""
    return ("refusal" if image.prediction.error else "report") + ("-enhanced" if enhanced else "")


def report_object(
    image: ReportedImage,
    model: ModelFile,
    said: Sequence[tuple[Term, str]],
    now: datetime,
    *,
    enhanced: bool = False,
    device_uid: str | None = None,
) -> Dataset:
    """The report alone, with texts that are given.

    Args:
        image: With its answer; its header has been checked.
        model: Who gave it.
        said: Texts, each with its term; see `texts`.
        now: When it is made, in local time.
        enhanced: As `result_objects`.
        device_uid: As `result_objects`.

    Raises:
        ImageError: No report can be made about an image of its SOP class.
    """
    from highdicom.coding_schemes import CodingSchemeIdentificationItem
    from highdicom.sr import Comprehensive3DSR, EnhancedSR

    form = EnhancedSR if enhanced else Comprehensive3DSR
    source = stub(image.source)
    try:
        made = form(
            evidence=[source],
            content=_content(image, source, model, said, device_uid or derived_uid("device"))[0],
            series_instance_uid=series_uid(image, model, enhanced=enhanced),
            series_number=SERIES,
            sop_instance_uid=report_uid(image, model, enhanced=enhanced),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=PROGRAM,
            software_versions=hilum.__version__,
            series_description=dicom_codes.shortened(f"AI report: {model.name}"),
            is_complete=True,
            is_final=False,
            is_verified=False,
            specific_character_set=CHARACTERS,
            coding_schemes=[
                CodingSchemeIdentificationItem(
                    designator=dicom_codes.PRIVATE,
                    name="hilum",
                    uid=derived_uid("codes"),
                    responsible_organization="hilum",
                )
            ],
        )
    except KeyError as error:  # of highdicom's table of SOP classes
        msg = f"the image is of the SOP class {source.SOPClassUID}, about which no report can be made."
        raise ImageError(msg, code="sop-class") from error
    return complete(made, image.source, now)


def _content(
    image: ReportedImage, source: Dataset, model: ModelFile, said: Sequence[tuple[Term, str]], device_uid: str
) -> MeasurementReport:
    from highdicom import sr

    finding = observed_finding(image.prediction, model)
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=tracking_uid(source, model), identifier=tracking_identifier(source, model)
        ),
        finding_type=_concept(finding) if finding else None,
        finding_sites=[sr.FindingSite(anatomic_location=_concept(dicom_codes.CHEST))],
        algorithm_id=sr.AlgorithmIdentification(
            name=model.name,
            version=f"hilum {hilum.__version__}",
            parameters=[f"Model file SHA-256: {model.sha256}"],
        ),
        measurements=_measurements(image, model),
        qualitative_evaluations=_evaluations(image.prediction, model),
        source_images=[
            sr.SourceImageForMeasurementGroup(
                referenced_sop_class_uid=source.SOPClassUID, referenced_sop_instance_uid=source.SOPInstanceUID
            )
        ],
    )
    group[0].ContentSequence.extend([*_region(image.source), *_texts(said)])
    return sr.MeasurementReport(
        observation_context=sr.ObservationContext(
            observer_device_context=sr.ObserverContext(
                observer_type=_concept(Term("121007", dicom_codes.DCM, "Device")),
                observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
                    uid=device_uid, name="hilum", manufacturer_name=MANUFACTURER, model_name=model.name
                ),
            )
        ),
        procedure_reported=_concept(dicom_codes.CHEST_RADIOGRAPHY),
        imaging_measurements=[group],
    )


def observed_finding(prediction: Prediction, model: ModelFile) -> Term | None:
    """The most probable label, unless the triage decision speaks against it; None for several findings an image.

    Where the model abstains, nothing was found out; where an image is flagged or to be read, a report that calls its
    result normal would be misread.

    Args:
        prediction: About the image.
        model: Who gave it.
    """
    if prediction.error or prediction.findings or prediction.decision == ABSTAIN:
        return None
    if prediction.decision in (FLAG, READ) and prediction.label in model.healthy:
        return None
    return label_term(model, prediction.label)


def _measurements(image: ReportedImage, model: ModelFile) -> list[Measurement] | None:
    from highdicom import sr

    if image.prediction.error:
        return None
    outline = outline_of(image.source)
    return [
        sr.Measurement(
            name=_concept(probability_term(model, label)),
            value=100 * float(value),
            unit=_concept(PERCENT),
            referenced_coordinates=[_coordinates(image.source, outline)] if outline else None,
        )
        for label, value in image.prediction.probabilities.items()
    ]


def _coordinates(source: Dataset, outline: Sequence[tuple[int, int]]) -> CoordinatesForMeasurement:
    """The whole image, below a number that was inferred from it (TID 320): OHIF looks for it there."""
    from highdicom import sr

    return sr.CoordinatesForMeasurement(
        graphic_type=sr.GraphicTypeValues.POLYLINE,
        graphic_data=np.array(outline, np.float32),
        source_image=sr.SourceImageForRegion(
            referenced_sop_class_uid=source.SOPClassUID, referenced_sop_instance_uid=source.SOPInstanceUID
        ),
    )


def _evaluations(prediction: Prediction, model: ModelFile) -> list[QualitativeEvaluation]:
    from highdicom.sr import QualitativeEvaluation

    decision = dicom_codes.REFUSED if prediction.error else dicom_codes.DECISION[prediction.decision]
    made = [QualitativeEvaluation(name=_concept(dicom_codes.TRIAGE), value=_concept(decision))]
    for name, answer in prediction.findings.items():
        value = _concept(dicom_codes.DECISION[answer.decision])
        made.append(QualitativeEvaluation(name=_concept(label_term(model, name)), value=value))
    return made


def texts(prediction: Prediction, model: ModelFile) -> list[tuple[Term, str]]:
    """What a report says in words, each with the term under which it stands.

    The reason of the decision and its meaning, or why there is none; notes; errors in the model's training data; and
    that it is not for diagnosis.

    Args:
        prediction: About the image.
        model: Who gave it.
    """
    said = [(dicom_codes.REASON, prediction.error or prediction.reason)]
    if not prediction.error:
        judged = (one for one in prediction.findings.values() if one.decision in (FLAG, READ, CLEAR))
        said += [(dicom_codes.REASON, one.reason) for one in judged if one.reason not in prediction.reason]
        said += [(dicom_codes.MEANING, dict(legend(model))[prediction.decision])]
    said += [(dicom_codes.COMMENT, note) for note in prediction.notes]
    said += [(dicom_codes.DATA_ERROR, error) for error in model.data_errors]
    return [*said, (dicom_codes.COMMENT, dicom_codes.WARNING)]


def outline_of(source: Dataset) -> list[tuple[int, int]]:
    """The corners of an image, as columns and rows, the first one twice; empty where its size is unknown."""
    width, height = int(source.get("Columns", 0) or 0), int(source.get("Rows", 0) or 0)
    return [(0, 0), (width, 0), (width, height), (0, height), (0, 0)] if width and height else []


def _region(source: Dataset) -> list[ScoordContentItem]:
    """The whole image as a region, where its size is known: viewers show measurements beside what was measured.

    OHIF 3.12 even fails on a group that has no region.
    """
    from highdicom import sr

    outline = outline_of(source)
    if not outline:
        return []
    made = sr.ScoordContentItem(
        name=_concept(dicom_codes.REGION),
        graphic_type=sr.GraphicTypeValues.POLYLINE,
        graphic_data=np.array(outline, np.float32),
        relationship_type=sr.RelationshipTypeValues.CONTAINS,
    )
    made.ContentSequence = sr.ContentSequence(
        [
            sr.ImageContentItem(
                name=_concept(dicom_codes.SOURCE),
                referenced_sop_class_uid=source.SOPClassUID,
                referenced_sop_instance_uid=source.SOPInstanceUID,
                relationship_type=sr.RelationshipTypeValues.SELECTED_FROM,
            )
        ]
    )
    return [made]


def _texts(said: Sequence[tuple[Term, str]]) -> list[TextContentItem]:
    from highdicom.sr import RelationshipTypeValues, TextContentItem

    return [
        TextContentItem(name=_concept(term), value=words, relationship_type=RelationshipTypeValues.CONTAINS)
        for term, words in said
    ]


def _concept(term: Term) -> CodedConcept:
    from highdicom.sr import CodedConcept

    return CodedConcept(term.code, term.scheme, term.meaning)
