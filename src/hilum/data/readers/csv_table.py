"""The reader of CSV tables: paths, labels, splits and patients by column."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np

from hilum.data.dataset import NOTHING, Dataset, Row, pack
from hilum.data.label_names import is_missing_value
from hilum.data.multilabel import UNKNOWN, FindingCells
from hilum.data.options import ReadOptions
from hilum.data.readers.columns import (
    NONE,
    Columns,
    choose_columns,
    find_split_column,
    is_known,
    meanings,
    with_splits_of_paths,
)
from hilum.data.readers.file_search import find_files
from hilum.data.readers.finding_columns import meaning
from hilum.data.readers.split_names import split_of, splits_in_words
from hilum.data.readers.text_table import NAMES as SEPARATORS
from hilum.data.readers.text_table import TextTable, as_meant, check_whole, open_text_table
from hilum.errors import TableError
from hilum.text import is_text, printable

SHOWN = 3


def read_csv_table(path: Path, options: ReadOptions | None = None, root: Path | None = None) -> Dataset:
    """Read a table with a column of image paths and one of labels, optionally of splits, patients and sources.

    Columns are recognised by their names, or are those that the options say. Other columns are kept in `Row.extra`.
    Paths are relative to the table's folder, or absolute; files that are not there are looked for by their names
    (`find_files`). A path below the table's folder is kept relative to it, and any other is kept absolute. A label
    that is merely the name of its image's folder becomes that folder's path, so that nesting is kept.

    Args:
        path: A text file in any encoding, with any usual separator (`open_text_table`).
        options: What the user says of it.
        root: Folder that paths are relative to, if not the table's own.

    Raises:
        TableError: It is no table, was cut (`check_whole`), a column is missing or may be one of several, lines have
            more cells than the header, a path is empty, rows contradict each other, or a split is unknown.
    """
    options = options or ReadOptions()
    text = open_text_table(path, partial(is_known, options=options))
    columns = choose_columns(text, options, partial(find_split_column, text))
    written_by_hilum = check_whole(text, columns.place["path"])
    root = root or path.parent
    reading = _Reading(text, columns, root)
    findings = tuple(name for _, name in columns.findings)
    table = Dataset(root, pack(reading.rows()), columns=text.header, findings=findings)
    table = as_meant(table) if written_by_hilum else table
    if not len(table):
        msg = f"{path}: a header, but no rows. List one image per line."
        raise TableError(msg, code="no-rows", path=path)
    table = replace(table, notes=reading.notes())
    column = text.header[columns.place["split"]] if "split" in columns.place else ""
    split = meanings(column, (name for name in reading.splits if not is_missing_value(name)))
    for name, line in reading.splits.items():
        if name and name not in split and not is_missing_value(name):
            msg = (
                f"{path}, line {line}: unknown split '{printable(name)}'. Use train, val, calibration or test, or "
                "leave the cell empty."
            )
            raise TableError(msg, code="unknown-split", path=path)
    table = table.renamed("split", {name: split.get(name, "") for name in reading.splits})
    table = replace(table, notes=(*table.notes, *splits_in_words(split, "value")))
    if not table.splits and options.split_column.casefold() != NONE:
        table = with_splits_of_paths(table, str(path))
    table = _each_once(path, find_files(table), reading.numbers)
    return table if findings else replace(table, rows=_with_taxonomy(table.rows))


@dataclass
class _Reading:
    """The rows of a table as they stand there, one by one, and what is to be said of them.

    Attributes:
        text: The table.
        columns: Which is which.
        root: The folder that paths are relative to.
        numbers: The line of each row.
        splits: What stands in the column of splits, each with its first line.
        short: Lines with fewer cells than the header.
        recoded: The first cell that was not UTF-8, as it is read.
        real: Where the folders of absolute paths lie: relative to the root, or as they are.
        findings: What rows keep of findings.
    """

    text: TextTable
    columns: Columns
    root: Path
    numbers: array[int] = field(default_factory=partial(array, "q"))
    splits: dict[str, int] = field(default_factory=dict)
    short: list[int] = field(default_factory=list)
    recoded: str = ""
    real: dict[str, str] = field(default_factory=dict)
    findings: FindingCells = field(init=False)

    def __post_init__(self) -> None:
        self.findings = FindingCells([name for _, name in self.columns.findings])

    def rows(self) -> Iterator[Row]:
        """Read the file once.

        Raises:
            TableError: A line has more cells than the header, or a path is empty or no path.
        """
        width, long = len(self.text.header), []
        for line, given in self.text.lines():
            cells = given
            while len(cells) > width and not cells[-1]:
                cells = cells[:-1]
            if len(cells) > width:
                long.append((line, cells))
                continue
            if len(cells) < width:
                self.short.append(line)
                cells = cells + [""] * (width - len(cells))
            self.numbers.append(line)
            yield self._row(line, cells)
        if long:
            line, cells = long[0]
            mark = self.text.separator
            more = f" ({len(long) - 1:,} more lines, too)" if len(long) > 1 else ""
            msg = (
                f"{self.text.path}, line {line}: {len(cells)} cells under a header of {width}{more}: "
                f"{printable(mark.join(cells))[:160]}. Quote cells that contain {SEPARATORS.get(mark, mark)}, "
                f'such as "COVID-19{mark} mild".'
            )
            raise TableError(msg, code="surplus-cells", path=self.text.path)

    def notes(self) -> tuple[str, ...]:
        """How the table was read."""
        notes = [self.columns.note] if self.columns.note else []
        if self.short:
            what = "line has" if len(self.short) == 1 else "lines have"
            first = f"line {self.short[0]}" if len(self.short) == 1 else f"the first is line {self.short[0]}"
            notes.append(
                f"{len(self.short):,} {what} fewer cells than the header ({first}): the missing cells count as empty"
            )
        if self.recoded:
            notes.append(f"the table is not UTF-8; it was read as Windows-1252, such as '{printable(self.recoded)}'")
        return tuple(notes)

    def _row(self, line: int, cells: Sequence[str]) -> Row:
        place = self.columns.place
        label, patient, source, split = (
            self._text(cells[place[role]]) if role in place else ""
            for role in ("label", "patient_id", "source", "split")
        )
        self.splits.setdefault(split, line)
        path = self._path(line, cells[place["path"]])
        extra = {name: self._text(cells[number]) for number, name in self.columns.extra}
        if self.columns.findings:
            values = tuple(meaning(cells[number]) or UNKNOWN for number, _ in self.columns.findings)
            label, kept = self.findings.of(values, extra)
        else:
            kept = MappingProxyType(extra) if extra else NOTHING
        return Row(path, label.strip("/ "), split, patient, source, extra=kept)

    def _text(self, cell: str) -> str:
        """A cell of letters: what is not UTF-8 is Windows-1252, in which Excel saves."""
        if cell.isascii() or is_text(cell):
            return cell
        read = _as_windows(cell)
        self.recoded = self.recoded or read
        return read

    def _path(self, line: int, cell: str) -> str:
        """A path below the table's folder, or an absolute one."""
        given, root = cell.replace("\\", "/"), self.root
        if not given or "\0" in given or "\n" in given:
            what = f"'{printable(given[:80])}' is not a path; is a quote unclosed?" if given else "the path is empty."
            msg = f"{self.text.path}, line {line}: {what} Correct the row, or remove it."
            raise TableError(msg, code="no-path", path=self.text.path)
        if (
            not given.isascii() and not is_text(given) and not os.path.lexists(root / given)
        ):  # a name on the disk need not be UTF-8
            read = _as_windows(given)
            if os.path.lexists(root / read):
                self.recoded = self.recoded or read
                given = read
        inside = os.path.normpath(given)
        if inside.startswith(os.sep) or inside.split(os.sep, 1)[0] == os.pardir:
            inside = self._below(root, os.path.normpath(root.absolute() / inside))
        return inside

    def _below(self, root: Path, path: str) -> str:
        """A path relative to the table's folder where it lies below it, perhaps by a link; else as it is."""
        here, (folder, name) = f"{root.absolute()}{os.sep}", os.path.split(path)
        if path.startswith(here):
            return path.removeprefix(here)
        if folder not in self.real:
            real, home = os.path.realpath(folder), os.path.realpath(root)
            inside = real == home or real.startswith(f"{home}{os.sep}")
            self.real[folder] = os.path.relpath(real, home) if inside else folder
        return os.path.normpath(f"{self.real[folder]}{os.sep}{name}")


