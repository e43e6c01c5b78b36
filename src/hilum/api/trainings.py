"""`hilum.train`: from a dataset to a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hilum.api.datasets import Data, table_of, told
from hilum.api.printed import Printed
from hilum.text import escape
from hilum.training import run as runs
from hilum.training.recipe import Recipe, change_recipe, load_recipe
from hilum.training.train import train as run_training

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import RenderableType
    from torch import nn


SPLITS = ("train", "val", "calibration", "test")


class Run(runs.Run, Printed):
    """A run folder: the recipe, the splits, the weights, and how the training went."""

    def plot_history(self) -> Figure:
        """Draw loss and accuracy over the training, and which step validation chose."""
        from hilum.report.figures import history_figure, on_paper

        return on_paper(history_figure(self.history(), (self.environment.get("best") or {}).get("step")))

    def network(self) -> nn.Module:
        """The trained network: a plain PyTorch module in evaluation mode, whose ``features`` gives its last features.

        It takes floats of shape (B, 1, size, size) between 0 and 1, and gives log-probabilities up to a constant of
        shape (B, K), in the order of ``labels``.

        Raises:
            CheckpointError: The weights are missing, or belong to another network.
        """
        from hilum.evaluation.inference import trained_network

        return trained_network(self)

    def _table(self) -> RenderableType:
        from rich import box
        from rich.table import Table

        counts = Counter((row.split, row.label) for row in self.rows)
        table = Table(title=f"{self.path}: recipe {self.recipe.name}", box=box.SIMPLE_HEAD, title_justify="left")
        table.add_column("images")
        splits = [split for split in SPLITS if any(name == split for name, _ in counts)]
        for split in splits:
            table.add_column(split, justify="right")
        for label in self.labels:
            table.add_row(escape(label), *(f"{counts[split, label]:,}" for split in splits))
        return table

    def __repr__(self) -> str:
        return f"<hilum.Run {self.path}: {', '.join(self.labels)}>"


def open_run(path: str | PathLike[str] | runs.Run) -> Run:
    """Open the folder of a training.

    Raises:
        RunError: There is none.
    """
    return Run(path.path if isinstance(path, runs.Run) else runs.open_run(Path(path)).path)


def recipe_of(recipe: str | PathLike[str] | Recipe, settings: dict[str, Any]) -> Recipe:
    """A recipe by name, file or value, with some keys changed.

    Args:
        recipe: Name, TOML file, or recipe.
        settings: Values by key, in full with ``__`` for the dots (``training__lr``), or by the last part (``lr``).

    Raises:
        RecipeError: There is no such recipe or key, or a value is impossible.
    """
    loaded = recipe if isinstance(recipe, Recipe) else load_recipe(recipe if isinstance(recipe, str) else Path(recipe))
    return change_recipe(loaded, {key.replace("__", "."): value for key, value in settings.items()})


def train(
    data: Data,
    out: str | PathLike[str],
    recipe: str | PathLike[str] | Recipe = "compact",
    *,
    seed: int | None = None,
    resume: bool = False,
    loggers: Sequence[str] = (),
    progress: bool = True,
    **settings: Any,
) -> Run:
    """Train a classifier. The cheap checks of the audit run first, and say what they find.

    Args:
        data: Folder, CSV table, data frame of pandas or polars, or `Dataset`.
        out: Folder of the run; it must not exist yet, unless `resume`.
        recipe: Name of a recipe, TOML file, or `Recipe`.
        seed: Random seed; by default the recipe's.
        resume: Whether to go on with a training that was interrupted.
        loggers: Experiment loggers: ``tensorboard``, ``mlflow``, ``wandb``, each in the run's folder ``logs``.
        progress: Whether long work shows its progress on standard error.
        settings: Recipe keys with other values, such as ``lr=1e-3`` or ``epochs=5``; where a name is ambiguous, in full
            with ``__`` for the dot: ``training__lr=1e-3``.

    Returns:
        The finished run.

    Raises:
        RunError: `out` holds something else, or there is nothing to resume.
        RecipeError: There is no such recipe or key, or a value is impossible.
        DataError: The data cannot be used.
        DivergenceError: The loss is no longer a finite number.
    """
    teller = told(progress)
    chosen = recipe_of(recipe, settings | ({} if seed is None else {"training.seed": seed}))
    done = run_training(
        table_of(data, teller), Path(out), chosen, resume=resume, loggers=tuple(loggers), progress=teller
    )
    return open_run(done)
