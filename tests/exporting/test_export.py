"""What a model file holds, and that plain ONNX Runtime can use it."""

import io
import json

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image, ImageOps
from rich.console import Console

import hilum
from hilum.errors import CheckpointError, ModelFileError, RunError, UsageError
from hilum.evaluation.certificate_check import with_checksum
from hilum.evaluation.evaluate import evaluate
from hilum.evaluation.temperature import calibrate
from hilum.exporting.export import Words, export
from hilum.exporting.graph import with_metadata
from hilum.serving.console import Summary, answer_lines
from hilum.serving.model_file import open_model_file
from hilum.serving.predictor import Predictor
from hilum.text import interval_text
from hilum.training.checkpoints import save_checkpoint
from hilum.training.run import Run
from made_certificates import certificate, changed
from wording import numbers

pytestmark = pytest.mark.usefixtures("small_evaluation")


@pytest.mark.ci
def test_a_bundle_says_what_it_is(bundle_of, run_of):
    run, model_file = run_of("cascade"), open_model_file(bundle_of("cascade"))
    assert model_file.labels == run.labels
    facts = model_file.facts
    assert facts["id2label"] == {"0": "normal", "1": "infected/covid", "2": "infected/non-covid"}
    assert facts["label2id"]["infected/covid"] == 1
    assert (model_file.positive_label, model_file.healthy) == ("infected/covid", ("normal",))
    assert [branch["decision"] for branch in facts["tree"]] == ["", "infected"]
    assert facts["provenance"]["weights_sha256"] == run.environment.weights_sha256
    assert facts["provenance"]["data"]["counts"]["test"]["normal"] == 24
    assert facts["certificate"] is facts["operating_point"] is facts["abstention"] is None
    assert "Not for diagnosis" in facts["card"]


def test_a_bundle_tells_nothing_of_the_machine_that_made_it(bundle_of, run_of):
    content = bundle_of("flat").read_bytes()
    run = run_of("flat")
    for private in (run.path, run.environment.data.root, __file__):
        assert str(private).encode() not in content
    assert b"stack_trace" not in content
    assert b"site-packages" not in content


@pytest.mark.ci
def test_the_same_run_gives_the_same_bytes(run_of, tmp_path):
    for name in ("one.onnx", "again.onnx"):
        export(run_of("flat"), tmp_path / name)
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "again.onnx").read_bytes()


def test_plain_onnx_runtime_reads_it(bundle_of, squares):
    """As docs/reference/model_file.md says; nothing of hilum is needed."""
    onnx.checker.check_model(onnx.load(bundle_of("padded")))
    session = onnxruntime.InferenceSession(bundle_of("flat"))
    facts = json.loads(session.get_modelmeta().custom_metadata_map["hilum"])
    file = next(squares.rglob("*.png"))
    size = facts["preprocessing"]["size"]
    pixels = np.asarray(Image.open(file).convert("F")) / 255
    small = np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR))
    image = Image.fromarray(np.rint(small * 255).clip(0, 255).astype(np.uint8))
    if facts["preprocessing"]["equalise"]:
        image = ImageOps.equalize(image)
    (probabilities,) = session.run(["probabilities"], {"images": np.asarray(image)[None]})
    found = dict(zip(facts["labels"], probabilities[0].tolist(), strict=True))
    assert found == pytest.approx(Predictor(bundle_of("flat")).predict(file).probabilities, abs=1e-6)


@pytest.mark.usefixtures("graphs_once")
def test_words_reach_metadata_and_card(run_of, tmp_path, refuses):
    words = Words("lungs", "CC BY 4.0", {"infected/covid": "viral pneumonia"}, "Children of one hospital.")
    model_file = export(run_of("flat"), tmp_path / "m.onnx", words)
    assert model_file.name == "lungs"
    assert model_file.label_name["infected/covid"] == "viral pneumonia"
    assert model_file.label_name["normal"] == "normal"
    for text in ("# lungs", "Children of one hospital.", "CC BY 4.0", "`infected/covid`: viral pneumonia (positive"):
        assert text in model_file.facts["card"]
    with refuses(UsageError, "no-such-label"):
        export(run_of("flat"), tmp_path / "m.onnx", Words(label_name={"tb": "x"}))


@pytest.mark.usefixtures("graphs_once")
def test_what_could_not_be_opened_replaces_no_model(run_of, tmp_path, monkeypatch):
    file = tmp_path / "m.onnx"
    before = export(run_of("flat"), file).sha256
    for words in (Words("x" * 1001), Words(label_name={"normal": "x" * 1001})):
        with pytest.raises(UsageError):
            export(run_of("flat"), file, words)
    assert export(run_of("flat"), tmp_path / "n.onnx", Words("x" * 1000)).facts["name"] == "x" * 1000
    monkeypatch.setattr("hilum.exporting.export.FORMAT", -1)  # as any other fact that opening refuses
    with pytest.raises(ModelFileError):
        export(run_of("flat"), file)
    assert open_model_file(file).sha256 == before


