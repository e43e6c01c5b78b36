"""Files that a table names without their folder or ending, or from another folder than its own."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Set
from dataclasses import replace
from itertools import islice
from pathlib import Path

from hilum.data.dataset import Dataset, Row, pack
from hilum.data.label_names import spelling_key
from hilum.data.labels import last_component
from hilum.errors import TableError
from hilum.text import printable

FIRST, EVERY = 200, 500  # rows whose files are looked for before anything is searched
MOST = 2_000_000  # files looked through


def find_files(table: Dataset) -> Dataset:
    """Find files that a table names without their folder or ending, or from another folder than its own.

    Nothing is searched where the files of the first 200 rows and of every 500th lie where the table says. Otherwise
    paths may hold from the folder above the table's, or a file of this name is looked for below the table's folder;
    where the table gives folders, too, they have to agree. What is there several times, or in a folder that is another
    label of the table, is left as it is.

    Args:
        table: Rows as the table gives them.

    Returns:
        The same rows, with a note where any was found elsewhere. Files that are nowhere stay as they are.

    Raises:
        TableError: Some files are there, and more than half are not.
    """
    sample = [*range(min(FIRST, len(table))), *range(FIRST, len(table), EVERY)]
    paths = [table.rows[i].path for i in sample]
    missing = [path for path in paths if not _is_there(table.root, path)]
    if not missing:
        return table
    above = table.root.absolute().parent
    if len(missing) == len(paths) and all(_is_there(above, path) for path in paths):
        note = f"paths of the table are relative to {above}, its parent folder"
        return replace(table, root=above, notes=(*table.notes, note))
    names = files_by_name(table.root)
    found: dict[str, str] = {}
    several = 0
    labels = {spelling_key(last_component(label)) for label in table.values("label")}
    astray: list[str] = []
    for row in table.rows:
        if not _is_there(table.root, row.path):
            places = places_of_file(row.path, names)
            if len(places) == 1 and _in_other(places[0], row, labels):
                astray.append(f"'{printable(row.path)}' of '{printable(row.label)}' may be {printable(places[0])}")
            elif len(places) == 1:
                found[row.path] = places[0]
            several += len(places) > 1
    notes = list(table.notes)
    if several:
        notes.append(f"{several:,} files are not at the table's paths, and several files have the same name")
    if astray:
        notes.append(f"{len(astray):,} files were found only in the folder of another label: not used ({astray[0]})")
    lost = sum(not _is_there(table.root, row.path) for row in table.rows) - len(found)
    if 0 < len(table) - lost < lost:
        first = next(row.path for row in table.rows if row.path not in found and not _is_there(table.root, row.path))
        msg = (
            f"{table.root}: {lost:,} of the {len(table):,} images of the table are not there (first: "
            f"{printable(first)}). Checked: the paths of the table, and their names in all folders below "
            f"{table.root}. Put them there, or remove their rows."
        )
        raise TableError(msg, code="missing-images", path=table.root)
    if lost and lost < len(table):
        notes.append(f"WARNING: {lost:,} of {len(table):,} images of the table are not there")
    if not found:
        return replace(table, notes=tuple(notes))
    first = next(iter(found))
    where = f"'{printable(first)}' is {printable(found[first])}"
    notes.append(f"{len(found):,} of {len(table):,} files were found by name below {table.root} ({where})")
    rows = pack(replace(row, path=found.get(row.path, row.path)) for row in table.rows)
    return replace(table, rows=rows, notes=tuple(notes))


def _in_other(place: str, row: Row, labels: Set[str]) -> bool:
    """Whether a file lies in a folder that is a label but not the row's, and that the table does not name."""
    named = set(row.path.casefold().split("/")[:-1])
    folders = {spelling_key(name) for name in place.split("/")[:-1] if name.casefold() not in named}
    return bool(folders & labels) and spelling_key(last_component(row.label)) not in folders


def _is_there(root: Path, path: str) -> bool:
    return os.path.lexists(root / path)


def files_by_name(root: Path) -> Mapping[str, list[str]]:
    """The files below a folder by their names in lower case, with and without ending."""
    names: defaultdict[str, list[str]] = defaultdict(list)
    for file in islice(files_below(root), MOST):
        name = file.rpartition("/")[2].casefold()
        names[name].append(file)
        stem = name.rpartition(".")[0]
        if stem:
            names[stem].append(file)
    return names


def files_below(root: Path) -> Iterator[str]:
    """Paths of the files below a folder, relative to it; hidden folders are passed over, links followed once."""
    seen = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inside = os.path.relpath(folder, root)
        yield from (name if inside == "." else f"{inside}/{name}" for name in sorted(files))


def places_of_file(path: str, names: Mapping[str, list[str]]) -> list[str]:
    """Where a file may lie: its folders, as far as both sides give any, agree."""
    _, folder, name = path.rpartition("/")
    places = names.get(name.casefold(), [])
    if not folder:
        return places
    given = f"/{path.casefold()}"

    def agrees(place: str) -> bool:
        here = f"/{place.casefold()}"
        if not here.endswith(f"/{name.casefold()}"):  # the table gives no ending
            here = here.rpartition(".")[0]
        return given.endswith(here) or here.endswith(given)

    return [place for place in places if agrees(place)]
