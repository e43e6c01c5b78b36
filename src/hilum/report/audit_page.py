"""The page of an audit, ``audit.html``: findings, counts, duplicates, and what predicts a label without the lungs."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator
from PIL import Image

from hilum.audit.audit import Audit
from hilum.audit.checks.duplicates import WORDS, Pair
from hilum.audit.findings import MISLEADS, ORDER
from hilum.audit.probe_features import BYTES, COLUMN
from hilum.audit.scan import Container
from hilum.report import figures
from hilum.report.audit_console import grouped, of_patients, summary
from hilum.report.figures import MUTED, PLAIN, STYLE, shown, svg
from hilum.report.gallery import picture_uri
from hilum.templating import write_page

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


MOST = 6  # pictures or lines beside a finding
MEAN_SIDE = 160


@dataclass(frozen=True)
class Picture:
    """An image on the page and what is written below it; `uri` is None where the file is gone."""

    uri: str | None
    caption: str


@dataclass(frozen=True)
class Evidence:
    """What proves a finding; all may be empty."""

    pictures: tuple[Picture, ...] = ()
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


def evidence_of(audit: Audit, findings: Sequence[Mapping[str, Any]]) -> Evidence:
    """What proves some findings that are shown together.

    Args:
        audit: What was found.
        findings: As in ``audit.json``, of one check.
    """
    first = findings[0]
    check, evidence = first["check"], first["evidence"]
    if check == "duplicates":
        return Evidence(pictures=_copies(audit, evidence))
    if check == "patients":
        return Evidence(pictures=_named(audit, _patients(audit, evidence)))
    if check == "labels" and audit.labels:
        return Evidence(pictures=_suspects(audit))
    if check == "provenance" and "dataset" in evidence:
        return Evidence(pictures=_recognised(audit, evidence))
    if check == "shortcuts":
        return _shortcut(audit, findings)
    if check == "sources" and "images" in evidence:
        rows = [(name, *(f"{n:,}" for n in counts)) for name, counts in evidence["images"].items()]
        return Evidence(head=("source", *evidence["labels"]), rows=tuple(rows))
    if check == "sources" and "matched" in evidence:
        labels = audit.report.labels
        told = [(name, *(f"{by.get(label, 0):,}" for label in labels)) for name, by in evidence["matched"].items()]
        return Evidence(head=("recognised as of", *labels), rows=tuple(told))
    if check == "unreadable":
        return Evidence(head=("file",), rows=tuple((path,) for path in evidence["paths"][:MOST]))
    return Evidence()


def _copies(audit: Audit, evidence: Mapping[str, Any]) -> tuple[Picture, ...]:
    """Of the largest groups, the file to keep and a copy of it."""
    table = audit.scan.table
    position = {row.path: i for i, row in enumerate(table.rows)}
    kind = {pair.second: WORDS[pair.kind][0] for pair in audit.duplicates.pairs}
    made = []
    for kept, copy in (group[:2] for group in evidence.get("examples", [])[: MOST // 2]):
        captions = kept, f"{copy}: {kind[position[copy]]}"
        made += [
            Picture(picture_uri(table.root / path), caption)
            for path, caption in zip((kept, copy), captions, strict=True)
        ]
    return tuple(made)


def _patients(audit: Audit, evidence: Mapping[str, Any]) -> list[str]:
    examples = evidence.get("examples", [])
    chosen = []
    whose = list(zip(audit.scan.table.rows, audit.patients.patient, strict=True))
    for patient in examples[: MOST // 2]:
        first, *others = [row for row, name in whose if name == patient]
        other = next((row for row in others if (row.split, row.label) != (first.split, first.label)), first)
        chosen += [first.path, other.path]
    return chosen


def _named(audit: Audit, paths: Sequence[str]) -> tuple[Picture, ...]:
    table = audit.scan.table
    return tuple(Picture(picture_uri(table.root / path), path) for path in paths)


def _suspects(audit: Audit) -> tuple[Picture, ...]:
    table = audit.scan.table
    made = []
    for suspect in audit.labels.label_issues[: 4 * MOST] if audit.labels else ():
        row = table.rows[suspect.position]
        told = f"filed as {suspect.label} ({suspect.own:.0%}), looks like {suspect.likely} ({suspect.other:.0%})"
        made.append(Picture(picture_uri(table.file(row)), f"{row.path}: {told}"))
    return tuple(made)


def _recognised(audit: Audit, evidence: Mapping[str, Any]) -> tuple[Picture, ...]:
    (match,) = [match for match in audit.matches if match.known.name == evidence["dataset"]]
    wanted = evidence["labels"] if "label" in evidence else audit.report.labels
    chosen = [i for i in match.positions if audit.scan.table.rows[i].label in wanted]
    return _named(audit, _some(audit, chosen, MOST))


def _some(audit: Audit, positions: Any, most: int) -> list[str]:
    """Paths of up to `most` of these images, evenly spaced."""
    spread = np.unique(np.linspace(0, len(positions) - 1, min(most, len(positions))).round().astype(int))
    return [audit.scan.table.rows[positions[k]].path for k in spread]


def _shortcut(audit: Audit, findings: Sequence[Mapping[str, Any]]) -> Evidence:
    """Of pixels, the mean image of the label and of the rest; of files, what each label's are like."""
    worst = max((finding["evidence"]["labels"][0] for finding in findings), key=lambda entry: entry["auroc"])
    if worst["kind"] == "pixels":
        label = worst["label"]
        own = np.array([row.label == label for row in audit.scan.table.rows])
        means = _mean(audit, own, f"mean of '{label}'"), _mean(audit, ~own, "mean of the rest")
        examples = [path for side in (own, ~own) for path in _some(audit, np.flatnonzero(side), 2)]
        return Evidence(pictures=(*means, *_named(audit, examples)))
    probes = [finding["evidence"]["probe"] for finding in findings]
    asked = {name: values for probe in probes for name, values in _values(audit, probe).items()}
    labels = audit.report.labels
    rows = audit.scan.table.rows
    told = [
        (name, *(_told([v for v, row in zip(values, rows, strict=True) if row.label == label]) for label in labels))
        for name, values in asked.items()
        if len(set(values)) > 1
    ]
    return Evidence(head=("", *labels), rows=tuple(told))


