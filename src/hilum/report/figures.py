"""The drawn figures of a report, as SVG elements that stand inside an HTML page.

Colours follow Okabe and Ito, "Color Universal Design" (2008): they stay apart under every common
form of colour blindness. A label keeps its colour through all figures of a page.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from xml.etree import ElementTree

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Wedge
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from hilum.stats.records import Interval, Intervals
from hilum.text import printable

OKABE_ITO = ("#0072b2", "#d55e00", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#8a7a00")
SPLIT_COLOURS = {"train": "#44546a", "val": "#8394a8", "calibration": "#b9c3ce", "test": "#009e73"}
INK, MUTED, GRID = "#1f2933", "#5b6775", "#e3e8ed"
TRAIN_COLOUR, VAL_COLOUR, BEST_COLOUR = "#8394a8", "#0072b2", "#d55e00"
FEW = 6  # up to so many labels a figure has room to spare
SVG = "{http://www.w3.org/2000/svg}"
ROUND = [1, 2, 5, 10]
NUDGE = 0.62  # share of a row over which its labels are spread
PERCENT = FuncFormatter(lambda value, _: f"{100 * value:.4g} %")
PLAIN = FuncFormatter(lambda value, _: f"{value:g}")
THOUSANDS = FuncFormatter(lambda value, _: f"{value:,.0f}")
STYLE: Any = {  # handed to rc_context, so that nothing outside a figure changes
    "svg.fonttype": "none",
    "svg.hashsalt": "hilum",
    "text.parse_math": False,  # a dollar sign in a folder name is a dollar sign
    "font.family": "DejaVu Sans",  # for measuring only, wider than what browsers use: nothing overlaps
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": "#aab4bf",
    "axes.labelcolor": MUTED,
    "axes.labelsize": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


@dataclass(frozen=True, slots=True)
class Slice:
    """One part of a pie: its name, its number of images, its colour."""

    name: str
    count: int
    colour: str


def label_colours(labels: Sequence[str]) -> dict[str, str]:
    """A fixed colour for each label; beyond seven, paler and then darker shades of the same hues."""

    def shade(position: int) -> str:
        base = to_rgb(OKABE_ITO[position % len(OKABE_ITO)])
        towards, share = ((0.0, 0.0), (1.0, 0.5), (0.0, 0.4))[position // len(OKABE_ITO) % 3]
        red, green, blue = (channel + (towards - channel) * share for channel in base)
        return to_hex((red, green, blue))

    return {label: shade(position) for position, label in enumerate(labels)}


def shown(text: str, longest: int = 30) -> str:
    """A name as a figure can hold it (`printable`), the middle left out when too long."""
    text = printable(f" {text}" if text.startswith("_") else text)  # a legend leaves out names that begin with one
    half = (longest - 1) // 2
    return text if len(text) <= longest else f"{text[:half]}…{text[-half:]}"


def share_text(count: int, total: int) -> str:
    """A count with its share: ``1,341 · 25.7 %``."""
    return f"{count:,} · {count / total:.1%}".replace("%", " %") if total else f"{count:,}"


def svg(figure: Figure, name: str, description: str) -> Markup:
    """Render a figure as an inline SVG element.

    Args:
        figure: What was drawn.
        name: Unique on the page; every id inside is prefixed with it.
        description: What a reader who cannot see the figure should know.

    Returns:
        One ``<svg>`` element without fixed size, its text selectable, its names escaped.
    """
    buffer = io.StringIO()
    with warnings.catch_warnings():
        # The reader's browser draws the text with its own fonts, which have more letters than ours.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    drawn = ElementTree.fromstring(buffer.getvalue())
    for parent in list(drawn.iter()):
        for child in [child for child in parent if child.tag in (f"{SVG}style", f"{SVG}metadata")]:
            parent.remove(child)
    for element in drawn.iter():
        element.tag = element.tag.removeprefix(SVG)
        for key, value in list(element.attrib.items()):
            del element.attrib[key]
            if key == "id":
                value = f"{name}-{value}"
            elif key == "d":
                value = " ".join(value.split())
            elif key.endswith("href"):
                key, value = "href", value.replace("#", f"#{name}-")
            elif key == "style":
                value = re.sub(r"font-family:[^;]*;?\s*", "", value)
            element.set(key, value.replace("url(#", f"url(#{name}-"))
    width = float(drawn.attrib.pop("width").removesuffix("pt")) * 4 / 3
    del drawn.attrib["height"]
    drawn.set("role", "img")
    drawn.set("aria-label", printable(description))
    drawn.set("style", f"max-width: {width:.0f}px")
    return Markup(ElementTree.tostring(drawn, encoding="unicode"))  # escaped by ElementTree


def nudge(place: int, number: int) -> float:
    """How far the dot of one of several labels lies from the middle of their row."""
    return NUDGE * (place / (number - 1) - 0.5) if number > 1 else 0.0


def interval_dot(
    panel: Axes, at: float, value: float | None, low: float | None, high: float | None, colour: str, filled: bool
) -> None:
    """A measure with its interval in a row of dots.

    Args:
        panel: To draw on.
        at: Height of the dot.
        value: Measure.
        low: Lower limit; None without an interval.
        high: Upper limit.
        colour: Of dot and interval.
        filled: Whether the dot is; hollow where it could be chance.
    """
    if low is not None and high is not None:
        panel.plot((low, high), (at, at), color=colour, linewidth=2.4, alpha=0.55, solid_capstyle="round")
    panel.plot(
        [math.nan if value is None else value],
        [at],
        "o",
        color=colour if filled else "white",
        markersize=6.5,
        markeredgecolor="white" if filled else colour,
        markeredgewidth=1 if filled else 1.4,
    )


def class_bars(
    counts: Mapping[str, Mapping[str, int]],
    colours: Mapping[str, str],
    name: str,
    images: Mapping[str, int] | None = None,
) -> Markup:
    """Fig. 1.1: how many images of each label, one group of bars a split.

    Args:
        counts: Number of images by split, then label.
        colours: Colour by label; its order is the order of the bars.
        name: Unique on the page.
        images: Number of images by split; by default the sum over its labels, of which an image has one.
    """
    labels, splits = list(colours), list(counts)
    stacked = len(labels) <= FEW
    rows, columns = (len(splits), 1) if stacked else (1, len(splits))
    height = rows * (0.22 * len(labels) + 0.48) + 0.1
    longest = max((value for by_label in counts.values() for value in by_label.values()), default=0)
    with rc_context(STYLE):
        figure = Figure(figsize=(5.2 if stacked else 10.6, height))
        figure.set_layout_engine("constrained", hspace=0.09)
        panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for panel, split in zip(panels, splits, strict=True):
            values = [counts[split].get(label, 0) for label in labels]
            total = images[split] if images else sum(values)
            panel.barh(range(len(labels)), values, color=[colours[label] for label in labels], height=0.74)
            for position, value in enumerate(values):
                text = share_text(value, total)
                panel.annotate(
                    text,
                    (value, position),
                    (4, 0),
                    textcoords="offset points",
                    va="center",
                    color=INK,
                    size=8.5,
                )
            panel.set_title(f"{shown(split)} · {total:,}", weight="bold", size=9, pad=4)
            panel.set_yticks(range(len(labels)), [shown(label) for label in labels], color=INK)
            panel.set_ylim(len(labels) - 0.5, -0.5)
            panel.set_xlim(0, max(1, longest) * (1.32 if stacked else 1.9))
            panel.xaxis.set_visible(False)
            panel.spines["bottom"].set_visible(False)
        told = "; ".join(
            f"{split}: " + ", ".join(f"{label} {counts[split].get(label, 0)}" for label in labels) for split in splits
        )
        return svg(figure, name, f"Bar chart of the number of images by split and label. {told}.")


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Move descending heights as little as possible (least squares) until neighbours are `gap` apart.

    Pool-adjacent-violators on the heights with the required gaps taken out (Barlow et al., 1972).
    """
    blocks: list[tuple[float, int]] = []
    for position, height in enumerate(heights):
        mean, size = height + position * gap, 1
        while blocks and blocks[-1][0] < mean:
            other, others = blocks.pop()
            mean, size = (mean * size + other * others) / (size + others), size + others
        blocks.append((mean, size))
    flat = [mean for mean, size in blocks for _ in range(size)]
    return [mean - position * gap for position, mean in enumerate(flat)]


