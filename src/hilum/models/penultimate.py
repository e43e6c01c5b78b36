"""A network's last features: what its final linear layers see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hilum.models.cascade import Cascade
from hilum.models.ensemble import Ensemble


class LastFeatures:
    """What the last pass of one network gave its last linear layer.

    Args:
        network: It is shared, not copied.

    Attributes:
        linear: The last linear layer.
        kept: Tensors of the last pass by name; ``features`` are what `linear` saw.

    Raises:
        ValueError: The network has no linear layer.
    """

    def __init__(self, network: nn.Module) -> None:
        self.linear = final_layer(network)
        self.kept: dict[str, Tensor] = {}
        self.linear.register_forward_pre_hook(self.keep_input("features"))

    @property
    def features(self) -> Tensor:
        """What the last linear layer saw, of shape (B, F)."""
        return self.kept["features"]

    def keep_input(self, name: str) -> Any:
        """A forward pre-hook that keeps a module's first input under a name."""

        def keep(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            del module
            self.kept[name] = inputs[0]

        return keep


def side_by_side(parts: Sequence[LastFeatures]) -> Tensor:
    """The last features (B, D) of several networks, each scaled to length 1, and again when side by side."""
    scaled = [F.normalize(part.features.float().flatten(1), dim=1) for part in parts]
    return F.normalize(torch.cat(scaled, dim=1), dim=1)


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
        self._parts = [LastFeatures(part) for part in parts_of(network)]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map images (B, 1, H, W) to log-probabilities (B, K) and features (B, D), each row of length 1."""
        return self.network(images), side_by_side(self._parts)


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
