"""A model file of several findings an image: the run's probabilities, a decision about each, and where reasons lie."""

import csv
import json
import re
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter

import hilum
from hilum.data.preprocessing import Preprocessing
from hilum.errors import ModelFileError, UsageError
from hilum.evaluation.cohort import run_images
from hilum.evaluation.inference import predict
from hilum.evaluation.temperature import KeptCalibration
from hilum.exporting.export import export
from hilum.exporting.graph import ServedGraph, with_metadata
from hilum.files import save_json
from hilum.models.registry import build_classifier
from hilum.progress import Progress
from hilum.serving.explain import explain
from hilum.serving.http.description import describe
from hilum.serving.legend import legend
from hilum.serving.model_file import FORMAT_OF_FINDINGS, open_model_file
from hilum.serving.prediction import Line, Prediction
from hilum.serving.predictor import Predictor
from hilum.serving.studies import StudyPrediction, decide_study
from hilum.stats.calibration import scale_findings
from training_runs import FINDINGS, make_findings_run, write_findings

pytestmark = pytest.mark.ci

TEMPERATURES = {"above": 1.0, "below": 0.5, "left": 3.0}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_findings(tmp_path_factory.mktemp("findings"))


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    made = make_findings_run(data, tmp_path_factory.mktemp("run") / "run", "network.ensemble_size=2")
    kept = KeptCalibration(scheme=2, temperatures=TEMPERATURES, weights_sha256=made.environment.weights_sha256)
    save_json(made.path / "calibration.json", kept.as_json())
    return made


@pytest.fixture(scope="module")
def stated(run):
    images, _ = run_images(run, Progress())
    return scale_findings(predict(run, images, run.findings), TEMPERATURES, run.findings)


