"""Figures of a sweep: what validation says of each setting, and how the trials learned."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from hilum.report.figures import (
    BEST_COLOUR,
    INK,
    MUTED,
    OKABE_ITO,
    PERCENT,
    PLAIN,
    ROUND,
    STYLE,
    THOUSANDS,
    VAL_COLOUR,
    loss_scale,
    shown,
    svg,
)

DIVERGED_COLOUR = "#a3123f"
WIDE = 30  # factor from which a swept value is drawn on a logarithmic axis
FAR = 30  # factor beyond the finished values from which a diverged one is drawn at the edge
MOST_TICKS = 12


@dataclass(frozen=True, slots=True)
class Setting:
    """What a sweep found for one setting.

    Attributes:
        title: The setting in words.
        value: What was swept, where it is one number.
        seeds: The kept validation of each finished trial.
        mean: Over the seeds; empty where not all finished.
        failed: How many trials diverged, in words; empty if none.
        chosen: Whether this is the choice.
    """

    title: str
    value: float | None
    seeds: tuple[Mapping[str, float], ...]
    mean: Mapping[str, float]
    failed: str
    chosen: bool


def sweep_dots(settings: Sequence[Setting], axis: str, measures: Mapping[str, str], name: str) -> Markup:
    """Each measure against the swept value, or one row a setting where the values are no numbers.

    Args:
        settings: In the order in which they are drawn.
        axis: What was swept, for the axis.
        measures: Title by key of the validation, such as ``val_loss``.
        name: Unique on the page.
    """
    told = f"{', '.join(measures.values())} by {axis}; single seeds small, means large. The numbers are in the table."
    with rc_context(STYLE):
        figure = _against_value(settings, axis, measures) if is_wide(settings) else _rows(settings, measures)
        return svg(figure, name, told)


def is_wide(settings: Sequence[Setting]) -> bool:
    """Whether the values are positive numbers that span enough for a logarithmic axis."""
    values = [setting.value for setting in settings]
    known = [value for value in values if value is not None and value > 0]
    if len(known) < len(values) or not known or len(known) > MOST_TICKS:
        return False
    return max(known) >= WIDE * min(known)


def _against_value(settings: Sequence[Setting], axis: str, measures: Mapping[str, str]) -> Figure:
    figure = Figure(figsize=(10.6, 3.5))
    figure.set_layout_engine("constrained", wspace=0.06)
    panels = figure.subplots(1, len(measures), squeeze=False)[0]
    at = places(settings)
    for panel, (key, title) in zip(panels, measures.items(), strict=True):
        means = sorted((at[s.title], s.mean[key]) for s in settings if s.mean)
        panel.plot([x for x, _ in means], [y for _, y in means], color=MUTED, linewidth=1, alpha=0.5, zorder=1)
        for setting in settings:
            place, colour = at[setting.title], _colour(setting)
            seeds = [seed[key] for seed in setting.seeds]
            if len(seeds) > 1 or not setting.mean:
                panel.plot([place] * len(seeds), seeds, "o", color=colour, markersize=3.6, alpha=0.6, zorder=3)
            if setting.mean:
                panel.plot([place], [setting.mean[key]], "o", color=colour, markersize=8, markeredgecolor="white")
            if setting.failed:
                lowest = key == "val_accuracy"
                edge = {"transform": panel.get_xaxis_transform(), "clip_on": False, "color": DIVERGED_COLOUR}
                panel.plot([place], [0.0 if lowest else 1.0], "x", markersize=7, markeredgewidth=2, **edge)
        titles = [shown(setting.title.rpartition("=")[2], 12) for setting in settings]
        crowded = len(settings) > 5
        panel.set_xticks([at[s.title] for s in settings], titles, rotation=40 if crowded else 0, size=8.5)
        panel.set_title(title, weight="bold", size=9, pad=10)
        panel.margins(x=0.1, y=0.12)
        panel.grid(axis="y")
        panel.yaxis.set_major_locator(MaxNLocator(6, steps=ROUND, integer=key == "val_false_negatives"))
        panel.yaxis.set_major_formatter(PERCENT if key == "val_accuracy" else PLAIN)
        panel.set_xlabel(shown(axis, 40))
    _key(figure, settings)
    return figure


def places(settings: Sequence[Setting]) -> dict[str, float]:
    """Where each value stands on a logarithmic axis; diverged ones far off all others stand just beside them."""
    logs = {s.title: math.log10(s.value) for s in settings if s.value is not None and s.value > 0}
    kept = [logs[s.title] for s in settings if s.seeds] or list(logs.values())
    low, high, far = min(kept), max(kept), math.log10(FAR)
    step = max((high - low) / 5, 0.3)
    below = sorted((title for title in logs if logs[title] < low - far), key=lambda title: -logs[title])
    above = sorted((title for title in logs if logs[title] > high + far), key=lambda title: logs[title])
    near = [logs[title] for title in logs if title not in below and title not in above]
    moved = {title: min(near) - step * (1 + n) for n, title in enumerate(below)}
    moved |= {title: max(near) + step * (1 + n) for n, title in enumerate(above)}
    return logs | moved


def _rows(settings: Sequence[Setting], measures: Mapping[str, str]) -> Figure:
    figure = Figure(figsize=(10.6, 0.27 * len(settings) + 1.15))
    figure.set_layout_engine("constrained", wspace=0.04)
    panels = figure.subplots(1, len(measures), sharey=True, squeeze=False)[0]
    for panel, (key, title) in zip(panels, measures.items(), strict=True):
        for position, setting in enumerate(settings):
            colour, seeds = _colour(setting), [seed[key] for seed in setting.seeds]
            if len(seeds) > 1 or not setting.mean:
                panel.plot(seeds, [position] * len(seeds), "o", color=colour, markersize=3.6, alpha=0.6, zorder=3)
            if setting.mean:
                panel.plot([setting.mean[key]], [position], "o", color=colour, markersize=7.5, markeredgecolor="white")
            if setting.failed:
                _failed_row(panel, position, setting, named=panel is panels[0])
            elif not setting.seeds:
                across = panel.get_yaxis_transform()
                panel.text(0.5, position, "waiting", color=MUTED, size=8, transform=across, ha="center", va="center")
        panel.set_title(title, weight="bold", size=9)
        panel.set_yticks(range(len(settings)), [shown(s.title, 44) for s in settings], color=INK, size=8.5)
        panel.set_ylim(len(settings) - 0.5, -0.5)
        panel.margins(x=0.12)
        panel.grid(axis="both", alpha=0.7)
        panel.xaxis.set_major_locator(MaxNLocator(4, steps=ROUND, integer=key == "val_false_negatives"))
        panel.xaxis.set_major_formatter(PERCENT if key == "val_accuracy" else PLAIN)
        panel.spines["left"].set_visible(False)
    _key(figure, settings)
    return figure


def _failed_row(panel: Axes, position: int, setting: Setting, *, named: bool) -> None:
    across, colour = panel.get_yaxis_transform(), DIVERGED_COLOUR
    panel.plot([1.0], [position], "x", markersize=6, markeredgewidth=1.8, transform=across, color=colour, clip_on=False)
    if named and not setting.seeds:
        place = 0.96, position
        panel.text(
            *place, setting.failed, ha="right", va="center", size=8, transform=across, color=colour, clip_on=False
        )


def _colour(setting: Setting) -> str:
    return BEST_COLOUR if setting.chosen else VAL_COLOUR


def _key(figure: Figure, settings: Sequence[Setting]) -> None:
    """What the marks mean, as far as they occur."""
    panel = figure.axes[0]
    entries = (
        (any(s.chosen for s in settings), "o", BEST_COLOUR, 7, "chosen"),
        (any(s.mean and not s.chosen for s in settings), "o", VAL_COLOUR, 7, "other"),
        (any(len(s.seeds) > 1 for s in settings), "o", MUTED, 3.6, "single seed"),
        (any(s.failed for s in settings), "x", DIVERGED_COLOUR, 6, "diverged"),
    )
    lines = [
        panel.plot([], [], linestyle="none", label=text, marker=marker, color=colour, markersize=size)[0]
        for wanted, marker, colour, size, text in entries
        if wanted
    ]
    if lines:
        figure.legend(handles=lines, loc="outside upper left", ncols=4, handletextpad=0.3, borderaxespad=0)


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
    marker = "o" if len(points) == 1 else None
    steps, values = zip(*points, strict=True)
    style = (0, (3, 2)) if curve.diverged else "-"
    panel.plot(steps, values, color=colour, linewidth=1.3, alpha=0.85, linestyle=style, marker=marker, markersize=3)
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
        lines.append(
            Line2D([], [], label="diverged", marker="x", color=DIVERGED_COLOUR, markersize=6, linestyle="none")
        )
    longest = max(len(str(line.get_label())) for line in lines)
    figure.legend(handles=lines, loc="outside lower left", ncols=2 if longest > 26 else 4, handlelength=1.5)
