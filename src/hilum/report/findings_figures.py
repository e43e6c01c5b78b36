"""Small multiples of several findings: ROC curves, reliability diagrams, and AUROCs side by side."""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure

from hilum.evaluation.findings_schema import FindingMeasures
from hilum.report.evaluation_figures import reliability_figure
from hilum.report.figures import MUTED, STYLE, VAL_COLOUR, shown, svg
from hilum.text import fraction

COLUMNS = 4
ONE_COLOUR = VAL_COLOUR  # a panel is one finding: colours would say nothing


def roc_grid(found: Mapping[str, FindingMeasures], name: str) -> Markup:
    """`roc_grid_figure` on a page; `name` is unique there."""
    told = f"ROC curves of {', '.join(found)} with bands; the areas stand in the table."
    with rc_context(STYLE):
        return svg(roc_grid_figure(found), name, told)


def roc_grid_figure(found: Mapping[str, FindingMeasures]) -> Figure:
    """One ROC curve a finding with its band, its area, and its operating point.

    Args:
        found: Measures by finding.
    """
    columns = min(len(found), COLUMNS)
    rows = -(-len(found) // columns)
    with rc_context(STYLE):
        figure = Figure(figsize=(10.6, 0.4 + 2.9 * rows), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
        for panel in panels[len(found) :]:
            panel.set_axis_off()
        for panel, (finding, one) in zip(panels, found.items(), strict=False):
            panel.plot((0, 1), (0, 1), color=MUTED, linewidth=0.9, linestyle=(0, (2, 3)))
            if finding in one.metrics.curves:
                curve = one.metrics.curves[finding].roc
                panel.fill_between(curve.x, curve.low, curve.high, color=ONE_COLOUR, alpha=0.16, linewidth=0)
                panel.plot(curve.x, curve.y, color=ONE_COLOUR)
            if one.sensitivity.value is not None and one.specificity.value is not None:
                panel.plot(1 - one.specificity.value, one.sensitivity.value, "o", color=ONE_COLOUR, markersize=6)
            panel.set_title(f"{shown(finding, 24)}  {fraction(one.auroc.value)}", weight="bold", size=9)
            panel.set_xlim(-0.01, 1.01)
            panel.set_ylim(-0.01, 1.01)
            panel.set_aspect("equal")
        for panel in panels[max(0, len(found) - columns) : len(found)]:
            panel.set_xlabel("false positive rate")
            panel.tick_params(labelbottom=True)
        for panel in panels[::columns]:
            panel.set_ylabel("sensitivity")
        return figure


def reliability_grid(found: Mapping[str, FindingMeasures], name: str) -> Markup:
    """Reliability diagrams on a page, one a finding; `name` is unique there."""
    told = f"Reliability diagrams of {', '.join(found)}: ten bins of equal size with intervals."
    with rc_context(STYLE):
        return svg(reliability_grid_figure(found), name, told)


def reliability_grid_figure(found: Mapping[str, FindingMeasures]) -> Figure:
    """One reliability diagram a finding: observed share against stated probability, with intervals.

    Args:
        found: Measures by finding.
    """
    bins = {finding: one.metrics.reliability[finding] for finding, one in found.items() if one.metrics.reliability}
    return reliability_figure(bins, dict.fromkeys(bins, ONE_COLOUR))
