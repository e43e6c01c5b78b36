"""The served graph against what training and evaluation say, and its maps against the scores they explain."""

import numpy as np
import pytest
import torch

from hilum.data.preprocessing import Preprocessing
from hilum.errors import RunError
from hilum.exporting.graph import OUTPUTS, ServedGraph, to_onnx
from hilum.models.registry import build_classifier
from hilum.serving.model_file import open_model_file
from hilum.serving.predictor import Predictor
from hilum.stats.calibration import scale
from training_runs import KINDS, LABELS, TEMPERATURES

SIZE = 48


def network_of(hierarchy="flat", name="compact", members=1, **options):
    torch.manual_seed(3)
    size = options.pop("size", SIZE)
    network = build_classifier(hierarchy, name, LABELS, size, members=members, **options).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d | torch.nn.BatchNorm1d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    return network


def images(count=5, size=SIZE):
    return torch.randint(0, 256, (count, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("hierarchy", ["flat", "cascade"])
def test_the_temperatures_in_the_graph_are_those_of_the_evaluation(hierarchy):
    network, temperatures = network_of(hierarchy, width=4), TEMPERATURES[hierarchy]
    graph = ServedGraph(network, LABELS, hierarchy, temperatures, Preprocessing(size=SIZE)).eval()
    with torch.inference_mode():
        plain = network(images().unsqueeze(1) / 127.5 - 1).double().exp().numpy()
        found = graph(images())[0].numpy()
    expected = scale(plain, temperatures, LABELS, hierarchy)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.abs(expected - plain).max() > 0.01  # they do something


@pytest.mark.parametrize(
    ("network", "map_count"),
    [
        (network_of("flat", width=4), 3),
        (network_of("cascade", width=4), 4),
        (network_of("cascade", members=2, width=4), 4),
        (network_of("flat", "vgg16-bn", width=0.05), 0),
    ],
    ids=["flat", "cascade", "cascade of ensembles", "vgg"],
)
def test_only_networks_with_exact_maps_have_maps(network, map_count):
    hierarchy = "cascade" if hasattr(network, "stages") and map_count == 4 else "flat"
    graph = ServedGraph(network, LABELS, hierarchy, None, Preprocessing(size=SIZE))
    assert len(graph.maps) == map_count
    with torch.inference_mode():
        outputs = graph(images())
    assert len(outputs) == (3 if map_count else 2)
    assert not map_count or outputs[2].shape[1] == map_count


def test_the_mean_of_a_map_is_the_score_it_explains():
    network = network_of("flat", width=4)
    graph = ServedGraph(network, LABELS, "flat", None, Preprocessing(size=SIZE))
    with torch.inference_mode():
        probabilities, _, maps = graph(images())
    torch.testing.assert_close(maps.mean(dim=(2, 3)).softmax(dim=1), probabilities)
    assert maps.mean(dim=(2, 3)).sum(dim=1).abs().max() < 1e-5  # evidence for one label is evidence against the others


def test_the_maps_of_a_cascade_explain_each_decision():
    network = network_of("cascade", width=4)
    graph = ServedGraph(network, LABELS, "cascade", None, Preprocessing(size=SIZE))
    assert graph.maps == (
        ("", "normal"),
        ("", "infected"),
        ("infected", "infected/covid"),
        ("infected", "infected/non-covid"),
    )
    with torch.inference_mode():
        probabilities, _, maps = graph(images())
    means = maps.mean(dim=(2, 3))
    infected, covid = means[:, :2].softmax(dim=1)[:, 1], means[:, 2:].softmax(dim=1)[:, 0]
    torch.testing.assert_close(infected * covid, probabilities[:, 1])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["monai/densenet121", "monai/resnet18", "monai/efficientnet-b0"])
def test_networks_of_monai_are_exported_with_maps(name):
    network = network_of("flat", name, size=64)
    graph = ServedGraph(network, LABELS, "flat", None, Preprocessing(size=64)).eval()
    assert len(graph.maps) == 3
    assert to_onnx(graph, 64, OUTPUTS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.ci
def test_onnx_says_what_pytorch_says_for_any_number_of_images(kind, bundle_of, run_of):
    from hilum.evaluation.temperature import calibrate
    from hilum.training.checkpoints import load_weights
    from hilum.training.module import build_for

    run = run_of(kind)
    network = build_for(run.recipe, run.labels)
    load_weights(network, run.best)
    size = run.recipe.preprocessing.size
    graph = ServedGraph(
        network, run.labels, run.recipe.hierarchy, calibrate(run).temperatures, run.recipe.preprocessing
    ).eval()
    predictor = Predictor(open_model_file(bundle_of(kind)))
    for count in (1, 2, 17):
        given = images(count, size)
        with torch.inference_mode():
            expected = graph(given)
        for name, tensor in zip(predictor.model_file.facts["outputs"], expected, strict=True):
            np.testing.assert_allclose(predictor.run(given.numpy(), [name]), tensor.numpy(), atol=1e-4)


def test_a_network_that_would_not_be_served_is_not_exported(refuses):
    class Random(torch.nn.Module):
        def forward(self, images):
            means = images.float().mean(dim=(1, 2))
            return torch.softmax(torch.stack([means, means + torch.randn_like(means)], dim=1), dim=1)

    with refuses(RunError, "unservable"):
        to_onnx(Random(), SIZE, ["probabilities"])
