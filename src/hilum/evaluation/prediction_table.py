"""A table of predictions of any model, before it is known what they are predictions of."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hilum.data.dataset import Row
from hilum.data.readers.columns import NAMES, plain
from hilum.data.readers.text_table import TextTable, open_text_table
from hilum.errors import TableError
from hilum.evaluation.subgroups import columns_of
from hilum.outputs import from_cell
from hilum.text import plural, printable

PREFIX = "p:"  # before a label or finding, in the name of a column of probabilities
TRUTH = "true:"  # before a finding, in the name of a column that says whether an image has it
Lines = list[tuple[int, list[str]]]


@dataclass(frozen=True)
class PredictionTable:
    """The cells of a table, and what messages call it.

    Attributes:
        text: Its header, and how it was opened.
        lines: Number and cells of each line, as many cells as the header has.
        shown: Name in messages.
    """

    text: TextTable
    lines: Lines
    shown: str

    @property
    def header(self) -> dict[str, int]:
        """The number of each column, by its name."""
        return {name: number for number, name in enumerate(self.text.header)}

    def role(self, role: str) -> int | None:
        """The column of a role: by hilum's name for it first, then by the usual others, in their order."""
        names = [plain(column) for column in self.text.header]
        return next((names.index(known) for known in NAMES[role] if known in names), None)


def open_predictions(file: Path, shown: str) -> PredictionTable:
    """Open a table of predictions.

    Args:
        file: In any encoding and with any usual separator.
        shown: What messages call it.

    Raises:
        TableError: It has no rows, a row has more or fewer cells than the header, or two columns have one name.
    """
    text = open_text_table(file, _is_known)
    lines = [(number, [from_cell(cell) for cell in cells]) for number, cells in text.lines()]
    if not lines:
        msg = f"{shown}: a header, but no rows. List one image a line."
        raise TableError(msg, code="no-rows", path=file)
    for number, cells in lines:
        if len(cells) != len(text.header):
            msg = f"{shown}, line {number}: {len(cells)} cells under a header of {len(text.header)}. Correct the line."
            raise TableError(msg, code="uneven-row", path=file)
    again = [name for name, count in Counter(text.header).items() if count > 1]
    if again:
        msg = f"{shown}: two columns are called '{printable(again[0])}'. Rename one."
        raise TableError(msg, code="doubled-column")
    return PredictionTable(text, lines, shown)


def _is_known(name: str) -> bool:
    return any(plain(name) in names for names in NAMES.values()) or name.startswith((PREFIX, TRUTH))


def each_image_once(table: PredictionTable, path: int | None) -> tuple[Lines, list[str]]:
    """The lines without repetitions of an image, and what is to be said of those.

    Args:
        table: Of predictions.
        path: The column that names images; None where none does.

    Raises:
        TableError: An image has no name, or is listed twice with different cells.
    """
    if path is None:
        return table.lines, []
    first: dict[str, tuple[int, list[str]]] = {}
    kept = []
    for number, cells in table.lines:
        name = cells[path]
        if not name:
            msg = f"{table.shown}, line {number}: no path. Fill the cell, or leave the column out."
            raise TableError(msg, code="no-path")
        before, same = first.setdefault(name, (number, cells))
        if before == number:
            kept.append((number, cells))
        elif same != cells:
            where = f"{table.shown}, lines {before} and {number}"
            msg = f"{where}: '{printable(name)}' is listed again with other values. Keep one."
            raise TableError(msg, code="contradicting-rows")
    again = len(table.lines) - len(kept)
    return kept, [f"{plural(again, 'row')} repeat an image that is listed already, and count once"] if again else []


def image_names(lines: Lines, path: int | None) -> tuple[str, ...]:
    """The name of each image; the number of its row where no column has names."""
    return tuple(cells[path] if path is not None else f"row {number}" for number, cells in lines)


def further_columns(lines: Lines, paths: Sequence[str], others: Mapping[str, int]) -> dict[str, list[str]]:
    """What the table says of each image besides, for subgroups, as `hilum.evaluation.subgroups.columns_of` gives it.

    Args:
        lines: Of N images.
        paths: Their names.
        others: The number of each further column, by its name.
    """
    rows = [
        Row(path, "", extra={name: cells[at] for name, at in others.items()})
        for path, (_, cells) in zip(paths, lines, strict=True)
    ]
    return columns_of(rows)


def number_in(cell: str) -> float:
    """The number that a cell holds; NaN of any other text."""
    try:
        return float(cell)
    except ValueError:
        return math.nan


def no_probability(table: PredictionTable, lines: Lines, rows: Sequence[int], of: str, value: float) -> TableError:
    """The refusal of a cell that holds no probability.

    Args:
        table: Of predictions.
        lines: Of images, each once.
        rows: Where there is such a cell.
        of: Label or finding of the first.
        value: The number in the first; NaN for other texts.
    """
    of_all = f" ({plural(len(rows), 'line')} of {len(lines):,} so)" if len(rows) > 1 else ""
    cell = "no number" if math.isnan(value) else f"{value:g}, outside 0 to 1"
    where = f"{table.shown}, line {lines[rows[0]][0]}"
    msg = f"{where}: the probability of '{printable(of)}' is {cell}{of_all}. Give probabilities."
    return TableError(msg, code="no-probability")
