"""A cross-validation on the terminal."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from hilum.evaluation.screen import data_errors, interval, result_table
from hilum.printable import escape


def crossval_table(result: dict[str, Any]) -> RenderableType:
    """All folds pooled, then each of them.

    Args:
        result: What ``crossval.json`` holds.
    """
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title="fold by fold", title_justify="left")
    table.add_column("fold", justify="right")
    labels = result["pooled"]["labels"]
    for name in ("images", "accuracy %", "balanced %"):
        table.add_column(name, justify="right", no_wrap=True)
    protected = result["pooled"]["protected"]
    if protected in labels:
        table.add_column(f"recall {escape(protected)} %", justify="right")
    for number, fold in enumerate(result["per_fold"], 1):
        row = [str(number), str(fold["n_images"])]
        row += [interval(fold[name], 100, 1) for name in ("accuracy", "balanced_accuracy")]
        if protected in labels:
            row.append(interval(fold["recall"][protected], 100, 1))
        table.add_row(*row)
    accuracy, balanced = (result["spread"][name] for name in ("accuracy", "balanced_accuracy"))
    spread = (
        f"over folds: accuracy {100 * accuracy['mean']:.1f} ± {100 * accuracy['sd']:.1f} %, "
        f"balanced {100 * balanced['mean']:.1f} ± {100 * balanced['sd']:.1f} % (mean ± standard deviation)"
    )
    notes = [f"[yellow]{escape(note)}[/]" for note in result["notes"]]
    return Group(*data_errors(result), result_table(result["pooled"]), table, spread, *notes, "")