def _values(audit: Audit, probe: str) -> dict[str, Sequence[str | float]]:
    """By name, what a probe of files sees of each image."""
    files: Sequence[Container] = audit.scan.containers
    rows = audit.scan.table.rows
    if probe == "container":
        names = ("format", "mode", "quantisation", "dpi", "exif", "progressive")
        return {name: [str(getattr(file, name)) for file in files] for name in names}
    if probe == "dimensions":
        return {"width": [float(file.width) for file in files], "height": [float(file.height) for file in files]}
    if probe == BYTES:
        return {"kB on disk": [file.size / 1000 for file in files]}
    wanted = [probe.removeprefix(COLUMN)] if probe.startswith(COLUMN) else []
    if probe == "original container":
        wanted = ["original_format", "original_mode"]
    if probe == "original dimensions":
        wanted = ["original_width", "original_height"]
    return {name: [row.extra.get(name, "") for row in rows] for name in wanted}


def _told(values: Sequence[str | float]) -> str:
    """The commonest values with their shares, or the middle one of numbers."""
    try:
        numbers = np.array([float(value) for value in values])
    except ValueError:
        shares = Counter(values).most_common(3)
        return ", ".join(f"{value or 'none'} {count / len(values):.0%}" for value, count in shares)
    low, middle, high = np.quantile(numbers, [0.05, 0.5, 0.95])
    return f"{middle:,.4g}" if low == high else f"{middle:,.4g} ({low:,.4g} to {high:,.4g})"


def _mean(audit: Audit, chosen: Any, caption: str) -> Picture:
    mean = audit.scan.thumbnails[chosen].mean(axis=0).round().astype(np.uint8)
    image = Image.fromarray(mean).resize((MEAN_SIDE, MEAN_SIDE), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return Picture("data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii"), caption)


