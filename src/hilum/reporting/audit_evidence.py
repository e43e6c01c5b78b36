"""What stands beside a finding on the audit's page: the pictures and the small table that prove it."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from hilum.audit.audit import Audit
from hilum.audit.duplicates import WORDS
from hilum.audit.features import BYTES, COLUMN
from hilum.audit.survey import Container
from hilum.reporting.gallery import picture_uri

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
        labels = audit.facts["labels"]
        told = [(name, *(f"{by.get(label, 0):,}" for label in labels)) for name, by in evidence["matched"].items()]
        return Evidence(head=("recognised as of", *labels), rows=tuple(told))
    if check == "unreadable":
        return Evidence(head=("file",), rows=tuple((path,) for path in evidence["paths"][:MOST]))
    return Evidence()


def _copies(audit: Audit, evidence: Mapping[str, Any]) -> tuple[Picture, ...]:
    """Of the largest groups, the file to keep and a copy of it."""
    table = audit.survey.table
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
    whose = list(zip(audit.survey.table.rows, audit.patients.patient, strict=True))
    for patient in examples[: MOST // 2]:
        first, *others = [row for row, name in whose if name == patient]
        other = next((row for row in others if (row.split, row.label) != (first.split, first.label)), first)
        chosen += [first.path, other.path]
    return chosen


def _named(audit: Audit, paths: Sequence[str]) -> tuple[Picture, ...]:
    table = audit.survey.table
    return tuple(Picture(picture_uri(table.root / path), path) for path in paths)


def _suspects(audit: Audit) -> tuple[Picture, ...]:
    table = audit.survey.table
    made = []
    for suspect in audit.labels.suspects[: 4 * MOST] if audit.labels else ():
        row = table.rows[suspect.position]
        told = f"filed as {suspect.label} ({suspect.own:.0%}), looks like {suspect.likely} ({suspect.other:.0%})"
        made.append(Picture(picture_uri(table.file(row)), f"{row.path}: {told}"))
    return tuple(made)


def _recognised(audit: Audit, evidence: Mapping[str, Any]) -> tuple[Picture, ...]:
    (match,) = [match for match in audit.matches if match.known.name == evidence["dataset"]]
    wanted = evidence["labels"] if "label" in evidence else audit.facts["labels"]
    chosen = [i for i in match.positions if audit.survey.table.rows[i].label in wanted]
    return _named(audit, _some(audit, chosen, MOST))


def _some(audit: Audit, positions: Any, most: int) -> list[str]:
    """Paths of up to `most` of these images, evenly spaced."""
    spread = np.unique(np.linspace(0, len(positions) - 1, min(most, len(positions))).round().astype(int))
    return [audit.survey.table.rows[positions[k]].path for k in spread]


def _shortcut(audit: Audit, findings: Sequence[Mapping[str, Any]]) -> Evidence:
    """Of pixels, the mean image of the label and of the rest; of files, what each label's are like."""
    worst = max((finding["evidence"]["labels"][0] for finding in findings), key=lambda entry: entry["auroc"])
    if worst["kind"] == "pixels":
        label = worst["label"]
        own = np.array([row.label == label for row in audit.survey.table.rows])
        means = _mean(audit, own, f"mean of '{label}'"), _mean(audit, ~own, "mean of the rest")
        examples = [path for side in (own, ~own) for path in _some(audit, np.flatnonzero(side), 2)]
        return Evidence(pictures=(*means, *_named(audit, examples)))
    probes = [finding["evidence"]["probe"] for finding in findings]
    asked = {name: values for probe in probes for name, values in _values(audit, probe).items()}
    labels = audit.facts["labels"]
    rows = audit.survey.table.rows
    told = [
        (name, *(_told([v for v, row in zip(values, rows, strict=True) if row.label == label]) for label in labels))
        for name, values in asked.items()
        if len(set(values)) > 1
    ]
    return Evidence(head=("", *labels), rows=tuple(told))


def _values(audit: Audit, probe: str) -> dict[str, Sequence[str | float]]:
    """By name, what a probe of files sees of each image."""
    files: Sequence[Container] = audit.survey.containers
    rows = audit.survey.table.rows
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
    mean = audit.survey.thumbnails[chosen].mean(axis=0).round().astype(np.uint8)
    image = Image.fromarray(mean).resize((MEAN_SIDE, MEAN_SIDE), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return Picture("data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii"), caption)
