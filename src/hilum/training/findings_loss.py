"""Learning several findings an image: targets with gaps, their loss, and what a validation measures of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hilum.models.stages import Ensemble
from hilum.stats.auc import aurocs
from hilum.training.augmentation import Mix
from hilum.training.plan import TrainingPlan, Uncertain
from hilum.training.ranks import ALONE, Ranks

LARGEST_WEIGHT = 20.0  # of an image on which a finding is present
SOFT = 0.7  # of an uncertain finding: the mean of U(0.55, 0.85) (Pham et al. 2021, Neurocomputing)
AS: dict[Uncertain, float] = {"ignore": np.nan, "positive": 1.0, "negative": 0.0, "soft": SOFT}


def targets_of(values: NDArray[np.float32], uncertain: Uncertain) -> NDArray[np.float32]:
    """What the network is to say of each finding.

    Args:
        values: Of shape (N, F), as `hilum.data.multilabel.finding_values` returns them.
        uncertain: Use of uncertain findings, as a recipe's.

    Returns:
        Probabilities of shape (N, F); NaN where the finding is unknown.
    """
    return np.where(values == -1, np.float32(AS[uncertain]), values)


def presence_weights(plan: TrainingPlan, targets: NDArray[np.float32]) -> Tensor:
    """Weight in the loss of an image on which a finding is present, shape (F,).

    Args:
        plan: Says what decides.
        targets: Of shape (N, F), as `targets_of` returns them.

    Returns:
        1 everywhere, or by finding the number of images on which it is absent over that on which it is present, at
        most `LARGEST_WEIGHT`.
    """
    if plan.finding_weights == "none":
        return torch.ones(targets.shape[1])
    present = np.nansum(targets, axis=0, dtype=np.float64)
    absent = np.nansum(1 - targets, axis=0, dtype=np.float64)
    return torch.tensor(np.minimum(absent / np.maximum(present, 1), LARGEST_WEIGHT), dtype=torch.float32)


class FindingsLoss(nn.Module):
    """Binary cross-entropy of each finding, over the images where it is known.

    Args:
        network: From `hilum.models.registry.PerFinding`, or an ensemble of such.
        plan: Weights and label smoothing.
        targets: Of all training images, shape (N, F): balanced weights are counted on them.
    """

    def __init__(self, network: nn.Module, plan: TrainingPlan, targets: NDArray[np.float32]) -> None:
        super().__init__()
        self.smoothing = plan.label_smoothing
        self.members = len(network.members) if isinstance(network, Ensemble) else 1
        self.register_buffer("weights", presence_weights(plan, targets), persistent=False)

    def forward(
        self, network: nn.Module, images: Tensor, targets: Tensor, mix: Mix | None = None, ranks: Ranks = ALONE
    ) -> Tensor:
        """The loss of a network on images (B, 1, H, W) with targets (B, F), NaN where unknown: a sum over members.

        Args:
            network: As it was built.
            images: Of shape (B, 1, H, W).
            targets: Probabilities, shape (B, F).
            mix: What `images` were mixed with, where they were: a finding has to be known on both.
            ranks: Who has the rest of the batch. The mean of their losses is the loss of the whole batch.
        """
        wanted = targets if mix is None else torch.lerp(mix.partners(targets), targets, mix.share)
        members = network.members if isinstance(network, Ensemble) else [network]
        return torch.stack([self.one(member(images), wanted, ranks) for member in members]).sum()

    def one(self, log_probabilities: Tensor, targets: Tensor, ranks: Ranks = ALONE) -> Tensor:
        """The mean loss over all that is known, of log-probabilities (B, F, 2) with targets (B, F)."""
        known = ~targets.isnan()
        wanted = targets.nan_to_num(0.0) * (1 - self.smoothing) + self.smoothing / 2
        losses = binary_losses(log_probabilities, wanted, self.get_buffer("weights"))
        loss = torch.where(known, losses, 0.0).sum() / ranks.sum(known.sum()).clamp(min=1)
        return loss * ranks.place.world if ranks.several else loss


def binary_losses(log_probabilities: Tensor, targets: Tensor, weights: Tensor | float = 1.0) -> Tensor:
    """Binary cross-entropies (B, F) of log-probabilities (B, F, 2) with targets (B, F), presence weighted (F,)."""
    absent, present = log_probabilities.float().unbind(dim=2)
    return -(weights * targets * present + (1 - targets) * absent)


class Validated:
    """Probabilities and truth of the findings of validation images, batch by batch."""

    def __init__(self) -> None:
        self._parts: list[tuple[Tensor, Tensor, Tensor]] = []

    def add(self, log_probabilities: Tensor, targets: Tensor) -> None:
        """Add log-probabilities (B, F, 2) of images with targets (B, F): 1, 0, or NaN where unknown."""
        losses = torch.where(targets.isnan(), torch.nan, binary_losses(log_probabilities, targets.nan_to_num(0.0)))
        self._parts.append((losses.cpu(), log_probabilities[..., 1].exp().float().cpu(), targets.cpu()))

    def measures(self, positive: int, ranks: Ranks = ALONE) -> dict[str, float]:
        """Means over all that is known of loss and accuracy, mean AUROC over findings, and false negatives.

        Args:
            positive: Number of the finding that must not be missed; -1 where there is none.
            ranks: Who validated the other images.

        Returns:
            Without ``val_auroc`` where no finding is both present and absent.
        """
        parts = [part for found in ranks.gather_objects(self._parts) for part in found]
        losses, stated, truth = (torch.cat(part).double().numpy() for part in zip(*parts, strict=True))
        known = ~np.isnan(truth)
        right = (stated >= 0.5) == (truth == 1)
        missed = (truth[:, positive] == 1) & (stated[:, positive] < 0.5) if positive >= 0 else np.zeros(1)
        areas = finding_aurocs(stated, truth)
        found = {
            "val_loss": float(losses[known].mean()) if known.any() else float("nan"),
            "val_accuracy": float(right[known].mean()) if known.any() else float("nan"),
            "val_false_negatives": int(missed.sum()),
        }
        return found if np.isnan(areas).all() else found | {"val_auroc": float(np.nanmean(areas))}


def finding_aurocs(stated: NDArray[np.floating[Any]], truth: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """The area under each finding's ROC curve, shape (F,); NaN where it is not both present and absent.

    Args:
        stated: Probabilities of shape (N, F).
        truth: Of shape (N, F): 1, 0, or NaN where unknown.
    """
    columns: Sequence[NDArray[np.bool_]] = ~np.isnan(truth.T)
    return np.array(
        [
            aurocs(stated[known, number][None], (truth[known, number] == 1)[None])[0]
            for number, known in enumerate(columns)
        ]
    )
