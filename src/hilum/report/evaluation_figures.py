"""Figures of an evaluation: ROC and precision-recall, reliability, risk against coverage, and decision curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from hilum.evaluation import triage_schema
from hilum.evaluation.decision_curve import ANSWER, MODEL, POINT, THUMBNAIL
from hilum.evaluation.schema import LabelReliance, Property, Reliance
from hilum.report.evaluation_console import LEVEL
from hilum.report.figures import (
    GRID,
    INK,
    MUTED,
    PERCENT,
    STYLE,
    TRAIN_COLOUR,
    VAL_COLOUR,
    interval_dot,
    nudge,
    shown,
    svg,
)
from hilum.stats.records import Bin, Interval, Known, LabelCurves
from hilum.stats.verdicts import PREVALENCES
from hilum.text import measured, p_text


def curves(found: Mapping[str, LabelCurves], colours: Mapping[str, str], name: str) -> Markup:
    """`curves_figure` on a page; `name` is unique there."""
    told = f"ROC and precision-recall curves of {', '.join(found)} with bands; areas stand in the table."
    with rc_context(STYLE):
        return svg(curves_figure(found, colours), name, told)


def curves_figure(found: Mapping[str, LabelCurves], colours: Mapping[str, str]) -> Figure:
    """ROC and precision-recall curves of each label with their bands.

    Args:
        found: As `hilum.stats.auc.curve_bands` has it.
        colours: Colour by label.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(10.6, 4.4), layout="constrained")
        roc, pr = figure.subplots(1, 2)
        for label, entry in found.items():
            for panel, curve in ((roc, entry.roc), (pr, entry.pr)):
                panel.fill_between(curve.x, curve.low, curve.high, color=colours[label], alpha=0.16, linewidth=0)
                panel.plot(curve.x, curve.y, color=colours[label], label=shown(label))
            pr.axhline(entry.prevalence, color=colours[label], linewidth=0.9, linestyle=(0, (2, 3)))
        roc.plot((0, 1), (0, 1), color=MUTED, linewidth=0.9, linestyle=(0, (2, 3)))
        roc.set_title("ROC: recall against false-positive rate", weight="bold", size=9)
        roc.set_xlabel("false positive rate")
        roc.legend(loc="lower right")
        pr.set_title("Precision against recall", weight="bold", size=9)
        pr.set_xlabel("recall")
        for panel in (roc, pr):
            _unit_square(panel)
        return figure


def reliability_diagrams(found: Mapping[str, Sequence[Bin]], colours: Mapping[str, str], name: str) -> Markup:
    """`reliability_figure` on a page; `name` is unique there."""
    told = f"Reliability diagrams of {', '.join(found)}: ten bins of equal size with intervals."
    with rc_context(STYLE):
        return svg(reliability_figure(found, colours), name, told)


