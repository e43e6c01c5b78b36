"""A table in a text file, as any program writes it: encoding, separator, header and lines."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from pydantic import BaseModel, ConfigDict

from hilum.data.dataset import Dataset
from hilum.data.file_kinds import ENOUGH, kind_of
from hilum.errors import TableError
from hilum.files import LARGEST_TABLE, open_regular, open_text, read_text, read_whole
from hilum.outputs import from_cell
from hilum.text import printable

SEPARATORS = ",;\t|"
NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
CONTROLS = bytes(set(range(32)) - set(b"\t\n\r\f\x1b"))
# Kinds that are written in letters, so that nothing but their beginning tells them from a table.
WRITTEN = ("a PDF", "a PostScript", "an HTML", "an SVG", "an XML", "a Git LFS", "a NIfTI")
SHOWN, LONGEST = 12, 40


@dataclass(frozen=True, slots=True)
class TextTable:
    """A table in a text file.

    Attributes:
        path: The file.
        encoding: As Python calls it; bytes that are no UTF-8 are kept as surrogates (PEP 383).
        separator: Between cells.
        above: Lines before the header: ``sep=;``, comments, blank ones.
        header: The columns' names, stripped.
    """

    path: Path
    encoding: str
    separator: str
    above: int
    header: tuple[str, ...]

    def lines(self) -> Iterator[tuple[int, list[str]]]:
        """The cells of each line below the header, stripped, with its number from 1.

        Blank lines are none, and neither are comments, which are a single cell that begins with ``#``.

        Raises:
            TableError: Quotes are not closed, or bytes are no text.
        """
        with _open(self.path, self.encoding) as file:
            for _ in range(self.above):
                file.readline()
            reader = csv.reader(file, delimiter=self.separator, skipinitialspace=True, strict=True)
            last = self.above
            try:
                next(reader)
                for cells in reader:
                    last = self.above + reader.line_num
                    cells = [cell.strip() for cell in cells]
                    comment = cells and cells[0].startswith("#") and not any(cells[1:])
                    if any(cells) and not comment:
                        yield last, cells
            except (csv.Error, UnicodeError) as error:
                msg = (
                    f'{self.path}, line {last + 1}: cannot be read as a table ({error}). Is a quote (") unclosed, or '
                    "not doubled inside quotes? Save the table as comma-separated UTF-8 text."
                )
                raise TableError(msg, code="malformed-table", path=self.path) from error

    @property
    def columns(self) -> str:
        """The columns' names, for messages."""
        names = [printable(name)[:LONGEST] for name in self.header if name]
        return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "") or "none"


def open_text_table(path: Path, known: Callable[[str], bool]) -> TextTable:
    """Find out how a table is written.

    UTF-8, UTF-16 and UTF-32, with a byte-order mark or without; cells separated by commas, semicolons, tabs or
    vertical bars, whichever gives most columns that are known; Excel's first line ``sep=;``; comments, which begin with
    ``#``.

    Args:
        path: The file.
        known: Whether a column of this name would be used.

    Raises:
        TableError: It cannot be read, or is no table.
    """
    try:
        with open_regular(path, limit=LARGEST_TABLE) as file:
            start = file.read(ENOUGH)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        msg = f"{path}: cannot be read as a table ({reason}). Check what it is, and the permissions."
        raise TableError(msg, code="unreadable", path=path) from error
    encoding = _encoding(start)
    kind = kind_of(start)
    if not encoding or not start.strip() or kind.startswith(WRITTEN):
        msg = f"{path}: is {kind}, not a table. {_remedy(kind)}"
        raise TableError(msg, code="not-a-table", path=path)
    separator, above = "", 0
    try:
        with _open(path, encoding) as file:
            for line in file:
                told = re.fullmatch(r'"?sep=(.)"?\s*', line, re.IGNORECASE) if not separator else None
                if told:
                    separator = told[1]
                elif line.strip() and not line.startswith("#"):
                    break
                above += 1
            else:
                line = ""
        choices = [separator] if separator else SEPARATORS
        header = {mark: _cells(line, mark) for mark in choices}
    except UnicodeError as error:
        msg = f"{path}: cannot be read as text ({error}). Save the table as comma-separated UTF-8 text."
        raise TableError(msg) from error
    best = max(choices, key=lambda mark: (sum(map(known, header[mark])), len(header[mark])))
    return TextTable(path, encoding, best, above, header[best])


def _open(path: Path, encoding: str) -> TextIO:
    return open_text(path, encoding=encoding, errors="surrogateescape" if "utf-8" in encoding else "strict")


def _cells(line: str, separator: str) -> tuple[str, ...]:
    try:
        return tuple(cell.strip() for cell in next(csv.reader([line], delimiter=separator, skipinitialspace=True), []))
    except csv.Error:
        return ()