@pytest.fixture(scope="module")
def file(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("model") / "model.onnx"
    export(run, out)
    return out


def point_of(name, threshold, **more):
    return {"group": name, "members": [name], "threshold": threshold, **more}


@pytest.fixture(scope="module")
def certified(file, stated):
    """The same file with thresholds for two of three findings."""
    model = onnx.load(file)
    del model.metadata_props[:]
    facts = dict(open_model_file(file).facts)
    facts["operating_points"] = {
        "above": point_of("above", float(np.median(stated[:, 0]))),
        "left": point_of("left", float(np.quantile(stated[:, 2], 0.3)), upper_threshold=float(np.median(stated[:, 2]))),
    }
    facts["certificates"] = {"above": {"false_negative_rate": 0.05, "confidence": 0.975}}
    return facts, model.SerializeToString()


@pytest.fixture(scope="module")
def model(certified):
    return Predictor(with_metadata(*certified))


def paths_of(data, count=24):
    return [data.file(row) for row in data.rows[:count]]


def test_a_run_its_model_file_and_plain_onnx_runtime_say_the_same(file, data, stated):
    model = hilum.load(file)
    assert tuple(model.classes_) == FINDINGS
    found = model.predict_proba(paths_of(data))
    np.testing.assert_allclose(found, stated[:24], atol=1e-5)
    assert not np.allclose(found.sum(axis=1), 1)
    np.testing.assert_array_equal(model.predict(paths_of(data)), found >= 0.5)
    session = onnxruntime.InferenceSession(file)
    facts = json.loads(session.get_modelmeta().custom_metadata_map["hilum"])
    assert (facts["task"], facts["labels"], facts["format"]) == ("findings", list(FINDINGS), FORMAT_OF_FINDINGS)
    (plain,) = session.run(["probabilities"], {"images": np.zeros((3, 48, 48), np.uint8)})
    assert plain.shape == (3, 3)


def test_what_the_card_counts_are_findings(file, run):
    counts = open_model_file(file).facts["provenance"]["data"]["counts"]["train"]
    train = [row for row in run.rows if row.split == "train"]
    assert counts == {
        **{name: sum(row.extra[f"finding:{name}"] == "1" for row in train) for name in FINDINGS},
        "no finding": sum(row.label == "no finding" for row in train),
    }


def test_each_finding_is_decided_by_its_own_threshold(model, data, stated, certified):
    points = certified[0]["operating_points"]
    answers = list(model.predict_many(paths_of(data)))
    for answer, row in zip(answers, stated, strict=False):
        above, below, left = (answer.findings[name] for name in FINDINGS)
        assert above.decision == ("clear" if row[0] < points["above"]["threshold"] else "flag")
        assert below.decision == "undecided"
        low, high = points["left"]["threshold"], points["left"]["upper_threshold"]
        assert left.decision == ("clear" if row[2] < low else "flag" if row[2] >= high else "read")
        order = ["clear", "undecided", "read", "abstain", "flag"]
        assert answer.decision == max((one.decision for one in answer.findings.values()), key=order.index)
        assert answer.label == ("|".join(n for n, p in zip(FINDINGS, row, strict=True) if p >= 0.5) or "no finding")
    assert {"flag", "undecided"} <= {answer.decision for answer in answers}


def test_a_colour_picture_is_abstained_on_for_each_finding(model):
    colour = np.random.default_rng(0).integers(0, 60, (64, 64, 3), np.uint8)
    colour[..., 0] += 190
    answer = model.predict(colour)
    assert answer.decision == "abstain"
    assert {one.decision for one in answer.findings.values()} == {"abstain"}


def test_a_study_has_the_most_urgent_decision_of_each_finding(model, data):
    answers = tuple(model.predict_many(paths_of(data), of_study=True))
    study = decide_study(model.model_file, "s", answers)
    for name in FINDINGS:
        assert study.findings[name].probability == max(answer.probabilities[name] for answer in answers)
    assert study.findings["above"].decision == study.decision == "flag"
    cleared = [answer for answer in answers if answer.findings["above"].decision == "clear"]
    lost = decide_study(model.model_file, "s", (*cleared[:2], Prediction("x.png", error="gone")))
    assert lost.findings["above"].decision == "read"
    assert decide_study(model.model_file, "s", (Prediction("x.png", error="gone"),)).decision == "read"
    line = study.to_json(model.model)
    assert StudyPrediction.from_json(line).findings == study.findings
    Draft202012Validator(TypeAdapter(Line).json_schema(mode="serialization")).validate(json.loads(json.dumps(line)))


def test_lines_and_rows_hold_each_finding(file, hilum, data, tmp_path):
    out = hilum("predict", *paths_of(data, 2), "--model", file, "--json", "-", "--csv", tmp_path / "p.csv").stdout
    lines = [json.loads(line) for line in out.splitlines()]
    validator = Draft202012Validator(TypeAdapter(Line).json_schema(mode="serialization"))
    for line in lines:
        validator.validate(line)
        assert line["findings"].keys() == set(FINDINGS)
        assert Prediction.from_json(line).findings["left"].probability == line["probabilities"]["left"]
    with (tmp_path / "p.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert [row["decision:left"] for row in rows] == ["undecided"] * 2
    assert float(rows[0]["p:left"]) == pytest.approx(lines[0]["probabilities"]["left"], abs=1e-8)


def test_the_terminal_shows_findings(certified, hilum, data, tmp_path, snapshot):
    (tmp_path / "m.onnx").write_bytes(with_metadata(*certified))
    shown = hilum("predict", *paths_of(data, 3), "--model", tmp_path / "m.onnx").stdout
    snapshot(re.sub(r"\brun\d+\b", "run", shown), numbers=False)  # which number, the order of tests decides


def test_what_decisions_mean_names_the_thresholds(model):
    words = dict(legend(model.model_file))
    assert words.keys() == {"flag", "abstain", "read", "undecided", "clear"}
    assert "below" in words["undecided"]
    assert "95 %" not in words["clear"], "it is guaranteed for one of them alone"


@pytest.fixture(scope="module")
def promised(certified):
    """The same file with a certificate of each finding that has thresholds."""
    facts, network = certified
    images = {"mean": 1.5, "max": 3, "distribution": {"1": 20, "3": 6}}
    one = {"false_negative_rate": 0.0005, "confidence": 0.975, "images": images}
    other = one | {"images": images | {"mean": 1.4}, "upper": {"kind": "specificity", "bound": 0.9}}
    return Predictor(with_metadata(facts | {"certificates": {"above": one, "left": other}}, network))


def test_the_legend_promises_what_holds_of_every_finding(promised):
    words = dict(legend(promised.model_file))
    assert "sensitivity of 99.95 %" in words["clear"]  # not 100
    assert "--study" in words["clear"]
    assert "per patient, for all images" in dict(legend(promised.model_file, of_study=True))["clear"]
    assert "specificity" not in words["flag"], "it is guaranteed for one of them alone"


def test_a_study_is_compared_with_the_calibration_patients_of_each_finding(promised, data):
    answers = list(promised.predict_many(paths_of(data, 4), of_study=True))
    (more,) = decide_study(promised.model_file, "p", answers).notes
    assert "above: 3" in more
    assert "left: 3" in more
    assert not decide_study(promised.model_file, "p", answers[:3]).notes
    study = decide_study(promised.model_file, "p", answers)
    answer = study.as_answer(promised.model_file)
    assert answer.label_name == ", ".join(answer.label.split("|"))


def test_what_is_said_of_the_model_names_thresholds_and_guarantees_of_findings(promised):
    said = describe(promised.model_file)
    assert said.certificates.keys() == {"above", "left"}
    assert {label.label: label.threshold for label in said.labels if label.flagged} == {
        name: point.for_images().threshold for name, point in promised.model_file.points.items()
    }


@pytest.mark.parametrize("method", ["activation", "occlusion"])
def test_reasons_are_those_of_one_finding(model, data, method):
    path = paths_of(data, 1)[0]
    found = explain(model, path, method=method, label="left")
    (heatmap,) = found.heatmaps
    assert heatmap.child == "left"
    assert heatmap.share == found.answer.probabilities["left"]
    assert explain(model, path, method=method).heatmaps[0].child == found.answer.top
    with pytest.raises(UsageError) as refused:
        explain(model, path, label="hernia")
    assert refused.value.code == "no-such-label"


def test_an_activation_map_has_the_log_odds_as_its_mean():
    network = build_classifier("findings", "compact", FINDINGS, 48, width=4, blocks=[1, 1]).eval()
    graph = ServedGraph(network, FINDINGS, "findings", None, Preprocessing(size=48))
    assert graph.maps == tuple(("", name) for name in FINDINGS)
    noise = torch.randint(0, 256, (4, 48, 48), dtype=torch.uint8)
    with torch.inference_mode():
        shares, _, maps = graph(noise)
    assert torch.allclose(maps.mean(dim=(2, 3)), torch.logit(shares), atol=1e-4)


def test_explaining_one_finding_on_the_command_line(file, hilum, data, tmp_path):
    hilum("predict", *paths_of(data, 1), "--model", file, "--explain", tmp_path / "x", "--label", "below")
    assert "below" in (tmp_path / "x" / "index.html").read_text()
    shown = hilum("predict", *paths_of(data, 1), "--model", file, "--explain", tmp_path / "y", "--label", "b")
    assert shown.returncode == 2


WRONG = {
    "a cascade": {"hierarchy": "cascade"},
    "one threshold for all": {"operating_point": point_of("above", 0.5)},
    "no such finding": {"operating_points": {"hernia": point_of("hernia", 0.5)}},
    "of another finding": {"operating_points": {"above": point_of("left", 0.5)}},
    "a certificate without threshold": {"certificates": {"below": {"false_negative_rate": 0.05, "confidence": 0.95}}},
    "exclusive labels": {"task": "labels"},
}


@pytest.mark.parametrize("kind", WRONG)
def test_metadata_that_contradict_themselves_are_refused(certified, kind):
    facts, content = certified
    with pytest.raises(ModelFileError):
        open_model_file(with_metadata(facts | WRONG[kind], content))


def test_eight_bits_are_refused(run, tmp_path):
    with pytest.raises(UsageError) as refused:
        export(run, tmp_path / "m.onnx", int8=True)
    assert refused.value.code == "int8-of-findings"


@pytest.mark.slow
def test_a_single_label_is_explained_where_labels_exclude_each_other(bundle_of, squares):
    predictor = Predictor(bundle_of("cascade"))
    path = next(squares.rglob("*.png"))
    named = explain(predictor, path, label="infected/covid")
    assert [heatmap.child for heatmap in named.heatmaps] == ["infected", "infected/covid"]
    assert len(explain(predictor, path, label="normal").heatmaps) == 1
    assert replace(named.answer) == predictor.predict(path)


def test_a_run_is_shown_by_finding(run):
    shown = hilum.open_run(run.path)
    lines = {line.split()[0]: line.split()[1:] for line in str(shown).splitlines() if line.split()[:1]}
    for name in FINDINGS:
        assert int(lines[name][0]) == sum(
            row.extra[f"finding:{name}"] == "1" for row in run.rows if row.split == "train"
        )
