"""Findings as they were read, put in order: lists taken apart, columns that say "no finding", and what nobody knows."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hilum.data.dataset import Dataset
from hilum.data.label_names import several_findings, spelling_key
from hilum.data.labels import is_healthy, words_of
from hilum.data.multilabel import finding_values, with_findings
from hilum.errors import TableError
from hilum.text import printable

SEPARATORS = ("|", ";", ",")  # the first of which lists are separated by, if by several
DEVICES = frozenset({"device", "devices", "support"})  # CheXpert's "No Finding" says nothing of them
Floats = NDArray[np.float32]


def from_lists(table: Dataset) -> Dataset:
    """Labels that list several findings, such as ``Atelectasis|Effusion``, as findings; what is not listed is absent.

    Args:
        table: With exclusive labels, which may be lists (`hilum.data.label_names.several_findings`).

    Returns:
        The table as it is where no label is a list, where labels are nested, or where not all lists are separated by
        ``|``, ``;`` or ``,``.
    """
    lists = several_findings(table.labels)
    mark = next((mark for mark in SEPARATORS if any(mark in label for label in lists)), "")
    if not mark or not all(mark in label for label in lists) or any("/" in label for label in table.labels):
        return table
    counts = table.values("label")
    parts = {label: [part.strip() for part in label.split(mark) if part.strip()] for label in counts}
    spellings: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for label, found in parts.items():
        for part in found:
            if not is_healthy(part):
                spellings[spelling_key(part)][part] += counts[label]
    best = {key: min(found, key=lambda name: (-found[name], name)) for key, found in spellings.items()}
    names = sorted(best.values())
    if len(names) < 2:
        return table
    place = {key: names.index(name) for key, name in best.items()}
    lines: dict[str, Floats] = {}
    for label, found in parts.items():
        lines[label] = np.zeros(len(names), np.float32)
        lines[label][[place[spelling_key(part)] for part in found if not is_healthy(part)]] = 1
    note = f"labels list findings, separated by '{mark}': an image may have several, and what is not listed is absent"
    values = np.stack([lines[row.label] for row in table.rows])
    notes = [*table.notes, note, *_both_ways(parts, counts)]
    return with_findings(replace(table, notes=tuple(notes)), names, values)


def _both_ways(parts: dict[str, list[str]], counts: Counter[str]) -> list[str]:
    torn = [label for label, found in parts.items() if 0 < sum(map(is_healthy, found)) < len(found)]
    number = sum(counts[label] for label in torn)
    return [f"WARNING: {number:,} images list findings and none at once ('{printable(torn[0])}')"] if torn else []


def tidy_findings(table: Dataset, source: Path) -> Dataset:
    """Leave out what says nothing: findings of which nothing is known, images of which no finding is known.

    A column that says that there is no finding (``No Finding``) is no finding. Where it is 1, findings that are unknown
    there are absent, those of devices excepted.

    Args:
        table: With findings, as they were read.
        source: What messages call it.

    Raises:
        TableError: Fewer than two findings are left, or two have one name.
    """
    values, notes = finding_values(table), list(table.notes)
    if twice := [name for name, count in Counter(map(spelling_key, table.findings)).items() if count > 1]:
        msg = f"{source}: several columns are the finding '{printable(twice[0])}'. Rename or remove all but one."
        raise TableError(msg, code="twin-findings", path=source)
    healthy = np.array([is_healthy(name) for name in table.findings])
    values, said = _without_findings(values, healthy, table.findings)
    notes += said
    some = ((values == 1) | (values == -1)).any(axis=0) & ((values == 0) | (values == -1)).any(axis=0)
    kept = some & ~healthy
    for number in np.flatnonzero(~kept & ~healthy):
        known = values[:, number][~np.isnan(values[:, number])]
        what = "known of no image" if not len(known) else "absent everywhere" if known[0] == 0 else "present everywhere"
        notes.append(f"left out the finding '{printable(table.findings[number])}': {what}")
    if kept.sum() < 2:
        left = ", ".join(printable(name) for name, keep in zip(table.findings, kept, strict=True) if keep) or "none"
        msg = f"{source}: fewer than two findings are present on some images and absent on others ({left}). " + (
            "Add images, write labels into one column, or name the columns of findings: --finding-columns NAMES."
        )
        raise TableError(msg + "".join(f" ({note})" for note in notes), code="single-finding", path=source)
    names = tuple(name for name, keep in zip(table.findings, kept, strict=True) if keep)
    values = values[:, kept]
    some_known = ~np.isnan(values).all(axis=1)
    if not some_known.all():
        notes.append(f"left out {int((~some_known).sum()):,} images of which no finding is known")
        table, values = table.take(np.flatnonzero(some_known)), values[some_known]
    notes.append(_in_words(names, values))
    return with_findings(replace(table, notes=tuple(notes)), names, values)


def _without_findings(values: Floats, healthy: NDArray[np.bool_], names: tuple[str, ...]) -> tuple[Floats, list[str]]:
    """Values where "no finding" makes unknown findings absent, and what is to be said of that."""
    well = (values[:, healthy] == 1).any(axis=1)
    if not well.any():
        return values, []
    notes = []
    spared = np.array([bool(DEVICES.intersection(words_of(name))) for name in names]) | healthy
    filled = well[:, None] & np.isnan(values) & ~spared
    column = printable(names[int(np.flatnonzero(healthy)[0])])
    if filled.any():
        rows = int(filled.any(axis=1).sum())
        notes.append(f"where '{column}' is 1, unknown findings are absent ({rows:,} images; devices excepted)")
    torn = (well[:, None] & (values == 1) & ~spared).any(axis=1)
    if torn.any():
        notes.append(f"WARNING: '{column}' is 1 on {int(torn.sum()):,} images that have a finding, which counts")
    return np.where(filled, np.float32(0), values), notes


def _in_words(names: tuple[str, ...], values: Floats) -> str:
    """Each finding, and how many images have it."""
    told = []
    for name, column in zip(names, values.T, strict=True):
        unsure = f", {int((column == -1).sum()):,} uncertain" if (column == -1).any() else ""
        unknown = f", {int(np.isnan(column).sum()):,} unknown" if np.isnan(column).any() else ""
        told.append(f"{printable(name)} ({int((column == 1).sum()):,} present{unsure}{unknown})")
    return f"{len(names)} findings, of which an image may have several: {', '.join(told)}"
