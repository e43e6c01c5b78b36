"""A dataset: one row an image, and how its files are to be read."""

from __future__ import annotations

import csv
import hashlib
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from hilum.data.extra_columns import ExtraBuilder, ExtraColumns
from hilum.data.labels import order_labels
from hilum.data.options import ReadOptions
from hilum.files import open_text, saving
from hilum.outputs import cell, from_cell

PACK_FROM = 20_000  # rows; fewer are quicker as objects, and take no memory worth saving
NOTHING: Mapping[str, str] = MappingProxyType({})
CODED = ("label", "split", "patient_id", "source")
DIGEST = 32  # bytes of a SHA-256
UNKNOWN = bytes(DIGEST)
BLOCK = 4096  # rows made at a time where all are wanted


@dataclass(frozen=True, slots=True)
class Row:
    """One image of a dataset.

    Attributes:
        path: Where the file lies, relative to the table's root, with forward slashes.
        label: The folder path below the split, such as ``infected/covid``.
        split: ``train``, ``val``, ``calibration``, ``test``, or empty where the dataset has no splits.
        patient_id: Whose image it is; empty where unknown.
        source: The hospital or collection it comes from; empty where unknown.
        sha256: Of the file's bytes, in hexadecimal; empty until the file was read.
        extra: Further columns (age, sex, view, ...), kept as they were given.
    """

    path: str
    label: str
    split: str = ""
    patient_id: str = ""
    source: str = ""
    sha256: str = ""
    extra: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __reduce__(self) -> tuple[type[Row], tuple[Any, ...]]:
        """For another process, and for copies: a read-only view of a dictionary can be neither sent nor copied."""
        known = self.path, self.label, self.split, self.patient_id, self.source, self.sha256
        return Row, (*known, dict(self.extra))


def owner(patient: str, path: str) -> str:
    """Whose image it is: its patient, or the image itself where the patient is unknown."""
    return f"patient:{patient}" if patient else f"image:{path}"


def pack(rows: Iterable[Row]) -> Sequence[Row]:
    """Rows as a tuple, or in columns where they are many; an iterator of many is never held as objects."""
    if isinstance(rows, PackedRows):
        return rows
    source = iter(rows)
    first = tuple(islice(source, PACK_FROM))
    following = next(source, None)
    return first if following is None else PackedRows.of(chain(first, (following,), source))


