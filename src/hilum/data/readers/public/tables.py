"""Tables of public datasets: found by their columns, read as records."""

from __future__ import annotations

import fnmatch
import gzip
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from hilum.data.dataset import Dataset
from hilum.data.options import ReadOptions
from hilum.data.readers.columns import plain
from hilum.data.readers.public.assembling import Entry, Layout, assemble, folder_of
from hilum.data.readers.public.glances import other_files
from hilum.data.readers.text_table import open_text_table
from hilum.errors import TableError

PACKED = ".gz"
Record = Mapping[str, str]


def header_of(path: Path) -> tuple[str, ...]:
    """The columns' names of a table, which may be compressed; none where it cannot be read as one."""
    try:
        if path.suffix.lower() != PACKED:
            return open_text_table(path, lambda _: False).header
        with gzip.open(path, "rt", encoding="utf-8-sig", errors="replace") as file:
            return tuple(name.strip().strip('"') for name in file.readline(2**16).split(","))
    except (TableError, OSError, EOFError):
        return ()


def records(path: Path, needs: Collection[str]) -> Iterator[Record]:
    """The rows of a table by column; cells that lack at the end of a line are empty.

    Args:
        path: A table in any encoding, with any usual separator, or one compressed by gzip.
        needs: Columns that have to be there.

    Raises:
        TableError: It is no table, or a column is missing.
    """
    if path.suffix.lower() == PACKED:
        with TemporaryDirectory(prefix="hilum-") as folder:
            unpacked = Path(folder) / path.stem
            with gzip.open(path) as packed, unpacked.open("wb") as file:
                shutil.copyfileobj(packed, file)
            yield from records(unpacked, needs)
        return
    wanted = {plain(name) for name in needs}
    text = open_text_table(path, lambda name: plain(name) in wanted)
    if missing := [name for name in needs if name not in text.header]:
        msg = f"{path}: no column {', '.join(missing)}; its columns: {text.columns}. Take the table as it is published."
        raise TableError(msg, code="no-such-column", path=path)
    for _, cells in text.lines():
        yield dict(zip(text.header, [*cells, *[""] * (len(text.header) - len(cells))], strict=False))


def files_like(data: Path, patterns: Iterable[str]) -> list[Path]:
    """Files of a folder, or of the folders in it, whose names fit a pattern; of a file that was given, that alone."""
    listed = (data,) if data.is_file() else other_files(data)
    return [file for file in listed if any(fnmatch.fnmatch(file.name.lower(), like) for like in patterns)]


def find_table(data: Path, patterns: Iterable[str], needs: Collection[str]) -> Path | None:
    """The first table of a dataset whose name fits and that has all columns."""
    return next((file for file in files_like(data, patterns) if set(needs) <= set(header_of(file))), None)


@dataclass(frozen=True, slots=True)
class TableLayout:
    """A dataset that one table describes, column by column.

    Attributes:
        name: Key of the catalogue.
        tables: Patterns of the table's file name, in lower case.
        needs: Columns by which the table is recognised.
        file: Column of the image's file.
        label: Column of the label.
        patient: Column of the patient; empty where there is none.
        labels: What the table's labels are called here; others stay as they are.
        subgroups: By common name (view, age, sex, scanner, date), the column.
        left_out: Why an image is not part of the dataset; empty where it is.
    """

    name: str
    tables: tuple[str, ...]
    needs: tuple[str, ...]
    file: str
    label: str
    patient: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    subgroups: Mapping[str, str] = field(default_factory=dict)
    left_out: Callable[[Record], str] = lambda _: ""

    def layout(self) -> Layout:
        """The layout of such a dataset."""
        return Layout(self.name, self.recognise, self.read)

    def recognise(self, data: Path) -> str | None:
        """The table's name, where it is there."""
        table = find_table(data, self.tables, self.needs)
        return f"{table.name} with the columns {', '.join(self.needs)}" if table else None

    def read(self, data: Path, options: ReadOptions) -> Dataset:
        """Read it.

        Raises:
            TableError: It is not there, or not in this layout.
        """
        table = required(self.name, data, self.tables, self.needs)
        entries = map(partial(self._entry), records(table, self.needs))
        return assemble(self.name, data, entries, options)

    def _entry(self, cells: Record) -> Entry:
        label = cells[self.label]
        used = {self.file, self.label, self.patient, *self.subgroups.values()}
        extra = subgroup_columns(cells, self.subgroups)
        extra |= {name: value for name, value in cells.items() if name and name not in used and name not in extra}
        return Entry(
            cells[self.file],
            self.labels.get(label, label),
            patient=cells.get(self.patient, ""),
            extra=extra,
            left_out=self.left_out(cells),
        )


def required(name: str, data: Path, patterns: Iterable[str], needs: Collection[str]) -> Path:
    """The table of a dataset that the user says is in a layout.

    Raises:
        TableError: No table there has its columns.
    """
    patterns = tuple(patterns)
    table = find_table(data, patterns, needs)
    if table is None:
        msg = (
            f"{data}: --layout {name} needs a table {' or '.join(patterns)} with the columns {', '.join(needs)}, and "
            f"there is none in {folder_of(data)}. Give the folder that holds it."
        )
        raise TableError(msg, code="not-this-layout", path=data)
    return table


SEXES = {"m": "M", "male": "M", "f": "F", "female": "F"}


def subgroup_columns(cells: Record, columns: Mapping[str, str]) -> dict[str, str]:
    """Columns under their common names, ages without unit (``045Y`` is 45) and sexes as M and F."""
    extra = {name: cells.get(column, "") for name, column in columns.items()}
    if "age" in extra:
        extra["age"] = years_of(extra["age"])
    if "sex" in extra:
        extra["sex"] = SEXES.get(extra["sex"].casefold(), extra["sex"])
    return extra


UNITS = {"y": 1.0, "m": 12.0, "w": 52.18, "d": 365.25}


def years_of(age: str) -> str:
    """An age in years: ``058Y`` and ``58`` are 58, ``006M`` is 0.5; what is no age stays as it is."""
    number, unit = (age[:-1], age[-1:].casefold()) if age[-1:].casefold() in UNITS else (age, "y")
    if not number.replace(".", "", 1).isdigit():
        return age
    return f"{float(number) / UNITS[unit]:.3g}"
