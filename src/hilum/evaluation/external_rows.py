"""The rows of a table of predictions: each image once, its further columns, and cells that hold no probability."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from hilum.data.dataset import Row
from hilum.errors import TableError
from hilum.evaluation.external_columns import Lines, PredictionTable
from hilum.evaluation.subgroups import columns_of
from hilum.text import plural, printable


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
            msg = f"{table.where(number)}: no path. Fill the cell, or leave the column out."
            raise TableError(msg, code="no-path")
        before, same = first.setdefault(name, (number, cells))
        if before == number:
            kept.append((number, cells))
        elif same != cells:
            msg = f"{table.where(before, number)}: '{printable(name)}' is listed again with other values. Keep one."
            raise TableError(msg, code="contradicting-rows")
    again = len(table.lines) - len(kept)
    return kept, [f"{plural(again, 'row')} repeat an image; each image counts once"] if again else []


def image_names(lines: Lines, path: int | None) -> tuple[str, ...]:
    """The name of each image; the number of its row where no column has names."""
    return tuple(cells[path] if path is not None else f"row {number}" for number, (_, cells) in enumerate(lines, 1))


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


def rows_like(table: PredictionTable, lines: Lines, rows: Sequence[int]) -> str:
    """How many rows have the fault of the first, in brackets; empty of one."""
    kind = "row" if table.of_frame else "line"
    return f" ({plural(len(rows), kind)} of {len(lines):,} so)" if len(rows) > 1 else ""


def no_probability(table: PredictionTable, lines: Lines, rows: Sequence[int], of: str, value: float) -> TableError:
    """The refusal of a cell that holds no probability.

    Args:
        table: Of predictions.
        lines: Of images, each once.
        rows: Where there is such a cell.
        of: Label or finding of the first.
        value: The number in the first; NaN for other texts.
    """
    cell = "no number" if math.isnan(value) else f"{value:g}, outside 0 to 1"
    where, of_all = table.where(lines[rows[0]][0]), rows_like(table, lines, rows)
    msg = f"{where}: the probability of '{printable(of)}' is {cell}{of_all}. Give probabilities."
    return TableError(msg, code="no-probability")