MOST_PAIRS = 12
KINDS = {
    "identical": "identical files",
    "pixels": "the same pixels",
    "near": "near copies",
    "mirrored": "mirrored",
    "inverted": "black and white exchanged",
    "turned_90": "turned by 90°",
    "turned_180": "turned by 180°",
    "upside_down": "flipped upside down",
    "transposed": "mirrored and turned by 90°",
    "rotated": "rotated by a few degrees",
}


@dataclass(frozen=True)
class PictureOf:
    """One image of a pair."""

    path: str
    label: str
    split: str
    uri: str | None


def write_audit_page(folder: Path, audit: Audit) -> Path:
    """Write the page of an audit.

    Args:
        folder: Exists; where ``audit.json`` lies.
        audit: What was found.

    Returns:
        The file that was written, ``audit.html``. The same audit gives the same bytes.
    """
    return write_page(folder / "audit.html", "audit.html.j2", page_content(audit))


def page_content(audit: Audit) -> dict[str, Any]:
    """Everything the template shows, by name."""
    facts = audit.report.to_json()
    colours = figures.label_colours(facts["labels"])
    counts = facts["counts"]
    by_label = [
        figures.Slice(label, sum(part[label] for part in counts.values()), colours[label]) for label in facts["labels"]
    ]
    by_split = [
        figures.Slice(name, sum(part.values()), figures.SPLIT_COLOURS.get(name, "#8a7a00"))
        for name, part in counts.items()
    ]
    return {
        "name": Path(facts["data"]).name,
        "facts": facts,
        "groups": [(together, evidence_of(audit, together)) for together in grouped(facts["findings"])],
        "overview": _overview(facts["findings"]),
        "people": of_patients(facts),
        "summary": summary(facts["findings"]),
        "colours": colours,
        "bars": figures.class_bars(counts, colours, "fig-1-1"),
        "labels_pie": figures.pie(by_label, "fig-1-2", "Pie chart of the images by label"),
        "splits_pie": figures.pie(by_split, "fig-1-3", "Pie chart of the images by split") if len(counts) > 1 else None,
        "dots": shortcut_dots(facts["shortcuts"], colours, "fig-2") if facts["shortcuts"] else None,
        "pairs": _pairs(audit),
        "n_pairs": len(audit.duplicates.pairs),
        "kinds": KINDS,
        "many": len(facts["labels"]) > figures.FEW,
    }


def _overview(findings: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """How many findings of each severity every check has, and the element of its first one."""
    rows = []
    places = [(f"finding-{number}", together) for number, together in enumerate(grouped(findings), start=1)]
    for check in dict.fromkeys((*MISLEADS, *(finding["check"] for finding in findings))):
        mine = [(place, finding) for place, together in places for finding in together if finding["check"] == check]
        if mine:
            counts = {severity: sum(finding["severity"] == severity for _, finding in mine) for severity in ORDER}
            rows.append({"check": check, "first": mine[0][0], "counts": counts})
    return rows


def _pairs(audit: Audit) -> list[dict[str, Any]]:
    """The worst pairs, the file to keep before its copy: across splits and labels first."""
    rows = audit.scan.table.rows

    def apart(pair: Pair) -> tuple[bool, bool]:
        one, other = rows[pair.first], rows[pair.second]
        return bool(one.split and other.split) and one.split != other.split, one.label != other.label

    def picture(position: int) -> PictureOf:
        row = audit.scan.table.rows[position]
        return PictureOf(row.path, row.label, row.split, picture_uri(audit.scan.table.file(row)))

    def badness(pair: Pair) -> tuple[bool, bool, float]:
        splits, labels = apart(pair)
        return not splits, not labels, -pair.correlation

    of_group: Counter[int] = Counter()  # one of each group before the second of any
    place: dict[Pair, int] = {}
    for pair in sorted(audit.duplicates.pairs, key=badness):
        place[pair] = of_group[pair.first]
        of_group[pair.first] += 1
    worst = sorted(place, key=lambda pair: (*badness(pair)[:2], place[pair], -pair.correlation))
    return [
        {
            "kind": KINDS[pair.kind],
            "correlation": pair.correlation,
            "images": [picture(pair.first), picture(pair.second)],
            "splits": apart(pair)[0],
            "labels": apart(pair)[1],
        }
        for pair in worst[:MOST_PAIRS]
    ]
