"""Experiment loggers on request: Lightning's own, each of which writes below the run's folder and sends nothing."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hilum.errors import UsageError
from hilum.extras import require
from hilum.training.run import Run

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

FOLDER = "logs"  # below the run's


def check_loggers(names: Sequence[str]) -> None:
    """Find before any work a logger that is unknown, or not installed.

    Args:
        names: ``tensorboard``, ``mlflow`` or ``wandb``.

    Raises:
        UsageError: There is no logger of that name.
        ExtraError: Its package is not installed.
    """
    for name in names:
        if name not in MAKERS:
            msg = f"--logger {name}: no such logger. Choose {', '.join(MAKERS)}."
            raise UsageError(msg)
        require("loggers", f"--logger {name}", name)


def make_loggers(run: Run, names: Sequence[str]) -> list[Logger]:
    """The loggers of a run's training; a training that goes on after an interruption continues what they hold.

    Args:
        run: Their files lie in its folder ``logs``, in one folder for each logger.
        names: As `check_loggers` takes them.
    """
    made = []
    for name in dict.fromkeys(names):
        folder = run.path.resolve() / FOLDER / name
        folder.mkdir(parents=True, exist_ok=True)
        made.append(MAKERS[name](run, folder))
    return made


def close_loggers(loggers: Sequence[Logger]) -> None:
    """Have everything written; Lightning leaves a run of Weights & Biases open to whoever comes next."""
    from lightning.pytorch.loggers import WandbLogger

    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.experiment.finish()


def _tensorboard(run: Run, folder: Path) -> Logger:
    from lightning.pytorch.loggers import TensorBoardLogger

    del run
    return TensorBoardLogger(folder, name="", version="", default_hp_metric=False)


def _mlflow(run: Run, folder: Path) -> Logger:
    # MLflow 3 asks for this to be said before it uses a folder rather than a database, which would take SQLAlchemy.
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    from lightning.pytorch.loggers import MLFlowLogger
    from mlflow import MlflowClient

    client, name = MlflowClient(folder.as_uri()), run.name
    experiment = client.get_experiment_by_name(name)
    earlier = client.search_runs([experiment.experiment_id]) if experiment else []
    return MLFlowLogger(
        name,
        run_name=name,
        tracking_uri=folder.as_uri(),
        run_id=earlier[0].info.run_id if earlier else None,
        synchronous=True,
    )


def _wandb(run: Run, folder: Path) -> Logger:
    os.environ.setdefault("WANDB_CACHE_DIR", str(folder / "cache"))  # a log that would lie in the home
    import wandb
    from lightning.pytorch.loggers import WandbLogger

    identity = hashlib.sha256(f"{run.path.resolve()} {run.environment.started}".encode()).hexdigest()[:8]
    settings = wandb.Settings(
        mode="offline", silent=True, console="off", disable_git=True, disable_code=True, x_disable_stats=True
    )
    experiment = wandb.init(
        dir=folder, project="hilum", name=run.name, id=identity, resume="allow", reinit="create_new", settings=settings
    )
    return WandbLogger(experiment=experiment)


MAKERS: dict[str, Callable[[Run, Path], Logger]] = {"tensorboard": _tensorboard, "mlflow": _mlflow, "wandb": _wandb}
