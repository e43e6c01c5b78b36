"""A comparison on the terminal."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from hilum.evaluation.comparison_text import excludes_zero, outcome, p_values, power, seed_rows
from hilum.evaluation.screen import optimistic
from hilum.printable import escape
from hilum.text import cell_text, fraction, interval_text

RULES = {"most_probable": "the most probable label", "down_the_tree": "the label tree, level by level"}


def comparison_table(facts: dict[str, Any]) -> RenderableType:
    """Two runs beside each other, then what may be concluded.

    Args:
        facts: What ``comparison.json`` holds.
    """
    names = [
        f"{which}: [bold]{escape(run['name'])}[/]"
        for which, run in zip(("first", "second"), facts["runs"], strict=True)
    ]
    about = [f"{run['network']} {run['architecture']}, seed {run['seed']}, on {run['split']}" for run in facts["runs"]]
    unit = f"of {facts['n_patients']} patients" if facts["n_patients"] else optimistic(facts)
    lines = [f"{name} ({escape(what)})" for name, what in zip(names, about, strict=True)]
    parts: list[RenderableType] = ["", *lines, f"{facts['n_images']} images {unit}, the same ones for both"]
    parts += [f"[yellow]{escape(note)}[/]" for note in facts["notes"]]
    if facts["runs"][0]["weights_sha256"] == facts["runs"][1]["weights_sha256"]:
        parts.append("[yellow]both hold the same weights: they are one and the same classifier[/]")
    for rule, found in facts["rules"].items():
        parts += ["", _measures(facts, rule, found), *sentences(facts, found)]
    parts += [_areas(facts), *rule_sentences(facts), *_seeds(facts), ""]
    return Group(*parts)


def _measures(facts: dict[str, Any], rule: str, found: dict[str, Any]) -> Table:
    title = f"read by {RULES[rule]}" if len(facts["rules"]) > 1 else "with 95 % intervals"
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, title=title, title_justify="left")
    table.add_column("%, recall by label", overflow="fold")
    for name in ("first", "second", "second - first"):
        table.add_column(name, justify="right", no_wrap=True)
    rows = [("accuracy", found["accuracy"]), ("balanced accuracy", found["balanced_accuracy"])]
    rows += [(label, found["recall"][label]) for label in facts["labels"]]
    for name, entry in rows:
        star = " [yellow]*[/]" if name == facts["protected"] else ""
        table.add_row(escape(name) + star, *_three(entry))
    return table


def _seeds(facts: dict[str, Any]) -> list[RenderableType]:
    rows = seed_rows(facts)
    if not rows:
        return []
    title = f"gain over {facts['over_seeds']['seeds']} pairs of seeds, 95 % CI over seeds and patients"
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, title=title, title_justify="left")
    table.add_column("points; AUROC", overflow="fold")
    for name in ("by seed", "mean", "95 % CI"):
        table.add_column(name, justify="right", overflow="fold")
    for row in rows:
        bold = "[bold]{}[/]" if row["certain"] else "{}"
        name = f"{row['measure']} {row['label'] or ''}".strip()
        table.add_row(escape(name), *map(escape, (row["values"], row["mean"])), bold.format(escape(row["interval"])))
    return ["", table]


def _areas(facts: dict[str, Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("AUROC", overflow="fold")
    for name in ("first", "second", "second - first"):
        table.add_column(name, justify="right", no_wrap=True)
    for label in facts["labels"]:
        entry = facts["auroc"][label]
        plain = [fraction(entry[which]["value"]) for which in ("first", "second")]
        table.add_row(escape(label), *plain, _three(entry, as_percent=False)[2])
    return table


def _three(entry: dict[str, Any], *, as_percent: bool = True) -> tuple[str, str, str]:
    first, second = (cell_text(entry[which], as_percent=as_percent) for which in ("first", "second"))
    shown = cell_text(entry["difference"], as_percent=as_percent, sign=True)
    return first, second, f"[bold]{shown}[/]" if excludes_zero(entry["difference"]) else shown


def sentences(facts: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """What one reading says: what changed, how surely, and what could have been seen; as on the page."""
    table = found["mcnemar"]
    alone = f"right alone: the first on {table['first_only']} images, the second on {table['second_only']}"
    said = outcome(facts, found)
    return [*map(escape, (f"{said[0].upper()}{said[1:]}.", p_values(facts, found), power(facts, found))), alone]


def rule_sentences(facts: dict[str, Any]) -> list[str]:
    """What reading down the tree changes for each run, without any change of the network."""
    if not facts["rule_effect"]:
        return []
    return [
        f"{which}: down the tree instead of the most probable label, accuracy "
        f"{interval_text(effect['accuracy']['difference'], sign=True)}"
        for which, effect in zip(("first", "second"), facts["rule_effect"], strict=True)
    ]
