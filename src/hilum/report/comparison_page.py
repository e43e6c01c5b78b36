"""The page of a comparison, ``comparison.html``, and its figures: measures as dots with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from hilum.report.comparison_text import excludes_zero, outcome, p_values, power, seed_rows, verdict
from hilum.report.figures import INK, MUTED, PERCENT, ROUND, STYLE, label_colours, shown, svg
from hilum.stats.records import Interval
from hilum.templating import write_page
from hilum.text import measured

FIRST_COLOUR, SECOND_COLOUR = "#8394a8", "#0072b2"
POINTS = FuncFormatter(lambda value, _: f"{100 * value:+.4g}".replace("-", "−") if value else "0")
NUDGE = 0.17  # of a row, by which the two runs stand apart


def paired_dots(rows: Sequence[tuple[str, Mapping[str, Any]]], names: tuple[str, str], name: str) -> Markup:
    """Each measure of both runs with its interval, and beside it the difference with its own.

    Args:
        rows: Title and ``first``, ``second``, ``difference`` of each measure; each of these with ``value``,
            ``low`` and ``high``, from 0 to 1 (the difference from -1 to 1) or None.
        names: Of the first and of the second run.
        name: Unique on the page.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(10.6, 0.44 * len(rows) + 1.15))
        figure.set_layout_engine("constrained", wspace=0.05)
        values, differences = figure.subplots(1, 2, sharey=True, width_ratios=(1.1, 1))
        for position, (_, entry) in enumerate(rows):
            _dot(values, entry["first"], position - NUDGE, FIRST_COLOUR)
            _dot(values, entry["second"], position + NUDGE, SECOND_COLOUR)
            low, high = entry["difference"].get("low"), entry["difference"].get("high")
            clear = low is not None and high is not None and (low > 0 or high < 0)
            _dot(differences, entry["difference"], position, INK, hollow=not clear)
        for colour, which in zip((FIRST_COLOUR, SECOND_COLOUR), names, strict=True):
            values.plot([], [], "o", color=colour, markersize=7, label=shown(which))
        handles, texts = values.get_legend_handles_labels()
        figure.legend(handles, texts, loc="outside upper left", ncols=2, handletextpad=0.3, borderaxespad=0)
        values.set_title("Each run", weight="bold", size=9)
        values.xaxis.set_major_formatter(PERCENT)
        values.set_xlim(*_limits([entry[which] for _, entry in rows for which in ("first", "second")], (0.0, 1.0)))
        values.set_yticks(range(len(rows)), [shown(title, 38) for title, _ in rows], color=INK)
        values.set_ylim(len(rows) - 0.5, -0.5)
        differences.set_title("Difference in points: second minus first", weight="bold", size=9)
        differences.axvline(0, color=MUTED, linewidth=1, zorder=1)
        differences.xaxis.set_major_formatter(POINTS)
        low, high = _limits([entry["difference"] for _, entry in rows], (-1.0, 1.0))
        reach = max(-low, high)
        differences.set_xlim(-reach, reach)
        for panel in (values, differences):
            panel.xaxis.set_major_locator(MaxNLocator(7, steps=ROUND))
            panel.grid(axis="x")
            panel.spines["left"].set_visible(False)
        told = (
            f"Measures of {names[0]} and {names[1]} with intervals, and their difference; the numbers are in the table."
        )
        return svg(figure, name, told)


def _dot(panel: Axes, entry: Mapping[str, float | None], at: float, colour: str, *, hollow: bool = False) -> None:
    value, low, high = (entry.get(key) for key in ("value", "low", "high"))
    if value is None:
        panel.text(0.5, at, "undefined", color=MUTED, ha="center", va="center", transform=panel.get_yaxis_transform())
        return
    if low is not None and high is not None:
        panel.plot((low, high), (at, at), color=colour, linewidth=2.4, alpha=0.55, solid_capstyle="round")
    edge, face = (colour, "white") if hollow else ("white", colour)
    panel.plot([value], [at], "o", color=face, markersize=7, markeredgecolor=edge, markeredgewidth=1.4 if hollow else 1)


