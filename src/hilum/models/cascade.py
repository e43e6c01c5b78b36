"""A cascade: one classifier for each decision of the label tree (the seed report's Fig. 2, second architecture)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from hilum.data.taxonomy import branches
from hilum.errors import RecipeError


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
                f"a cascade needs nested labels; {', '.join(labels)} are all on one level. Put what belongs together "
                'into one folder, such as infected/covid and infected/non-covid, or use architecture = "flat".'
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
