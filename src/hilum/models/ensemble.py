"""Several networks of one kind that are trained side by side and asked together."""

from __future__ import annotations

from collections.abc import Callable
from math import log

import torch
from torch import Tensor, nn


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
        """Map images (B, 1, H, W) to log-probabilities (B, K)."""
        answers = torch.stack([member(images).float() for member in self.members])
        return torch.logsumexp(answers, dim=0) - log(len(self.members))
