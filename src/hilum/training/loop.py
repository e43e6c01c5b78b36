"""The training loop: the Trainer, what is checked before it, done beside its steps, and memory kept between them."""

from __future__ import annotations

import ctypes
import logging
import platform
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import ceil, isfinite
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback

from hilum.data.cache import Images
from hilum.data.dataset import Dataset
from hilum.errors import DivergenceError, RecipeError, SplitError
from hilum.models.registry import ENCODER
from hilum.progress import Advance, Progress
from hilum.training.batches import Batches
from hilum.training.checkpoints import TrainingState, load_weights, save_checkpoint, weights_sha256
from hilum.training.encoder_head import check_head
from hilum.training.environment import BestCheckpoint, Outcome, computes_bfloat16
from hilum.training.fine_tuning import check_frozen
from hilum.training.initialisation import build_for, initialise
from hilum.training.loggers import close_loggers, make_loggers
from hilum.training.module import ClassifierModule, RadiographDataModule, size_of_step
from hilum.training.plan import TrainingPlan, rank
from hilum.training.recipe import Recipe
from hilum.training.run import Run

# mallopt(3) and <malloc.h> of the GNU C library.
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
NEVER, USUAL_TRIM, USUAL_MMAP_MAX = -1, 128 * 1024, 65536
LARGE = 2**20
BEST = ("epoch", "step", "val_loss", "val_accuracy", "val_false_negatives", "val_auroc")  # kept of a validation


@contextmanager
def kept_memory() -> Iterator[None]:
    """Keep what is freed, within the block, rather than hand it to the system and fetch it anew every step.

    The GNU C library maps every large tensor by itself and unmaps it when it is freed; the system then clears each
    page again. Of a step of the original report's VGG on two cores that was a tenth. Other systems are left as they
    are.
    """
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    library = ctypes.CDLL(None)
    library.mallopt(TRIM_THRESHOLD, NEVER)
    library.mallopt(MMAP_MAX, 0)
    try:
        yield
    finally:
        library.mallopt(TRIM_THRESHOLD, USUAL_TRIM)
        library.mallopt(MMAP_MAX, USUAL_MMAP_MAX)
        library.malloc_trim(0)


def return_memory() -> None:
    """From now on, let this process hand back to the system whatever of a mebibyte or more it frees.

    The GNU C library raises its limit for mapping a piece by itself to the largest mapped piece freed so far, up to 32
    MiB; smaller pieces then stay in its heap, and an evaluation of very many images holds what tables and batches have
    left behind. It costs the system's clearing of pages, as `kept_memory` tells, and is for a process that ends with
    its command. Other systems are left as they are.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(MMAP_THRESHOLD, LARGE)
        library.mallopt(TRIM_THRESHOLD, LARGE)


class History(Callback):
    """Writes ``history.csv``, one row a validation, and stops a training that has diverged."""

    def __init__(self, run: Run, progress: Progress, resumed: TrainingState | None = None) -> None:
        self.run, self.progress = run, progress
        # Checkpoints of versions before hold no history: theirs lies in the file alone.
        self.rows: list[dict[str, float]] = (resumed.history or run.history()) if resumed else []
        self.begin = self.paused = 0.0
        self.validation_seconds = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the rows that lie before the point from which the training continues."""
        del trainer
        assert isinstance(pl_module, ClassifierModule)
        self.rows = [row for row in self.rows if row["step"] <= pl_module.first_step]
        earlier = self.rows[-1]["seconds"] if self.rows else 0.0
        self.begin = time.monotonic() - earlier

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note when training pauses."""
        del trainer, pl_module
        self.paused = time.monotonic()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add a row.

        Raises:
            DivergenceError: A loss is not a finite number.
        """
        del trainer
        assert isinstance(pl_module, ClassifierModule)
        found = pl_module.measures
        train_loss, val_loss, val_accuracy = (found[name] for name in ("train_loss", "val_loss", "val_accuracy"))
        row = {
            "epoch": found["epoch"],
            "step": found["step"],
            "train_loss": round(train_loss, 6),
            "val_loss": round(val_loss, 6),
            "val_accuracy": round(val_accuracy, 6),
            "lr": found["lr"],
            "seconds": round(time.monotonic() - self.begin, 3),
            "val_false_negatives": found["val_false_negatives"],
        } | ({"val_auroc": round(found["val_auroc"], 6)} if "val_auroc" in found else {})
        self.rows.append(row)
        self.run.write_history(self.rows)
        self.validation_seconds += time.monotonic() - self.paused
        epochs = pl_module.recipe.training.epochs
        how_well = f"mean AUROC {row['val_auroc']:.3f}" if "val_auroc" in row else f"{val_accuracy:.1%} right"
        text = f"epoch {row['epoch']}/{epochs}, loss {train_loss:.3f}, val {val_loss:.3f}, {how_well}"
        self.progress.status(text)
        if not (isfinite(train_loss) and isfinite(val_loss)):
            msg = (
                f"{self.run.path}: the loss is no longer a finite number at step {row['step']} "
                f"(train {train_loss}, val {val_loss}). Lower the learning rate (--set lr=...)."
            )
            raise DivergenceError(msg)


