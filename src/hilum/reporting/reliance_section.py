"""The report's section on reliance on shortcuts: a figure and a table for each label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure

from hilum.evaluation.reliance_sentence import LEVEL
from hilum.reporting.figures import MUTED, PERCENT, STYLE, shown, svg
from hilum.text import measured, p_text

TITLES = {"swap": "Exchanged between images", "blackout": "Left of the margin"}
NUDGE = 0.62  # share of a row over which its labels are spread


def reliance_section(found: Mapping[str, Any] | None, colours: Mapping[str, str], name: str) -> dict[str, Any]:
    """What the template shows; empty where nothing was measured or evaluated.

    Args:
        found: What `hilum.evaluation.reliance.measure_reliance` found; None in older evaluations.
        colours: Colour by label.
        name: Unique on the page.
    """
    if not found:
        return {}
    labels = [
        {
            "label": label,
            "patients": part["n_patients"],
            "margin": _signed(part["margin"]),
            "rows": [
                {
                    "name": entry["name"],
                    "log_odds": _signed(entry["log_odds"]),
                    "share": _share(entry["share"]),
                    "p_value": _p(entry),
                }
                for entry in part["found"]
            ],
        }
        for label, part in found["labels"].items()
    ]
    return {
        "note": found["note"],
        "figure": reliance_dots(found["labels"], colours, name),
        "labels": labels,
        "constant": found["constant"],
        "not_judged": found["not_judged"],
    }


def reliance_dots(labels: Mapping[str, Any], colours: Mapping[str, str], name: str) -> Markup | None:
    """Share of the margin by property and label, with intervals; None where no share is defined.

    Args:
        labels: What was found, by label.
        colours: Colour by label.
        name: Unique on the page.
    """
    entries = [
        (label, entry)
        for label, part in labels.items()
        for entry in part["found"]
        if entry["share"]["high"] is not None
    ]
    kinds = [kind for kind in TITLES if any(entry["kind"] == kind for _, entry in entries)]
    if not kinds:
        return None
    rows = {kind: list(dict.fromkeys(e["name"] for _, e in entries if e["kind"] == kind)) for kind in kinds}
    with rc_context(STYLE):
        count = sum(map(len, rows.values()))
        figure = Figure(figsize=(10.6, (0.11 * len(labels) + 0.2) * count + 0.75 * len(kinds) + 0.45))
        figure.set_layout_engine("constrained", hspace=0.06)
        heights = [len(rows[kind]) for kind in kinds]
        panels = figure.subplots(len(kinds), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
        for panel, kind in zip(panels, kinds, strict=True):
            for label, entry in entries:
                if entry["kind"] == kind:
                    _draw(panel, entry, rows[kind].index(entry["name"]) + _nudge(list(labels), label), colours[label])
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


def _draw(panel: Any, entry: Mapping[str, Any], at: float, colour: str) -> None:
    share = entry["share"]
    sure = entry.get("p_corrected", entry["p_value"]) < LEVEL
    panel.plot((share["low"], share["high"]), (at, at), color=colour, linewidth=2.4, alpha=0.55, solid_capstyle="round")
    panel.plot(
        [share["value"]],
        [at],
        "o",
        color=colour if sure else "white",
        markersize=6.5,
        markeredgecolor="white" if sure else colour,
        markeredgewidth=1 if sure else 1.4,
    )


def _nudge(labels: Sequence[str], label: str) -> float:
    return NUDGE * (labels.index(label) / (len(labels) - 1) - 0.5) if len(labels) > 1 else 0.0


def _signed(entry: Mapping[str, Any]) -> tuple[str, str]:
    return measured(entry if entry["low"] is not None else {}, as_percent=False, sign=True, digits=2)


def _share(entry: Mapping[str, Any]) -> tuple[str, str]:
    return measured(entry) if entry["high"] is not None else measured({})


def _p(entry: Mapping[str, Any]) -> str:
    corrected = entry.get("p_corrected")
    return p_text(entry["p_value"]) + ("" if corrected is None else f"; corrected {p_text(corrected)}")
