"""What is done beside the steps of a training: history, checkpoints, and counting."""

from __future__ import annotations

import time
from math import isfinite
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from hilum.errors import DivergenceError
from hilum.progress import Advance, Progress
from hilum.training.batches import Batches
from hilum.training.checkpoints import TrainingState, save_checkpoint
from hilum.training.module import ClassifierModule
from hilum.training.plan import rank
from hilum.training.run import Run

BEST = ("epoch", "step", "val_loss", "val_accuracy", "val_false_negatives", "val_auroc")  # kept of a validation


class History(Callback):
    """Writes ``history.csv``, one row a validation, and stops a training that has diverged."""

    def __init__(self, run: Run, progress: Progress, resumed: TrainingState | None = None) -> None:
        self.run, self.progress = run, progress
        self.rows: list[dict[str, float]] = resumed.history if resumed else []
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
        if trainer.is_global_zero:
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
        if not trainer.is_global_zero:
            return
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
