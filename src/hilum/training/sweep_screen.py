"""A sweep on the terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from hilum.printable import escape
from hilum.training.recipe import short_key

SHOWN = {"loss": "validation loss", "accuracy": "validation accuracy", "misses": "missed on validation"}


def sweep_table(result: Mapping[str, Any]) -> RenderableType:
    """The trials, best first, and the choice.

    Args:
        result: What ``sweep.json`` holds.
    """
    trials = {trial["name"]: trial for trial in result["trials"]}
    seeds = any(len(group["trials"]) > 1 for group in result["groups"])
    table = Table(box=box.SIMPLE_HEAD, title="means over seeds" if seeds else None, title_justify="left")
    table.add_column("setting", overflow="fold")
    for name in (*(["seeds"] if seeds else []), "val. loss", "accuracy %", "missed", "epoch"):
        table.add_column(name, justify="right", no_wrap=True)
    for position, group in enumerate(result["groups"]):
        members = [trials[name] for name in group["trials"]]
        mark = "[bold green]" if position == 0 and group["mean"] else ""
        name = mark + escape(settings_text(group["settings"])) + ("[/]" if mark else "")
        count = [str(len(members))] if seeds else []
        if group["mean"]:
            mean = group["mean"]
            epochs = sorted({f"{trial['best']['epoch']:.0f}" for trial in members}, key=int)
            missed = f"{mean['val_misses']:.1f}".removesuffix(".0")
            table.add_row(
                name, *count, f"{mean['val_loss']:.4f}", f"{100 * mean['val_accuracy']:.1f}", missed, ", ".join(epochs)
            )
        else:
            states = sorted({trial["status"] for trial in members} - {"finished"})
            table.add_row(name, *count, f"[red]{', '.join(states)}[/]", "", "", "")
    chosen = result["choice"]
    if chosen is None:
        verdict = "no trial came to its end: nothing is chosen"
    else:
        verdict = f"chosen by {SHOWN[result['select']]}: [bold]{escape(settings_text(chosen))}[/]"
    notes = [f"[yellow]{escape(note)}[/]" for note in result["notes"]]
    return Group("", table, f"{verdict} (validation only; no test image was looked at)", *notes, "")


def settings_text(settings: Mapping[str, Any]) -> str:
    """``lr=0.01, width=8``: keys by their last part where that is clear."""
    if not settings:
        return "as the recipe says"
    return ", ".join(f"{short_key(key)}={value_text(value)}" for key, value in settings.items())


def value_text(value: Any) -> str:
    """A value as ``--set`` takes it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}={value_text(inner)}" for key, inner in value.items()) + "}"
    return value if isinstance(value, str) else json.dumps(value)
