"""Model files of 8 bits against the float ones of the same runs."""

import json
import logging
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from hilum.data.cache import Images, open_images
from hilum.data.dataset import Dataset, Row
from hilum.data.preprocessing import Preprocessing
from hilum.errors import CertificateError, RunError
from hilum.evaluation.certificate import UpperSide, allowed_rank
from hilum.evaluation.certificate_check import open_certificate, with_checksum
from hilum.evaluation.certification_patients import certify_form
from hilum.evaluation.certify import certify
from hilum.evaluation.ood_reference import spread_over_labels
from hilum.evaluation.triage_schema import Certificate, Upper
from hilum.exporting.export import export
from hilum.exporting.graph import OnnxSession, ServedGraph, to_onnx
from hilum.exporting.quantise import inner_layers, loss, quantise
from hilum.serving.explain import explain
from hilum.serving.model_file import open_model_file
from hilum.serving.predictor import Predictor
from hilum.training.recipe import load_recipe
from hilum.training.run import open_run
from hilum.training.train import train
from made_certificates import changed
from random_datasets import write_pictures
from training_runs import TINY, copy_with_data

pytestmark = pytest.mark.usefixtures("small_evaluation")

MEAN, LARGEST = 0.01, 0.08  # of a probability; a network of 8 channels has less to average over than a real one
KINDS = ("flat", "cascade", "vgg")


@pytest.fixture(scope="module")
def int8_of(run_of, tmp_path_factory):
    made = {}

    def model_file(kind):
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp("int8") / f"{kind}.onnx"
            export(run_of(kind), made[kind], int8=True)
        return made[kind]

    return model_file


def pixels_of(files, predictor):
    from hilum.data.images import read_picture

    return np.stack([predictor.model_file.reduce(read_picture(file).pixels) for file in files])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.ci
def test_it_answers_as_the_float_network_does(kind, int8_of, bundle_of, squares):
    files = sorted((squares / "test").rglob("*.png"))
    before, after = Predictor(bundle_of(kind)), Predictor(int8_of(kind))
    pixels = pixels_of(files, before)
    apart = np.abs(after.run(pixels) - before.run(pixels))
    assert 0 < apart.mean() < MEAN
    assert apart.max() < LARGEST
    assert after.run(pixels, ["features"]).dtype == np.float32
    explained = [explain(one, files[0]) for one in (before, after)]
    assert explained[0].method == explained[1].method
    if kind != "vgg":
        both = [one.heatmaps[0].values for one in explained]
        assert np.corrcoef(both[0].ravel(), both[1].ravel())[0, 1] > 0.98


def test_its_inner_layers_are_bytes_and_the_rest_is_not(int8_of, bundle_of):
    before, after = (onnx.load(made("flat")) for made in (bundle_of, int8_of))
    kinds = {item.name: item.data_type for item in after.graph.initializer}
    held = {name for name in kinds if name.endswith("weight_quantized")}
    assert held == {
        f"network.stages.{k}.{name}.weight_quantized"
        for k, name in [(0, "conv1"), (0, "conv2"), (1, "conv1"), (1, "conv2"), (1, "shortcut.0")]
    }
    assert all(kinds[name] == onnx.TensorProto.INT8 for name in held)
    assert kinds["network.stem.0.weight"] == kinds["network.head.weight"] == onnx.TensorProto.FLOAT
    assert [item.name for item in after.graph.output] == [item.name for item in before.graph.output]
    assert all(item.type.tensor_type.elem_type == onnx.TensorProto.FLOAT for item in after.graph.output)