def pie(slices: Sequence[Slice], name: str, description: str) -> Markup:
    """Figs. 1.2 and 1.3: a pie whose parts are named directly, with count and percentage.

    Args:
        slices: The parts, clockwise from the top; empty parts are left out.
        name: Unique on the page.
        description: Prefixed to the numbers for readers who cannot see the figure.
    """
    slices = [part for part in slices if part.count > 0]
    total = sum(part.count for part in slices)
    two_lines = len(slices) <= FEW
    gap = 0.46 if two_lines else 0.25
    ends: dict[int, list[tuple[float, float, Slice]]] = {1: [], -1: []}
    wedges, turned = [], 0.0
    for part in slices:
        start, turned = turned, turned + part.count / total
        wedges.append((90 - 360 * turned, 90 - 360 * start, part.colour))
        middle = math.radians(90 - 180 * (start + turned))
        ends[1 if (start + turned) <= 1 else -1].append((math.cos(middle), math.sin(middle), part))
    reach = 1.12
    placed = []
    for side, parts in ends.items():
        parts.sort(key=lambda end: -end[1])
        heights = spread([1.2 * y for _, y, _ in parts], gap)
        placed += [(side, x, y, at, part) for (x, y, part), at in zip(parts, heights, strict=True)]
        reach = max([reach, *(abs(at) + gap / 2 for at in heights)])
    with rc_context(STYLE):
        figure = Figure(figsize=(5.0, 5.0 * reach / 3.05))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set(xlim=(-3.05, 3.05), ylim=(-reach, reach), aspect="equal")
        for start, end, colour in wedges:
            whole = len(wedges) == 1
            axes.add_patch(Wedge((0, 0), 1, start, end, facecolor=colour, edgecolor="none" if whole else "white"))
        for side, x, y, at, part in placed:
            axes.plot((x, 1.08 * x, 1.28 * side), (y, 1.08 * y, at), color="#aab4bf", linewidth=0.8)
            text = f"{shown(part.name, 22)}{chr(10) if two_lines else '  '}{share_text(part.count, total)}"
            align = "left" if side > 0 else "right"
            axes.text(1.34 * side, at, text, ha=align, va="center", size=9 if two_lines else 8, linespacing=1.3)
        told = ", ".join(f"{part.name} {share_text(part.count, total)}" for part in slices)
        return svg(figure, name, f"{description}: {told}.")


