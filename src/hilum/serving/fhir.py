"""An answer as FHIR R4: a DiagnosticReport, its Observations, the Device that made them and their Provenance.

No name, date of birth or other demographic is written. The patient is the pseudonym of `hilum.data.dicom_header.facts`,
a hash of PatientID and its issuer; study and image are their DICOM UIDs, which only who has the archive can resolve.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Literal

import hilum
from hilum.data.dicom_header import facts
from hilum.serving import dicom_codes
from hilum.serving.derived_object import NAMESPACE, check_source, derived_uid, quiet
from hilum.serving.dicom_codes import DCM, PRIVATE, SCT, Term, label_term, probability_term
from hilum.serving.fhir_resources import (
    Annotation,
    Bundle,
    CodeableConcept,
    Coding,
    Device,
    DeviceName,
    DeviceVersion,
    DiagnosticReport,
    Entry,
    Identifier,
    Observation,
    Provenance,
    ProvenanceAgent,
    ProvenanceEntity,
    Quantity,
    Reference,
)
from hilum.serving.model_file import ModelFile
from hilum.serving.structured_report import MANUFACTURER, ReportedImage, observed_finding, report_uid, texts

SYSTEMS = {
    SCT: "http://snomed.info/sct",
    DCM: "http://dicom.nema.org/resources/ontology/DCM",
    PRIVATE: f"urn:oid:{derived_uid('codes')}",
}
UIDS = "urn:dicom:uid"  # the system of DICOM's UIDs, whose values are written urn:oid:UID
PATIENTS = f"urn:oid:{derived_uid('pseudonyms of patients')}"
MODEL_FILES = f"urn:oid:{derived_uid('SHA-256 of model files')}"
RADIOLOGY = Coding(system="http://terminology.hl7.org/CodeSystem/v2-0074", code="RAD", display="Radiology")
IMAGING = Coding(system="http://terminology.hl7.org/CodeSystem/observation-category", code="imaging", display="Imaging")
AUTHOR = Coding(
    system="http://terminology.hl7.org/CodeSystem/provenance-participant-type", code="author", display="Author"
)


def fhir_bundle(
    image: ReportedImage,
    model: ModelFile,
    *,
    enhanced: bool = False,
    device_uid: str | None = None,
    now: datetime | None = None,
) -> Bundle:
    """What `hilum.serving.structured_report.result_objects` says, as FHIR.

    Its identifiers depend on the image, the model file and the version of hilum, and not on the clock.

    Args:
        image: With its answer; a heatmap is not written.
        model: Who gave it.
        enhanced: Whether the structured report that it goes with is an Enhanced SR: the two name the same UID.
        device_uid: Of the device that observed; by default one that stands for hilum wherever it runs.
        now: When it is made, in local time; by default the present.

    Raises:
        ImageError: The image lacks an identifier.
    """
    moment = (now or datetime.now()).astimezone().isoformat(timespec="milliseconds")
    with quiet():
        check_source(image.source)
        return _bundle(image, model, enhanced, device_uid or derived_uid("device"), moment)


def _bundle(image: ReportedImage, model: ModelFile, enhanced: bool, device_uid: str, moment: str) -> Bundle:
    uid = report_uid(image, model, enhanced=enhanced)
    device = _device(model, device_uid)
    observations = _observations(image, model, device)
    finding = observed_finding(image.prediction, model)
    report = DiagnosticReport(
        id=_id(uid, "report"),
        identifier=(_uid(uid),),
        status=_status(image),
        category=(CodeableConcept(coding=(RADIOLOGY,)),),
        code=_concept(dicom_codes.CHEST_RADIOGRAPHY),
        subject=_subject(image),
        issued=moment,
        result=tuple(_within(one) for one in observations),
        imaging_study=(_named("ImagingStudy", str(image.source.StudyInstanceUID)),),
        conclusion=". ".join(f"{term.meaning}: {words.rstrip('.')}" for term, words in texts(image.prediction, model)),
        conclusion_code=(_concept(finding),) if finding else None,
    )
    source = _named("Media", str(image.source.SOPInstanceUID))
    provenance = Provenance(
        id=_id(uid, "provenance"),
        target=(_within(report), *map(_within, observations)),
        recorded=moment,
        agent=(ProvenanceAgent(type=CodeableConcept(coding=(AUTHOR,)), who=_within(device)),),
        entity=(
            ProvenanceEntity(role="source", what=source),
            ProvenanceEntity(
                role="source", what=Reference(identifier=Identifier(system=MODEL_FILES, value=model.sha256))
            ),
        ),
    )
    resources: tuple[DiagnosticReport | Observation | Device | Provenance, ...] = (
        report,
        *observations,
        device,
        provenance,
    )
    return Bundle(
        id=_id(uid, "bundle"),
        timestamp=moment,
        entry=tuple(Entry(full_url=f"urn:uuid:{one.id}", resource=one) for one in resources),
    )


def _device(model: ModelFile, device_uid: str) -> Device:
    errors = (f"{dicom_codes.DATA_ERROR.meaning}: {error}" for error in model.data_errors)
    return Device(
        id=_id(model.sha256, hilum.__version__, device_uid),
        identifier=(_uid(device_uid), Identifier(system=MODEL_FILES, value=model.sha256)),
        manufacturer=MANUFACTURER,
        device_name=(DeviceName(name=model.name, type="model-name"),),
        version=(DeviceVersion(value=f"hilum {hilum.__version__}"),),
        note=tuple(Annotation(text=text) for text in (*errors, dicom_codes.WARNING)),
    )


def _observations(image: ReportedImage, model: ModelFile, device: Device) -> tuple[Observation, ...]:
    """The decision first, then that about each finding, then the probabilities."""
    prediction = image.prediction
    decision = dicom_codes.REFUSED if prediction.error else dicom_codes.DECISION[prediction.decision]

    def observe(
        code: Term, *, value: Term | None = None, number: float | None = None, notes: tuple[str, ...] = ()
    ) -> Observation:
        return Observation(
            id=_id(str(image.source.SOPInstanceUID), model.sha256, hilum.__version__, _status(image), code.code),
            status=_status(image),
            category=(CodeableConcept(coding=(IMAGING,)),),
            code=_concept(code),
            subject=_subject(image),
            value_codeable_concept=_concept(value) if value else None,
            value_quantity=None if number is None else Quantity(value=number),
            note=tuple(Annotation(text=note) for note in notes) or None,
            body_site=_concept(dicom_codes.CHEST),
            device=_within(device),
            derived_from=(_named("Media", str(image.source.SOPInstanceUID)),),
        )

    said = tuple(words for _, words in texts(prediction, model))
    made = [observe(dicom_codes.TRIAGE, value=decision, notes=said)]
    for name, answer in prediction.findings.items():
        value = dicom_codes.DECISION[answer.decision]
        made.append(observe(label_term(model, name), value=value, notes=(answer.reason,)))
    for label, probability in prediction.probabilities.items():
        made.append(observe(probability_term(model, label), number=float(probability)))
    return tuple(made)


def _status(image: ReportedImage) -> Literal["preliminary", "cancelled"]:
    return "cancelled" if image.prediction.error else "preliminary"


def _subject(image: ReportedImage) -> Reference | None:
    pseudonym = facts(image.source).get("patient_id")
    return Reference(type="Patient", identifier=Identifier(system=PATIENTS, value=pseudonym)) if pseudonym else None


def _concept(term: Term) -> CodeableConcept:
    coding = Coding(system=SYSTEMS[term.scheme], code=term.code, display=term.meaning)
    return CodeableConcept(coding=(coding,), text=term.meaning)


def _uid(uid: str) -> Identifier:
    return Identifier(system=UIDS, value=f"urn:oid:{uid}")


def _named(kind: str, uid: str) -> Reference:
    return Reference(type=kind, identifier=_uid(uid))


def _within(resource: DiagnosticReport | Observation | Device) -> Reference:
    return Reference(reference=f"urn:uuid:{resource.id}")


def _id(*about: str) -> str:
    return str(uuid.uuid5(NAMESPACE, "\0".join(about)))
