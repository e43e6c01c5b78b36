"""The figure of a cross-validation: each fold beside all folds together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hilum.reporting.figures import INK, MUTED, PERCENT, ROUND, STYLE, shown, svg

BAND = "#dbe7f1"
DOT = "#0072b2"


@dataclass(frozen=True, slots=True)
class FoldRow:
    """One measure: its title, each fold's value, and the interval of all folds together."""

    title: str
    folds: tuple[float | None, ...]
    pooled: Mapping[str, float | None]
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
            low, high = row.pooled.get("low"), row.pooled.get("high")
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
