"""From the entries of a public dataset to a dataset: files looked for, images left out counted, one line said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from hilum.data.catalogue.entries import catalogue
from hilum.data.dataset import Dataset, Row, pack
from hilum.data.images import DICOM_SUFFIXES, SUFFIXES
from hilum.data.label_names import is_missing_value
from hilum.data.options import ReadOptions
from hilum.data.readers.file_search import files_by_name, places_of_file
from hilum.errors import TableError
from hilum.text import printable

READ = SUFFIXES | DICOM_SUFFIXES
NO_LABEL = "no label"
SHOWN = 3


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
    """

    file: str
    label: str
    split: str = ""
    patient: str = ""
    source: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)
    left_out: str = ""


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
    missing: list[str] = []
    again = 0
    for given in entries:
        entry = _as_said(given, options, data)
        if reason := entry.left_out or ("" if entry.label and not is_missing_value(entry.label) else NO_LABEL):
            left_out[reason] += 1
            continue
        path = found.path(entry.file)
        if not path:
            missing.append(entry.file)
            continue
        row = Row(path, entry.label, entry.split, entry.patient, entry.source, extra=dict(entry.extra))
        before = rows.setdefault(path, row)
        if before is not row:
            again += 1
            _check_same(data, before, row)
    _check_missing(name, data, len(rows), missing)
    notes = [_in_one_line(name, rows.values(), left_out, findings), *remarks]
    if missing:
        notes.append(f"WARNING: {len(missing):,} images of the table are not there (first: {printable(missing[0])})")
    if again:
        notes.append(f"{again:,} rows repeat an image that is listed already, and count once")
    if found.several:
        notes.append(f"{found.several:,} files are there several times under one name: the first is taken")
    return Dataset(root, pack(iter(rows.values())), notes=tuple(notes))


class _Search:
    """Finds the file of an entry below a folder."""

    def __init__(self, root: Path) -> None:
        self.names = files_by_name(root)
        self.several = 0

    def path(self, file: str) -> str:
        """Its path relative to the folder; empty where it is not there."""
        given = file.replace("\\", "/").lstrip("/")
        places = [
            place for place in places_of_file(given, self.names) if PurePosixPath(place).suffix.lower() in READ
        ]
        if len(places) > 1:
            self.several += 1
        return min(places, key=lambda place: (place.count("/"), place), default="")


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
    return Entry(
        entry.file, values["label"], values["split"], values["patient"], entry.source, entry.extra, entry.left_out
    )


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
        f"{data}: recognised as {catalogue()[name].name}, but {len(missing):,} of {there + len(missing):,} images are "
        f"not there ({shown}). They were looked for by name in all folders below {folder_of(data)}. Put the images "
        "there, or remove their rows from the table."
    )
    raise TableError(msg, code="missing-images", path=data)


def _in_one_line(name: str, rows: Iterable[Row], left_out: Mapping[str, int], findings: Sequence[str]) -> str:
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
    if findings:
        parts.append(f"{len(findings)} findings")
    else:
        parts += [f"{count:,} {printable(label)}" for label, count in sorted(labels.items())]
    if named := {split: count for split, count in splits.items() if split}:
        order = {"train": 0, "val": 1, "test": 2}
        shown = sorted(named.items(), key=lambda item: order.get(item[0], 9))
        parts.append("splits " + ", ".join(f"{split} {count:,}" for split, count in shown))
    said = f"recognised {catalogue()[name].name}: {', '.join(parts)}"
    if left_out:
        said += "; left out: " + ", ".join(f"{count:,} {reason}" for reason, count in sorted(left_out.items()))
    return f"{said}; --layout plain switches this off"
