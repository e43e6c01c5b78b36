"""Copies of public datasets that a table of hilum's own form describes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from hilum.data.dataset import Dataset
from hilum.data.options import ReadOptions
from hilum.data.readers.csv_table import read_csv_table
from hilum.data.readers.public.assembling import Layout, in_one_line
from hilum.data.readers.public.tables import find_table, records, required

TABLE = ("metadata.csv",)


@dataclass(frozen=True, slots=True)
class CopyLayout:
    """A copy whose ``metadata.csv`` names the original of each image.

    Attributes:
        name: Key of the catalogue.
        needs: Its columns.
        original: How the original name of at least one image begins.
        label: A label that is there.
    """

    name: str
    needs: tuple[str, ...]
    original: str
    label: str

    def layout(self) -> Layout:
        """The layout of such a dataset."""
        return Layout(self.name, self.recognise, self.read)

    def recognise(self, data: Path) -> str | None:
        """The table's name, where it is there."""
        table = find_table(data, TABLE, self.needs)
        if table is None:
            return None
        named = labelled = False
        for row in records(table, self.needs):
            named = named or row["original_name"].startswith(self.original)
            labelled = labelled or row["label"] == self.label
            if named and labelled:
                return table.name
        return None

    def read(self, data: Path, options: ReadOptions) -> Dataset:
        """Read the table as any other, and say what it is."""
        table = read_csv_table(required(self.name, data, TABLE, self.needs), options)
        return replace(table, notes=(in_one_line(self.name, table.rows, {}, ()), *table.notes), layout=self.name)
