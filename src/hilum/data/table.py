"""The Table: one row an image, and nothing guessed."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.cells import cell, from_cell
from hilum.data.labels import order_labels
from hilum.data.options import ReadOptions
from hilum.data.rows import NOTHING, PackedRows, owner, pack
from hilum.data.rows import Row as Row
from hilum.opening import open_text
from hilum.saving import saving

COLUMNS = ("path", "label", "split", "patient_id", "source", "sha256")
EXTRA = "extra:"  # before a further column that is called like one of these


@dataclass(frozen=True)
class Table:
    """A dataset: its root folder, its rows, and remarks about how they were read.

    Attributes:
        root: The folder that the rows' paths are relative to.
        rows: One an image.
        notes: Remarks about how they were read.
        columns: Of the CSV that they come from, by the names there; empty where they come from none.
        given: What the user named, to read the same dataset again; None of a table that was read from no dataset.
        options: How it was read.
    """

    root: Path
    rows: Sequence[Row]
    notes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    given: Path | None = None
    options: ReadOptions = field(default_factory=ReadOptions)

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

    def take(self, positions: Iterable[int] | NDArray[np.int64]) -> Table:
        """The same table with only the rows at these positions."""
        return replace(self, rows=pack(self.rows[int(i)] for i in positions))

    def with_splits(self, splits: Sequence[str]) -> Table:
        """The same table with other splits, one a row."""
        return self.with_values("split", splits)

    def renamed(self, column: str, changed: Mapping[str, str]) -> Table:
        """The same table with other words for some values of ``label``, ``split``, ``patient_id`` or ``source``."""
        if isinstance(self.rows, PackedRows):
            return replace(self, rows=self.rows.renamed(column, changed))
        values = self.values(column)
        if not any(value in changed for value in values):
            return self
        return self.with_values(
            column, (changed.get(value, value) for value in (getattr(row, column) for row in self.rows))
        )

    def with_values(self, column: str, values: Iterable[str]) -> Table:
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
    """Write rows with all of their columns as CSV (`hilum.cells`), from which `read_csv` reads the same.

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
