"""Folds: which images a cross-validation tests in turn, nobody in two of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from hilum.data.dataset import Dataset
from hilum.data.multilabel import finding_values, with_findings
from hilum.data.splits import independent_groups
from hilum.data.stratification import deal_groups, marks_of_groups
from hilum.errors import SplitError
from hilum.text import printable


@dataclass(frozen=True)
class Fold:
    """Whose images one fold tests, and which serve nothing in it.

    Attributes:
        name: The source; empty in ordinary folds.
        tested: Paths.
        unused: Paths of images that neither train nor test: they show a patient or a picture that is tested, or have a
            label that the training part lacks.
        findings: Which are learnt and tested, where an image may have several and the training part lacks others; empty
            for all.
    """

    name: str
    tested: frozenset[str]
    unused: frozenset[str] = frozenset()
    findings: tuple[str, ...] = ()

    def divide(self, table: Dataset) -> Dataset:
        """The table with the splits of this fold; validation is held out from ``train`` later."""
        if self.findings and self.findings != table.findings:
            kept = [table.findings.index(name) for name in self.findings]
            table = with_findings(table, self.findings, finding_values(table)[:, kept])
        return table.with_splits([self._split(row.path) for row in table.rows])

    def _split(self, path: str) -> str:
        return "test" if path in self.tested else "" if path in self.unused else "train"


def by_patient(table: Dataset, number: NDArray[np.int64]) -> tuple[Fold, ...]:
    """The folds of `assign_folds`.

    Args:
        table: N rows.
        number: Fold of each, shape (N,).
    """
    paths = np.array([row.path for row in table.rows], object)
    return tuple(Fold("", frozenset(paths[number == fold])) for fold in range(number.max() + 1))


def assign_folds(
    table: Dataset, folds: int, seed: int = 0, duplicates: Sequence[int] | None = None
) -> NDArray[np.int64]:
    """The fold of every image.

    Args:
        table: Rows with ``patient_id`` and ``sha256`` where they are known.
        folds: How many.
        seed: Of the division.
        duplicates: One number an image, equal for duplicates (`hilum.auditing.near_duplicates.groups.find_groups`), if
            they are known.

    Returns:
        Of shape (N,), from 0 to `folds` - 1; images of one patient, or of one picture, share a fold.

    Raises:
        SplitError: A label has fewer patients than folds, or than training, validation and test take; or a finding is
            present, or absent, in fewer patients than folds.
    """
    groups = independent_groups(table, duplicates)
    if table.findings:
        return _fold_findings(table, folds, seed, groups)
    labels = [row.label for row in table.rows]
    unit = _unit(table)
    least = next(n for n in range(folds, folds + 3) if n - -(-n // folds) >= 2)  # validation and training take two
    for label in table.labels:
        found = len({group for group, name in zip(groups, labels, strict=True) if name == label})
        if found < least:
            remedy = (
                f"Use --folds {found}, or add images." if 3 <= found < folds else "Add images, or exclude the label."
            )
            msg = f"{table.root}: '{label}' has {found} {unit}; {folds} folds take at least {least}. {remedy}"
            raise SplitError(msg, code="too-few-patients")
    divider = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    number = np.empty(len(table), dtype=np.int64)
    for fold, (_, test) in enumerate(divider.split(np.zeros(len(table)), labels, groups)):
        number[test] = fold
    for fold in range(folds):
        lacking = sorted(set(labels) - {labels[i] for i in np.flatnonzero(number == fold)})
        if lacking:
            msg = f"{table.root}: fold {fold + 1} of {folds} got no image of '{lacking[0]}'. Use fewer --folds."
            raise SplitError(msg)
    return number


def _fold_findings(table: Dataset, folds: int, seed: int, groups: Sequence[int]) -> NDArray[np.int64]:
    """Folds that share every finding, as present and as absent, by iterative stratification."""
    numbers, member = np.unique(groups, return_inverse=True)
    marks = marks_of_groups(finding_values(table), member, len(numbers))
    for (name, what), found in zip(
        ((name, what) for what in ("present", "absent") for name in table.findings), marks.sum(axis=0), strict=True
    ):
        if found < folds:
            fewer = f"Use --folds {found}, add" if found >= 2 else "Add"
            remedy = f"{fewer} images, or leave it out: --finding-columns with the others."
            known = f"'{printable(name)}' is {what} in {found} {_unit(table)}"
            msg = f"{table.root}: {known}; {folds} folds take at least {folds}. {remedy}"
            raise SplitError(msg, code="too-few-patients", path=table.root)
    found_part: NDArray[np.int64] = deal_groups(marks, folds - 1, 1 / folds, seed)[member]
    return found_part


def _unit(table: Dataset) -> str:
    known = table.with_patient
    return (
        "patients" if known == len(table) else "patients and images without" if known else "images (patients unknown)"
    )
