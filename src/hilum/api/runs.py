"""A run: the folder that a training writes."""

from __future__ import annotations

from collections import Counter
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from hilum.api.printed import Printed, displayed
from hilum.api.python_wording import public
from hilum.data.multilabel import SEPARATOR
from hilum.extras import explaining
from hilum.text import escape
from hilum.training import run as runs

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import RenderableType
    from torch import nn

SPLITS = ("train", "val", "calibration", "test")


class Run(runs.Run, Printed):
    """A run folder: the recipe, the splits, the weights, and how the training went."""

    def plot_history(self) -> Figure:
        """Draw loss and accuracy over the training, and which step validation chose."""
        from hilum.report.figures import history_figure

        return displayed(history_figure(self.history(), self.environment.best.step if self.environment.best else None))

    @public
    def network(self) -> nn.Module:
        """The trained network as a plain PyTorch module, in evaluation mode.

        It takes images of shape (B, 1, size, size) between 0 and 1, and gives log-probabilities of shape (B, K) in the
        order of ``labels``, or of findings (B, K, 2) of absent and present; its method ``features`` gives the last
        features, of shape (B, D).

        Raises:
            CheckpointError: The weights are missing, or belong to another network.
            ExtraError: The extra ``[train]`` is not installed.
        """
        with explaining("a network"):
            from hilum.evaluation.inference import TrainedNetwork

        return TrainedNetwork(self)

    def _table(self) -> RenderableType:
        from rich import box
        from rich.table import Table

        counts = Counter(
            (row.split, label)
            for row in self.rows
            for label in (row.label.split(SEPARATOR) if self.findings else [row.label])
        )
        table = Table(
            title=escape(f"{self.path}: recipe {self.recipe.name}"), box=box.SIMPLE_HEAD, title_justify="left"
        )
        table.add_column("images")
        splits = [split for split in SPLITS if any(name == split for name, _ in counts)]
        for split in splits:
            table.add_column(split, justify="right")
        for label in self.labels:
            table.add_row(escape(label), *(f"{counts[split, label]:,}" for split in splits))
        return table

    def __repr__(self) -> str:
        return f"<hilum.Run {self.path}: {', '.join(self.labels)}>"


@public
def open_run(path: str | PathLike[str] | runs.Run) -> Run:
    """Open the folder of a training.

    Raises:
        RunError: There is none.
    """
    return Run(path.path if isinstance(path, runs.Run) else runs.open_run(Path(path)).path)
