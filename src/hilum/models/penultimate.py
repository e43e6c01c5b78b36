"""A network's last features: what its final linear layers see."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hilum.models.cascade import Cascade
from hilum.models.ensemble import Ensemble


class WithFeatures(nn.Module):
    """A network that also gives its last features.

    Each network of an ensemble or cascade contributes the input of its last linear layer, scaled to length 1, so that
    none drowns the others; side by side they are scaled to length 1 again.

    Args:
        network: Maps images (B, 1, H, W) to log-probabilities (B, K); it is shared, not copied.

    Raises:
        ValueError: One of its parts has no linear layer.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._seen: dict[int, Tensor] = {}
        self._finals = [final_layer(part) for part in parts_of(network)]
        for number, layer in enumerate(self._finals):
            layer.register_forward_pre_hook(self._keep(number))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map images (B, 1, H, W) to log-probabilities (B, K) and features (B, D), each row of length 1."""
        answers = self.network(images)
        seen = [F.normalize(self._seen[number].float(), dim=1) for number in range(len(self._finals))]
        return answers, F.normalize(torch.cat(seen, dim=1), dim=1)

    def _keep(self, number: int) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def keep(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            del layer
            self._seen[number] = inputs[0].flatten(1)

        return keep


def parts_of(network: nn.Module) -> list[nn.Module]:
    """The networks that an ensemble or cascade, or a cascade of ensembles, consists of; else the network itself."""
    if isinstance(network, Cascade):
        inner = list(network.stages)
    elif isinstance(network, Ensemble):
        inner = list(network.members)
    else:
        return [network]
    return [part for module in inner for part in parts_of(module)]


def final_layer(network: nn.Module) -> nn.Linear:
    """The linear layer that was registered last, which in every network here gives the scores of the labels.

    Raises:
        ValueError: There is none.
    """
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not layers:
        msg = f"{type(network).__name__} has no linear layer, and so no last features"
        raise ValueError(msg)
    return layers[-1]
