"""Tables with a column a finding: which columns are findings, and what their cells mean."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache

from hilum.data.label_names import is_missing_value
from hilum.data.labels import is_healthy
from hilum.data.multilabel import ABSENT, PREFIX, PRESENT, UNCERTAIN, UNKNOWN, clean_name
from hilum.data.readers.text_table import TextTable
from hilum.errors import TableError
from hilum.outputs import from_cell
from hilum.text import printable

CELLS: Mapping[str, str] = {
    **dict.fromkeys(("1", "1.0", "+1"), PRESENT),
    **dict.fromkeys(("0", "0.0"), ABSENT),
    **dict.fromkeys(("-1", "-1.0"), UNCERTAIN),
}
NO_FINDINGS = frozenset(
    {"sex", "male", "female", "gender", "ap", "pa", "lateral", "frontal", "portable", "icu", "died"}
)
FLAG = "--finding-columns"
SHOWN = 4


@lru_cache(maxsize=4096)  # a table has few different ones, and millions of them
def meaning(cell: str) -> str | None:
    """What a cell of a finding means, as rows keep it; None where it is no such cell."""
    text = from_cell(cell).strip()
    return CELLS.get(text, UNKNOWN if is_missing_value(text) else None)


def finding_columns(table: TextTable, named: Sequence[str], used: Collection[int]) -> tuple[int, ...]:
    """The numbers of the columns that are findings, of a table without a column of labels.

    Args:
        table: With its header.
        named: Columns that the user says are findings; else those written by hilum, or those whose cells are all 1, 0,
            -1 or empty, and not all 0, are.
        used: Columns that are something else.

    Returns:
        Empty where there are not at least two such columns and none was named.

    Raises:
        TableError: A named column is not there, or has cells that mean nothing.
    """
    if named:
        found = tuple(_numbered(table, name) for name in dict.fromkeys(named))
        if len(found) < 2:
            msg = (
                f"{table.path}: {FLAG} names one finding. Name at least two, or read it as labels that exclude each "
                f"other: --label-column {named[0]}."
            )
            raise TableError(msg, code="single-finding", path=table.path)
        _check_cells(table, found)
        return found
    written = tuple(number for number, name in enumerate(table.header) if name.startswith(PREFIX))
    if written:
        _check_cells(table, written)
        return written
    free = [
        number
        for number, name in enumerate(table.header)
        if number not in used and name and name.strip().casefold() not in NO_FINDINGS
    ]
    marked: set[int] = set()
    for _, line in table.lines():
        for number in list(free):
            cell = meaning(line[number]) if number < len(line) else UNKNOWN
            if cell is None:
                free.remove(number)
            elif cell in (PRESENT, UNCERTAIN):  # one that is uncertain everywhere is refused later, not passed over
                marked.add(number)
    found = tuple(number for number in free if number in marked)
    return found if len(found) > 1 else ()


def finding_name(header: str) -> str:
    """The name of a finding by that of its column."""
    return clean_name(header.removeprefix(PREFIX))


def is_no_finding(name: str) -> bool:
    """Whether a column says that there is no finding: ``No Finding``, ``normal``."""
    return is_healthy(name)


def _numbered(table: TextTable, name: str) -> int:
    wanted = name.strip().casefold()
    found = [number for number, column in enumerate(table.header) if column.strip().casefold() == wanted]
    if len(found) != 1:
        what = (
            f"{len(found)} columns are called so" if found else f"there is no such column; its columns: {table.columns}"
        )
        msg = f"{table.path}: {FLAG} {printable(name)}: {what}."
        raise TableError(msg, code="no-such-column", path=table.path)
    return found[0]


def _check_cells(table: TextTable, numbers: Sequence[int]) -> None:
    for line, cells in table.lines():
        for number in numbers:
            cell = cells[number] if number < len(cells) else ""
            if meaning(cell) is None:
                msg = (
                    f"{table.path}, line {line}: the finding '{printable(table.header[number])}' is "
                    f"'{printable(cell[:40])}'. Write 1 (present), 0 (absent), -1 (uncertain), or nothing (unknown)."
                )
                raise TableError(msg, code="no-finding-value", path=table.path)