class Keep(Callback):
    """Keeps the weights that are best on validation, and after every validation all that it takes to go on."""

    def __init__(self, run: Run, history: History, resumed: TrainingState | None = None) -> None:
        self.run, self.history, self.resumed = run, history, resumed
        self.best: dict[str, float] = resumed.best if resumed else {}
        self.eligible = resumed.eligible if resumed else False  # whether `best` comes late enough

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put weights, optimiser and schedule where they stood."""
        if self.resumed:
            assert isinstance(pl_module, ClassifierModule)
            pl_module.network.load_state_dict(self.resumed.network)
            pl_module.train_sums = self.resumed.train_sums
            trainer.optimizers[0].load_state_dict(self.resumed.optimiser)
            trainer.lr_scheduler_configs[0].scheduler.load_state_dict(self.resumed.schedule)
            self.resumed = None

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the weights if they are the best so far, and everything in any case."""
        assert isinstance(pl_module, ClassifierModule)
        row = self.history.rows[-1]
        weights = pl_module.network.state_dict()
        plan = pl_module.recipe.training
        eligible = pl_module.step >= plan.save_after * pl_module.total_steps
        if not self.best or (
            eligible and (not self.eligible or rank(row, plan.monitor) < rank(self.best, plan.monitor))
        ):
            self.eligible = eligible
            self.best = {key: row[key] for key in BEST if key in row}
            save_checkpoint(self.run.best, {"network": weights})
        TrainingState(
            network=weights,
            optimiser=trainer.optimizers[0].state_dict(),
            schedule=trainer.lr_scheduler_configs[0].scheduler.state_dict(),
            train_sums=pl_module.train_sums,
            step=pl_module.step,
            best=self.best,
            eligible=self.eligible,
            history=self.history.rows,
        ).save(self.run.last)


class Steps(Callback):
    """Moves the progress bar, counts images and waiting of this session, and has the very last step validated."""

    def __init__(self, advance: Advance) -> None:
        self.advance = advance
        self.images = 0
        self.waited: dict[int, float] = {}  # seconds by epoch: each has batches of its own

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count what was done before an interruption."""
        del trainer
        assert isinstance(pl_module, ClassifierModule)
        self.advance(pl_module.first_step)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Whatever the interval: the weights in the end are worth knowing."""
        del batch, batch_idx
        assert isinstance(pl_module, ClassifierModule)
        if pl_module.step + 1 == pl_module.total_steps:
            trainer.val_check_batch = 1

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """One more step."""
        del pl_module, outputs, batch_idx
        self.images += len(batch[1])
        if isinstance(trainer.train_dataloader, Batches):
            self.waited[trainer.current_epoch] = trainer.train_dataloader.waited
        self.advance(1)