def _limits(entries: Sequence[Mapping[str, float | None]], widest: tuple[float, float]) -> tuple[float, float]:
    """Where all intervals have room, within what is possible."""
    known = [number for entry in entries for number in (entry.get(k) for k in ("value", "low", "high"))]
    found = [number for number in known if number is not None] or [*widest]
    pad = max(0.08 * (max(found) - min(found)), 0.02)
    return max(widest[0] - 0.03, min(found) - pad), min(widest[1] + 0.03, max(found) + pad)


BAND = "#dbe7f1"
DOT = "#0072b2"


@dataclass(frozen=True, slots=True)
class FoldRow:
    """One measure: its title, each fold's value, and the interval of all folds together."""

    title: str
    folds: tuple[float | None, ...]
    pooled: Interval
    colour: str = DOT


def fold_dots(rows: Sequence[FoldRow], name: str) -> Markup:
    """Each fold's value as a dot (numbered where there is room), their mean as a line, the pooled interval as a band.

    Args:
        rows: Values from 0 to 1, or None where a fold has none.
        name: Unique on the page.
    """
    folds = max(len(row.folds) for row in rows)
    numbered = folds <= 12 and len(rows) <= 8
    with rc_context(STYLE):
        height = max(0.42, 0.14 * folds + 0.05) if numbered else 0.42
        figure = Figure(figsize=(10.6, height * len(rows) + 0.9), layout="constrained")
        panel = figure.subplots()
        for position, row in enumerate(rows):
            low, high = row.pooled.low, row.pooled.high
            if low is not None and high is not None:
                panel.barh(position, high - low, left=low, height=0.8, color=BAND, linewidth=0, zorder=1)
            known = [(number, value) for number, value in enumerate(row.folds) if value is not None]
            if not known:
                panel.text(0.5, position, "undefined", color=MUTED, ha="center", va="center")
                continue
            mean = sum(value for _, value in known) / len(known)
            panel.plot((mean, mean), (position - 0.4, position + 0.4), color=INK, linewidth=1.6, zorder=2)
            for number, value in known:
                # Folds stand below each other within a row, so that equal values do not hide each other.
                at = position + (0.68 * (number / (folds - 1) - 0.5) if folds > 1 else 0)
                size = 10.5 if numbered else 5
                panel.plot(
                    [value],
                    [at],
                    "o",
                    color=row.colour,
                    markersize=size,
                    markeredgecolor="white",
                    zorder=3,
                    clip_on=False,
                )
                if numbered:
                    panel.annotate(
                        str(number + 1),
                        (value, at),
                        ha="center",
                        va="center_baseline",
                        size=6.5,
                        color="white",
                        zorder=4,
                    )
        panel.set_yticks(range(len(rows)), [shown(row.title, 44) for row in rows], color=INK)
        panel.set_ylim(len(rows) - 0.45, -0.55)
        panel.xaxis.set_major_formatter(PERCENT)
        panel.xaxis.set_major_locator(MaxNLocator(8, steps=ROUND))
        low, high = panel.get_xlim()
        panel.set_xlim(max(low, -0.02), min(high, 1.02))
        panel.grid(axis="x")
        panel.spines["left"].set_visible(False)
        told = f"Measures of each of {folds} folds, their mean, and the interval of all together; numbers in the table."
        return svg(figure, name, told)


Facts = Mapping[str, Any]
RULES = {"most_probable": "Read by the most probable label", "down_the_tree": "Read down the label tree"}


