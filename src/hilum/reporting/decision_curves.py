"""Decision curves on the page: figure and table of an evaluation's net benefit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure

from hilum.evaluation.decision_curve import ANSWER, MODEL, POINT, THUMBNAIL
from hilum.evaluation.proportions import PREVALENCES
from hilum.reporting.figures import GRID, MUTED, PERCENT, STYLE, VAL_COLOUR, svg

LOOKS = {
    POINT: {"color": "#b3261e", "linewidth": 1.8},
    ANSWER: {"color": VAL_COLOUR, "linewidth": 1.4},
    MODEL: {"color": "#1b7a4b", "linewidth": 1.8},
    THUMBNAIL: {"color": "#8a7a00", "linewidth": 1.2, "linestyle": (0, (4, 2))},
}
MOST_PANELS = 4
LOWEST = -0.35  # of the prevalence: how far below zero a panel reaches


@dataclass(frozen=True)
class DecisionCurve:
    """Ready to be shown.

    Attributes:
        figure: One panel a prevalence, of four: those that were asked for, then the usual ones.
        how: How the model's curve was made, in a sentence.
        disease: What is to be found.
        rules: Names of the rules, in the order of the table's columns.
        compared: Whether the table ends with the operating point's difference from the most probable label.
        rows: Of the table.
    """

    figure: Markup
    how: str
    disease: str
    rules: list[str]
    compared: bool
    rows: list[dict[str, Any]]


def decision_curve_of(found: Mapping[str, Any] | None, name: str) -> DecisionCurve | None:
    """What the page shows of an evaluation's decision curve; None without one.

    Args:
        found: As `hilum.evaluation.decision_curve.decision_curve` has it.
        name: Unique on the page.
    """
    if not found or not found["table"]:
        return None
    rules, judged = list(found["table"][0]["rules"]), found["judged"]
    rows = [
        {
            "prevalence": f"{100 * row['prevalence']:g} %",
            "threshold": f"{100 * row['threshold']:g} %",
            "all": f"{round(100 * row['all'], 2) + 0.0:+.2f}",
            "cells": [_cell(row["rules"][rule]) for rule in rules]
            + ([_cell(row["against_answer"])] if judged == POINT else []),
            "harm": row["rules"][judged]["value"] < 0,
        }
        for row in found["table"]
    ]
    source = found["recalibrated_from"]["source"]
    how = (
        f"{found['n_with']:,} {found['unit']} with the disease, {found['n_without']:,} without. The model flags from "
        f"the threshold probability on, after recalibration from the label frequencies of {source} to each prevalence; "
        "the other rules are fixed. A patient's largest image counts, so that the model's curve flags patients with "
        "many images too readily. Abstentions are not taken into account."
    )
    if THUMBNAIL in rules:
        how += " The thumbnail probe was recalibrated on these patients (cross-fitted), to its advantage."
    figure = draw(found, f"decision-curve-{name}")
    return DecisionCurve(figure, how, " or ".join(found["members"]), rules, judged == POINT, rows)


def draw(found: Mapping[str, Any], name: str) -> Markup:
    """One panel a prevalence: net benefit per 100 patients against the threshold probability.

    Args:
        found: As `hilum.evaluation.decision_curve.decision_curve` has it.
        name: Unique on the page.
    """
    stated = [prevalence for prevalence in found["prevalences"] if prevalence not in PREVALENCES]
    prevalences, at = sorted([*stated, *PREVALENCES][:MOST_PANELS]), found["thresholds"]
    with rc_context(STYLE):
        figure = Figure(figsize=(10.6, 3.5), layout="constrained")
        panels = figure.subplots(1, len(prevalences), squeeze=False).ravel()
        for panel, prevalence in zip(panels, prevalences, strict=True):
            for rule, curve in found["curves"][f"{prevalence:g}"].items():
                value, low, high = ([100 * number for number in curve[key]] for key in ("value", "low", "high"))
                panel.fill_between(at, low, high, color=LOOKS[rule]["color"], alpha=0.14, linewidth=0)
                panel.plot(at, value, label=rule, **LOOKS[rule])
            everybody = [100 * number for number in found["all"][f"{prevalence:g}"]]
            panel.plot(at, everybody, color=MUTED, linewidth=1.0, linestyle=(0, (2, 3)), label="flag everybody")
            panel.axhline(0, color="black", linewidth=1.0, label="flag nobody")
            panel.set_ylim(100 * LOWEST * prevalence, 108 * prevalence)
            panel.set_xlim(0, max(at))
            panel.set_title(f"Prevalence {100 * prevalence:g} %", weight="bold", size=9)
            panel.set_xlabel("threshold probability")
            panel.xaxis.set_major_formatter(PERCENT)
            panel.grid(axis="y", color=GRID)
        panels[0].set_ylabel("net benefit per 100 patients")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
        return svg(
            figure, name, f"Decision curves at prevalences of {', '.join(f'{100 * p:g} %' for p in prevalences)}."
        )


def _cell(entry: Mapping[str, Any]) -> tuple[str, str]:
    value, low, high = (100 * entry[key] for key in ("value", "low", "high"))
    return f"{value:+.2f}", f"{low:+.2f} to {high:+.2f}"