def _encoding(start: bytes) -> str:
    """As Python calls it; empty where the bytes are no text."""
    if start.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return "utf-32"
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    for place, name in ((0, "utf-32-le"), (3, "utf-32-be")):
        letters = start[place:32:4]
        if len(start) > 7 and all(letters) and start[:32].count(0) == 3 * len(letters):
            return name
    for zeros, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        if len(start) > 3 and not any(start[zeros:32:2]) and all(start[1 - zeros : 32 : 2]):  # the header, in Latin
            return name
    return "" if start.translate(None, CONTROLS) != start else "utf-8-sig"


def _remedy(kind: str) -> str:
    if any(word in kind for word in ("image", "JPEG", "DICOM", "volume")):
        return "Give a folder with one folder per label, or a CSV with path and label."
    if any(word in kind for word in ("archive", "compressed", "gzip", "bzip2", "xz", "Zstandard")):
        return "Unpack it, and give the folder."
    if any(word in kind for word in ("Office", "Excel", "Parquet")):
        return "Save the table as comma-separated UTF-8 text, and give that."
    return "Give a folder of class folders, or a CSV with path and label."


LOG = "table: "  # with which the log of `hilum.auditing.clean` begins
TRUTH = "truth.json"
PHANTOMS = "metadata.csv"
LONGEST_LINE = 2**20  # bytes of the log's first line


class TableStatement(BaseModel):
    """What is written down beside a table, so that half of it is found.

    Attributes:
        rows: How many it has below its header.
        sha256: Of its bytes.
        path: The cell of the last row's image.
        last: The last row.
    """

    model_config = ConfigDict(frozen=True, strict=True)
    rows: int
    sha256: str
    path: str
    last: str


def statement(content: bytes, path: str, rows: int) -> TableStatement:
    """What is written down of a table.

    Args:
        content: In UTF-8, a header and a line a row.
        path: The cell of the last row's image.
        rows: How many there are.
    """
    last = content.rstrip(b"\r\n").rpartition(b"\n")[2]
    shown = last.decode("utf-8", "surrogateescape")
    return TableStatement(rows=rows, sha256=hashlib.sha256(content).hexdigest(), path=path, last=shown)


def check_whole(text: TextTable, column: int) -> bool:
    """Find a table that was cut.

    Args:
        text: The table.
        column: Of the paths.

    Returns:
        Whether hilum wrote it, so that apostrophes before formulas are hilum's (`hilum.outputs`).

    Raises:
        TableError: It was cut.
    """
    beside, known = _stated(text.path)
    if not known:
        return False
    content = read_whole(text.path, LARGEST_TABLE)
    if hashlib.sha256(content).hexdigest() == known.sha256:
        return True
    paths = [cells[column] for _, cells in text.lines() if len(cells) > column]
    last, stated = content.rpartition(b"\n")[2], known.last.encode("utf-8", "surrogateescape")
    what = ""
    if len(paths) < known.rows and known.path.strip() not in paths:
        what = f"has {len(paths):,} rows"
    elif last and last != stated and stated.startswith(last):
        what = f"ends within its last row ('{printable(last.decode('utf-8', 'replace'))[-60:]}')"
    if what:
        msg = (
            f"{text.path}: is truncated: it {what}, and had {known.rows:,} down to '{printable(known.path)}' when "
            f"written ({beside}). Use a complete copy, or write it again. If rows were removed on purpose, rename the "
            "table."
        )
        raise TableError(msg, code="cut", path=text.path)
    return True


def as_meant(table: Dataset) -> Dataset:
    """The table without the apostrophes that were written before formulas."""
    for column in ("label", "patient_id", "source"):
        changed = {value: from_cell(value) for value in table.values(column)}
        table = table.renamed(column, {value: meant for value, meant in changed.items() if value != meant})
    return table


def is_log(file: Path) -> bool:
    """Whether a file is the log of ``hilum audit --clean``."""
    return bool(_said(_first_line(file)))


def _stated(path: Path) -> tuple[str, TableStatement | None]:
    """What lies beside a table, and what it says of it; None where nothing does."""
    log, truth = path.with_suffix(".log"), path.with_name(TRUTH)
    if known := _said(_first_line(log)):
        return log.name, known
    if path.name != PHANTOMS:
        return "", None
    try:
        return truth.name, TableStatement.model_validate(json.loads(read_text(truth))["table"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "", None


def _first_line(log: Path) -> bytes:
    try:
        with open_regular(log) as file:
            return file.readline(LONGEST_LINE)
    except (OSError, ValueError):
        return b""


def _said(line: bytes) -> TableStatement | None:
    try:
        known = line.removeprefix(LOG.encode())
        return TableStatement.model_validate(json.loads(known)) if line.startswith(LOG.encode()) else None
    except (ValueError, RecursionError):
        return None
