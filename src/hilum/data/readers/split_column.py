"""Which column of a table holds its splits, where nobody says so; and the splits that its paths hold instead."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from hilum.data.label_names import says_nothing
from hilum.data.labels import words_of
from hilum.data.readers.columns import NAMES, plain
from hilum.data.readers.listing import common, named
from hilum.data.readers.split_names import split_of, splits_of
from hilum.data.readers.text_table import TextTable
from hilum.data.table import Table
from hilum.errors import TableError
from hilum.printable import printable

SHOWN = 5
MOST = 1000  # different cells of a column that may still hold splits
YES, NO = frozenset({"1", "1.0", "true", "yes", "y"}), frozenset({"0", "0.0", "false", "no", "n"})
NO_COLUMN = "where no column holds splits, say --split-column none"


def find_split_column(table: TextTable, used: Collection[int]) -> int | None:
    """The column of splits: by its name, or because its cells are names of at least two splits and nothing else.

    A column called ``is_test`` or ``is_train`` whose cells are 0 and 1 is one, too (`meanings`).

    Args:
        table: With its header.
        used: Columns that are something else.

    Raises:
        TableError: Some cells of a column with a split's name are no splits, or two columns contradict each other.
    """
    free = [number for number in range(len(table.header)) if number not in used]
    called = [number for number in free if plain(table.header[number]) in NAMES["split"]]
    cells = _cells(table, free, called)
    found = []
    for number, values in cells.items():
        name, known = table.header[number], meanings(table.header[number], values)
        kinds, odd = set(known.values()), sorted(value for value in values if value not in known)
        if not odd and (len(kinds) > 1 or (kinds and number in called)):
            found.append(number)
        elif name == "split":
            return number  # its cells are named with their lines when they are read
        elif kinds and number in called:
            msg = (
                f"{table.path}: the column '{printable(name)}' holds splits ({named(known, SHOWN)}) and what is none "
                f"({named(odd, SHOWN)}). Write train, val, calibration, test or nothing there, or say which column "
                f"holds the splits: --split-column NAME; {NO_COLUMN}."
            )
            raise TableError(msg, code="mixed-split-column", path=table.path)
    if len(found) > 1:
        _check_alike(table, {number: meanings(table.header[number], cells[number]) for number in found})
    if not found:
        return next((number for number in called if table.header[number] == "split"), None)
    return min(found, key=lambda number: (table.header[number] != "split", number not in called, number))


def meanings(name: str, values: Iterable[str]) -> dict[str, str]:
    """What the cells of a column of splits mean, those left out that mean none.

    In a column called ``is_test`` 1 is test and 0 is train; in one called ``is_train`` 1 is train and 0 is test.

    Args:
        name: Of the column.
        values: Its cells, each once.
    """
    values = set(values)
    words = words_of(name)
    split = split_of(words[1]) if len(words) == 2 and words[0] == "is" else ""
    if split in ("train", "test") and values and all(value.casefold() in YES | NO for value in values):
        other = "test" if split == "train" else "train"
        return {value: split if value.casefold() in YES else other for value in values}
    return splits_of(values)


def _cells(table: TextTable, free: Iterable[int], called: Collection[int]) -> dict[int, set[str]]:
    """The different cells of columns that may hold splits, those left out that say nothing."""
    cells: dict[int, set[str]] = {number: set() for number in free}
    for _, line in table.lines():
        for number in list(cells):
            value = line[number] if number < len(line) else ""
            if not value or value in cells[number] or says_nothing(value):
                continue
            cells[number].add(value)
            flag = value.casefold() in YES | NO and words_of(table.header[number])[:1] == ("is",)
            if len(cells[number]) > MOST or not (number in called or flag or split_of(value)):
                del cells[number]
        if not cells:
            break
    return cells


def _check_alike(table: TextTable, columns: Mapping[int, Mapping[str, str]]) -> None:
    for number, line in table.lines():
        said = [known.get(line[column], "") if column < len(line) else "" for column, known in columns.items()]
        if len(set(said)) > 1:
            names = " and ".join(f"'{printable(table.header[column])}'" for column in columns)
            what = " and ".join(split or "nothing" for split in said)
            msg = (
                f"{table.path}, line {number}: the columns {names} hold splits and differ ({what}). Say which to use: "
                f"--split-column NAME."
            )
            raise TableError(msg, code="contradicting-splits", path=table.path)


def with_splits_of_paths(table: Table, name: str) -> Table:
    """Take the splits from the folders in the paths, where no cell names one: ``train/1.png`` and ``test/2.png``.

    Folders that all paths share say nothing. What is left counts where it names at least two splits.

    Args:
        table: Without splits, with its paths as they stand in it.
        name: Of the table, for messages.

    Raises:
        TableError: Only some paths have a split, or one has two.
    """
    folders = {row.path.rpartition("/")[0] for row in table.rows}
    shared = len(common(tuple(folder.split("/")) for folder in folders))
    below = {folder: folder.split("/")[shared:] for folder in folders}
    known = splits_of({part for parts in below.values() for part in parts})
    splits = {folder: {known[part] for part in parts if part in known} for folder, parts in below.items()}
    kinds = set().union(*splits.values())
    if not kinds or (len(kinds) == 1 and all(splits.values())):
        return table
    if wrong := sorted(folder for folder, found in splits.items() if len(found) != 1):
        example = next(folder for folder, found in sorted(splits.items()) if found)
        what = "two splits" if splits[wrong[0]] else "no split"
        msg = (
            f"{name}: folders in its paths name splits ('{printable(example)}'), but '{printable(wrong[0] or '.')}' "
            f"names {what}. Add a column split; {NO_COLUMN}."
        )
        raise TableError(msg, code="unclear-splits")
    told = ", ".join(f"{printable(part)} ({split})" for part, split in sorted(known.items()))
    chosen = {folder: next(iter(found)) for folder, found in splits.items()}
    table = table.with_splits([chosen[row.path.rpartition("/")[0]] for row in table.rows])
    return replace(table, notes=(*table.notes, f"splits are read from the folders in the paths: {told}"))
