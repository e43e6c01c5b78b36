"""Which columns of a table of predictions hold what: true label, probabilities by label, image, patient."""

from __future__ import annotations

import difflib
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hilum.data.readers.columns import NAMES, plain
from hilum.data.readers.text_table import TextTable, open_text_table
from hilum.decision.operating_point import are_probabilities
from hilum.errors import TableError
from hilum.outputs import from_cell
from hilum.text import printable

PREFIX = "p:"  # before a label or finding, in the name of a column of probabilities
TRUTH = "true:"  # before a finding, in the name of a column that says whether an image has it
OURS = "predicted"  # the most probable label, which hilum's own tables name beside the probabilities
TOLERANCE = 1e-3  # by which a row's sum may differ from one: tables hold three decimals and more
FEWEST = 2
REMEDY = "one column a label, named LABEL or p:LABEL, beside the column `label`"
DECIMAL_COMMA = re.compile(r"[01]?,\d+(?:[eE][+-]?\d+)?")
SURROGATE = re.compile(r"[\udc80-\udcff]")  # a byte that is no UTF-8
OLD = "Windows-1252"

Lines = list[tuple[int, list[str]]]


@dataclass(frozen=True)
class PredictionTable:
    """The cells of a table of predictions.

    Attributes:
        text: The table as a file.
        shown: What messages call it.
        header: Names of the columns.
        lines: The number of each line in the file, or of each row of a data frame, from 1; and its cells.
        of_frame: Whether it is a data frame.
        notes: How it was read.
    """

    text: TextTable
    shown: str
    header: tuple[str, ...]
    lines: Lines
    of_frame: bool
    notes: tuple[str, ...]

    def where(self, *numbers: int) -> str:
        """A line or lines, for messages."""
        kind = "row" if self.of_frame else "line"
        return f"{self.shown}, {kind}{'s' * (len(numbers) > 1)} {' and '.join(map(str, numbers))}"


@dataclass(frozen=True)
class Places:
    """The number of each column, by what it holds.

    Attributes:
        label: Of the true labels.
        probabilities: By label.
        path: Of the images' names; None where there are none.
        patient: Of the patients; None where there are none.
        others: Further columns, by name.
    """

    label: int
    probabilities: Mapping[str, int]
    path: int | None
    patient: int | None
    others: Mapping[str, int]


def read_cells(file: Path, shown: str, *, of_frame: bool = False) -> PredictionTable:
    """Read all cells.

    A table that is not UTF-8 or UTF-16 is Windows-1252, which Excel writes; Latin-1 is a part of that.

    Raises:
        TableError: It is no table, has no rows, two columns have one name, or a row has more or fewer cells than the
            header.
    """
    text = open_text_table(file, _is_known)
    lines = [(number, [from_cell(cell) for cell in cells]) for number, cells in text.lines()]
    if of_frame:
        lines = [(number, cells) for number, (_, cells) in enumerate(lines, 1)]
    if not lines:
        msg = f"{shown}: a header, but no rows. List one image a line."
        raise TableError(msg, code="no-rows", path=file)
    for number, cells in lines:
        if len(cells) != len(text.header):
            more = len(cells) > len(text.header) and text.separator == ","
            hint = "; decimal commas need semicolons between cells" if more else ""
            found = f"{len(cells)} cells under a header of {len(text.header)}"
            msg = f"{shown}, line {number}: {found}. Correct the line{hint}."
            raise TableError(msg, code="uneven-row", path=file)
    header = text.header
    notes: tuple[str, ...] = ()
    if any(SURROGATE.search(cell) for cells in (header, *(cells for _, cells in lines)) for cell in cells):
        header = tuple(map(_decoded, header))
        lines = [(number, list(map(_decoded, cells))) for number, cells in lines]
        notes = (f"not in UTF-8: read as {OLD}",)
    again = [name for name, count in Counter(header).items() if count > 1]
    if again:
        msg = f"{shown}: two columns are called '{printable(again[0])}'. Rename one."
        raise TableError(msg, code="doubled-column")
    return PredictionTable(text, shown, header, lines, of_frame, notes)


def _decoded(cell: str) -> str:
    """A cell whose bytes are no UTF-8, in the encoding of Windows."""
    if not SURROGATE.search(cell):
        return cell
    content = cell.encode("utf-8", "surrogateescape")
    try:
        return content.decode("cp1252")
    except UnicodeDecodeError:  # five bytes mean nothing there
        return content.decode("latin-1")


def _is_known(name: str) -> bool:
    return any(plain(name) in names for names in NAMES.values()) or name.startswith((PREFIX, TRUTH))


def role_of(header: Sequence[str], role: str) -> int | None:
    """The column of a role: by hilum's name for it first, then by the usual others, in their order."""
    names = [plain(column) for column in header]
    return next((names.index(known) for known in NAMES[role] if known in names), None)


