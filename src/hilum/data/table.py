"""The Table: one row an image, and nothing guessed."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.cells import cell
from hilum.data.labels import order_labels
from hilum.data.options import ReadOptions
from hilum.data.rows import PackedRows, owner, pack
from hilum.data.rows import Row as Row
from hilum.saving import saving

COLUMNS = ("path", "label", "split", "patient_id", "source", "sha256")


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


def write_csv(path: Path, rows: Iterable[Row], columns: Sequence[str] = COLUMNS) -> None:
    """Write rows of a table as CSV (`hilum.cells`); names that are not valid UTF-8 survive the round trip."""
    with saving(path, text=True, errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([cell(getattr(row, column)) for column in columns] for row in rows)
