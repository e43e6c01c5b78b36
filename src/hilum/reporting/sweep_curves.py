"""The second figure of a sweep: how all its trainings went."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from hilum.reporting.figures import BEST_COLOUR, OKABE_ITO, PERCENT, ROUND, STYLE, THOUSANDS, loss_scale, shown, svg
from hilum.reporting.sweep_figures import DIVERGED_COLOUR

MOST_COLOURS = len(OKABE_ITO)
NAMED = 5  # of many settings, how many the legend names


@dataclass(frozen=True, slots=True)
class Curve:
    """The course of one trial: its setting's place among the settings, and a row a validation."""

    setting: int
    history: Sequence[Mapping[str, float]]
    diverged: bool


def learning_curves(curves: Sequence[Curve], settings: Sequence[str], name: str) -> Markup:
    """Validation accuracy and loss of all trials against the optimiser's steps, coloured by setting.

    Args:
        curves: Of the trials; repetitions of a setting share a colour.
        settings: The settings in words, the best first.
        name: Unique on the page.
    """
    colours = setting_colours(len(settings))
    with rc_context(STYLE):
        figure = Figure(figsize=(10.6, 3.9))
        figure.set_layout_engine("constrained", wspace=0.05, hspace=0.04)
        accuracy, loss = figure.subplots(1, 2)
        for panel, key in ((accuracy, "val_accuracy"), (loss, "val_loss")):
            for curve in sorted(curves, key=lambda curve: -curve.setting):  # the best on top
                _draw(panel, curve, key, colours[curve.setting])
            panel.grid(axis="y")
            panel.set_xlim(left=0)
            panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            panel.xaxis.set_major_formatter(THOUSANDS)
            panel.set_xlabel("iterations (optimiser steps)")
        accuracy.set_title("Validation accuracy", weight="bold", size=9)
        accuracy.yaxis.set_major_locator(MaxNLocator(5, steps=ROUND))
        accuracy.yaxis.set_major_formatter(PERCENT)
        loss.set_title("Validation loss", weight="bold", size=9)
        _loss_limits(loss, curves)
        _legend(figure, curves, settings, colours)
        told = f"Validation accuracy and loss of {len(curves)} trials with {len(settings)} settings against steps."
        return svg(figure, name, told)


def setting_colours(count: int) -> list[str]:
    """A colour a setting, the first as in the other figure: the rest far apart while few, else from dark to light."""
    if count <= MOST_COLOURS:
        return [BEST_COLOUR, *(colour for colour in OKABE_ITO if colour != BEST_COLOUR)][:count]
    scale = colormaps["viridis"]
    return [BEST_COLOUR, *(to_hex(scale(0.95 * position / (count - 2))) for position in range(count - 1))]


def _draw(panel: Axes, curve: Curve, key: str, colour: str) -> None:
    rows = [row for row in curve.history if math.isfinite(row.get("val_loss", math.nan))]
    points = [(row.get("step", math.nan), row.get(key, math.nan)) for row in rows]
    points = [(step, value) for step, value in points if math.isfinite(step) and math.isfinite(value)]
    if not points:
        return
    dots: dict[str, Any] = {"marker": "o", "markersize": 3} if len(points) == 1 else {}
    steps, values = zip(*points, strict=True)
    style = (0, (3, 2)) if curve.diverged else "-"
    panel.plot(steps, values, color=colour, linewidth=1.3, alpha=0.85, linestyle=style, **dots)
    if curve.diverged:
        panel.plot(steps[-1:], values[-1:], "x", color=DIVERGED_COLOUR, markersize=7, markeredgewidth=2, zorder=5)


def _loss_limits(panel: Axes, curves: Sequence[Curve]) -> None:
    """Room for the trials that finished; what diverged may leave the picture."""
    kept = [curve for curve in curves if not curve.diverged] or list(curves)
    values = [row.get("val_loss", math.nan) for curve in kept for row in curve.history]
    finite = [value for value in values if math.isfinite(value)]
    loss_scale(panel, finite)
    if not finite:
        return
    low, high = min(finite), max(finite)
    if panel.get_yscale() == "log":
        pad = (high / low) ** 0.06
        panel.set_ylim(low / pad, high * pad)
    else:
        pad = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
        panel.set_ylim(low - pad, high + pad)


def _legend(figure: Figure, curves: Sequence[Curve], settings: Sequence[str], colours: Sequence[str]) -> None:
    """All settings while they are few; of many the first, the last and some between."""
    last = len(settings) - 1
    few = len(settings) <= MOST_COLOURS
    named = range(len(settings)) if few else sorted({round(last * n / (NAMED - 1)) for n in range(NAMED)})
    lines = [Line2D([], [], color=colours[n], label=shown(settings[n], 44)) for n in named]
    if any(curve.diverged for curve in curves):
        mark: dict[str, Any] = {"marker": "x", "color": DIVERGED_COLOUR, "markersize": 6, "linestyle": "none"}
        lines.append(Line2D([], [], label="diverged", **mark))
    longest = max(len(str(line.get_label())) for line in lines)
    figure.legend(handles=lines, loc="outside lower left", ncols=2 if longest > 26 else 4, handlelength=1.5)
