"""The page of an audit, ``audit.html``: findings, counts, duplicates, and what predicts a label without the lungs."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator
from numpy.typing import NDArray
from PIL import Image

from hilum.auditing.audit import Audit
from hilum.auditing.checks.composition import PatientExamples, UnreadablePaths
from hilum.auditing.checks.duplicate_findings import WORDS, CopiesFound
from hilum.auditing.checks.duplicates import Pair
from hilum.auditing.checks.public_sets import ImpossibleLabel, SetRecognised
from hilum.auditing.checks.shortcuts import ProbedLabels
from hilum.auditing.checks.sources import SourcesApart, SourceTable
from hilum.auditing.findings import MISLEADS, ORDER, AuditReport, Finding, Severity, ShortcutProbe
from hilum.auditing.probe_features import BYTES, COLUMN
from hilum.auditing.scan import Container
from hilum.data.multilabel import has_label
from hilum.report import figures
from hilum.report.audit_console import grouped, of_patients, summary
from hilum.report.figures import MUTED, PLAIN, STYLE, interval_dot, nudge, shown, svg
from hilum.report.gallery import picture_uri
from hilum.templating import write_page

TITLES = {"container": "The file, before any pixel is decoded", "pixels": "The pixels, but not the lungs"}
CHANCE, STRONG = 0.5, 0.95


def shortcut_dots(shortcuts: Sequence[ShortcutProbe], colours: Mapping[str, str], name: str) -> Markup:
    """The AUROC of each probe for each label, with its interval; hollow where it could be chance.

    Args:
        shortcuts: One a probe and label.
        colours: Colour by label.
        name: Unique on the page.
    """
    kinds = [kind for kind in TITLES if any(entry.kind == kind for entry in shortcuts)]
    rows = {kind: list(dict.fromkeys(e.probe for e in shortcuts if e.kind == kind)) for kind in kinds}
    labels = list(dict.fromkeys(entry.label for entry in shortcuts))
    with rc_context(STYLE):
        heights = [max(1, len(rows[kind])) for kind in kinds]
        figure = Figure(figsize=(10.6, (0.11 * len(labels) + 0.2) * sum(heights) + 0.75 * len(kinds) + 0.45))
        figure.set_layout_engine("constrained", hspace=0.06)
        panels = figure.subplots(len(kinds), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
        for panel, kind in zip(panels, kinds, strict=True):
            for entry in (e for e in shortcuts if e.kind == kind):
                place = labels.index(entry.label)
                at = rows[kind].index(entry.probe) + nudge(place, len(labels))
                interval_dot(panel, at, entry.auroc, entry.low, entry.high, colours[entry.label], entry.p_value < 0.05)
            panel.axvline(CHANCE, color=MUTED, linewidth=1, zorder=1)
            panel.axvline(STRONG, color=MUTED, linewidth=0.8, linestyle=(0, (3, 3)), zorder=1)
            panel.set_title(TITLES[kind], weight="bold", size=9)
            panel.set_yticks(range(len(rows[kind])), [shown(probe, 36) for probe in rows[kind]])
            panel.set_ylim(len(rows[kind]) - 0.5, -0.5)
            panel.set_xlim(min(0.35, *(e.auroc for e in shortcuts)) - 0.02, 1.02)
            panel.grid(axis="x")
            panel.spines["left"].set_visible(False)
            panel.xaxis.set_major_locator(FixedLocator([0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]))
            panel.xaxis.set_major_formatter(PLAIN)
        for label in labels:
            panels[0].plot([], [], "o", color=colours[label], markersize=6.5, label=shown(label))
        handles, texts = panels[0].get_legend_handles_labels()
        figure.legend(handles, texts, loc="outside upper left", ncols=min(6, len(labels)), handletextpad=0.3)
        panels[-1].set_xlabel("AUROC of the label against the rest: 0.5 is chance, 1 is perfect")
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


def evidence_of(audit: Audit, findings: Sequence[Finding]) -> Evidence:
    """What proves some findings that are shown together.

    Args:
        audit: What was found.
        findings: Of one check.
    """
    if findings[0].check == "labels" and audit.labels:
        return Evidence(pictures=_suspects(audit))
    match findings[0].evidence:
        case CopiesFound() as found:
            return Evidence(pictures=_copies(audit, found))
        case PatientExamples() as found:
            return Evidence(pictures=_named(audit, _patients(audit, found)))
        case ImpossibleLabel() | SetRecognised() as found:
            return Evidence(pictures=_recognised(audit, found))
        case ProbedLabels():
            return _shortcut(audit, findings)
        case SourceTable() as found:
            rows = [(name, *(f"{n:,}" for n in counts)) for name, counts in found.images.items()]
            return Evidence(head=("source", *found.labels), rows=tuple(rows))
        case SourcesApart(matched=matched):
            labels = audit.report.labels
            told = [(name, *(f"{by.get(label, 0):,}" for label in labels)) for name, by in matched.items()]
            return Evidence(head=("recognised as of", *labels), rows=tuple(told))
        case UnreadablePaths(paths=paths):
            return Evidence(head=("file",), rows=tuple((path,) for path in paths[:MOST]))
    return Evidence()


def _copies(audit: Audit, found: CopiesFound) -> tuple[Picture, ...]:
    """Of the largest groups, the file to keep and a copy of it."""
    table = audit.scan.table
    position = {row.path: i for i, row in enumerate(table.rows)}
    kind = {pair.second: WORDS[pair.kind][0] for pair in audit.duplicates.pairs}
    made = []
    for kept, copy in (group[:2] for group in found.examples[: MOST // 2]):
        captions = kept, f"{copy}: {kind[position[copy]]}"
        made += [
            Picture(picture_uri(table.root / path), caption)
            for path, caption in zip((kept, copy), captions, strict=True)
        ]
    return tuple(made)


def _patients(audit: Audit, found: PatientExamples) -> list[str]:
    chosen = []
    whose = list(zip(audit.scan.table.rows, audit.patients.patient, strict=True))
    for patient in found.examples[: MOST // 2]:
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
        told = f"labelled {suspect.label} ({suspect.own:.0%}), looks like {suspect.likely} ({suspect.other:.0%})"
        made.append(Picture(picture_uri(table.file(row)), f"{row.path}: {told}"))
    return tuple(made)


def _recognised(audit: Audit, found: ImpossibleLabel | SetRecognised) -> tuple[Picture, ...]:
    (match,) = [match for match in audit.matches if match.known.name == found.dataset]
    rows = audit.scan.table.rows
    return _named(audit, _some(audit, [i for i in match.positions if rows[i].label in found.labels], MOST))


def _some(audit: Audit, positions: Sequence[int], most: int) -> list[str]:
    """Paths of up to `most` of these images, evenly spaced."""
    spread = np.unique(np.linspace(0, len(positions) - 1, min(most, len(positions))).round().astype(int))
    return [audit.scan.table.rows[positions[k]].path for k in spread]


def _shortcut(audit: Audit, findings: Sequence[Finding]) -> Evidence:
    """Of pixels, the mean image of the label and of the rest; of files, what each label's are like."""
    probed = [finding.evidence for finding in findings if isinstance(finding.evidence, ProbedLabels)]
    worst = max((evidence.labels[0] for evidence in probed), key=lambda entry: entry.auroc)
    if worst.kind == "pixels":
        own = has_label(audit.scan.table, worst.label)
        means = _mean(audit, own, f"mean of '{worst.label}'"), _mean(audit, ~own, "mean of the rest")
        examples = [path for side in (own, ~own) for path in _some(audit, np.flatnonzero(side).tolist(), 2)]
        return Evidence(pictures=(*means, *_named(audit, examples)))
    asked = {name: values for evidence in probed for name, values in _values(audit, evidence.probe).items()}
    labels = audit.report.labels
    having = {label: has_label(audit.scan.table, label) for label in labels}
    told = [
        (name, *(_told([v for v, has in zip(values, having[label], strict=True) if has]) for label in labels))
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


def _mean(audit: Audit, chosen: NDArray[np.bool_], caption: str) -> Picture:
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


@dataclass(frozen=True)
class ShownPair:
    """A file and its copy, and whether they are of different splits or labels."""

    kind: str
    correlation: float
    images: tuple[PictureOf, PictureOf]
    splits: bool
    labels: bool


def write_audit_page(file: Path, audit: Audit) -> Path:
    """Write the page of an audit.

    Args:
        file: Is written, or written over; usually ``audit.html`` beside ``audit.json``.
        audit: What was found.

    Returns:
        The file. The same audit gives the same bytes.
    """
    return write_page(file, "audit.html.j2", page_content(audit))


@dataclass(frozen=True)
class OverviewRow:
    """How many findings of each severity a check has, and the element of its first one."""

    check: str
    first: str
    counts: Mapping[Severity, int]


@dataclass(frozen=True)
class AuditPage:
    """Everything the template shows: `groups` are findings said together, and what proves them."""

    name: str
    facts: AuditReport
    groups: list[tuple[list[Finding], Evidence]]
    overview: list[OverviewRow]
    people: str
    summary: str
    colours: Mapping[str, str]
    bars: Markup
    labels_pie: Markup
    splits_pie: Markup | None
    dots: Markup | None
    pairs: list[ShownPair]
    n_pairs: int
    many: bool


def page_content(audit: Audit) -> AuditPage:
    """Everything the template shows."""
    report = audit.report
    colours = figures.label_colours(report.labels)
    counts = report.counts
    by_label = [
        figures.Slice(label, sum(part[label] for part in counts.values()), colours[label]) for label in report.labels
    ]
    by_split = [
        figures.Slice(name, sum(part.values()), figures.SPLIT_COLOURS.get(name, "#8a7a00"))
        for name, part in counts.items()
    ]
    return AuditPage(
        name=Path(report.data).name,
        facts=report,
        groups=[(together, evidence_of(audit, together)) for together in grouped(report.findings)],
        overview=_overview(report.findings),
        people=of_patients(report),
        summary=summary(report.findings),
        colours=colours,
        bars=figures.class_bars(counts, colours, "fig-1-1"),
        labels_pie=figures.pie(by_label, "fig-1-2", "Pie chart of the images by label"),
        splits_pie=figures.pie(by_split, "fig-1-3", "Pie chart of the images by split") if len(counts) > 1 else None,
        dots=shortcut_dots(report.shortcuts, colours, "fig-2") if report.shortcuts else None,
        pairs=_pairs(audit),
        n_pairs=len(audit.duplicates.pairs),
        many=len(report.labels) > figures.FEW,
    )


def _overview(findings: Sequence[Finding]) -> list[OverviewRow]:
    rows = []
    places = [(f"finding-{number}", together) for number, together in enumerate(grouped(findings), start=1)]
    for check in dict.fromkeys((*MISLEADS, *(finding.check for finding in findings))):
        mine = [(place, finding) for place, together in places for finding in together if finding.check == check]
        if mine:
            counts = {severity: sum(finding.severity == severity for _, finding in mine) for severity in ORDER}
            rows.append(OverviewRow(check, mine[0][0], counts))
    return rows


def _pairs(audit: Audit) -> list[ShownPair]:
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
        ShownPair(KINDS[pair.kind], pair.correlation, (picture(pair.first), picture(pair.second)), *apart(pair))
        for pair in worst[:MOST_PAIRS]
    ]