def _as_windows(text: str) -> str:
    """Bytes that are no UTF-8, as Windows-1252; the five that it leaves open, as Latin-1."""
    raw = text.encode("utf-8", "surrogateescape")
    try:
        return raw.decode("cp1252")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _each_once(path: Path, table: Dataset, lines: Sequence[int]) -> Dataset:
    """The rows without repetitions: by hashes first, since of millions of rows not every path is to be kept.

    Raises:
        TableError: Rows of one image differ.
    """
    found, counts = np.unique(np.fromiter((hash(row.path) for row in table.rows), np.int64), return_counts=True)
    suspicious = set(found[counts > 1].tolist())
    if not suspicious:
        return table
    first: dict[str, tuple[int, Row]] = {}
    again: set[int] = set()
    contradicting: list[str] = []
    for number, row in enumerate(table.rows):
        if hash(row.path) not in suspicious:
            continue
        before, same = first.setdefault(row.path, (number, row))
        if before == number:
            continue
        again.add(number)
        if differing := [
            f"{getattr(same, name) or 'nothing'} and {getattr(row, name) or 'nothing'}"
            for name in ("label", "split", "patient_id", "source")
            if getattr(same, name) != getattr(row, name)
        ]:
            where = f"lines {lines[before]} and {lines[number]}: '{printable(row.path)}'"
            contradicting.append(f"{where} ({printable('; '.join(differing))})")
    if contradicting:
        count = len(contradicting)
        shown = "; ".join(contradicting[:SHOWN]) + (f"; and {count - SHOWN:,} more" if count > SHOWN else "")
        msg = f"{path}: images are listed again with other values: {shown}. Keep one row per image."
        raise TableError(msg, code="contradicting-rows", path=path)
    note = f"{len(again):,} rows repeat an image; each image counts once"
    rows = pack(row for number, row in enumerate(table.rows) if number not in again)
    return replace(table, rows=rows, notes=(*table.notes, note))


def _with_taxonomy(rows: Sequence[Row]) -> Sequence[Row]:
    """Where every label is the name of its images' own folder, the folder path is the label.

    A CSV that says ``covid`` beside ``train/infected/covid/1.png`` means ``infected/covid``: the folders know
    the nesting that a single name has lost. Folders that all images share say nothing and are dropped. If a label
    lies in several places (hospitals, patients), the folders are no taxonomy.
    """
    above: dict[str, tuple[str, ...]] = {}
    for row in rows:
        folders = _folders(row)
        if not folders or folders[-1] != row.label or above.setdefault(row.label, folders[:-1]) != folders[:-1]:
            return rows
    low, high = min(above.values()), max(above.values())  # whatever these two share, all share
    shared = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    if len(low) == shared and len(high) == shared:
        return rows
    names = {label: "/".join((*folders[shared:], label)) for label, folders in above.items()}
    return pack(replace(row, label=names[row.label]) for row in rows)


def _folders(row: Row) -> tuple[str, ...]:
    """The folders in which a row's image lies, without those of splits; the last one is the image's own."""
    *above, own = row.path.split("/")[:-1] or [""]
    return (*(name for name in above if not split_of(name)), own) if own else ()
