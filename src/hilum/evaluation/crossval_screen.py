"""A cross-validation on the terminal."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from hilum.evaluation.screen import data_errors, result_table
from hilum.printable import escape
from hilum.text import cell_text, percent_range


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
        table.add_column(f"sensitivity (recall) {escape(protected)} %", justify="right")
    for number, fold in enumerate(result["per_fold"], 1):
        row = [str(number), str(fold["n_images"])]
        row += [cell_text(fold[name]) for name in ("accuracy", "balanced_accuracy")]
        if protected in labels:
            row.append(cell_text(fold["recall"][protected]))
        table.add_row(*row)
    lines = [f"over folds: {name.replace('_', ' ')} {spread_text(entry)}" for name, entry in result["spread"].items()]
    lines += [escape(result["pooled"]["shared"])] if "shared" in result["pooled"] else []
    notes = [f"[yellow]{escape(note)}[/]" for note in result["notes"]]
    return Group(*data_errors(result), result_table(result["pooled"]), table, *lines, *notes, "")


def spread_text(entry: dict[str, float]) -> str:
    """``69.6 % (SD 4.5; corrected 95 % CI 61.2 to 78.0)``.

    Args:
        entry: As `hilum.evaluation.crossval.spread_over_folds` has it; of earlier versions without an interval.
    """
    said = f"{100 * entry['mean']:.1f} % (SD {100 * entry['sd']:.1f}"
    if "low" not in entry:
        return f"{said})"
    limits = {"low": max(0.0, entry["low"]), "high": min(1.0, entry["high"])}
    return f"{said}; corrected 95 % CI {percent_range(limits).removesuffix(' %')})"
