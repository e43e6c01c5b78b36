"""Several findings an image in a table of predictions of any model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hilum.data.labels import is_healthy
from hilum.data.multilabel import VALUES, clean_name
from hilum.errors import TableError
from hilum.evaluation.external_columns import PREFIX, TRUTH, Lines, PredictionTable, number_of, role_of
from hilum.evaluation.external_rows import each_image_once, further_columns, image_names, no_probability
from hilum.evaluation.findings_predictions import FindingsPredictions
from hilum.evaluation.subgroups import WANTED
from hilum.outputs import from_cell
from hilum.text import plural, printable

DECIMALS = {"1.0": "1", "0.0": "0", "-1.0": "-1", "nan": ""}  # as pandas writes a column that has blanks
MEANT = "1 (present), 0 (absent), blank (unknown) or -1 (uncertain)"
NAMED = 8  # columns that a note or message names


@dataclass(frozen=True)
class ExternalFindings:
    """Predictions of several findings an image from a table, and what the table says besides.

    Attributes:
        predictions: Of N images, F findings.
        columns: Further columns, N values each, for subgroups.
        name: What messages and reports call the table.
        notes: How it was read.
        root: The folder that the paths of the images are relative to.
        named: Whether a column names the images; otherwise they are known by their rows only.
        only_true: Findings without probabilities; they are not evaluated.
        only_predicted: Findings without a column that says which images have them; they are not evaluated.
        thresholds: Certified thresholds by finding, of a model file that has them.
        split: Which part of a dataset a model predicted; of a table ``all``.
    """

    predictions: FindingsPredictions
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    name: str = ""
    notes: tuple[str, ...] = ()
    root: Path = Path()
    named: bool = True
    only_true: tuple[str, ...] = ()
    only_predicted: tuple[str, ...] = ()
    thresholds: Mapping[str, float] = field(default_factory=dict)
    split: str = "all"


@dataclass(frozen=True)
class _Sides:
    """The columns of findings: numbers by name, of the truth and of the probabilities."""

    truth: Mapping[str, int]
    stated: Mapping[str, int]

    @property
    def both(self) -> tuple[str, ...]:
        """Findings with both, in the order of the table; what says that there is none is no finding."""
        return tuple(name for name in self.stated if name in self.truth and not is_healthy(name))


def has_findings(table: PredictionTable) -> bool:
    """Whether a table is about several findings an image, not about labels that exclude each other.

    It has columns ``true:NAME``; or no column of labels, and a column NAME beside a column ``p:NAME``.

    Args:
        table: Of predictions.
    """
    if any(name.startswith(TRUTH) for name in table.header):
        return True
    bare = {name for name in table.header if name.startswith(PREFIX) and name.removeprefix(PREFIX) in table.header}
    return bool(bare) and "label" not in table.header and role_of(table.header, "label") is None


def read_findings(table: PredictionTable, name: str, root: Path) -> ExternalFindings:
    """Read a table of several findings an image.

    The columns: for each finding ``true:NAME`` or NAME, which is 1, 0, blank (unknown) or -1 (uncertain), and
    ``p:NAME``, its probability; optionally ``path`` and ``patient_id``, under these or the usual other names. Other
    columns are subgroups.

    Args:
        table: Of predictions.
        name: What messages and reports call the table.
        root: The folder that the paths of the images are relative to.

    Raises:
        TableError: No finding has both columns, an image is listed twice with different cells, or a cell holds neither
            a probability nor one of the four values.
    """
    path, patient = role_of(table.header, "path"), role_of(table.header, "patient_id")
    sides = _sides(table, {path, patient})
    if not sides.both:
        msg = (
            f"{table.shown}: no finding has both its truth and its probabilities (truth: {_listed(sides.truth)}; "
            f"probabilities: {_listed(sides.stated)}). Give a column true:NAME and a column p:NAME for each finding."
        )
        raise TableError(msg, code="no-findings")
    lines, notes = each_image_once(table, path)
    paths = image_names(lines, path)
    patients = tuple(cells[patient] if patient is not None else "" for _, cells in lines)
    truth = np.array(
        [[_truth(table, number, name, cells[sides.truth[name]]) for name in sides.both] for number, cells in lines],
        dtype=np.float32,
    )
    stated = np.array([[number_of(cells[sides.stated[name]]) for name in sides.both] for _, cells in lines])
    _check(table, lines, sides.both, stated)
    used = {path, patient, *sides.truth.values(), *sides.stated.values()}
    others = {column: at for at, column in enumerate(table.header) if at not in used and column}
    only_true = tuple(name for name in sides.truth if name not in sides.stated and not is_healthy(name))
    only_predicted = tuple(name for name in sides.stated if name not in sides.truth and not is_healthy(name))
    return ExternalFindings(
        FindingsPredictions(sides.both, paths, patients, truth, stated),
        further_columns(lines, paths, others),
        name,
        (*table.notes, _recognised(table, sides), *_one_sided(only_true, only_predicted), *notes),
        root,
        path is not None,
        only_true,
        only_predicted,
    )


def _sides(table: PredictionTable, taken: set[int | None]) -> _Sides:
    header = {name: at for at, name in enumerate(table.header)}
    stated = {_bare(name, PREFIX): at for name, at in header.items() if name.startswith(PREFIX)}
    truth = {_bare(name, TRUTH): at for name, at in header.items() if name.startswith(TRUTH)}
    if not truth:
        bare = {name: at for name, at in header.items() if not name.startswith(PREFIX) and at not in taken and name}
        named = {clean_name(name): at for name, at in bare.items()}
        truth = {name: at for name, at in named.items() if name in stated or _is_truth(table.lines, name, at)}
    return _Sides(truth, stated)


def _bare(column: str, before: str) -> str:
    return clean_name(from_cell(column.removeprefix(before)))


def _is_truth(lines: Lines, name: str, at: int) -> bool:
    """Whether a column without probabilities holds a finding by its values, and is not known to hold something else."""
    if any(name.lower() in names for names in WANTED.values()):  # sex, written as 0 and 1
        return False
    values = {_value(cells[at]) for _, cells in lines}
    return values <= set(VALUES) and "1" in values and not values.isdisjoint({"0", ""})


def _value(cell: str) -> str:
    text = cell.strip()
    return DECIMALS.get(text.lower(), text)


def _truth(table: PredictionTable, number: int, finding: str, cell: str) -> float:
    value = _value(cell)
    if value not in VALUES:
        msg = f"{table.where(number)}: the truth of '{printable(finding)}' is '{printable(cell)}'. Give {MEANT}."
        raise TableError(msg, code="no-truth")
    return VALUES[value]


def _check(table: PredictionTable, lines: Lines, findings: Sequence[str], stated: np.ndarray) -> None:
    outside = ~((stated >= 0) & (stated <= 1))
    wrong = np.flatnonzero(outside.any(axis=1)).tolist()
    if wrong:
        k = int(outside[wrong[0]].argmax())
        raise no_probability(table, lines, wrong, findings[k], stated[wrong[0], k])


def _recognised(table: PredictionTable, sides: _Sides) -> str:
    healthy = [name for name in {**sides.truth, **sides.stated} if is_healthy(name)]
    without = f"; '{printable(healthy[0])}' is none, and left out" if healthy else ""
    how = "true:NAME" if any(name.startswith(TRUTH) for name in table.header) else "NAME"
    return f"{plural(len(sides.both), 'finding')} an image, by columns {how} and p:NAME{without}"


def _one_sided(only_true: Sequence[str], only_predicted: Sequence[str]) -> list[str]:
    told = [f"without probabilities: {_listed(only_true)}"] if only_true else []
    told += [f"without a column of the truth: {_listed(only_predicted)}"] if only_predicted else []
    return [f"findings that are not evaluated: {'; '.join(told)}"] if told else []


def _listed(names: Iterable[str]) -> str:
    shown = [printable(name) for name in names]
    more = f" and {len(shown) - NAMED} more" if len(shown) > NAMED else ""
    return ", ".join(shown[:NAMED]) + more if shown else "none"
