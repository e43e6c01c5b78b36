"""The training step: the network of a recipe, its loss, its optimiser, and the images it is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, pi
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hilum.data.cache import Images
from hilum.data.options import ReadOptions
from hilum.data.readers.read import read_table
from hilum.models.mixed import to_network_range
from hilum.progress import Progress
from hilum.training.augmentation import Mix, apply, draw, draw_mix
from hilum.training.batch_norm import synchronise
from hilum.training.batches import Batches
from hilum.training.findings_loss import FindingsLoss, Validated
from hilum.training.fine_tuning import Freezing, learning_groups
from hilum.training.initialisation import build_for, initialise
from hilum.training.loss import LossFunction
from hilum.training.plan import TrainingPlan, Uncertain
from hilum.training.prepare import prepare
from hilum.training.ranks import ALONE, Ranks
from hilum.training.recipe import Recipe
from hilum.training.split_part import select_part


class RadiographDataModule(pl.LightningDataModule):
    """Training and validation images of a dataset, in batches of bytes.

    The order of each epoch is a function of the recipe's seed and of the epoch alone.

    Attributes:
        labels: K names in the order of the network's outputs.
        findings: Whether they are findings, of which an image may have several.
        targets: Index of each training image's label, shape (N,), or the targets of its findings, shape (N, F).
        steps_per_epoch: Optimiser steps of an epoch.
        total_steps: Optimiser steps of the whole training.

    Args:
        images: Decoded images whose table has the splits ``train`` and ``val``.
        labels: K names in the order of the network's outputs.
        plan: Batch sizes, epochs, steps and seed.
        first_step: Optimiser steps that were done before an interruption.
        ranks: Who trains together: each gets its part of each batch, and of the validation images.
    """

    def __init__(
        self,
        images: Images,
        labels: Sequence[str],
        plan: TrainingPlan,
        *,
        first_step: int = 0,
        ranks: Ranks = ALONE,
    ) -> None:
        super().__init__()
        self.ranks = ranks
        self.labels, self.plan, self.first_step = tuple(labels), plan, first_step
        self.findings = bool(images.table.findings)
        known: Uncertain = "ignore" if plan.uncertain == "soft" else plan.uncertain  # what is measured is 1 or 0
        self.train_part = select_part(images, "train", labels, plan.uncertain)
        self.val_part = select_part(images, "val", labels, known)
        self.targets = self.train_part[1]
        self.steps_per_epoch = len(Batches(*self.train_part, plan.batch_size, shuffle=(plan.seed, 0)))
        self.total_steps = self.steps_per_epoch * plan.epochs
        if plan.max_steps:
            self.total_steps = min(self.total_steps, plan.max_steps)

    @classmethod
    def from_dataset(
        cls, data: Path, recipe: Recipe, read: ReadOptions | None = None, progress: Progress | None = None
    ) -> RadiographDataModule:
        """Read, decode and split a dataset as `hilum train` does.

        Args:
            data: A dataset, as `hilum.data.readers.read.read_table` takes it.
            recipe: The preprocessing, the splits and the batches.
            read: How to read `data`.
            progress: Told about remarks and bars.

        Raises:
            DataError: The data cannot be used.
        """
        progress = progress or Progress()
        images, *_ = prepare(read_table(data, read, progress), recipe, progress, check=False)
        rows = images.table.rows
        train = images.table.take(i for i, row in enumerate(rows) if row.split == "train")
        labels = train.findings or train.labels
        return cls(images, labels, recipe.training)

    def setup(self, stage: str) -> None:
        """Have the trainer ask for batches anew in every epoch: each has an order of its own."""
        del stage
        if self.trainer:
            self.trainer.reload_dataloaders_every_n_epochs = 1  # type: ignore[attr-defined]

    def train_dataloader(self) -> Batches:
        """The batches of the epoch that the trainer has reached, from where an interruption left it."""
        step = self.first_step + (self.trainer.global_step if self.trainer else 0)
        epoch, done = divmod(step, self.steps_per_epoch)
        return Batches(
            *self.train_part,
            self.plan.batch_size,
            shuffle=(self.plan.seed, epoch),
            start=done,
            device=self._device,
            place=self.ranks.place,
        )

    def batch_images(self, step: int) -> int:
        """Images of the batch of a step, all ranks together."""
        before = step % self.steps_per_epoch * self.plan.batch_size
        return min(self.plan.batch_size, len(self.targets) - before)

    def val_dataloader(self) -> Batches:
        """The validation images in their given order; of several ranks, each has a part of them."""
        images, targets = self.val_part
        part = range(len(targets))[self.ranks.place.share(len(targets))]
        return Batches(
            images.select(part), targets[part.start : part.stop], self.plan.eval_batch_size, device=self._device
        )

    @property
    def _device(self) -> torch.device | None:
        """The GPU of this process: a thread that gathers batches would take the first one."""
        several = self.ranks.several and torch.cuda.is_available()
        return torch.device("cuda", torch.cuda.current_device()) if several else None


class ClassifierModule(pl.LightningModule):
    """A recipe's network with its loss, augmentation, optimiser and measures.

    All that is random is a function of the recipe's seed and of the step. Every validation logs ``train_loss`` (mean
    since the one before), ``val_loss``, ``val_accuracy``, ``val_misses``, ``lr``, ``epoch`` and ``step``; of findings
    also ``val_auroc``, and the accuracy is that of all findings that are known.

    Attributes:
        network: Maps images (B, 1, H, W) to log-probabilities (B, K); of findings (B, F, 2), absent and present.
        measures: What the last validation logged, by name.

    Args:
        recipe: Every choice.
        data: Says which labels are learnt, how often each occurs, and how many steps the training takes.
        positive: The positive label, whose false negatives are counted as ``val_misses``; None where there is none.
    """

    def __init__(self, recipe: Recipe, data: RadiographDataModule, positive: str | None = None) -> None:
        super().__init__()
        self.save_hyperparameters(recipe.model_dump(mode="json"))
        torch.manual_seed(recipe.training.seed)
        self.network = build_for(recipe, data.labels, findings=data.findings)
        self.ranks, self.batch_images = data.ranks, data.batch_images
        if recipe.network.init and not data.first_step and self.ranks.first:  # the others get its weights
            initialise(self.network, recipe, data.labels, findings=data.findings)
        if self.ranks.several and self.ranks.sync_batchnorm:
            synchronise(self.network)
        self.loss_function: LossFunction | FindingsLoss = (
            FindingsLoss(self.network, recipe.training, data.targets.astype(np.float32))
            if data.findings
            else LossFunction(self.network, recipe.training, data.targets.astype(np.int64), data.labels)
        )
        self.validated = Validated() if data.findings else None
        self.recipe, self.positive = recipe, data.labels.index(positive) if positive else -1
        self.first_step, self.total_steps, self.steps_per_epoch = (
            data.first_step,
            data.total_steps,
            data.steps_per_epoch,
        )
        self.freezing = Freezing(self.network, recipe.training, data.total_steps)
        self.measures: dict[str, float] = {}
        self.train_sums = torch.zeros(2)  # loss, batches since the last validation; on the device, so no step waits
        self.val_sums = torch.zeros(4)  # loss, correct, missed positive images, images

    @property
    def step(self) -> int:
        """Optimiser steps done, those before an interruption included."""
        return self.first_step + int(self.global_step)

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """The loss of a batch of bytes (B, 1, H, W) with targets (B,): augment, mix, normalise, compare."""
        images, targets = batch
        plan, step = self.recipe.training, self.step
        self.freezing.apply(step)
        # What is random is a function of seed and step, so that an interruption leaves no trace.
        torch.manual_seed(plan.seed * 1_000_003 + step + self.ranks.place.rank * 1_000_000_007)
        generator = torch.Generator().manual_seed(plan.seed * 1_000_003 + step)
        count = self.batch_images(step) if self.ranks.several else len(images)
        part = self.ranks.place.share(count)
        changes = draw(self.recipe.augmentation, count, generator).part(part)
        floats = apply(images.float() / 255, changes, size_of_step(plan, step, self.total_steps, images.shape[-1]))
        mix = draw_mix(plan.mixup, count, (plan.seed, step), generator)
        if mix and self.ranks.several:  # with images that other ranks have
            mix = Mix(mix.partner[part], mix.share, lambda values: self.ranks.gather(values, count))
        loss: Tensor = self.loss_function(
            self.network, self._inputs(mix.apply(floats) if mix else floats), targets, mix, self.ranks
        )
        self.train_sums = self.train_sums.to(loss.device)
        self.train_sums += torch.stack([loss.detach() / self.loss_function.members, torch.ones_like(loss)])
        return loss

    def on_validation_epoch_start(self) -> None:
        """Begin to count."""
        self.val_sums = torch.zeros(4, device=self.device)
        if self.validated:
            self.validated = Validated()

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
        """Add one batch to the sums of loss, right answers, false negatives and images."""
        images, targets = batch
        log_probabilities = self.network(self._inputs(images.float() / 255)).float()
        if self.validated:
            self.validated.add(log_probabilities, targets)
            return
        loss = F.nll_loss(log_probabilities, targets, reduction="sum")
        predicted = log_probabilities.argmax(dim=1)
        missed = ((targets == self.positive) & (predicted != self.positive)).sum()
        count = torch.full_like(loss, len(targets))
        self.val_sums += torch.stack([loss, (predicted == targets).sum(), missed, count])

    def on_validation_epoch_end(self) -> None:
        """Log what was measured, for loggers and callbacks; nothing where the trainer only tries a few batches."""
        if self.trainer.sanity_checking:
            return
        if self.validated:
            self.measures = self.validated.measures(self.positive, self.ranks)
        else:
            loss, correct, missed, count = self.ranks.sum(self.val_sums).tolist()
            means = {"val_loss": loss / count, "val_accuracy": correct / count}
            self.measures = means | {"val_false_negatives": int(missed)}
        if self.trainer.state.fn == "fit":
            sums = self.ranks.sum(self.train_sums)
            self.measures |= {
                "train_loss": (sums[0] / sums[1]).item(),
                "lr": self.trainer.optimizers[0].param_groups[0]["lr"],
                "epoch": (self.step - 1) // self.steps_per_epoch + 1,
                "step": self.step,  # by which loggers order the others; without it they count from an interruption
            }
            self.train_sums = torch.zeros_like(self.train_sums)
        self.log_dict({name: float(value) for name, value in self.measures.items()})

    def configure_optimizers(self) -> Any:
        """The recipe's optimiser; its learning rates are functions of the step alone."""
        plan = self.recipe.training
        parameters = learning_groups(self.network, plan)
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

    def _inputs(self, floats: Tensor) -> Tensor:
        """What the network sees of images (B, 1, H, W) in [0, 1]."""
        return to_network_range(floats, self.recipe.preprocessing).contiguous(memory_format=torch.channels_last)


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
    return (
        plan.progressive_size if 0 < plan.progressive_size < size and step < plan.progressive_fraction * total else size
    )
