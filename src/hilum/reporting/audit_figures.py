"""The figure of an audit: what tells each label from the rest without the lungs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from hilum.reporting.figures import MUTED, PLAIN, STYLE, shown, svg

TITLES = {"container": "The file, before any pixel is decoded", "pixels": "The pixels, but not the lungs"}
NUDGE = 0.62  # share of a row over which its labels are spread
CHANCE, STRONG = 0.5, 0.95


def shortcut_dots(shortcuts: Sequence[Mapping[str, Any]], colours: Mapping[str, str], name: str) -> Markup:
    """The AUROC of each probe for each label, with its interval; hollow where it could be chance.

    Args:
        shortcuts: As in ``audit.json``: ``probe``, ``kind``, ``label``, ``auroc``, ``low``, ``high``, ``p_value``.
        colours: Colour by label.
        name: Unique on the page.
    """
    kinds = [kind for kind in TITLES if any(entry["kind"] == kind for entry in shortcuts)]
    rows = {kind: list(dict.fromkeys(e["probe"] for e in shortcuts if e["kind"] == kind)) for kind in kinds}
    labels = list(dict.fromkeys(entry["label"] for entry in shortcuts))
    with rc_context(STYLE):
        heights = [max(1, len(rows[kind])) for kind in kinds]
        figure = Figure(figsize=(10.6, (0.11 * len(labels) + 0.2) * sum(heights) + 0.75 * len(kinds) + 0.45))
        figure.set_layout_engine("constrained", hspace=0.06)
        panels = figure.subplots(len(kinds), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
        for panel, kind in zip(panels, kinds, strict=True):
            for entry in (e for e in shortcuts if e["kind"] == kind):
                place = labels.index(entry["label"])
                at = float(rows[kind].index(entry["probe"]))
                at += NUDGE * (place / (len(labels) - 1) - 0.5) if len(labels) > 1 else 0
                colour = colours[entry["label"]]
                if entry["low"] is not None:
                    bounds = (entry["low"], entry["high"])
                    panel.plot(bounds, (at, at), color=colour, linewidth=2.4, alpha=0.55, solid_capstyle="round")
                sure = entry["p_value"] < 0.05
                panel.plot(
                    [entry["auroc"]],
                    [at],
                    "o",
                    color=colour if sure else "white",
                    markersize=6.5,
                    markeredgecolor="white" if sure else colour,
                    markeredgewidth=1 if sure else 1.4,
                )
            panel.axvline(CHANCE, color=MUTED, linewidth=1, zorder=1)
            panel.axvline(STRONG, color=MUTED, linewidth=0.8, linestyle=(0, (3, 3)), zorder=1)
            panel.set_title(TITLES[kind], weight="bold", size=9)
            panel.set_yticks(range(len(rows[kind])), [shown(probe, 36) for probe in rows[kind]])
            panel.set_ylim(len(rows[kind]) - 0.5, -0.5)
            panel.set_xlim(min(0.35, *(e["auroc"] for e in shortcuts)) - 0.02, 1.02)
            panel.grid(axis="x")
            panel.spines["left"].set_visible(False)
            panel.xaxis.set_major_locator(FixedLocator([0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]))
            panel.xaxis.set_major_formatter(PLAIN)
        for label in labels:
            panels[0].plot([], [], "o", color=colours[label], markersize=6.5, label=shown(label))
        handles, texts = panels[0].get_legend_handles_labels()
        figure.legend(handles, texts, loc="outside upper left", ncols=min(6, len(labels)), handletextpad=0.3)
        panels[-1].set_xlabel("AUROC of telling the label from the rest: 0.5 is chance, 1 is perfect")
        return svg(figure, name, "AUROC of each shortcut probe for each label, with intervals; numbers in the table.")