def fit(
    run: Run,
    images: Images,
    labels: Sequence[str],
    *,
    resume: bool,
    loggers: Sequence[str] = (),
    progress: Progress | None = None,
) -> Outcome:
    """Train a run's network and keep its checkpoints.

    Args:
        run: A run folder that holds its recipe.
        images: All images, each with its split.
        labels: In the order of the network's outputs, K of them.
        resume: Continue from the run's last validation, where there was one.
        loggers: Names of experiment loggers (see `hilum.training.loggers`).
        progress: Told about steps and losses.

    Returns:
        What ``environment.json`` says about the outcome: time, speed, the share of the time in which training waited
        for data, parameters, the chosen checkpoint, and the SHA-256 of its weights.

    Raises:
        DivergenceError: The loss is no longer a finite number.
        KeyboardInterrupt: Somebody stopped it; `resume` goes on after the last validation.
    """
    progress = progress or Progress()
    recipe = run.recipe
    plan = recipe.training
    resumed = TrainingState.load(run.last) if resume and run.last.exists() else None
    first = resumed.step if resumed else 0
    data = RadiographDataModule(images, labels, plan, first_step=first)
    module = ClassifierModule(recipe, data, run.positive_label)
    total, per_epoch = data.total_steps, data.steps_per_epoch
    history = History(run, progress, resumed)
    keep = Keep(run, history, resumed)
    with _quiet(), kept_memory(), progress.task(f"Training {recipe.network.architecture}", total) as advance:
        steps = Steps(advance)
        made = make_loggers(run, loggers)
        trainer = pl.Trainer(
            accelerator="auto",
            devices=1,
            max_epochs=ceil(total / per_epoch) - first // per_epoch,
            max_steps=total - first,
            precision="bf16-mixed" if precision_of(plan) == "bfloat16" else "32-true",
            val_check_interval=min(plan.validate_every or per_epoch, total),
            check_val_every_n_epoch=None,  # count steps over the whole training, not within an epoch
            num_sanity_val_steps=0,
            logger=made,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[history, keep, steps],
            enable_checkpointing=False,  # hilum's own: without pickled code, and exact to the bit
            default_root_dir=run.path,
        )
        begin = time.monotonic()
        try:
            if first < total:
                trainer.fit(module, data)
        except SystemExit as stop:  # Lightning's answer to Ctrl-C
            raise KeyboardInterrupt from stop
        finally:
            close_loggers(made)
        busy = time.monotonic() - begin - history.validation_seconds
    network = module.network
    load_weights(network, run.best)
    return Outcome(
        seconds=run.history()[-1]["seconds"],
        images_per_second=round(steps.images / busy, 1),
        data_wait_share=round(sum(steps.waited.values()) / busy, 5),
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        weights_sha256=weights_sha256(network),
        best=BestCheckpoint.model_validate(keep.best),
    )


def check_before(recipe: Recipe, table: Dataset, labels: Sequence[str]) -> None:
    """Find what would prevent a training, before a run folder is made for it.

    Raises:
        SplitError: There is nothing to train on or nothing to choose by.
        RecipeError: The network cannot be built, or cannot take `progressive_size`.
    """
    splits = {row.split for row in table.rows}
    frozen = recipe.network.architecture == ENCODER  # whose folds are its validation
    for part, what in (("train", "training"), ("val", "validation")):
        if part not in splits and not (frozen and part == "val"):
            msg = f"{table.root}: no {what} images. Set splits.val to auto, hold out, or the name of a split."
            raise SplitError(msg, code="empty-split", path=table.root)
    if frozen:
        check_head(recipe, table)
    check_network(recipe, labels, findings=bool(table.findings))


def check_network(recipe: Recipe, labels: Sequence[str], *, findings: bool = False) -> None:
    """Find a network that cannot be built, before any image is decoded for it; an encoder was looked at before.

    Raises:
        RecipeError: Its name or its options are wrong, or it cannot take `progressive_size`.
        CheckpointError: The weights that it begins with are missing, damaged, or those of another network.
    """
    if recipe.network.architecture == ENCODER:
        return
    early = size_of_step(recipe.training, 0, 1, recipe.preprocessing.size)
    with torch.device("meta"):  # shapes only: nothing is computed
        network = build_for(recipe, labels, findings=findings)
        try:
            if early < recipe.preprocessing.size:
                network(torch.zeros(2, 1, early, early))
        except RuntimeError as error:
            msg = (
                f"training.progressive_size = {early}: {recipe.network.architecture} only takes images of "
                f"{recipe.preprocessing.size} pixels ({error}). Set it to 0."
            )
            raise RecipeError(msg, code="fixed-size") from error
    check_frozen(network, recipe.training)
    if recipe.network.init:
        initialise(network, recipe, labels, findings=findings)


def precision_of(plan: TrainingPlan) -> str:
    """The precision that ``auto`` means on this machine."""
    if plan.precision == "auto":
        return "bfloat16" if computes_bfloat16() else "float32"
    return plan.precision


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's remarks about devices and loaders away from the user; its errors still come through."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