def training_curves(history: Sequence[Mapping[str, float]], best_step: float | None, name: str) -> Markup:
    """Fig. 4: `history_figure` on a page.

    Args:
        history: One mapping a validation.
        best_step: Where the kept checkpoint was written, if known.
        name: Unique on the page.
    """
    described = f"Training and validation loss and validation accuracy at {len(history)} validations."
    if any(best_step is not None and row.get("step") == best_step for row in history):
        described += f" Kept checkpoint at step {best_step:.0f}."
    with rc_context(STYLE):
        return svg(history_figure(history, best_step), name, described)


def history_figure(history: Sequence[Mapping[str, float]], best_step: float | None) -> Figure:
    """Loss, validation accuracy and learning rate against the optimiser's steps.

    Args:
        history: One mapping a validation with ``step``, ``train_loss``, ``val_loss``,
            ``val_accuracy`` (0 to 1) and ``lr``; values may be missing or not a number.
        best_step: Where the kept checkpoint was written, if known.
    """

    def column(key: str) -> list[float]:
        return [float(row.get(key, math.nan)) for row in history]

    steps = column("step")
    dots = {"marker": "o", "markersize": 3.2} if len(steps) <= 40 else {}
    best = [row for row in history if best_step is not None and row.get("step") == best_step][:1]
    with rc_context(STYLE):
        figure = Figure(figsize=(10.6, 5.8), layout="constrained")
        loss, accuracy, rate = figure.subplots(3, 1, sharex=True, height_ratios=(3, 2.6, 0.8))
        loss.plot(steps, column("train_loss"), color=TRAIN_COLOUR, label="training", **dots)
        loss.plot(steps, column("val_loss"), color=VAL_COLOUR, label="validation", **dots)
        accuracy.plot(steps, column("val_accuracy"), color=VAL_COLOUR, **dots)
        rate.fill_between(steps, column("lr"), step="pre", color="#e9edf1", linewidth=0)
        rate.step(steps, column("lr"), where="pre", color=MUTED, linewidth=1.2)
        for panel in (loss, accuracy, rate):
            panel.grid(axis="y")
            for row in best:
                panel.axvline(row["step"], color=BEST_COLOUR, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        ring = partial(Axes.scatter, color="white", edgecolor=BEST_COLOUR, linewidth=1.8, s=46, zorder=5)
        for row in best:
            ring(loss, [row["step"]], [row["val_loss"]], label="kept checkpoint")
            ring(accuracy, [row["step"]], [row["val_accuracy"]])
        loss_scale(loss, column("train_loss") + column("val_loss"))
        loss.set_title("Loss (negative log-likelihood)", weight="bold", size=9)
        loss.legend(loc="lower right", bbox_to_anchor=(1.01, 0.98), ncols=3, handlelength=1.5, borderaxespad=0.2)
        accuracy.set_title("Validation accuracy", weight="bold", size=9)
        accuracy.yaxis.set_major_formatter(PERCENT)
        accuracy.yaxis.set_major_locator(MaxNLocator(5, steps=ROUND))
        rate.set_title("Learning rate", weight="bold", size=9)
        rate.set_ylim(bottom=0)
        rate.set_xlim(left=0)
        rate.yaxis.set_major_locator(MaxNLocator(2))
        rate.yaxis.set_major_formatter(PLAIN)
        rate.set_xlabel("iterations (optimiser steps)")
        rate.xaxis.set_major_formatter(THOUSANDS)
        rate.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        return figure


def loss_scale(panel: Axes, values: Sequence[float]) -> None:
    """Logarithmic where one spike would flatten the rest of the curve."""
    finite = [value for value in values if math.isfinite(value)]
    if finite and min(finite) > 0 and max(finite) > 30 * min(finite):
        panel.set_yscale("log")
        panel.yaxis.set_minor_locator(NullLocator())
        panel.yaxis.set_major_formatter(PLAIN)
    else:
        panel.yaxis.set_major_locator(MaxNLocator(6, steps=ROUND))


def measure_dots(measures: Mapping[str, Intervals], colours: Mapping[str, str], name: str) -> Markup:
    """Recall, precision and AUROC of each label as dots with their intervals.

    Args:
        measures: By title of the panel, then label: ``value``, ``low``, ``high``, each 0 to 1 or None.
        colours: Colour by label; its order is the order of the rows.
        name: Unique on the page.
    """
    labels = list(colours)
    with rc_context(STYLE):
        figure = Figure(figsize=(10.6, 0.3 * len(labels) + 0.75))
        figure.set_layout_engine("constrained", wspace=0.06)
        panels = figure.subplots(1, len(measures), sharey=True, squeeze=False)[0]
        for panel, (title, by_label) in zip(panels, measures.items(), strict=True):
            lowest = 1.0
            for position, label in enumerate(labels):
                entry = by_label.get(label, Interval())
                value, low, high = entry.value, entry.low, entry.high
                if value is None:
                    row = panel.get_yaxis_transform()
                    panel.text(0.5, position, "undefined", color=MUTED, ha="center", va="center", transform=row)
                    continue
                colour, here = colours[label], (position, position)
                if low is not None and high is not None:
                    panel.plot((low, high), here, color=colour, linewidth=2.4, alpha=0.55, solid_capstyle="round")
                panel.plot([value], [position], "o", color=colour, markersize=7, markeredgecolor="white")
                lowest = min(lowest, value if low is None else low)
            lower = max(0.0, math.floor(10 * lowest - 1e-9) / 10)
            panel.set_xlim(lower - 0.03 * (1 - lower), 1 + 0.03 * (1 - lower))
            panel.xaxis.set_major_locator(MaxNLocator(4, steps=ROUND))
            if title != "AUROC":
                panel.xaxis.set_major_formatter(PERCENT)
            panel.set_title(title, weight="bold", size=9)
            panel.set_yticks(range(len(labels)), [shown(label) for label in labels], color=INK)
            panel.set_ylim(len(labels) - 0.5, -0.5)
            panel.grid(axis="x")
            panel.spines["left"].set_visible(False)
        told = f"{', '.join(measures)} of each label, with intervals; the numbers stand in the table."
        return svg(figure, name, told)
