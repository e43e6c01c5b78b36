"""What training minimises: negative log-likelihood, of all labels at once or of each decision of a cascade."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from hilum.models.cascade import Cascade
from hilum.training.recipe import TrainingPlan


class Objective(nn.Module):
    """The loss of a batch.

    In a cascade each decision learns only from images that reach it: its networks never see the others, in the
    loss or in their batch normalisation.

    Args:
        network: Flat or a cascade.
        plan: Class weights and label smoothing.
        targets: Of all training images, shape (N,): balanced weights are counted on them.
        n_labels: K.
    """

    def __init__(self, network: nn.Module, plan: TrainingPlan, targets: NDArray[np.int64], n_labels: int) -> None:
        super().__init__()
        self.smoothing = plan.label_smoothing
        self.decisions = len(network.branches) if isinstance(network, Cascade) else 1
        maps = [list(range(n_labels))]
        if isinstance(network, Cascade):
            maps = [branch.child_of(n_labels) for branch in network.branches]
        for number, child_of in enumerate(maps):
            child = np.array(child_of)
            reached = child[targets][child[targets] >= 0]
            self.register_buffer(f"child{number}", torch.from_numpy(child), persistent=False)
            weights = decision_weights(plan, reached, int(child.max()) + 1)
            self.register_buffer(f"weights{number}", weights, persistent=False)

    def forward(self, network: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        """The loss of a network on images (B, 1, H, W) with targets (B,)."""
        stages = network.stages if isinstance(network, Cascade) else [network]
        losses = []
        for number, stage in enumerate(stages):
            children = self.get_buffer(f"child{number}")[targets]
            reached = children >= 0
            if number and int(reached.sum()) < 2:  # batch normalisation needs two; the root always has them
                continue
            inputs, wanted = (images[reached], children[reached]) if number else (images, children)
            losses.append(self._one(stage(inputs).float(), wanted, self.get_buffer(f"weights{number}")))
        return torch.stack(losses).sum()

    def _one(self, log_probabilities: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        if self.smoothing:  # log-softmax of log-probabilities changes nothing
            return F.cross_entropy(log_probabilities, targets, weights, label_smoothing=self.smoothing)
        return F.nll_loss(log_probabilities, targets, weights)


def decision_weights(plan: TrainingPlan, targets: NDArray[np.int64], n_children: int) -> Tensor:
    """Weight of each child in the loss, shape (n_children,): 1, or N / (n_children n_k) where all weigh the same."""
    if plan.class_weights == "none":
        return torch.ones(n_children)
    counts = np.bincount(targets, minlength=n_children)  # none is 0: labels are those of train
    return torch.tensor(len(targets) / (n_children * counts), dtype=torch.float32)