def reliability_figure(found: Mapping[str, Sequence[Bin]], colours: Mapping[str, str]) -> Figure:
    """One reliability diagram a label: observed share against stated probability, with intervals.

    Args:
        found: As `hilum.stats.calibration_slope.reliability` has it.
        colours: Colour by label.
    """
    columns = min(len(found), 4)
    rows = -(-len(found) // columns)
    with rc_context(STYLE):
        figure = Figure(figsize=(10.6, 0.5 + 3.1 * rows), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for panel in panels[len(found) :]:
            panel.set_axis_off()
        for panel, (label, points) in zip(panels, found.items(), strict=False):
            panel.plot((0, 1), (0, 1), color=MUTED, linewidth=0.9, linestyle=(0, (2, 3)))
            drawn = [point for point in points if point.value is not None and point.low is not None]
            for point in drawn:
                at = point.stated
                panel.plot((at, at), (point.low, point.high), color=colours[label], linewidth=2.2, alpha=0.5)
            stated, share = [point.stated for point in drawn], [point.value for point in drawn]
            panel.plot(stated, share, "o-", color=colours[label], markersize=4.5, linewidth=1.0)
            panel.set_title(shown(label), weight="bold", size=9)
            panel.set_xlabel("stated probability")
            _unit_square(panel)
        panels[0].set_ylabel("observed frequency")
        return figure


def confusion_figure(labels: Sequence[str], confusion: Sequence[Sequence[int]]) -> Figure:
    """The confusion matrix: true labels as rows, most probable labels as columns, shaded by the share of the row.

    Args:
        labels: K names.
        confusion: Counts of shape (K, K).
    """
    counts = np.array(confusion, dtype=float)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 1.6 + 0.9 * len(labels)
    with rc_context(STYLE):
        figure = Figure(figsize=(side + 1.2, side), layout="constrained")
        panel = figure.subplots()
        panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (i, j), share in np.ndenumerate(shares):
            colour = "white" if share > 0.5 else INK
            panel.text(j, i, f"{counts[i, j]:,.0f}\n{100 * share:.1f} %", ha="center", va="center", color=colour)
        names = [shown(label) for label in labels]
        panel.set_xticks(range(len(labels)), names, rotation=20, ha="right")
        panel.set_yticks(range(len(labels)), names)
        panel.tick_params(length=0)
        panel.set_xlabel("predicted label")
        panel.set_ylabel("true label")
        panel.spines[:].set_visible(False)
        return figure


def risk_against_coverage(found: triage_schema.RiskCoverage, name: str) -> Markup:
    """How often the rest is wrong if the least sure, or the least familiar, images go to humans.

    Args:
        found: As `hilum.evaluation.triage.risk_coverage` has it.
        name: Unique on the page.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(5.2, 3.4), layout="constrained")
        panel = figure.subplots()
        for risk, words, colour in (
            (found.confidence, "abstention on the least confident", VAL_COLOUR),
            (found.in_distribution, "abstention on the highest OOD scores", TRAIN_COLOUR),
        ):
            panel.plot(found.coverage, risk, color=colour, label=words)
        panel.set_xlim(0, 1)
        panel.set_ylim(bottom=0)
        panel.set_xlabel("coverage: share of images without abstention")
        panel.set_title("Errors among the images without abstention", weight="bold", size=9)
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_major_formatter(PERCENT)
        panel.grid(axis="y", color=GRID)
        panel.legend(loc="upper left")
        ends = f"{100 * found.confidence[-1]:.1f} % without abstention"
        return svg(figure, name, f"Risk-coverage curves by confidence and by OOD score; {ends}.")


def _unit_square(panel: Axes) -> None:
    panel.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_locator(MultipleLocator(0.25))
        axis.set_major_formatter(PERCENT)
    panel.grid(color=GRID)


LOOKS = {
    POINT: {"color": "#b3261e", "linewidth": 1.8},
    ANSWER: {"color": VAL_COLOUR, "linewidth": 1.4},
    MODEL: {"color": "#1b7a4b", "linewidth": 1.8},
    THUMBNAIL: {"color": "#8a7a00", "linewidth": 1.2, "linestyle": (0, (4, 2))},
}
MOST_PANELS = 4
LOWEST = -0.35  # of the prevalence: how far below zero a panel reaches


@dataclass(frozen=True)
class NetBenefitCells:
    """A row of the table: net benefit of flagging everybody and, with its range, of each rule; `harm` below zero."""

    prevalence: str
    threshold: str
    all: str
    cells: list[tuple[str, str]]
    harm: bool


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
    rows: list[NetBenefitCells]


def decision_curve_of(found: triage_schema.DecisionCurve | None, name: str) -> DecisionCurve | None:
    """What the page shows of an evaluation's decision curve; None without one.

    Args:
        found: As `hilum.evaluation.decision_curve.decision_curve` has it.
        name: Unique on the page.
    """
    if not found or not found.table:
        return None
    rules, judged = list(found.table[0].rules), found.judged
    rows = [
        NetBenefitCells(
            prevalence=f"{100 * row.prevalence:g} %",
            threshold=f"{100 * row.threshold:g} %",
            all=f"{round(100 * row.all, 2) + 0.0:+.2f}",
            cells=[_cell(row.rules[rule]) for rule in rules] + ([_cell(row.against_answer)] if judged == POINT else []),
            harm=row.rules[judged].value < 0,
        )
        for row in found.table
    ]
    source = found.recalibrated_from.source
    how = (
        f"{found.n_with:,} {found.resampling_unit} with the disease, {found.n_without:,} without. The model "
        f"flags from "
        f"the threshold probability on, after recalibration from the label frequencies of {source} to each prevalence; "
        "the other rules are fixed. A patient's largest image counts, so the model's curve flags patients with many "
        "images too often. Abstentions are ignored."
    )
    if THUMBNAIL in rules:
        how += " The thumbnail probe was recalibrated on these patients (cross-fitted), in its favour."
    figure = draw(found, f"decision-curve-{name}")
    return DecisionCurve(figure, how, " or ".join(found.members), rules, judged == POINT, rows)


def draw(found: triage_schema.DecisionCurve, name: str) -> Markup:
    """One panel a prevalence: net benefit per 100 patients against the threshold probability.

    Args:
        found: As `hilum.evaluation.decision_curve.decision_curve` has it.
        name: Unique on the page.
    """
    stated = [prevalence for prevalence in found.prevalences if prevalence not in PREVALENCES]
    prevalences, at = sorted([*stated, *PREVALENCES][:MOST_PANELS]), found.thresholds
    with rc_context(STYLE):
        figure = Figure(figsize=(10.6, 3.5), layout="constrained")
        panels = figure.subplots(1, len(prevalences), squeeze=False).ravel()
        for panel, prevalence in zip(panels, prevalences, strict=True):
            for rule, curve in found.curves[f"{prevalence:g}"].items():
                value, low, high = ([100 * n for n in numbers] for numbers in (curve.value, curve.low, curve.high))
                panel.fill_between(at, low, high, color=LOOKS[rule]["color"], alpha=0.14, linewidth=0)
                panel.plot(at, value, label=rule, **LOOKS[rule])
            everybody = [100 * number for number in found.all[f"{prevalence:g}"]]
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


def _cell(entry: Known | None) -> tuple[str, str]:
    return measured(entry and entry.times(100), as_percent=False, sign=True, digits=2)


TITLES = {"swap": "Exchanged between images", "blackout": "Left of the margin"}


@dataclass(frozen=True)
class ReliedOn:
    """A row of the table: a property, log-odds and share of the margin with their ranges, and the p-value."""

    name: str
    log_odds: tuple[str, str]
    share: tuple[str, str]
    p_value: str


@dataclass(frozen=True)
class LabelReliedOn:
    """The table of one label: patients, the margin with its range, and a row a property."""

    label: str
    patients: int
    margin: tuple[str, str]
    rows: list[ReliedOn]


@dataclass(frozen=True)
class ReliancePart:
    """What the template shows of the reliance on shortcuts."""

    note: str
    figure: Markup | None
    labels: list[LabelReliedOn]
    constant: list[str]
    not_scored: list[str]


def reliance_section(found: Reliance | None, colours: Mapping[str, str], name: str) -> ReliancePart | None:
    """What the template shows; None where nothing was measured or evaluated.

    Args:
        found: What `hilum.evaluation.reliance.measure_reliance` found; None in older evaluations.
        colours: Colour by label.
        name: Unique on the page.
    """
    if not found:
        return None
    labels = [
        LabelReliedOn(label, part.n_patients, _signed(part.margin), [_relied_on(entry) for entry in part.found])
        for label, part in found.labels.items()
    ]
    figure = reliance_dots(found.labels, colours, name)
    return ReliancePart(found.note, figure, labels, found.constant, found.not_scored)


def _relied_on(entry: Property) -> ReliedOn:
    share = measured(entry.share if entry.share.high is not None else None)
    return ReliedOn(entry.name, _signed(entry.log_odds), share, _p(entry))


def reliance_dots(labels: Mapping[str, LabelReliance], colours: Mapping[str, str], name: str) -> Markup | None:
    """Share of the margin by property and label, with intervals; None where no share is defined.

    Args:
        labels: What was found, by label.
        colours: Colour by label.
        name: Unique on the page.
    """
    entries = [(label, entry) for label, part in labels.items() for entry in part.found if entry.share.high is not None]
    kinds = [kind for kind in TITLES if any(entry.kind == kind for _, entry in entries)]
    if not kinds:
        return None
    rows = {kind: list(dict.fromkeys(e.name for _, e in entries if e.kind == kind)) for kind in kinds}
    with rc_context(STYLE):
        count = sum(map(len, rows.values()))
        figure = Figure(figsize=(10.6, (0.11 * len(labels) + 0.2) * count + 0.75 * len(kinds) + 0.45))
        figure.set_layout_engine("constrained", hspace=0.06)
        heights = [len(rows[kind]) for kind in kinds]
        panels = figure.subplots(len(kinds), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
        for panel, kind in zip(panels, kinds, strict=True):
            for label, entry in entries:
                if entry.kind == kind:
                    at = rows[kind].index(entry.name) + nudge(list(labels).index(label), len(labels))
                    sure = (entry.p_value if entry.p_corrected is None else entry.p_corrected) < LEVEL
                    share = entry.share
                    interval_dot(panel, at, share.value, share.low, share.high, colours[label], sure)
            panel.axvline(0, color=MUTED, linewidth=1, zorder=1)
            panel.set_title(TITLES[kind], weight="bold", size=9)
            panel.set_yticks(range(len(rows[kind])), rows[kind])
            panel.set_ylim(len(rows[kind]) - 0.5, -0.5)
            panel.grid(axis="x")
            panel.spines["left"].set_visible(False)
            panel.xaxis.set_major_formatter(PERCENT)
        for label in labels:
            panels[0].plot([], [], "o", color=colours[label], markersize=6.5, label=shown(label))
        handles, texts = panels[0].get_legend_handles_labels()
        figure.legend(handles, texts, loc="outside upper left", ncols=min(6, len(labels)), handletextpad=0.3)
        panels[-1].set_xlabel("share of the margin")
        return svg(figure, name, "Share of the margin by property and label, with intervals; numbers in the table.")


def _signed(entry: Interval) -> tuple[str, str]:
    return measured(entry if entry.low is not None else None, as_percent=False, sign=True, digits=2)


def _p(entry: Property) -> str:
    corrected = entry.p_corrected
    return p_text(entry.p_value) + ("" if corrected is None else f"; corrected {p_text(corrected)}")
