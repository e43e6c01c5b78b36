"""Networks that consist of several: cascades and ensembles, and the features that their heads see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hilum.data.labels import branches
from hilum.errors import RecipeError
from hilum.models.mixed import MixedEnsemble


class Cascade(nn.Module):
    """Normal or infected first, then COVID-19 or not; or whatever the labels' nesting says.

    A label's log-probability is the sum of those of the decisions that lead to it, so that the probabilities of
    all labels sum to one.

    Args:
        labels: K nested labels.
        build: Makes the network of one decision between a number of children.

    Attributes:
        branches: The decisions, the root's first.
        stages: Their networks, in the same order.

    Raises:
        RecipeError: The labels form no tree of more than one decision.
    """

    def __init__(self, labels: Sequence[str], build: Callable[[int], nn.Module]) -> None:
        super().__init__()
        try:
            self.branches = branches(labels)
        except ValueError as error:
            raise RecipeError(str(error)) from error
        if len(self.branches) < 2:
            msg = (
                f"a cascade needs nested labels; {', '.join(labels)} are all on one level. Group related labels in "
                'one folder, such as infected/covid and infected/non-covid, or use hierarchy = "flat".'
            )
            raise RecipeError(msg, code="flat-labels")
        self.n_labels = len(labels)
        self.stages = nn.ModuleList(build(len(branch.children)) for branch in self.branches)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 1, H, W) to log-probabilities (B, K)."""
        total = torch.zeros(images.shape[0], self.n_labels, device=images.device)
        for branch, stage in zip(self.branches, self.stages, strict=True):
            child = torch.tensor(branch.child_of(self.n_labels), device=images.device)
            decision = stage(images).float()
            total = total + torch.where(child >= 0, decision[:, child.clamp(min=0)], 0.0)
        return total


class Ensemble(nn.Module):
    """The mean of the probabilities of networks that began with different weights.

    Such a mean is more accurate, better calibrated and sturdier under shift than any of its members (Lakshminarayanan
    et al. 2017, "Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles", *NeurIPS*). Each member
    learns from its own loss, not from the mean's: members that lean on each other are less different.

    Args:
        build: Makes one member with freshly drawn weights.
        members: How many.
    """

    def __init__(self, build: Callable[[], nn.Module], members: int) -> None:
        super().__init__()
        self.members = nn.ModuleList(build() for _ in range(members))

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 1, H, W) to log-probabilities, of the shape that the members' have."""
        answers = torch.stack([member(images).float() for member in self.members])
        return torch.logsumexp(answers, dim=0) - log(len(self.members))


class FeatureExtractor:
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


def side_by_side(parts: Sequence[FeatureExtractor]) -> Tensor:
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
        self._parts = [FeatureExtractor(part) for part in parts_of(network)]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map images (B, 1, H, W) to log-probabilities (B, K) and features (B, D), each row of length 1."""
        return self.network(images), side_by_side(self._parts)


def parts_of(network: nn.Module) -> list[nn.Module]:
    """The networks that an ensemble or cascade, or a cascade of ensembles, consists of; else the network itself."""
    if isinstance(network, Cascade):
        inner = list(network.stages)
    elif isinstance(network, Ensemble | MixedEnsemble):
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
        msg = f"{type(network).__name__} has no linear layer, and therefore no last features"
        raise ValueError(msg)
    return layers[-1]
