"""Which images an archive has: of folders, of lists (text or CSV) and of object stores, one after the other."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from hilum.archives.object_store import is_address, list_objects, read_object
from hilum.errors import TableError
from hilum.files import open_text
from hilum.serving.inputs import PATHS, find_files

LISTS = (".txt", ".csv")


def list_images(
    places: Iterable[str],
    without: Path | None = None,
    say: Callable[[str], object] | None = None,
    unlisted: Callable[[str], object] | None = None,
) -> Iterator[str]:
    """Paths and addresses of all images, in a fixed order.

    Args:
        places: Images, folders, lists of paths (``.txt``, one a line; ``.csv``, with a column ``path``), and addresses
            in object stores. Paths in a list are relative to it.
        without: A folder that is passed over: what is written.
        say: Told in one line for each folder what was left out.
        unlisted: Told in one line of each folder that cannot be listed.

    Raises:
        TableError: A list cannot be read.
        DataError: A store cannot be used.
        UsageError: A folder holds no image.
    """
    for place in places:
        if is_address(place):
            yield from list_objects(place)
        elif place.lower().endswith(LISTS) and not Path(place).is_dir():
            yield from _listed(Path(place))
        else:
            yield from map(str, find_files([Path(place)], (without,), say, unlisted))


def source_of(entry: str) -> Path | bytes:
    """What a predictor is asked about.

    Raises:
        ImageError: An object is not there.
        DataError: A store cannot be used.
    """
    return read_object(entry) if is_address(entry) else Path(entry)


def _listed(file: Path) -> Iterator[str]:
    """The entries of a list.

    Raises:
        TableError: It cannot be read, or has no column of paths.
    """
    try:
        with open_text(file, encoding="utf-8-sig", errors="surrogateescape") as lines:
            read = _column(file, lines) if file.suffix.lower() == ".csv" else (line.rstrip("\r\n") for line in lines)
            for entry in filter(None, read):
                yield entry if is_address(entry) else os.path.join(file.parent, entry)  # noqa: PTH118 - millions
    except (OSError, csv.Error) as error:
        msg = f"{file}: cannot be read as a list ({error}). Give a text file of paths, or a CSV with a column path."
        raise TableError(msg, path=file) from error


def _column(file: Path, lines: Iterable[str]) -> Iterator[str]:
    rows = csv.reader(lines)
    head = [name.strip().lower() for name in next(rows, [])]
    place = next((head.index(name) for name in PATHS if name in head), None)
    if place is None:
        msg = f"{file}: has no column called {' or '.join(PATHS)}. Its columns are: {', '.join(head) or 'none'}."
        raise TableError(msg, code="no-such-column", path=file)
    return (row[place] for row in rows if len(row) > place)
