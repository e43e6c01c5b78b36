"""Drawn figures of an evaluation: ROC and precision-recall curves, reliability diagrams, risk against coverage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from hilum.reporting.figures import GRID, MUTED, PERCENT, STYLE, TRAIN_COLOUR, VAL_COLOUR, shown, svg


def curves(found: Mapping[str, Any], colours: Mapping[str, str], name: str) -> Markup:
    """Both curves of each label with their bands.

    Args:
        found: As `hilum.evaluation.curves.curve_bands` has it.
        colours: Colour by label.
        name: Unique on the page.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(10.6, 4.4), layout="constrained")
        roc, pr = figure.subplots(1, 2)
        for label, entry in found.items():
            for panel, kind in ((roc, "roc"), (pr, "pr")):
                curve = entry[kind]
                panel.fill_between(
                    curve["x"], curve["low"], curve["high"], color=colours[label], alpha=0.16, linewidth=0
                )
                panel.plot(curve["x"], curve["y"], color=colours[label], label=shown(label))
            pr.axhline(entry["prevalence"], color=colours[label], linewidth=0.9, linestyle=(0, (2, 3)))
        roc.plot((0, 1), (0, 1), color=MUTED, linewidth=0.9, linestyle=(0, (2, 3)))
        roc.set_title("ROC: recall against false alarms", weight="bold", size=9)
        roc.set_xlabel("false positive rate")
        roc.legend(loc="lower right")
        pr.set_title("Precision against recall", weight="bold", size=9)
        pr.set_xlabel("recall")
        for panel in (roc, pr):
            _unit_square(panel)
        told = f"ROC and precision-recall curves of {', '.join(found)} with bands; areas stand in the table."
        return svg(figure, name, told)


def reliability_diagrams(found: Mapping[str, Any], colours: Mapping[str, str], name: str) -> Markup:
    """One diagram a label: the share that has it against the probability that was stated, with intervals.

    Args:
        found: As `hilum.evaluation.reliability.reliability` has it.
        colours: Colour by label.
        name: Unique on the page.
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
            drawn = [point for point in points if point["value"] is not None and point["low"] is not None]
            for point in drawn:
                at = point["stated"]
                panel.plot((at, at), (point["low"], point["high"]), color=colours[label], linewidth=2.2, alpha=0.5)
            stated, share = [point["stated"] for point in drawn], [point["value"] for point in drawn]
            panel.plot(stated, share, "o-", color=colours[label], markersize=4.5, linewidth=1.0)
            panel.set_title(shown(label), weight="bold", size=9)
            panel.set_xlabel("stated probability")
            _unit_square(panel)
        panels[0].set_ylabel("share that has it")
        return svg(figure, name, f"Reliability diagrams of {', '.join(found)}: ten bins of equal size with intervals.")


def risk_against_coverage(found: Mapping[str, Any], name: str) -> Markup:
    """How often the rest is wrong if the least sure, or the least familiar, images go to humans.

    Args:
        found: As `hilum.evaluation.abstaining.risk_coverage` has it.
        name: Unique on the page.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(5.2, 3.4), layout="constrained")
        panel = figure.subplots()
        for key, words, colour in (
            ("confidence", "the least sure are left out", VAL_COLOUR),
            ("familiarity", "the least familiar are left out", TRAIN_COLOUR),
        ):
            panel.plot(found["coverage"], found[key], color=colour, label=words)
        panel.set_xlim(0, 1)
        panel.set_ylim(bottom=0)
        panel.set_xlabel("share of images that are decided about")
        panel.set_title("Wrong answers among the images decided about", weight="bold", size=9)
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_major_formatter(PERCENT)
        panel.grid(axis="y", color=GRID)
        panel.legend(loc="upper left")
        ends = f"{100 * found['confidence'][-1]:.1f} % when every image is decided about"
        return svg(figure, name, f"Risk-coverage curves by confidence and by familiarity; {ends}.")


def _unit_square(panel: Axes) -> None:
    panel.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_locator(MultipleLocator(0.25))
        axis.set_major_formatter(PERCENT)
    panel.grid(color=GRID)
