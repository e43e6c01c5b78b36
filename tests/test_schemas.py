"""The committed JSON Schemas are those of the code, and what is written satisfies them."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from hilum.auditing.findings import AuditReport
from hilum.serving.prediction import Prediction
from hilum.serving.studies import StudyPrediction

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "schemas"
KINDS = ("audit", "findings", "metrics", "prediction")


def committed(kind):
    schema = json.loads((FOLDER / f"{kind}.json").read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def lines_of(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_the_committed_schemas_are_what_the_command_prints(hilum):
    assert {file.stem for file in FOLDER.iterdir()} == set(KINDS)
    for kind in KINDS:
        assert json.loads(hilum("schema", kind, check=0).stdout) == committed(kind).schema, "make schemas"


def test_another_name_is_wrong_usage(hilum):
    assert hilum("schema", "x", check=2).stderr.startswith("usage: ")


@pytest.fixture
def audited(hilum, tmp_path):
    from hilum.phantoms import Defect, write_phantoms

    defects = [Defect.parse("marker:infected/covid:1"), Defect.parse("duplicates:6")]
    write_phantoms(tmp_path / "data", patients=60, size=64, seed=5, defects=defects)
    (tmp_path / "data" / "train" / "normal" / "bad.png").write_bytes(b"no picture")
    hilum("audit", tmp_path / "data", "--out", tmp_path / "audit", check=0)
    return json.loads((tmp_path / "audit" / "audit.json").read_text())


def test_an_audit_satisfies_its_schema_and_is_read_as_it_was_written(audited):
    validator = committed("audit")
    validator.validate(audited)
    assert audited["findings"]
    assert audited["duplicates"]["groups"]
    assert audited["shortcuts"]
    report = AuditReport.from_json(audited)
    assert report.to_json() == audited
    worst = {finding.severity for finding in report.findings}
    assert report.passed("error") is ("error" not in worst)
    assert report.passed("warning") is not bool(worst & {"error", "warning"})
    for wrong in ({"n_images": "many"}, {"schema_version": 2}, {"findings": [{"check": "size"}]}):
        with pytest.raises(ValidationError):
            validator.validate(audited | wrong)
        with pytest.raises(ValueError, match=next(iter(wrong))):
            AuditReport.from_json(audited | wrong)


def test_metrics_satisfy_their_schema(run_of, small_evaluation):
    from hilum.evaluation.evaluate import evaluate

    written = json.loads((evaluate(run_of("flat")).folder / "metrics.json").read_text())
    validator = committed("metrics")
    validator.validate(written)
    assert written["schema_version"] == 1
    for wrong in ({"n_images": "many"}, {"accuracy": {"value": "high"}}, {"schema_version": 2}):
        with pytest.raises(ValidationError):
            validator.validate(written | wrong)


def test_predictions_satisfy_their_schema_and_are_read_as_they_were_written(hilum, bundle_of, squares, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    words = (squares / "test", tmp_path / "bad.png", "--model", bundle_of("flat"), "--json", "-")
    validator = committed("prediction")
    images = lines_of(hilum("predict", *words, check=0))
    studies = lines_of(hilum("predict", *words, "--study", "folder"))
    for kind, lines in ((Prediction, images), (StudyPrediction, studies)):
        for line in lines:
            validator.validate(line)
            assert line["schema_version"] == 1
            assert kind.from_json(line).to_json(line["model"]) == line
    assert [line["path"] for line in images if "error" in line] == [str(tmp_path / "bad.png")]
    assert sum(study["n_images"] for study in studies) == len(images)
    with pytest.raises(ValidationError):
        validator.validate(images[0] | {"probabilities": ["0.5"]})
    for kind, line in ((Prediction, studies[0]), (StudyPrediction, images[0])):
        with pytest.raises(ValueError, match="line of hilum predict"):
            kind.from_json(line)