@dataclass(frozen=True, slots=True, eq=False)
class PackedRows(Sequence[Row]):
    """Rows in columns; each is made into an object when it is asked for.

    Attributes:
        paths: All paths, one behind the other, UTF-8.
        ends: Where each path ends among them, shape (N + 1,); the first is 0.
        names: By column (label, split, patient, source), its values; after `renamed` one may be there twice.
        codes: By column, which of the names each row has, shape (N,).
        digests: SHA-256 of each file, shape (N, 32); zeros where it is not known.
        extra: Further columns; None where no row has any.
    """

    paths: bytes
    ends: NDArray[np.int64]
    names: Mapping[str, tuple[str, ...]]
    codes: Mapping[str, NDArray[np.int32]]
    digests: NDArray[np.uint8]
    extra: ExtraColumns | None = None

    @staticmethod
    def of(rows: Iterable[Row]) -> PackedRows:
        """Pack rows, one by one."""
        paths, digests = bytearray(), bytearray()
        ends = array("q", [0])  # arrays of numbers: lists would take five times as much
        numbers: dict[str, dict[str, int]] = {name: {} for name in CODED}
        codes = {name: array("i") for name in CODED}
        extra = ExtraBuilder()
        for row in rows:
            paths += row.path.encode("utf-8", "surrogateescape")
            ends.append(len(paths))
            for name in CODED:
                known = numbers[name]
                codes[name].append(known.setdefault(getattr(row, name), len(known)))
            digests += bytes.fromhex(row.sha256) or UNKNOWN
            extra.add(row.extra)
        return PackedRows(
            bytes(paths),
            np.frombuffer(ends, np.int64),
            {name: tuple(known) for name, known in numbers.items()},
            {name: np.frombuffer(values, np.int32) for name, values in codes.items()},
            np.frombuffer(digests, np.uint8).reshape(-1, DIGEST),
            extra.columns(),
        )

    def with_values(self, name: str, values: Iterable[str]) -> PackedRows:
        """The same rows with other values of one column that is not the path; the others are shared."""
        columns = {key: getattr(self, key) for key in ("paths", "ends", "names", "codes", "digests", "extra")}
        if name == "sha256":
            joined = bytearray()
            for value in values:
                joined += bytes.fromhex(value) or UNKNOWN
            columns["digests"] = np.frombuffer(joined, np.uint8).reshape(-1, DIGEST)
        else:
            known: dict[str, int] = {}
            numbers = np.fromiter((known.setdefault(value, len(known)) for value in values), np.int32)
            columns |= {"names": {**self.names, name: tuple(known)}, "codes": {**self.codes, name: numbers}}
        if len(found := columns["digests"] if name == "sha256" else numbers) != len(self):
            msg = f"{len(found)} values for {len(self)} rows"
            raise ValueError(msg)
        return PackedRows(**columns)

    def renamed(self, name: str, changed: Mapping[str, str]) -> PackedRows:
        """The same rows, with other words for some values of one column that is not the path."""
        names = {**self.names, name: tuple(changed.get(value, value) for value in self.names[name])}
        return PackedRows(self.paths, self.ends, names, self.codes, self.digests, self.extra)

    def counts(self, name: str) -> Counter[str]:
        """How many rows have each value of a column that is not the path."""
        found: Counter[str] = Counter()
        for value, count in zip(self.names[name], np.bincount(self.codes[name]).tolist(), strict=False):
            if count:
                found[value] += count
        return found

    def _block(self, numbers: range) -> Iterator[Row]:
        """Consecutive rows: the columns are turned into Python's own numbers all at once, which is quicker."""
        block = slice(numbers.start, numbers.stop)
        ends = self.ends[numbers.start : numbers.stop + 1].tolist()
        columns = [[self.names[name][code] for code in self.codes[name][block].tolist()] for name in CODED]
        digests = self.digests[block].tobytes()
        for i, (label, split, patient, source) in enumerate(zip(*columns, strict=True)):
            digest = digests[i * DIGEST : (i + 1) * DIGEST]
            known = "" if digest == UNKNOWN else digest.hex()
            extra = self.extra.row(numbers.start + i) if self.extra else NOTHING
            path = self.paths[ends[i] : ends[i + 1]].decode("utf-8", "surrogateescape")
            yield Row(path, label, split, patient, source, known, extra)

    def __len__(self) -> int:
        return len(self.ends) - 1

    @overload
    def __getitem__(self, number: int) -> Row: ...
    @overload
    def __getitem__(self, number: slice) -> tuple[Row, ...]: ...
    def __getitem__(self, number: int | slice) -> Row | tuple[Row, ...]:
        if not isinstance(number, slice):
            place = range(len(self))[number]
            return next(self._block(range(place, place + 1)))
        places = range(len(self))[number]
        return tuple(self._block(places) if places.step == 1 else (self[place] for place in places))

    def __iter__(self) -> Iterator[Row]:
        for first in range(0, len(self), BLOCK):
            yield from self._block(range(len(self))[first : first + BLOCK])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(other) != len(self):
            return False
        return all(one == another for one, another in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]


def one_image_each(paths: Iterable[str], patients: Iterable[str]) -> list[int]:
    """One image of each patient, chosen by a hash of its path, which no score can influence.

    Args:
        paths: Of N images.
        patients: The patient of each, N names.

    Returns:
        Their places among the N, rising.
    """
    chosen: dict[str, tuple[bytes, int]] = {}
    for i, (path, name) in enumerate(zip(paths, patients, strict=True)):
        key = hashlib.sha256(path.encode(errors="surrogateescape")).digest(), i
        chosen[name] = min(chosen.get(name, key), key)
    return sorted(i for _, i in chosen.values())


COLUMNS = ("path", "label", "split", "patient_id", "source", "sha256")
EXTRA = "extra:"  # before a further column that is called like one of these


