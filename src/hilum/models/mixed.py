"""An ensemble of networks that were trained one by one, each with the preprocessing that it was trained with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hilum.data.preprocessing import Preprocessing, Stacked
from hilum.models.compact import local_contrast


def to_network_range(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Map values in [0, 1] to what every network here sees: [-1, 1], or the recipe's local contrast.

    Args:
        images: Of shape (B, 1, H, W), already reduced (and, in training, augmented). Those of several preprocessings
            stay in [0, 1]: each member of a `MixedEnsemble` maps its own.
        preprocessing: The recipe's.
    """
    if isinstance(preprocessing, Stacked):
        return images
    share = preprocessing.local_contrast
    return local_contrast(images * 2 - 1, share) if share else images * 2 - 1


class MixedEnsemble(nn.Module):
    """The geometric mean of the probabilities of networks, normalised anew.

    It is the mean of log-probabilities (a logarithmic opinion pool: Heskes 1998, "Selecting weighting factors in
    logarithmic opinion pools", *NeurIPS*); of findings it is the mean of their log-odds.

    Args:
        networks: Map images (B, 1, S, S) as `to_network_range` gives them to log-probabilities (B, K), of findings
            (B, F, 2).
        preprocessing: Of all of them, in their order.
    """

    def __init__(self, networks: Sequence[nn.Module], preprocessing: Stacked) -> None:
        super().__init__()
        self.members = nn.ModuleList(networks)
        self.preprocessing = preprocessing

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, V, S, S) in [0, 1], one for each distinct preprocessing, to log-probabilities."""
        stacked = self.preprocessing
        answers = []
        for member, place, part in zip(self.members, stacked.places, stacked.parts, strict=True):
            own = images[:, place : place + 1, : part.size, : part.size]
            answers.append(member(to_network_range(own, part)).float())
        return torch.stack(answers).mean(dim=0).log_softmax(dim=-1)
