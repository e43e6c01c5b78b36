"""Leave one source out: which images test and train in each fold.

A classifier may know a hospital by its images, and by the hospital the label (Zech et al. 2018, *PLOS Medicine*;
DeGrave et al. 2021, *Nature Machine Intelligence*). Ordinary folds hold out patients, not hospitals, and cannot see it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from hilum.data.dataset import Dataset, Row
from hilum.data.joined import dataset_of
from hilum.data.multilabel import ABSENT, PRESENT, column_of
from hilum.errors import SplitError, UsageError
from hilum.evaluation.folds import Fold
from hilum.stats.records import Record
from hilum.text import plural, printable

DATASET, OWN = "dataset", ("source", "split")
FEWEST_PATIENTS = 5  # of a source that is tested: below, an interval spans nearly everything
FEWEST_LEARNT = 2  # patients of a label: one trains, one validates
Mark = tuple[str, bool]  # a label; or a finding, and whether it is present


class NotTested(Record):
    """A source that is not left out, and why."""

    name: str
    n_images: int
    reason: str


class OnlyAt(Record):
    """A label whose images all come from one source."""

    label: str
    source: str
    n_images: int


@dataclass(frozen=True)
class Division:
    """What is tested in turns, what is not, and the labels that one source has alone."""

    folds: tuple[Fold, ...]
    not_tested: tuple[NotTested, ...]
    confounded: tuple[OnlyAt, ...]
    notes: tuple[str, ...]


def source_values(table: Dataset, by: str) -> list[str]:
    """The source of each image.

    Args:
        table: N rows.
        by: ``source``, ``split``, ``dataset`` (of joined datasets), or another column of the table.

    Returns:
        N names, empty where unknown.

    Raises:
        UsageError: The table has no such column, or nothing in it.
    """
    columns = dict.fromkeys(name for row in table.rows for name in row.extra)
    values: list[str] = []
    if by in OWN:
        values = [str(getattr(row, by)).strip() for row in table.rows]
    elif by in columns:
        values = [row.extra.get(by, "").strip() for row in table.rows]
    elif by == DATASET:
        values = [dataset_of(row.source) for row in table.rows]
    if any(values):
        return values
    filled = [name for name in OWN if any(getattr(row, name) for row in table.rows)]
    there = ", ".join(printable(name) for name in [*filled, *columns]) or "none"
    msg = f"--by {printable(by)}: {table.given or table.root} has no such column. Its columns: {there}."
    raise UsageError(msg, code="no-such-column")


def divide_by_source(
    table: Dataset, values: Sequence[str], groups: Sequence[int], *, needed: Sequence[str] = ()
) -> Division:
    """Find what each fold tests and what it may train on.

    A patient or picture with images at several sources is tested at each, and trains nothing then. A label that is
    left with fewer than two patients is neither learnt nor tested in that fold; nor is a finding that is left present,
    or absent, in fewer than two.

    Args:
        table: N readable rows.
        values: The source of each.
        groups: One number a row, equal for one patient and for one picture.
        needed: Labels that the recipe names, without which it cannot train.

    Raises:
        SplitError: There are fewer than two sources, or none can be tested.
    """
    counts = Counter(values)
    if len(counts) < 2:
        msg = f"{table.given or table.root}: all images come from one source. Leaving it out takes two or more."
        raise SplitError(msg, code="one-source", path=table.root)
    members: defaultdict[str, set[int]] = defaultdict(set)
    for value, group in zip(values, groups, strict=True):
        members[value].add(group)
    folds: list[Fold] = []
    not_tested: list[NotTested] = []
    notes: list[str] = []
    straddling = 0
    rows = list(zip(table.rows, _marks(table), values, groups, strict=True))
    for name in sorted(counts):
        inside = members[name]
        here = [(row, marks) for row, marks, value, _ in rows if value == name]
        elsewhere = [(row, marks, group) for row, marks, value, group in rows if value != name]
        left = _learnt((marks, group) for _, marks, group in elsewhere if group not in inside)
        findings = _both_sided(table, left)
        learnt = set(findings) if table.findings else {label for label, _ in left}
        known = set().union(*(marks for _, marks in here))
        if table.findings:
            measured = {one for one in findings if {(one, True), (one, False)} <= known}
            tested = [row for row, _ in here] if measured else []
        else:
            tested = [row for row, _ in here if row.label in learnt]
        reason = _reason(learnt, tested, len(inside), needed, findings=bool(table.findings))
        if reason:
            not_tested.append(NotTested(name=name, n_images=counts[name], reason=reason))
            continue
        unused = {row.path for row, _, group in elsewhere if group in inside}
        if not table.findings:
            unused |= {row.path for row, *_ in rows if row.label not in learnt}
        straddling += sum(group in inside for *_, group in elsewhere)
        if lost := sorted({label for label, there in known if there} - learnt):
            whose = "" if table.findings else "its images of "
            notes.append(f"{name}: {whose}{', '.join(lost)} are not tested, no other source teaches them")
        folds.append(Fold(name, frozenset(row.path for row in tested), frozenset(unused), findings))
    confounded = _confounded(table, values)
    if not folds:
        why = "; ".join(f"{printable(item.name)}: {item.reason}" for item in not_tested)
        only = " ".join(f"{confounded_sentence(item)}." for item in confounded)
        remedy = "Add images of every label from a second source."
        msg = f"{table.given or table.root}: no source can be left out ({why}). {f'{only} ' * bool(only)}{remedy}"
        raise SplitError(msg, code="no-source-testable", path=table.root)
    if straddling:
        notes.append(
            f"patients or pictures at several sources: {plural(straddling, 'image')} left out of the training where "
            "another image of theirs is tested"
        )
    notes += [f"{item.name} ({plural(item.n_images, 'image')}) is not tested: {item.reason}" for item in not_tested]
    return Division(tuple(folds), tuple(not_tested), confounded, tuple(notes))


def _marks(table: Dataset) -> list[frozenset[Mark]]:
    """What each row teaches: its label; or each finding that is known, as present or as absent."""
    if not table.findings:
        return [frozenset([(row.label, True)]) for row in table.rows]
    columns = [(name, column_of(name)) for name in table.findings]
    return [
        frozenset((name, cell == PRESENT) for name, column in columns if (cell := row.extra.get(column)) in SIDES)
        for row in table.rows
    ]


SIDES = (PRESENT, ABSENT)


def _learnt(known: Iterable[tuple[frozenset[Mark], int]]) -> set[Mark]:
    patients = Counter(mark for mark, _ in {(mark, group) for marks, group in known for mark in marks})
    return {mark for mark, count in patients.items() if count >= FEWEST_LEARNT}


def _both_sided(table: Dataset, marks: set[Mark]) -> tuple[str, ...]:
    """The findings that are there both as present and as absent."""
    return tuple(name for name in table.findings if {(name, True), (name, False)} <= marks)


def _reason(learnt: set[str], tested: Sequence[Row], patients: int, needed: Sequence[str], *, findings: bool) -> str:
    """Why a source is not tested; empty where it is."""
    if findings and not learnt:
        return "without it no finding is left both present and absent, to learn from"
    if not findings and len(learnt) < 2:
        return f"without it only {', '.join(sorted(learnt)) or 'nothing'} is left to learn from"
    if lacking := [label for label in needed if label not in learnt]:
        return f"without it no {lacking[0]} is left to learn from, which the recipe names"
    if not tested and findings:
        return "no finding that other sources teach is both present and absent in it"
    if not tested:
        return "none of its labels comes from another source"
    return f"only {patients} patients or pictures" if patients < FEWEST_PATIENTS else ""


def _confounded(table: Dataset, values: Sequence[str]) -> tuple[OnlyAt, ...]:
    where: defaultdict[str, set[str]] = defaultdict(set)
    counts: Counter[str] = Counter()
    for marks, value in zip(_marks(table), values, strict=True):
        for label, there in marks:
            if there:
                where[label].add(value)
                counts[label] += 1
    return tuple(
        OnlyAt(label=label, source=min(where[label]), n_images=counts[label])
        for label in table.findings or table.labels
        if len(where[label]) == 1
    )


def confounded_sentence(item: OnlyAt) -> str:
    """What follows where a label comes from one source only."""
    return (
        f"{item.label} comes from one source only ({item.source}): leaving it out leaves no {item.label} to learn from"
    )


def ordinary_folds(table: Dataset, division: Division, groups: Sequence[int], seed: int) -> tuple[Fold, ...]:
    """Folds at random, by patient and by label, each as large as one of the sources.

    Each trains on as many images as one of the folds by source does: as many are left unused, at random.

    Args:
        table: N rows.
        division: By source.
        groups: One number a row, equal for one patient and for one picture.
        seed: Of the division.
    """
    marks = _marks(table)
    total = Counter(mark for of in marks for mark in of)
    sizes = np.array([len(fold.tested) for fold in division.folds], float)
    rest = max(0.0, len(table) - sizes.sum())
    shares = np.array([*sizes, rest]) / len(table)
    room = {label: shares * count for label, count in total.items()}  # images that each fold has still to get
    content: defaultdict[int, Counter[Mark]] = defaultdict(Counter)
    for of, group in zip(marks, groups, strict=True):
        content[group].update(sorted(of))  # sums of fractions depend on the order
    order = np.random.default_rng(seed).permutation(len(content))
    shuffled = [sorted(content)[i] for i in order]
    place: dict[int, int] = {}
    for group in sorted(shuffled, key=lambda group: -content[group].total()):  # what is large finds room first
        gain = sum(np.minimum(room[label], count) for label, count in content[group].items())
        best = int(np.argmax(gain + 1e-9 * sum(room[label] for label in content[group])))
        place[group] = best
        for label, count in content[group].items():
            room[label][best] -= count
    paths: defaultdict[int, list[str]] = defaultdict(list)
    for row, group in zip(table.rows, groups, strict=True):
        paths[group].append(row.path)
    rows, folds = list(zip(table.rows, marks, groups, strict=True)), []
    for number, fold in enumerate(division.folds):
        unused: list[str] = []
        for group in shuffled:
            if place[group] != number and len(unused) + len(paths[group]) <= len(fold.unused):
                unused += paths[group]
        lot = set(unused)
        left = _learnt((of, group) for row, of, group in rows if place[group] != number and row.path not in lot)
        tested = [(row, of) for row, of, group in rows if place[group] == number]
        if not table.findings:
            tested = [(row, of) for row, of in tested if of <= left]
            lot |= {row.path for row, of, _ in rows if not of <= left}
        folds.append(Fold("", frozenset(row.path for row, _ in tested), frozenset(lot), _both_sided(table, left)))
    return tuple(folds)
