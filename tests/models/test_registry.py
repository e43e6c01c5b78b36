"""Networks by name."""

import pytest
import torch

from hilum.errors import RecipeError
from hilum.models.registry import build_network, network_names

SMALL = [
    "compact",
    "vgg16-bn",
    "monai/densenet121",
    "monai/resnet18",
    "monai/seresnet50",
    "monai/efficientnet-b0",
]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", SMALL)
def test_every_family_gives_log_probabilities_of_one_channel_images(name):
    options = {"width": 0.1} if name == "vgg16-bn" else {}
    network = build_network(name, n_labels=4, size=64, **options).eval()
    with torch.no_grad():
        output = network(torch.randn(2, 1, 64, 64))
    assert output.shape == (2, 4)
    torch.testing.assert_close(output.exp().sum(dim=1), torch.ones(2))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", [name for name in network_names() if name not in SMALL])
def test_every_name_can_be_built(name):
    network = build_network(name, n_labels=3, size=64).eval()
    with torch.no_grad():
        assert network(torch.randn(1, 1, 64, 64)).shape == (1, 3)


def test_the_compact_network_takes_any_size_and_is_small():
    network = build_network("compact", n_labels=3, size=75).eval()
    assert sum(p.numel() for p in network.parameters()) < 2e6
    for side in (64, 75, 150):
        assert network.features(torch.zeros(1, 1, side, side)).shape[2] == -(-side // 24)


def test_the_compact_networks_head_is_linear_in_the_averaged_features():
    """So that class activation maps are exact: scores are the average of the maps' scores."""
    network = build_network("compact", n_labels=3, size=64).eval()
    images = torch.randn(2, 1, 64, 64)
    maps = network.features(images)
    scores = torch.einsum("bchw,kc->bkhw", maps, network.head.weight).mean(dim=(2, 3)) + network.head.bias
    torch.testing.assert_close(network(images), scores.log_softmax(dim=1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("wrong", "meant"), [("vgg16", "vgg16-bn"), ("monai/densenet12", "monai/densenet121")])
def test_an_unknown_name_suggests_the_one_that_was_meant(wrong, meant, refuses):
    with refuses(RecipeError, "unknown-network"):
        build_network(wrong, n_labels=3, size=64)


@pytest.mark.parametrize("width", [-4, 0, 0.5, "wide"])
def test_impossible_options_are_refused(width, refuses):
    with refuses(RecipeError, "impossible-options"):
        build_network("compact", n_labels=3, size=64, width=width)


def test_options_that_a_network_does_not_take_are_named(refuses):
    with refuses(RecipeError, "impossible-options"):
        build_network("compact", n_labels=3, size=64, depht=3)