@dataclass(frozen=True)
class Dataset:
    """A dataset: its root folder, its rows, and remarks about how they were read.

    Attributes:
        root: The folder that the rows' paths are relative to.
        rows: One an image.
        notes: Remarks about how they were read.
        columns: Of the CSV that they come from, by the names there; empty where they come from none.
        given: What the user named, to read the same dataset again; None of a table that was read from no dataset.
        options: How it was read.
        joined: What the user named, where several datasets were joined (`hilum.data.joined`).
        findings: Names of the findings, where an image may have several (`hilum.data.multilabel`); empty where labels
            are exclusive.
        layout: Key of the public dataset in the catalogue (`hilum.data.catalogue`) that its layout was recognised as;
            empty for any other.
    """

    root: Path
    rows: Sequence[Row]
    notes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    given: Path | None = None
    options: ReadOptions = field(default_factory=ReadOptions)
    joined: tuple[Path, ...] = ()
    findings: tuple[str, ...] = ()
    layout: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", pack(self.rows))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labels(self) -> tuple[str, ...]:
        """Each label once, healthy ones first."""
        return order_labels(self.values("label"))

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that the dataset brings, in the order in which they are used."""
        order = {"train": 0, "val": 1, "calibration": 2, "test": 3}
        return tuple(sorted(set(self.values("split")) - {""}, key=lambda s: (order.get(s, 9), s)))

    @property
    def patients_known(self) -> bool:
        """Whether every row says whose image it is."""
        return 0 < len(self) == self.with_patient

    @property
    def with_patient(self) -> int:
        """How many rows say whose image it is."""
        return len(self) - self.values("patient_id")[""]

    def patients(self) -> list[str]:
        """One group name a row: the patient, or the image itself where the patient is unknown."""
        return [owner(row.patient_id, row.path) for row in self.rows]

    def values(self, column: str) -> Counter[str]:
        """How many rows have each value of a column: ``label``, ``split``, ``patient_id`` or ``source``."""
        if isinstance(self.rows, PackedRows):
            return self.rows.counts(column)
        return Counter(getattr(row, column) for row in self.rows)

    def counts(self) -> Counter[tuple[str, str]]:
        """Number of images by (split, label)."""
        return Counter((row.split, row.label) for row in self.rows)

    def file(self, row: Row) -> Path:
        """Where the row's image lies on this machine."""
        return self.root / row.path

    def absolute(self) -> Dataset:
        """The same table by paths that mean the same in every working folder; links are kept."""
        joined = tuple(path.absolute() for path in self.joined)
        return replace(self, root=self.root.absolute(), given=self.given and self.given.absolute(), joined=joined)

    def take(self, positions: Iterable[int] | NDArray[np.int64]) -> Dataset:
        """The same table with only the rows at these positions."""
        return replace(self, rows=pack(self.rows[int(i)] for i in positions))

    def with_splits(self, splits: Sequence[str]) -> Dataset:
        """The same table with other splits, one a row."""
        return self.with_values("split", splits)

    def renamed(self, column: str, changed: Mapping[str, str]) -> Dataset:
        """The same table with other words for some values of ``label``, ``split``, ``patient_id`` or ``source``."""
        if isinstance(self.rows, PackedRows):
            return replace(self, rows=self.rows.renamed(column, changed))
        values = self.values(column)
        if not any(value in changed for value in values):
            return self
        return self.with_values(
            column, (changed.get(value, value) for value in (getattr(row, column) for row in self.rows))
        )

    def with_values(self, column: str, values: Iterable[str]) -> Dataset:
        """The same table with other values of one column that is not the path, one a row.

        Raises:
            ValueError: There are more or fewer values than rows.
        """
        if isinstance(self.rows, PackedRows):
            return replace(self, rows=self.rows.with_values(column, values))
        change: Any = replace  # the column is known by its name only
        pairs = zip(self.rows, values, strict=True)
        return replace(self, rows=tuple(change(row, **{column: value}) for row, value in pairs))


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write rows with all of their columns as CSV (`hilum.outputs`), from which `read_csv` reads the same.

    Names that are not valid UTF-8 survive. A further column that is called like one of `COLUMNS` gets a prefix.
    """
    further = dict.fromkeys(name for row in rows for name in row.extra)
    with saving(path, text=True, errors="surrogateescape") as file:
        writer = csv.writer(file)
        names = [EXTRA + name if name in COLUMNS or name.startswith(EXTRA) else name for name in further]
        writer.writerow([*COLUMNS, *map(cell, names)])
        for row in rows:
            values = [*(getattr(row, column) for column in COLUMNS), *(row.extra.get(name, "") for name in further)]
            writer.writerow(map(cell, values))


def read_csv(path: Path) -> tuple[tuple[str, ...], Sequence[Row]]:
    """Column names and rows of a table as `write_csv` writes it, or as versions did that wrote fewer columns.

    Raises:
        OSError: The file cannot be read.
        ValueError: A row has more or fewer cells than the header, or the header lacks a column.
        csv.Error: It is no CSV.
    """
    with open_text(path, errors="surrogateescape") as file:
        reader = csv.reader(file)
        header = tuple(from_cell(name) for name in next(reader, []))
        return header, pack(_rows(header, reader))


def _rows(header: Sequence[str], cells: Iterable[list[str]]) -> Iterator[Row]:
    if missing := {"path", "label", "split", "patient_id"} - set(header):
        msg = f"no column {min(missing)}"
        raise ValueError(msg)
    own = [(name, header.index(name)) for name in COLUMNS if name in header]
    further = [(name.removeprefix(EXTRA), number) for number, name in enumerate(header) if name not in COLUMNS]
    for number, line in enumerate(cells, 1):
        if len(line) != len(header):
            msg = f"row {number} has {len(line)} cells, the header {len(header)}"
            raise ValueError(msg)
        values = [from_cell(text) for text in line]
        extra = MappingProxyType({name: values[place] for name, place in further}) if further else NOTHING
        yield Row(extra=extra, **{name: values[place] for name, place in own})