def find_places(table: PredictionTable) -> tuple[Places, list[str]]:
    """Find which column holds what, and give each true label the name of its column.

    Returns:
        The places, and what has to be said of how they were found.

    Raises:
        TableError: A column is missing, or a true label has no probabilities.
    """
    shown, lines = table.shown, table.lines
    header = {name: number for number, name in enumerate(table.header)}
    label = header.get("label", role_of(table.header, "label"))
    if label is None:
        msg = f"{shown}: no column `label`, the true label of each image; its columns: {table.text.columns}. Add it."
        raise TableError(msg, code="no-label-column")
    for _, cells in lines:
        cells[label] = cells[label].strip("/ ")
    truths = {cells[label]: number for number, cells in reversed(lines)}
    if "" in truths:
        msg = f"{table.where(truths[''])}: no label. Fill the cell, or remove the line."
        raise TableError(msg, code="no-label")
    path, patient = role_of(table.header, "path"), role_of(table.header, "patient_id")
    prefixed = {_label(name): at for name, at in header.items() if name.startswith(PREFIX)}
    bare = {_label(name): at for name, at in header.items() if at != label}
    columns = prefixed or bare
    notes = _rename_truths(lines, label, truths, columns)
    found = prefixed or {name: bare[name] for name in truths if name in bare}
    if missing := sorted(set(truths) - set(found)):
        raise _without_probabilities(table, truths, missing[0], found, bare)
    if not prefixed:
        further = {
            name: at
            for name, at in bare.items()
            if name not in ("", OURS) and at not in (path, patient, *found.values())
        }
        also = _further_labels(lines, found, further)
        found |= also
        notes += [f"no row has the label '{printable(name)}', whose column holds probabilities" for name in also]
    if len(found) < FEWEST:
        only = printable(next(iter(found)))
        msg = f"{shown}: probabilities of one label ('{only}'). Give {REMEDY}, also of the other."
        raise TableError(msg, code="single-label")
    used = {label, path, patient, *found.values()}
    others = {name: at for name, at in header.items() if at not in used and name and name != OURS}
    return Places(label, found, path, patient, others), notes


def _label(column: str) -> str:
    """The label whose probabilities a column holds."""
    return from_cell(column.removeprefix(PREFIX)).strip("/ ")


def _rename_truths(lines: Lines, label: int, truths: dict[str, int], columns: Mapping[str, int]) -> list[str]:
    """Give true labels the names of their columns where both are the same number or truth value: ``1.0`` and ``1``."""
    by_value: dict[object, list[str]] = {}
    for name in columns:
        by_value.setdefault(_value(name), []).append(name)
    renamed = {}
    for truth in truths:
        same = by_value.get(_value(truth), ())
        if truth not in columns and len(same) == 1:
            renamed[truth] = same[0]
    for _, cells in lines:
        cells[label] = renamed.get(cells[label], cells[label])
    for truth, name in renamed.items():
        number = truths.pop(truth)
        truths[name] = min(truths.get(name, number), number)
    return [f"the label '{printable(truth)}' is that of the column '{name}'" for truth, name in renamed.items()]


def _value(label: str) -> object:
    """What two spellings of one number or truth value share."""
    if label.lower() in ("true", "false"):
        return label.lower() == "true", "truth value"
    try:
        number = float(label)
    except ValueError:
        return label
    return (number, "number") if math.isfinite(number) else label


def _without_probabilities(
    table: PredictionTable, truths: Mapping[str, int], missing: str, found: Mapping[str, int], bare: Mapping[str, int]
) -> TableError:
    """What to say of a true label that has no column, with the column that may be meant."""
    names = {name.casefold(): name for name in bare}
    close = difflib.get_close_matches(missing.casefold(), names, n=1, cutoff=0.75)
    meant = names[close[0]] if close else ""
    hint = f" Did you mean the column '{printable(table.header[bare[meant]])}'?" if meant else ""
    if not found and not meant:
        msg = f"{table.shown}: no column holds probabilities; its columns: {table.text.columns}. Give {REMEDY}."
        return TableError(msg, code="no-probabilities")
    there = f" (there are: {', '.join(map(printable, found))})" if found else ""
    msg = (
        f"{table.where(truths[missing])}: the label '{printable(missing)}' has no column of probabilities{there}."
        f"{hint} Give {REMEDY}."
    )
    return TableError(msg, code="unknown-label")


def _further_labels(lines: Lines, found: Mapping[str, int], further: Mapping[str, int]) -> dict[str, int]:
    """Columns of labels that no row has: numbers from 0 to 1, with which the rows sum to one."""

    def stated(columns: Mapping[str, int]) -> NDArray[np.float64]:
        return np.array([[number_of(cells[at]) for at in columns.values()] for _, cells in lines])

    values = stated(further) if further else np.empty((len(lines), 0))
    inside = np.all((values >= 0) & (values <= 1), axis=0)
    also = {name: at for k, (name, at) in enumerate(further.items()) if inside[k]}
    together = {**found, **also}
    whole = bool(are_probabilities(stated(together), tolerance_of(len(together))).all())
    return also if whole else {}


def number_of(cell: str) -> float:
    """The number in a cell, whose decimals may stand behind a comma; NaN where it is none."""
    try:
        return float(cell.replace(",", ".") if DECIMAL_COMMA.fullmatch(cell) else cell)
    except ValueError:
        return math.nan


def tolerance_of(labels: int) -> float:
    """By how much the sum of a row may differ from one: half a unit of the third decimal of each label."""
    return TOLERANCE * max(1.0, labels / 2) + 1e-9
