"""Several findings an image: where a row keeps them, and each of them as a problem of two labels.

A row keeps a finding in its further columns, so that every copy, filter and table does: ``finding:Effusion`` is ``1``
(present), ``0`` (absent), empty (unknown) or ``-1`` (uncertain, as CheXpert writes it; Irvin et al. 2019, *AAAI*). All
that is measured of a finding is measured by `binary_view`, with what measures exclusive labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hilum.data.dataset import Dataset, PackedRows, Row, pack

PREFIX = "finding:"  # before the name of a finding, in the name of its column
PRESENT, ABSENT, UNKNOWN, UNCERTAIN = "1", "0", "", "-1"
NO_FINDING = "no finding"  # what a row without a present finding is called
SEPARATOR = "|"
VALUES: Mapping[str, float] = MappingProxyType({PRESENT: 1.0, ABSENT: 0.0, UNKNOWN: float("nan"), UNCERTAIN: -1.0})
CELLS: Mapping[float, str] = MappingProxyType({1.0: PRESENT, 0.0: ABSENT, -1.0: UNCERTAIN})

Known = Literal["ignore", "positive", "negative"]


def column_of(name: str) -> str:
    """The further column in which rows keep a finding."""
    return PREFIX + name


def findings_of(rows: Iterable[Row]) -> tuple[str, ...]:
    """The findings that rows keep, in the order of their columns; empty for exclusive labels.

    Args:
        rows: Of one dataset; all of them keep the same findings, so that one row is enough.
    """
    first = next(iter(rows), None)
    return tuple(name.removeprefix(PREFIX) for name in first.extra if name.startswith(PREFIX)) if first else ()


def binary_labels(name: str) -> tuple[str, str]:
    """The labels of a finding as a problem of two: absent, present."""
    return f"no {name}", name


def finding_values(dataset: Dataset) -> NDArray[np.float32]:
    """What is known of each finding on each image.

    Args:
        dataset: N rows with F findings.

    Returns:
        Of shape (N, F): 1 present, 0 absent, NaN unknown, -1 uncertain.
    """
    columns = [column_of(name) for name in dataset.findings]
    if isinstance(dataset.rows, PackedRows) and (kept := dataset.rows.extra):
        unknown = np.full(len(dataset), np.nan, np.float32)
        return np.stack([kept.mapped(c, VALUES, np.nan) if c in kept.values else unknown for c in columns], axis=1)
    found = np.empty((len(dataset), len(columns)), np.float32)
    for number, row in enumerate(dataset.rows):
        found[number] = [VALUES[row.extra.get(column, UNKNOWN)] for column in columns]
    return found


def binary_view(dataset: Dataset, name: str, uncertain: Known = "ignore") -> Dataset:
    """One finding as a problem of two exclusive labels, on the images where it is known.

    Args:
        dataset: With findings.
        name: Of one of them.
        uncertain: Whether images on which it is uncertain are left out, or count as present or absent.

    Returns:
        The rows where it is known, in their order, with the labels of `binary_labels` and without columns of findings.

    Raises:
        KeyError: It is none of the dataset's findings.
    """
    return dataset_of_two(dataset, name, known_rows(dataset, name, uncertain), uncertain)


def known_rows(dataset: Dataset, name: str, uncertain: Known = "ignore") -> NDArray[np.int64]:
    """The positions of the rows of `binary_view`, rising, so that probabilities can be taken along.

    Raises:
        KeyError: It is none of the dataset's findings.
    """
    _check_name(dataset, name)
    values = finding_values(replace(dataset, findings=(name,)))[:, 0]
    wanted = (1, 0) if uncertain == "ignore" else (1, 0, -1)
    return np.flatnonzero(np.isin(values, wanted))


def dataset_of_two(dataset: Dataset, name: str, positions: Iterable[int], uncertain: Known = "ignore") -> Dataset:
    """The rows at some positions, on all of which a finding is known, with its two labels (see `binary_view`)."""
    column, (absent, present) = column_of(name), binary_labels(name)
    label = {PRESENT: present, ABSENT: absent, UNCERTAIN: present if uncertain == "positive" else absent}

    def one(row: Row) -> Row:
        return replace(row, label=label[row.extra[column]], extra=without_findings(row.extra))

    return replace(dataset, rows=pack(one(dataset.rows[int(i)]) for i in positions), findings=())


def contradicted(values: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """Which findings are present on one image and absent on another; unknown and uncertain contradict nothing.

    Args:
        values: Of shape (N, F), as `finding_values` returns them, of images that should agree.

    Returns:
        Of shape (F,).
    """
    found: NDArray[np.bool_] = (values == 1).any(axis=0) & (values == 0).any(axis=0)
    return found


def has_label(dataset: Dataset, label: str) -> NDArray[np.bool_]:
    """Whether each image has a label, or where images may have several findings, whether that finding is present.

    Args:
        dataset: N rows.
        label: A label, or a finding.

    Returns:
        Of shape (N,).
    """
    if label in dataset.findings:
        return np.asarray(finding_values(replace(dataset, findings=(label,)))[:, 0] == 1)
    return np.array([row.label == label for row in dataset.rows], bool)


def without_findings(extra: Mapping[str, str]) -> Mapping[str, str]:
    """The further columns of a row that are no findings, which alone describe it."""
    return {name: value for name, value in extra.items() if not name.startswith(PREFIX)}


def with_findings(dataset: Dataset, names: Sequence[str], values: NDArray[np.floating[Any]]) -> Dataset:
    """Give rows their findings, and the label by which they are shown and counted.

    Args:
        dataset: N rows; their labels are replaced.
        names: Of F findings, all different; a ``/`` in them becomes `` or ``, since it would mean a nested label.
        values: Of shape (N, F), as `finding_values` returns them.

    Raises:
        ValueError: Names occur twice, or a value is none of 1, 0, -1 and NaN.
    """
    names = tuple(clean_name(name) for name in names)
    if len(set(names)) < len(names) or values.shape != (len(dataset), len(names)):
        msg = f"{len(names)} findings with values of shape {values.shape} for {len(dataset)} rows"
        raise ValueError(msg)
    unknown = np.isnan(values)
    if not np.isin(values[~unknown], (1.0, 0.0, -1.0)).all():
        msg = "values of findings should be 1, 0, -1 or NaN"
        raise ValueError(msg)
    kept = FindingCells(names)

    def one(row: Row, line: NDArray[np.floating[Any]]) -> Row:
        label, extra = kept.of(tuple(CELLS.get(float(value), UNKNOWN) for value in line), row.extra)
        return replace(row, label=label, extra=extra)

    rows = pack(one(row, line) for row, line in zip(dataset.rows, values, strict=True))
    return replace(dataset, rows=rows, findings=names)


class FindingCells:
    """What rows keep of findings; rows that keep nothing else share it, since a million have few combinations.

    Args:
        names: Of F findings.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._known: dict[tuple[str, ...], tuple[str, Mapping[str, str]]] = {}

    def of(self, cells: tuple[str, ...], extra: Mapping[str, str]) -> tuple[str, Mapping[str, str]]:
        """The label and the further columns of a row.

        Args:
            cells: F of ``1``, ``0``, ``-1`` and empty.
            extra: Its further columns; findings among them are replaced.
        """
        if cells not in self._known:
            present = [name for name, cell in zip(self.names, cells, strict=True) if cell == PRESENT]
            columns = dict(zip(map(column_of, self.names), cells, strict=True))
            self._known[cells] = SEPARATOR.join(present) or NO_FINDING, MappingProxyType(columns)
        label, kept = self._known[cells]
        others = without_findings(extra)
        return label, MappingProxyType({**others, **kept}) if others else kept


def clean_name(name: str) -> str:
    """The name of a finding as labels can hold it: ``Nodule/Mass`` is ``Nodule or Mass``."""
    return " or ".join(part.strip() for part in " ".join(name.split()).split("/") if part.strip())


def _check_name(dataset: Dataset, name: str) -> None:
    if name not in dataset.findings:
        msg = f"'{name}' is no finding of the dataset ({', '.join(dataset.findings) or 'it has none'})"
        raise KeyError(msg)
