"""How a Table is read: from class folders, or from a CSV file."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import MappingProxyType

import numpy as np

from hilum.data.images import SUFFIXES
from hilum.data.rows import NOTHING, Row, pack
from hilum.data.table import Table
from hilum.errors import TableError

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "calibration": "calibration",
    "test": "test",
    "testing": "test",
}
KNOWN_COLUMNS = {"path", "label", "split", "patient_id", "source"}


def read_table(data: Path) -> Table:
    """Read a dataset, whichever way it is laid out.

    Args:
        data: A folder of class folders (optionally below ``train``, ``val``, ``test``), a folder that
            holds a ``metadata.csv``, or such a CSV file itself.

    Raises:
        TableError: There is nothing there, or it is not a labelled dataset of two or more labels.
    """
    if not data.exists():
        msg = f"{data}: no such folder or file. Give a folder of class folders, or a CSV with path and label."
        raise TableError(msg)
    if data.is_file():
        table = read_csv_table(data)
    elif (data / "metadata.csv").is_file():
        table = read_csv_table(data / "metadata.csv")
    else:
        table = read_folders(data)
    if len(table.labels) < 2:
        only = f"'{table.labels[0]}'" if table.labels else "none"
        msg = (
            f"{data}: found {len(table)} images with a single label ({only}). A classifier needs at least two: "
            "put each label's images into a folder of its own, such as normal/ and infected/covid/."
            + "".join(f" ({note})" for note in table.notes)
        )
        raise TableError(msg)
    return table


def read_folders(root: Path) -> Table:
    """Read class folders: the label is the folder path below the split.

    Raises:
        TableError: No image is found, or split folders and class folders stand side by side.
    """
    found = sorted(_walk(root))
    images = [path for path in found if PurePosixPath(path).suffix.lower() in SUFFIXES]
    others = Counter(PurePosixPath(path).suffix.lower() or "no ending" for path in set(found) - set(images))
    if not images:
        kinds = ", ".join(sorted(suffix.lstrip(".") for suffix in SUFFIXES))
        seen = f"{len(found)} files of other kinds" if found else "no files at all"
        msg = f"{root}: no images ({kinds}) below this folder, {seen}. Is it the right folder?"
        raise TableError(msg)
    tops = {path.split("/", 1)[0] for path in images if "/" in path}
    with_splits = {top for top in tops if top.lower() in SPLIT_NAMES}
    if with_splits and with_splits != tops:
        msg = (
            f"{root}: split folders ({', '.join(sorted(with_splits))}) stand beside other folders of images "
            f"({', '.join(sorted(tops - with_splits))}). Move those elsewhere, or list the images in a metadata.csv."
        )
        raise TableError(msg)
    rows: list[Row] = []
    stray: list[str] = []
    for path in images:
        parts = path.split("/")
        split = SPLIT_NAMES[parts[0].lower()] if with_splits and len(parts) > 1 else ""
        label = "/".join(parts[1:-1] if split else parts[:-1])
        if label:
            rows.append(Row(path=path, label=label, split=split))
        else:
            stray.append(path)
    strange = next((row.label for row in rows if not _is_text(row.label)), None)
    if strange:
        shown = strange.encode(errors="backslashreplace").decode()
        msg = f"{root}: the folder name '{shown}' is not UTF-8 text. Rename the folder: it is a label."
        raise TableError(msg)
    notes = []
    if others:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(5))
        notes.append(f"passed over {sum(others.values())} files that are not images ({kinds})")
    if stray:
        notes.append(f"left out {len(stray)} images that lie in no class folder (first: {stray[0]})")
    if not rows:
        msg = f"{root}: {len(stray)} images, but none in a class folder. Put each label's images into one folder."
        raise TableError(msg)
    return Table(root=root, rows=tuple(rows), notes=tuple(notes))


def _walk(root: Path) -> Iterator[str]:
    """Files below `root`, relative, without hidden ones; a folder reached twice through links counts once."""
    seen: set[tuple[int, int]] = set()
    waiting = [(str(root), "")]
    while waiting:
        folder, prefix = waiting.pop()
        try:
            status = Path(folder).stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            entries = list(os.scandir(folder))
        except FileNotFoundError as error:
            if prefix:  # taken away since its parent was listed
                continue
            msg = f"{folder}: no such folder. Give a folder of class folders."
            raise TableError(msg) from error
        except OSError as error:
            msg = f"{folder}: cannot be listed ({error.strerror}). Check the permissions, or move it away."
            raise TableError(msg) from error
        for entry in entries:
            if entry.name.startswith("."):
                continue
            try:
                folder_too, file_too = entry.is_dir(), entry.is_file() or entry.is_symlink()
            except OSError:  # a link to itself
                folder_too, file_too = False, True
            if folder_too:
                waiting.append((entry.path, f"{prefix}{entry.name}/"))
            elif file_too:  # a link that leads nowhere is reported, not passed over
                yield prefix + entry.name


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
    return Table(root=path.parent, rows=_with_taxonomy(rows))


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


def _is_text(name: str) -> bool:
    """Whether a name is valid UTF-8: what is not arrives as lone surrogates, which cannot be printed."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


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
    if not _is_text(entry["label"]) or "\0" in given:
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