def measure_rows(facts: Facts, found: Facts) -> list[dict[str, Any]]:
    """Accuracy, balanced accuracy and each sensitivity: first, second and difference with intervals."""
    entries = [("Accuracy", None, found["accuracy"]), ("Balanced accuracy", None, found["balanced_accuracy"])]
    entries += [("Sensitivity (recall) of", label, found["recall"][label]) for label in facts["labels"]]
    return [{"measure": measure, "label": label, "entry": entry, **_three(entry)} for measure, label, entry in entries]


def area_rows(facts: Facts) -> list[dict[str, Any]]:
    """AUROC of each label: first, second and difference with intervals."""
    return [
        {"measure": "", "label": label, **_three(entry, as_percent=False)} for label, entry in facts["auroc"].items()
    ]


def _three(entry: Mapping[str, Any], *, as_percent: bool = True) -> dict[str, Any]:
    shown = {
        which: measured(entry[which], as_percent=as_percent, sign=which == "difference")
        for which in ("first", "second", "difference")
    }
    return {**shown, "certain": excludes_zero(entry["difference"])}


def rule_title(rule: str) -> str:
    """How a rule reads the probabilities."""
    return RULES.get(rule, rule)


ABOUT = {
    "name": "Name",
    "network": "Network",
    "hierarchy": "Architecture",
    "recipe": "Recipe",
    "seed": "Seed",
    "split": "Images of its split",
    "path": "Folder",
    "weights_sha256": "SHA-256 of the weights",
}


def write_comparison_page(folder: Path, facts: dict[str, Any]) -> Path:
    """Write the page of a comparison.

    Args:
        folder: Exists; usually where ``comparison.json`` lies.
        facts: What that file holds.

    Returns:
        The file that was written, ``comparison.html``. The same facts give the same bytes.
    """
    return write_page(folder / "comparison.html", "comparison.html.j2", page_content(facts))


def page_content(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Everything the template shows, by name."""
    first, second = facts["runs"]
    rules = [_rule(facts, rule, found) for rule, found in facts["rules"].items()]
    return {
        "facts": facts,
        "names": (first["name"], second["name"]),
        "colours": label_colours(facts["labels"]),
        "verdict": verdict(facts),
        "differing": facts.get("recipe_differences"),
        "same_weights": first["weights_sha256"] == second["weights_sha256"],
        "about": [(title, first.get(key), second.get(key)) for key, title in ABOUT.items()],
        "rules": rules,
        "areas": area_rows(facts),
        "seeds": seed_rows(facts),
        "effect": _effect(facts, rules) if facts["rule_effect"] else None,
    }


def _rule(facts: Mapping[str, Any], rule: str, found: Mapping[str, Any]) -> dict[str, Any]:
    rows = measure_rows(facts, found)
    names = facts["runs"][0]["name"], facts["runs"][1]["name"]
    return {
        "rule": rule,
        "title": rule_title(rule),
        "outcome": _sentence(outcome(facts, found)),
        "figure": paired_dots(
            [(" ".join(filter(None, (row["measure"], row["label"]))), row["entry"]) for row in rows],
            names,
            f"paired-{rule.replace('_', '-')}",
        ),
        "rows": rows,
        "alone": found["mcnemar"],
        "tests": p_values(facts, found),
        "power": power(facts, found),
    }


def _effect(facts: Mapping[str, Any], rules: list[dict[str, Any]]) -> dict[str, Any]:
    """Accuracy by run and rule, and what reading down the tree changes in each measure of each run."""
    by_run = [measure_rows(facts, effect) for effect in facts["rule_effect"]]
    return {
        "titles": [rule["title"] for rule in rules],
        "runs": [
            {
                "name": run["name"],
                "cells": [rows[0]["first"], rows[0]["second"]],
                "difference": rows[0]["difference"],
                "certain": rows[0]["certain"],
            }
            for run, rows in zip(facts["runs"], by_run, strict=True)
        ],
        "between": [(rule["rows"][0]["difference"], rule["rows"][0]["certain"]) for rule in rules],
        "measures": list(zip(*by_run, strict=True)),
    }


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."
