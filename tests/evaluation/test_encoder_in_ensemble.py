"""An ensemble of a trained network and a frozen encoder with its head: in every form the mean of both."""

import shutil

import numpy as np
import onnx
import pytest

from hilum.data.cache import open_images
from hilum.errors import RunError, UsageError
from hilum.evaluation.ensemble import make_ensemble
from hilum.evaluation.evaluate import evaluate
from hilum.evaluation.inference import predict, trained_network
from hilum.exporting.export import export
from hilum.exporting.merged_encoder import PREFIX
from hilum.report.run_page import write_report
from hilum.serving.explain import explain
from hilum.serving.predictor import Predictor
from hilum.training.recipe import load_recipe
from hilum.training.run import ENCODER_FILE, open_run
from hilum.training.train import train
from made_encoders import write_maps
from random_datasets import write_pictures
from training_runs import TINY

pytestmark = [pytest.mark.usefixtures("small_evaluation"), pytest.mark.slow]
SAME = ["fraction=0.3", "splits.val=auto", "splits.calibration=auto"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("encoder")
    data = write_pictures(made / "data", splits=("train", "test"), patients={"train": 60, "test": 12})
    encoder = write_maps(made / "frozen.onnx")
    train(data, made / "network", load_recipe("compact", [*TINY, *SAME, "mixup=0", "preprocessing.size=40"]))
    train(data, made / "encoder", load_recipe("encoder", [f"encoder={encoder}", *SAME]))
    make_ensemble([open_run(made / "network"), open_run(made / "encoder")], made / "mixed")
    evaluate(open_run(made / "mixed"))
    return made


def answers(run):
    run = open_run(run)
    return predict(run, open_images(run.table(), run.preprocessing), run.labels)


def test_probabilities_are_the_geometric_mean_of_network_and_encoder(folder):
    parts = [answers(folder / name) for name in ("network", "encoder")]
    assert np.abs(parts[0] - parts[1]).max() > 1e-3
    raised = np.sqrt(parts[0] * parts[1])
    np.testing.assert_allclose(answers(folder / "mixed"), raised / raised.sum(axis=1, keepdims=True), atol=1e-6)


def test_the_model_file_holds_the_encoder_and_says_the_same(folder, tmp_path):
    run = open_run(folder / "mixed")
    export(run, tmp_path / "mixed.onnx")
    predictor = Predictor(tmp_path / "mixed.onnx")
    found = evaluate(run, split="val", out=tmp_path / "val").predictions
    files = [folder / "data" / path for path in found.paths]
    said = [list(answer.probabilities.values()) for answer in predictor.predict_many(files)]
    np.testing.assert_allclose(said, found.probabilities, atol=1e-5)
    names = {name for node in onnx.load(tmp_path / "mixed.onnx").graph.node for name in node.input}
    assert any(name.startswith(PREFIX) for name in names)
    assert explain(predictor, files[0]).heatmaps


def test_licence_and_hash_of_the_encoder_stand_in_card_and_report(folder):
    run = open_run(folder / "mixed")
    member = run.environment.members[1]
    page = write_report(run.path).read_text()
    assert member.encoder.licence == "MIT"
    assert "licence MIT" in (run.path / "model_card.md").read_text()
    assert member.encoder.sha256[:16] in page
    assert str(folder) not in (run.path / "recipe.toml").read_text()


def test_a_changed_encoder_is_found_and_two_are_refused(folder, tmp_path, refuses):
    encoder = open_run(folder / "encoder")
    with refuses(UsageError, "several-encoders"):
        make_ensemble([encoder, encoder], tmp_path / "both")
    mixed = tmp_path / "mixed"
    shutil.copytree(folder / "mixed", mixed)
    assert (mixed / ENCODER_FILE).read_bytes() == encoder.encoder_file.read_bytes()
    write_maps(mixed / ENCODER_FILE, seed=1)
    with refuses(RunError, "other-file"):
        trained_network(open_run(mixed))