@pytest.mark.usefixtures("graphs_once")
@pytest.mark.ci
def test_results_and_certificate_of_other_weights_are_left_behind(run_of, tmp_path):
    run = run_of("padded")
    evaluation = evaluate(run)
    point = {"group": "infected/*", "members": ["infected/covid", "infected/non-covid"], "threshold": 0.125}
    model = {"weights_sha256": run.environment.weights_sha256, "temperatures": calibrate(run).temperatures}
    made = with_checksum(certificate(model=model, **point))
    (run.path / "certificate.json").write_text(json.dumps(made.as_json()))
    facts = export(run, tmp_path / "m.onnx").facts
    assert facts["results"]["accuracy"] == evaluation.metrics.accuracy.as_json()
    assert f"accuracy {interval_text(facts['results']['accuracy'])}" in facts["card"]
    assert "| Specificity |" in facts["card"]
    assert facts["operating_point"] == point
    assert r"With 95 % confidence, at most 5 % of patients with infected/\*" in facts["card"]
    answers = list(Predictor(tmp_path / "m.onnx").predict_many(sorted(run.table().root.rglob("test/*/*.png"))))
    for answer in answers:
        infected = answer.probabilities["infected/covid"] + answer.probabilities["infected/non-covid"]
        assert answer.decision == ("flag" if infected >= 0.125 else "clear")
        assert {"12.5"} <= numbers(answer.reason)
    void = [
        changed(made, model=model | {"weights_sha256": "other"}).as_json(),
        changed(made, model=model | {"temperatures": {"": 7.5}}).as_json(),
        made.as_json() | {"threshold": 0.5},
    ]
    for facts in void:
        (run.path / "certificate.json").write_text(json.dumps(facts))
        assert export(run, tmp_path / "m.onnx").facts["operating_point"] is None
    metrics = run.path / "evaluation" / "test" / "metrics.json"
    metrics.write_text(json.dumps(json.loads(metrics.read_text()) | {"weights_sha256": "other"}))
    facts = export(run, tmp_path / "m.onnx").facts
    assert facts["results"] is facts["certificate"] is facts["operating_point"] is None
    (run.path / "certificate.json").unlink()


def test_what_cannot_be_exported_is_said_in_one_message(run_of, tmp_path, hilum, refuses, one_message):
    run = run_of("flat")
    with refuses(RunError, "unusable"):
        export(run, tmp_path)
    one_message(hilum("export", run.path, tmp_path / "no" / "m.onnx"), 1)
    one_message(hilum("export", tmp_path, tmp_path / "m.onnx"), 1)
    one_message(hilum("export", run.path, tmp_path / "m.onnx", "--label-name", "covid"), 2)


def test_weights_of_another_training_are_refused(run_of, tmp_path, refuses):
    import shutil

    copy = Run(tmp_path / "copy")
    shutil.copytree(run_of("flat").path, copy.path)
    shutil.copy(run_of("padded").best, copy.best)
    with refuses(CheckpointError, "other-weights"):
        export(copy, tmp_path / "m.onnx")
    save_checkpoint(copy.best, {})
    with pytest.raises(CheckpointError):
        export(copy, tmp_path / "m.onnx")


def with_provenance(model_file, provenance):
    """A model file with another provenance, and the checksum of that."""
    model = onnx.load_from_string(model_file.model)
    del model.metadata_props[:]
    return with_metadata({**model_file.facts, "provenance": provenance}, model.SerializeToString())


def test_errors_of_the_training_data_stand_above_the_answers(bundle_of, squares):
    before = open_model_file(bundle_of("flat"))
    assert before.data_errors == ()
    said = "'infected/covid' cannot be COVID-19"
    findings = [
        {"severity": "error", "check": "sources", "message": said, "remedy": "Relabel."},
        {"severity": "warning", "check": "sources", "message": "another", "remedy": "Look."},
    ]
    model = hilum.load(with_provenance(before, {"data": {"findings": findings}}))
    assert model.data_errors == (said,)
    summary = Summary(model._predictor.model_file)
    summary.add(model.triage(next(squares.rglob("*.png")))[0])
    console = Console(file=io.StringIO(), width=100)
    console.print(answer_lines(summary))
    assert said in console.file.getvalue()


@pytest.mark.parametrize(
    "provenance", [None, [], {"data": 3}, {"data": {"findings": "x"}}, {"data": {"findings": [1, {}]}}]
)
def test_what_is_no_provenance_costs_no_answer(bundle_of, provenance):
    before = open_model_file(bundle_of("flat"))
    assert open_model_file(with_provenance(before, provenance)).data_errors == ()
