"""From the entries of a public dataset to a dataset: files looked for, images left out counted, one line said."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from hilum.data.catalogue.entries import catalogue, title_of
from hilum.data.dataset import Dataset, Row, pack
from hilum.data.label_names import is_missing_value
from hilum.data.multilabel import with_findings
from hilum.data.options import ReadOptions
from hilum.data.readers.file_search import files_by_name, places_of_file
from hilum.data.readers.public.glances import is_read
from hilum.errors import TableError
from hilum.text import printable

NO_LABEL = "no label"
SHOWN = 3
MANY = 50  # files of one name


@dataclass(frozen=True, slots=True)
class Entry:
    """One image as a public dataset describes it.

    Attributes:
        file: Name of its file, or the end of its path; the ending may be missing.
        label: Its label; empty where it has none.
        split: ``train``, ``val``, ``test`` or empty.
        patient: Identifier of the patient; empty where unknown.
        source: Where the image comes from; empty where that is the dataset itself.
        extra: Further columns: ``view``, ``age``, ``sex``, ``scanner`` and ``date`` under these names.
        left_out: Why it is not part of the dataset, such as ``CT``; empty where it is.
        findings: What is known of each finding, where an image may have several (`hilum.data.multilabel`): 1 present,
            0 absent, -1 uncertain, NaN unknown.
    """

    file: str
    label: str
    split: str = ""
    patient: str = ""
    source: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)
    left_out: str = ""
    findings: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Layout:
    """How a public dataset lies on the disk.

    Attributes:
        name: Its key in the catalogue, and the value of ``--layout``.
        recognise: Whether a folder or file is in this layout: by what, in a few words; None where it is not.
        read: Reader of such a folder or file.
    """

    name: str
    recognise: Callable[[Path], str | None]
    read: Callable[[Path, ReadOptions], Dataset]


def folder_of(data: Path) -> Path:
    """The folder of a dataset that is given as a folder, or as a table in it."""
    return data if data.is_dir() else data.parent


def assemble(
    name: str,
    data: Path,
    entries: Iterable[Entry],
    options: ReadOptions,
    *,
    findings: Sequence[str] = (),
    remarks: Sequence[str] = (),
) -> Dataset:
    """Make the dataset of all entries whose files are there.

    Args:
        name: Key of the catalogue.
        data: What the user gave.
        entries: One an image; an image that is listed again in the same words counts once.
        options: What the user says of it: columns are those of `Entry.extra`.
        findings: Names of the findings, where an image may have several.
        remarks: What else is said of how it was read.

    Raises:
        TableError: More than half of the files are not there, an image has two labels, or no image is left.
    """
    root = folder_of(data)
    found = _Search(root)
    left_out: Counter[str] = Counter()
    rows: dict[str, Row] = {}
    values: list[tuple[float, ...]] = []
    missing: list[str] = []
    again = 0
    for given in entries:
        entry = _as_said(given, options, data)
        if reason := entry.left_out or ("" if findings or not is_missing_value(entry.label) else NO_LABEL):
            left_out[reason] += 1
            continue
        path = found.path(entry.file)
        if not path:
            missing.append(entry.file)
            continue
        row = Row(path, entry.label, entry.split, entry.patient, entry.source, extra=dict(entry.extra))
        before = rows.setdefault(path, row)
        if before is row:
            values.append(entry.findings)
        else:
            again += 1
            _check_same(data, before, row)
    _check_missing(name, data, len(rows), missing)
    notes = [in_one_line(name, rows.values(), left_out, findings), *remarks]
    if missing:
        notes.append(f"WARNING: {len(missing):,} images of the table are not there (first: {printable(missing[0])})")
    if again:
        notes.append(f"{again:,} rows repeat an image that is listed already, and count once")
    if found.several:
        notes.append(f"{found.several:,} files are there several times under one name: the first is taken")
    table = Dataset(root, pack(iter(rows.values())), notes=tuple(notes), layout=name if name in catalogue() else "")
    return (
        with_findings(table, findings, np.array(values, np.float32).reshape(-1, len(findings))) if findings else table
    )


class _Search:
    """Finds the file of an entry below a folder."""

    def __init__(self, root: Path) -> None:
        self.names = files_by_name(root)
        self.tails: dict[str, list[str]] = {}
        self.several = 0

    def path(self, file: str) -> str:
        """Its path relative to the folder; empty where it is not there."""
        given = file.replace("\\", "/").lstrip("/")
        alike = self.names.get(given.rpartition("/")[2].casefold(), [])
        if len(alike) > MANY:  # `view1_frontal.jpg` of each patient
            alike = self._tails().get(_tail(given), [])
        places = [place for place in alike if is_read(place)]
        if len(places) > 1:
            places = places_of_file(given, {given.rpartition("/")[2].casefold(): places}) or places
        if len(places) > 1:
            self.several += 1
        return min(places, key=lambda place: (place.count("/"), place), default="")

    def _tails(self) -> Mapping[str, list[str]]:
        """All files by the last three names of their paths."""
        if not self.tails:
            tails = defaultdict(list)
            for name, paths in self.names.items():
                for path in paths if "." in name else ():
                    tails[_tail(path)].append(path)
            self.tails = tails
        return self.tails


def _tail(path: str) -> str:
    return "/".join(path.casefold().split("/")[-3:])


def _as_said(entry: Entry, options: ReadOptions, data: Path) -> Entry:
    """The entry with the columns that the user names for its label, patient or split."""
    values = {"label": entry.label, "patient": entry.patient, "split": entry.split}
    said = {"label": options.label_column, "patient": options.patient_column, "split": options.split_column}
    if not any(said.values()):
        return entry
    for role, column in said.items():
        if role == "split" and column.casefold() == "none":
            values[role] = ""
        elif column and column in entry.extra:
            values[role] = entry.extra[column]
        elif column:
            there = ", ".join(entry.extra) or "none"
            msg = f"{data}: --{role}-column {column}: this layout has no such column; its columns: {there}."
            raise TableError(msg, code="no-such-column", path=data)
    return replace(entry, label=values["label"], patient=values["patient"], split=values["split"])


def _check_same(data: Path, before: Row, row: Row) -> None:
    if (before.label, before.split) == (row.label, row.split):
        return
    differ = f"{before.label} and {row.label}" if before.label != row.label else f"{before.split} and {row.split}"
    msg = (
        f"{data}: '{printable(row.path)}' is listed again with other values ({printable(differ)}). Keep one row an "
        "image, or read the table as it is: --layout plain."
    )
    raise TableError(msg, code="contradicting-rows", path=data)


def _check_missing(name: str, data: Path, there: int, missing: Sequence[str]) -> None:
    if not missing or len(missing) <= there:
        return
    shown = ", ".join(printable(file) for file in missing[:SHOWN])
    msg = (
        f"{data}: recognised as {title_of(name)}, but {len(missing):,} of {there + len(missing):,} images are "
        f"not there ({shown}). Checked: their names in all folders below {folder_of(data)}. Put the images "
        "there, or remove their rows from the table."
    )
    raise TableError(msg, code="missing-images", path=data)


def in_one_line(name: str, rows: Iterable[Row], left_out: Mapping[str, int], findings: Sequence[str]) -> str:
    """What was recognised, how many of what it holds, and what was left out.

    Args:
        name: Key of the catalogue.
        rows: Of the dataset.
        left_out: By reason, how many images were.
        findings: Names of the findings, where an image may have several.
    """
    labels: Counter[str] = Counter()
    splits: Counter[str] = Counter()
    patients = set()
    for row in rows:
        labels[row.label] += 1
        splits[row.split] += 1
        patients.add(row.patient_id)
    parts = [f"{sum(labels.values()):,} images"]
    if patients - {""}:
        parts.append(f"{len(patients - {''}):,} patients")
    parts.append(f"{len(findings)} findings" if findings else f"{len(labels)} labels")
    if named := {split: count for split, count in splits.items() if split}:
        order = {"train": 0, "val": 1, "test": 2}
        shown = sorted(named.items(), key=lambda item: order.get(item[0], 9))
        parts.append("splits " + ", ".join(f"{split} {count:,}" for split, count in shown))
    said = f"read as {title_of(name)} (--layout): {', '.join(parts)}"
    if left_out:
        said += "; left out: " + ", ".join(f"{count:,} {reason}" for reason, count in sorted(left_out.items()))
    return said
