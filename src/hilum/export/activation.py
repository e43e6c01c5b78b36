"""Where a network's last features and last feature maps are, whatever network it is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hilum.errors import RunError
from hilum.models.compact import Compact
from hilum.models.penultimate import LastFeatures


class Activations(LastFeatures):
    """What the last pass of one network left behind.

    Attributes:
        exact: Whether `features` are `last_maps` averaged over all places, and the network answers with the softmax of
            what `linear` makes of them, so that class activation maps are exact.
    """

    exact = False

    @property
    def last_maps(self) -> Tensor:
        """What was averaged to become the features, of shape (B, F, h, w)."""
        return self.kept["maps"]


def watch(network: nn.Module, sample: Tensor) -> Activations:
    """Find by one pass where the features are, and keep them in every later pass.

    Args:
        network: Maps images (B, 1, S, S) to log-probabilities (B, K), and is in evaluation mode.
        sample: Images, at least one.

    Raises:
        RunError: The network has no linear layer.
    """
    try:
        found = Activations(network)
    except ValueError as error:
        msg = f"{type(network).__name__}: has no linear layer, and so no features. Such networks cannot be exported."
        raise RunError(msg) from error

    def keep_stages(module: nn.Module, inputs: Any, output: Tensor) -> None:
        del module, inputs
        found.kept["maps"] = output

    pools = [module for module in network.modules() if isinstance(module, nn.AdaptiveAvgPool2d)]
    if isinstance(network, Compact):
        network.stages.register_forward_hook(keep_stages)
    elif pools:
        pools[-1].register_forward_pre_hook(found.keep_input("maps"))
    with torch.inference_mode():
        answer = network(sample)
        if "maps" in found.kept and found.last_maps.dim() == 4:
            averaged = found.last_maps.mean(dim=(2, 3))
            scores = torch.log_softmax(found.linear(averaged), dim=1)
            same = averaged.shape == found.features.shape and torch.allclose(averaged, found.features, atol=1e-5)
            found.exact = same and scores.shape == answer.shape and torch.allclose(scores, answer, atol=1e-4)
    return found