def test_no_processor_gives_another_answer(int8_of, squares):
    """Integer kernels agree with the same model computed in floats: no 16-bit sum overflows on the way."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    for kind in ("flat", "vgg"):
        predictor = Predictor(int8_of(kind))
        plain = onnxruntime.InferenceSession(predictor.model_file.model, options)
        pixels = pixels_of(sorted((squares / "test").rglob("*.png")), predictor)
        (floats,) = plain.run(["probabilities"], {"images": pixels})
        assert np.abs(predictor.run(pixels) - floats).max() < 0.01


def test_it_says_what_it_loses(int8_of, bundle_of, run_of):
    model_file = open_model_file(int8_of("flat"))
    said = model_file.facts["int8"]
    images = open_images(run_of("flat").table(), run_of("flat").recipe.preprocessing)
    assert said["loss"]["split"] == "val"
    images = images.select(i for i, row in enumerate(images.table.rows) if row.split == "val")
    assert said["loss"]["n_images"] == len(images.table)
    labels = list(model_file.labels)
    truth = np.array([labels.index(row.label) for row in images.table.rows])
    before, after = (Predictor(made("flat")).run(images.pixels[images.positions]) for made in (bundle_of, int8_of))
    assert said["loss"]["largest_difference"] == pytest.approx(np.abs(before - after).max(), abs=2e-6)
    assert said["loss"]["accuracy"]["int8"] == pytest.approx((after.argmax(axis=1) == truth).mean(), abs=1e-5)
    chosen = after[np.arange(len(truth)), truth]
    assert said["loss"]["log_loss"]["int8"] == pytest.approx(-np.log(chosen).mean(), abs=1e-4)
    assert said["bytes"]["int8"] < said["bytes"]["float"] * 1.5  # of a network this small the graph is most
    assert "## 8 bits" in model_file.facts["card"]
    assert "float network's" in model_file.facts["card"]
    assert open_model_file(bundle_of("flat")).facts["int8"] is None


def test_the_measure_is_right():
    before = np.array([[0.8, 0.2], [0.4, 0.6], [0.5, 0.5]])
    after = np.array([[0.7, 0.3], [0.6, 0.4], [0.5, 0.5]])
    rows = [Row(f"{number}.png", "normal", patient_id="p") for number in range(3)]
    empty = np.empty((0, 8, 8), np.uint8)
    images = Images(Dataset(Path(), rows), empty, np.arange(3), (), "", empty)
    found = loss("val", images, np.array([0, 0, 0]), before, after)
    assert (found.split, found.n_images, found.n_patients) == ("val", 3, 1)
    assert found.mean_difference == pytest.approx(0.1)
    assert found.largest_difference == pytest.approx(0.2)
    assert found.changed == pytest.approx(1 / 3, abs=1e-6)
    assert found.accuracy.as_json() == {"float": pytest.approx(2 / 3, abs=1e-6), "int8": 1.0}
    assert found.log_loss.as_json()["float"] == pytest.approx(-np.log([0.8, 0.4, 0.5]).mean(), abs=1e-6)


def test_the_same_run_gives_the_same_bytes_and_nothing_of_this_machine(int8_of, run_of, tmp_path):
    logging.disable(logging.NOTSET)
    export(run_of("flat"), tmp_path / "again.onnx", int8=True)
    content = int8_of("flat").read_bytes()
    assert (tmp_path / "again.onnx").read_bytes() == content
    for private in (b"hilum-int8-", b"/tmp", str(run_of("flat").path).encode(), b"site-packages"):
        assert private not in content
    assert logging.root.manager.disable == logging.NOTSET


def test_ranges_come_from_training_images_alone(run_of, monkeypatch, tmp_path):
    from hilum.exporting import quantise as int8

    run, seen = run_of("flat"), []
    monkeypatch.setattr(int8, "quantise", lambda *given: seen.append(given[2]) or quantise(*given))
    export(run, tmp_path / "m.onnx", int8=True)
    images = open_images(run.table(), run.recipe.preprocessing)
    training = {
        images.pixels[p].tobytes()
        for p, row in zip(images.positions, images.table.rows, strict=True)
        if row.split == "train"
    }
    assert {pixels.tobytes() for pixels in seen[0]} <= training
    assert len(spread_over_labels(images, 10)) == 10


@pytest.fixture(scope="module")
def many_patients(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certified")
    data = write_pictures(folder / "data", patients=160, images=1, side=32)
    train(data, folder / "run", load_recipe("compact", [*TINY, "epochs=2", "early_size=0"]))
    return folder


@pytest.fixture
def run(many_patients, tmp_path):
    copy_with_data(many_patients, tmp_path)
    return open_run(tmp_path / "run")


@pytest.mark.usefixtures("graphs_once")
@pytest.mark.ci
def test_a_certificate_is_derived_anew_or_left_out(run, tmp_path, refuses):
    upper = UpperSide("specificity", 0.3, None, ("normal",))
    made = certify(run, false_negative_rate=0.5, confidence=0.8, upper=upper).certificate
    model_file = export(run, tmp_path / "m.onnx", int8=True)
    carried = model_file.facts["certificate"]
    assert carried["model"]["form"] == "int8"
    assert {key: carried[key] for key in ("group", "false_negative_rate", "n_patients", "rank")} == {
        key: getattr(made, key) for key in ("group", "false_negative_rate", "n_patients", "rank")
    }
    # One attempt was planned, so that the second one on these patients lowers the confidence of both together.
    assert carried["confidence"] == pytest.approx(0.6)
    assert carried["ledger"]["delta"] == pytest.approx(made.ledger.delta)
    assert made.ledger.path
    assert "path" not in carried["ledger"]  # it would tell of the machine
    again = export(run, tmp_path / "again.onnx", int8=True).facts["certificate"]
    assert again == carried
    assert model_file.facts["operating_point"]["threshold"] == carried["threshold"]
    for key in ("threshold", "upper_threshold", "image_threshold"):
        assert model_file.facts["operating_point"][key] == carried[key] is not None
    assert UpperSide.of(Upper.model_validate(carried["upper"])) == upper
    assert with_checksum(Certificate.model_validate(carried)).as_json() == carried
    (tmp_path / "c.json").write_text(json.dumps(carried))
    with refuses(CertificateError, "other-form"):  # it says nothing of the float network
        open_certificate(tmp_path / "c.json", run)
    # By the rule itself, from the model file's own answers: rank k of the sorted scores, rounded down.
    scores = np.array(carried["reference"]["group"])
    images = open_images(run.table(), run.recipe.preprocessing)
    answers = Predictor(model_file).run(images.pixels[images.positions])[:, run.labels.index("infected/covid")]
    assert np.isin(np.round(scores, 5), np.round(answers.astype(float), 5)).mean() > 0.95
    assert (scores < carried["threshold"]).sum() == carried["rank"] - 1
    assert model_file.facts["int8"]["abstention"] == "by its own features"
    assert model_file.facts["abstention"]["arrays"] != export(run, tmp_path / "f.onnx").facts["abstention"]["arrays"]

    session = OnnxSession(model_file.model)
    for other_data in ({"own": False}, {"digest": "other"}):
        other = changed(made, data=made.data.as_json() | other_data)
        found, why = certify_form(run, other, images, session.probabilities, {})
        assert found is None
        assert "not in force" in why
    found, why = certify_form(run, made, images, lambda chosen: session.probabilities(chosen) * np.nan, {})
    assert found is None
    assert "not a number" in why


@pytest.mark.usefixtures("graphs_once")
def test_a_planned_place_keeps_the_confidence_of_the_8_bits(run, tmp_path):
    made = certify(run, false_negative_rate=0.5, confidence=0.8, attempts=2).certificate
    carried = export(run, tmp_path / "m.onnx", int8=True).facts["certificate"]
    assert (made.confidence, carried["confidence"]) == (0.8, 0.8)
    assert (made.ledger.number, carried["ledger"]["number"]) == (1, 2)
    assert made.rank == carried["rank"] == allowed_rank(made.n_patients, 0.5, 0.9)


class Shallow(torch.nn.Module):
    """Nothing between the first layer and the last."""

    def __init__(self):
        super().__init__()
        self.cells = torch.nn.Conv2d(1, 2, 8, stride=8)
        self.head = torch.nn.Linear(2, 3)

    def forward(self, images):
        return torch.log_softmax(self.head(self.cells(images).mean(dim=(2, 3))), dim=1)


@pytest.mark.ci
def test_what_cannot_be_quantised_is_said_in_one_message(
    run_of, hilum, tmp_path, monkeypatch, refuses, one_message, snapshot
):
    labels = ("normal", "infected/covid", "infected/non-covid")
    graph = ServedGraph(Shallow(), labels, "flat", None, Preprocessing(size=32)).eval()
    model = to_onnx(graph, 32, ["probabilities", "features"])
    pixels = np.zeros((4, 32, 32), np.uint8)
    assert not inner_layers(graph.network)
    with refuses(RunError, "no-layer"):
        quantise(model, frozenset(), pixels)
    with refuses(RunError, "quantiser-failed"):
        quantise(model, frozenset({"network.cells.weight"}), pixels[:, :16])  # images of another size
    run = run_of("flat")
    away = tmp_path / "away"
    message = hilum("export", run.path, tmp_path / "m.onnx", "--int8", "--data", away)
    one_message(message, 1)
    assert not (tmp_path / "m.onnx").exists()
    result = hilum("export", run.path, tmp_path / "m.onnx", "--int8", check=0)
    snapshot(result.stderr, numbers=False)
