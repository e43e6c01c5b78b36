"""The loss of exclusive labels, decision by decision, and the weights of labels in it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from hilum.data.labels import fair_shares
from hilum.models.stages import Cascade, Ensemble
from hilum.training.augmentation import Mix
from hilum.training.plan import TrainingPlan
from hilum.training.ranks import ALONE, Ranks


class LossFunction(nn.Module):
    """The loss of a batch.

    In a cascade each decision learns only from images that reach it: its networks never see the others, in the
    loss or in their batch normalisation.

    Args:
        network: Flat or a cascade.
        plan: Class weights and label smoothing.
        targets: Of all training images, shape (N,): balanced weights are counted on them.
        labels: K names.
    """

    def __init__(
        self, network: nn.Module, plan: TrainingPlan, targets: NDArray[np.int64], labels: Sequence[str]
    ) -> None:
        super().__init__()
        n_labels = len(labels)
        self.smoothing = plan.label_smoothing
        self.decisions = len(network.branches) if isinstance(network, Cascade) else 1
        maps = [list(range(n_labels))]
        shares = fair_shares(labels)
        self.members = max((len(part.members) for part in network.modules() if isinstance(part, Ensemble)), default=1)
        if isinstance(network, Cascade):
            maps = [branch.child_of(n_labels) for branch in network.branches]
            shares = []
        for number, child_of in enumerate(maps):
            child = np.array(child_of)
            reached = child[targets][child[targets] >= 0]
            self.register_buffer(f"child{number}", torch.from_numpy(child), persistent=False)
            weights = decision_weights(plan, reached, int(child.max()) + 1, shares)
            self.register_buffer(f"weights{number}", weights, persistent=False)

    def forward(
        self, network: nn.Module, images: Tensor, targets: Tensor, mix: Mix | None = None, ranks: Ranks = ALONE
    ) -> Tensor:
        """The loss of a network on images (B, 1, H, W) with targets (B,): a sum over decisions and members.

        Args:
            network: Flat or a cascade.
            images: Of shape (B, 1, H, W).
            targets: Index of each image's label, shape (B,).
            mix: What `images` were mixed with, where they were.
            ranks: Who has the rest of the batch. The mean of their losses is the loss of the whole batch.
        """
        stages = network.stages if isinstance(network, Cascade) else [network]
        shares = [(targets, 1.0)] if mix is None else [(targets, mix.share), (mix.partners(targets), 1 - mix.share)]
        losses = []
        for number, stage in enumerate(stages):
            child = self.get_buffer(f"child{number}")
            wanted = [(child[labels], share) for labels, share in shares]
            inputs = images
            if number:  # the root is reached by all, the others by what lies below them with both its images
                reached = torch.stack([children >= 0 for children, _ in wanted]).all(dim=0)
                if int(ranks.sum(reached.sum())) < 2:  # batch normalisation needs two
                    continue
                inputs, wanted = images[reached], [(children[reached], share) for children, share in wanted]
            weights = self.get_buffer(f"weights{number}")
            for network_of_stage in stage.members if isinstance(stage, Ensemble) else [stage]:
                answer = network_of_stage(inputs).float()
                losses += [share * self._one(answer, children, weights, ranks) for children, share in wanted]
        return torch.stack(losses).sum()

    def _one(self, log_probabilities: Tensor, targets: Tensor, weights: Tensor, ranks: Ranks) -> Tensor:
        how = "sum" if ranks.several else "mean"
        if self.smoothing:  # log-softmax of log-probabilities changes nothing
            loss = F.cross_entropy(log_probabilities, targets, weights, label_smoothing=self.smoothing, reduction=how)
        else:
            loss = F.nll_loss(log_probabilities, targets, weights, reduction=how)
        # Of the whole batch's weight, not of this part's: parts may differ in size and in labels.
        return loss * (ranks.place.world / ranks.sum(weights[targets].sum())) if ranks.several else loss


def decision_weights(
    plan: TrainingPlan, targets: NDArray[np.int64], n_children: int, shares: Sequence[float] = ()
) -> Tensor:
    """Weight of each child in the loss, shape (n_children,).

    Args:
        plan: Says what decides.
        targets: Index of the child of each of N images.
        n_children: K.
        shares: What each child is to weigh under ``tree``; all the same where empty, as among a folder's children.

    Returns:
        1 everywhere, or ``N share_k / n_k``: the weights of all N images sum to N.
    """
    if plan.class_weights == "none":
        return torch.ones(n_children)
    counts = np.bincount(targets, minlength=n_children)  # none is 0: labels are those of train
    wanted = np.full(n_children, 1 / n_children)
    if plan.class_weights == "hierarchical" and len(shares):
        wanted = np.asarray(shares)
    return torch.tensor(len(targets) * wanted / counts, dtype=torch.float32)
