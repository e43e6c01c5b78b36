"""A CSV file with one row an image."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import MappingProxyType

import numpy as np

from hilum.data.readers.split_names import SPLIT_NAMES
from hilum.data.rows import NOTHING, Row, pack
from hilum.data.table import Table
from hilum.errors import TableError
from hilum.printable import is_text

KNOWN_COLUMNS = {"path", "label", "split", "patient_id", "source"}


def read_csv_table(path: Path) -> Table:
    """Read a CSV with the columns ``path`` and ``label``, optionally ``split``, ``patient_id``, ``source``.

    Paths are relative to the CSV's folder. Other columns are kept in `Row.extra`. A label that is merely the name
    of its image's folder becomes that folder's path, so that nesting is kept.

    Raises:
        TableError: A column is missing, a row is incomplete or given twice, a split is unknown, or a path
            leads out of the CSV's folder.
    """
    try:
        rows = pack(row for _, row in _each_row(path))
        _check_once(path, rows)
    except (OSError, csv.Error) as error:
        msg = f"{path}: cannot be read as CSV ({error}). Save it as comma-separated UTF-8 text."
        raise TableError(msg) from error
    if not rows:
        msg = f"{path}: a header, but no rows. List one image a line."
        raise TableError(msg)
    return Table(root=path.parent, rows=_with_taxonomy(rows), columns=_columns(path))


def _columns(path: Path) -> tuple[str, ...]:
    with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        return tuple(name.strip() for name in next(csv.reader(file), []))


def _each_row(path: Path) -> Iterator[tuple[int, Row]]:
    """The rows of a CSV as they stand there, one by one, each with the number of its line."""
    with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        reader = csv.DictReader(file)
        header = [name.strip() for name in reader.fieldnames or []]
        reader.fieldnames = header
        _check_header(path, header)
        for entry in reader:
            where = f"{path}, line {reader.line_num}"
            values = {key: (value or "").strip() for key, value in entry.items() if key}
            yield reader.line_num, _row(path.parent, where, values)


def _check_once(path: Path, rows: Sequence[Row]) -> None:
    """Find paths that are listed twice: by hashes first, since of millions of rows not every path is to be kept."""
    found, counts = np.unique(np.fromiter((hash(row.path) for row in rows), np.int64), return_counts=True)
    suspicious = set(found[counts > 1].tolist())
    if not suspicious:
        return
    first_line: dict[str, int] = {}
    for line, row in _each_row(path):
        if row.path in first_line:
            msg = (
                f"{path}, line {line}: '{row.path}' is listed already in line {first_line[row.path]}. "
                "An image counts once: remove one of the two rows."
            )
            raise TableError(msg)
        if hash(row.path) in suspicious:
            first_line[row.path] = line


def _with_taxonomy(rows: Sequence[Row]) -> Sequence[Row]:
    """Where every label is the name of its image's own folder, the folder path is the label.

    A CSV that says ``covid`` beside ``train/infected/covid/1.png`` means ``infected/covid``: the folders know
    the nesting that a single name has lost. Folders that all images share say nothing and are dropped.
    """
    low: tuple[str, ...] | None = None
    high: tuple[str, ...] = ()
    for row in rows:
        folders = _folders(row)
        if not folders or folders[-1] != row.label:
            return rows
        parents = folders[:-1]
        low, high = min(parents, parents if low is None else low), max(parents, high)
    low = low or ()  # whatever these two share, all share
    shared = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    return pack(replace(row, label="/".join(_folders(row)[shared:])) for row in rows)


def _folders(row: Row) -> tuple[str, ...]:
    """The folders in which a row's image lies, without that of a split."""
    parts = tuple(row.path.split("/")[:-1])
    return parts[1:] if parts and parts[0].lower() in SPLIT_NAMES else parts


def _check_header(path: Path, header: list[str]) -> None:
    missing = [name for name in ("path", "label") if name not in header]
    if missing:
        hint = " Are the columns separated by semicolons? Use commas." if any(";" in h for h in header) else ""
        msg = (
            f"{path}: the column{'s' if len(missing) > 1 else ''} {' and '.join(missing)} "
            f"{'are' if len(missing) > 1 else 'is'} missing; found: {', '.join(header) or 'nothing'}.{hint} "
            "Add what is missing, or rename the file if it is not meant as hilum's table."
        )
        raise TableError(msg)


def _row(root: Path, where: str, entry: dict[str, str]) -> Row:
    given = entry["path"].replace("\\", "/")
    if not given or not entry["label"].strip("/ "):
        msg = f"{where}: the {'path' if not given else 'label'} is empty. Fill it in, or remove the row."
        raise TableError(msg)
    if not is_text(entry["label"]) or "\0" in given:
        msg = f"{where}: '{given}' or its label is not UTF-8 text. Save the table as comma-separated UTF-8 text."
        raise TableError(msg.encode(errors="backslashreplace").decode())
    inside = os.path.normpath(given)
    if Path(given).is_absolute():
        inside = os.path.relpath(given, root.absolute())
    if inside.split(os.sep, 1)[0] == os.pardir:
        msg = f"{where}: '{given}' lies outside {root}. Move the image below that folder, or the CSV above both."
        raise TableError(msg)
    split = entry.get("split", "").lower()
    if split and split not in SPLIT_NAMES:
        msg = f"{where}: unknown split '{split}'. Use train, val, calibration or test, or leave it empty."
        raise TableError(msg)
    extra = {key: value for key, value in entry.items() if key not in KNOWN_COLUMNS}
    return Row(
        path=PurePosixPath(inside).as_posix(),
        label=entry["label"].strip("/ "),
        split=SPLIT_NAMES.get(split, ""),
        patient_id=entry.get("patient_id", ""),
        source=entry.get("source", ""),
        extra=MappingProxyType(extra) if extra else NOTHING,
    )
