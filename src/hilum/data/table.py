"""The Table: one row an image, and nothing guessed."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hilum.data.labels import order_labels

COLUMNS = ("path", "label", "split", "patient_id", "source", "sha256")


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


@dataclass(frozen=True)
class Table:
    """A dataset: its root folder, its rows, and remarks about how they were read."""

    root: Path
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labels(self) -> tuple[str, ...]:
        """Each label once, healthy ones first."""
        return order_labels(row.label for row in self.rows)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that the dataset brings, in the order in which they are used."""
        order = {"train": 0, "val": 1, "calibration": 2, "test": 3}
        return tuple(sorted({row.split for row in self.rows if row.split}, key=lambda s: (order.get(s, 9), s)))

    @property
    def patients_known(self) -> bool:
        """Whether every row says whose image it is."""
        return bool(self.rows) and all(row.patient_id for row in self.rows)

    def patients(self) -> list[str]:
        """One group name a row: the patient, or the image itself where the patient is unknown."""
        return [f"patient:{row.patient_id}" if row.patient_id else f"image:{row.path}" for row in self.rows]

    def counts(self) -> Counter[tuple[str, str]]:
        """Number of images by (split, label)."""
        return Counter((row.split, row.label) for row in self.rows)

    def file(self, row: Row) -> Path:
        """Where the row's image lies on this machine."""
        return self.root / row.path

    def take(self, positions: Iterable[int]) -> Table:
        """The same table with only the rows at these positions."""
        return replace(self, rows=tuple(self.rows[i] for i in positions))

    def with_splits(self, splits: Sequence[str]) -> Table:
        """The same table with other splits, one a row."""
        rows = tuple(replace(row, split=split) for row, split in zip(self.rows, splits, strict=True))
        return replace(self, rows=rows)


def write_csv(path: Path, rows: Iterable[Row], columns: Sequence[str] = COLUMNS) -> None:
    """Write rows of a table as CSV; names that are not valid UTF-8 survive the round trip."""
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([getattr(row, column) for column in columns] for row in rows)
