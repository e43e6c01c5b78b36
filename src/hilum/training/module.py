"""The training step, as a Lightning module."""

from __future__ import annotations

from math import cos, pi
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hilum.data.cache import Images
from hilum.training.augment import apply, draw
from hilum.training.batches import Batches
from hilum.training.mixing import draw_mix
from hilum.training.network import to_network_range
from hilum.training.objective import Objective
from hilum.training.recipe import Recipe, TrainingPlan


def learning_rate_factor(plan: TrainingPlan, step: int, total: int) -> float:
    """The learning rate of a step as a share of `TrainingPlan.lr`.

    Args:
        plan: Names the schedule.
        step: Optimiser steps done so far.
        total: Optimiser steps of the whole training.
    """
    done = min(1.0, step / max(1, total))
    if plan.schedule == "constant":
        return 1.0
    if plan.schedule == "cosine":
        return (1 + cos(pi * done)) / 2
    if done < plan.warmup:
        return 0.04 + 0.96 * (1 - cos(pi * done / plan.warmup)) / 2
    return (1 + cos(pi * (done - plan.warmup) / max(1e-9, 1 - plan.warmup))) / 2


def size_of_step(plan: TrainingPlan, step: int, total: int, size: int) -> int:
    """The side in pixels at which a step sees its images.

    Args:
        plan: Names the early size and its share of the steps.
        step: Optimiser steps done so far.
        total: Optimiser steps of the whole training.
        size: That of the preprocessing; an early size that is no smaller is passed over.
    """
    return plan.early_size if 0 < plan.early_size < size and step < plan.early_share * total else size


class Classifier(pl.LightningModule):
    """A network with its loss, optimiser and augmentation.

    Between two validations the training loss is summed on the device, so that no step waits for it.

    Args:
        network: Maps images (B, 1, H, W) to log-probabilities (B, K).
        recipe: The choices.
        objective: The training loss.
        train: Images to learn from, with targets (N,).
        val: Images to choose by, with targets (M,).
        total_steps: Optimiser steps of the whole training.
        protected: Index of the label that must not be missed; -1 where there is none.
        first_step: Steps that were done before an interruption.
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        objective: Objective,
        train: tuple[Images, Any],
        val: tuple[Images, Any],
        total_steps: int,
        *,
        protected: int = -1,
        first_step: int = 0,
    ) -> None:
        super().__init__()
        self.network, self.objective = network, objective
        self.recipe, self.train_part, self.val_part = recipe, train, val
        self.total_steps, self.first_step, self.protected = total_steps, first_step, protected
        self.steps_per_epoch = len(Batches(*train, recipe.training.batch_size, shuffle=(0, 0)))
        self.train_sums = torch.zeros(2)  # loss, batches since the last validation
        self.val_sums = torch.zeros(4)  # loss, correct, missed protected images, images

    def train_dataloader(self) -> Batches:
        """A fresh order for every epoch (the trainer asks anew each time), from where an interruption left it."""
        plan = self.recipe.training
        epoch, done = divmod(self.step, self.steps_per_epoch)
        return Batches(*self.train_part, plan.batch_size, shuffle=(plan.seed, epoch), start=done)

    def val_dataloader(self) -> Batches:
        """The validation images in their given order."""
        return Batches(*self.val_part, self.recipe.training.eval_batch_size)

    @property
    def step(self) -> int:
        """Optimiser steps done, those before an interruption included."""
        return self.first_step + int(self.global_step)

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """The loss of one batch of bytes (B, 1, H, W) with targets (B,)."""
        images, targets = batch
        plan = self.recipe.training
        # What is random is a function of seed and step, so that an interruption leaves no trace.
        torch.manual_seed(plan.seed * 1_000_003 + self.step)
        generator = torch.Generator().manual_seed(plan.seed * 1_000_003 + self.step)
        parameters = draw(self.recipe.augmentation, len(images), generator)
        floats = apply(
            images.float() / 255, parameters, size_of_step(plan, self.step, self.total_steps, images.shape[-1])
        )
        mix = draw_mix(plan.mixup, len(images), (plan.seed, self.step), generator)
        floats = mix.apply(floats) if mix else floats
        floats = to_network_range(floats, self.recipe.preprocessing).contiguous(memory_format=torch.channels_last)
        loss: Tensor = self.objective(self.network, floats, targets, mix)
        self.train_sums = self.train_sums.to(loss.device)
        self.train_sums += torch.stack([loss.detach() / self.objective.members, torch.ones_like(loss)])
        return loss

    def on_validation_epoch_start(self) -> None:
        """Begin to count."""
        self.val_sums = torch.zeros(4, device=self.device)

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
        """Add one batch to the sums of loss, right answers and images."""
        images, targets = batch
        floats = to_network_range(images.float() / 255, self.recipe.preprocessing).contiguous(
            memory_format=torch.channels_last
        )
        log_probabilities = self.network(floats).float()
        loss = F.nll_loss(log_probabilities, targets, reduction="sum")
        predicted = log_probabilities.argmax(dim=1)
        missed = ((targets == self.protected) & (predicted != self.protected)).sum()
        count = torch.full_like(loss, len(targets))
        self.val_sums += torch.stack([loss, (predicted == targets).sum(), missed, count])

    def take_sums(self) -> tuple[float, float, float, int]:
        """Mean training loss since the last call; validation loss, accuracy, and missed protected images."""
        train_loss = (self.train_sums[0] / self.train_sums[1]).item()
        self.train_sums = torch.zeros_like(self.train_sums)
        val_loss, correct, missed, count = self.val_sums.tolist()
        return train_loss, val_loss / count, correct / count, int(missed)

    def configure_optimizers(self) -> Any:
        """The recipe's optimiser; its learning rate is a function of the step alone."""
        plan = self.recipe.training
        parameters = self.network.parameters()
        optimiser: torch.optim.Optimizer
        if plan.optimiser == "sgd":
            optimiser = torch.optim.SGD(
                parameters, plan.lr, momentum=0.9, nesterov=True, weight_decay=plan.weight_decay, fused=True
            )
        else:
            kind = torch.optim.Adam if plan.optimiser == "adam" else torch.optim.AdamW
            optimiser = kind(parameters, plan.lr, weight_decay=plan.weight_decay, fused=True)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: learning_rate_factor(plan, step, self.total_steps)
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
