"""What the dataset's further columns say: the same measures within parts of the patients, and what a report asks for.

Parts are by source, view, sex, bands of age, or any column of the table.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.auditing.probe_features import NAMES_AN_IMAGE, NAMES_THE_LABEL
from hilum.data.confounding import confounded_labels
from hilum.data.dataset import Dataset, Row
from hilum.data.labels import is_covid
from hilum.data.multilabel import PREFIX
from hilum.data.splits import GROUP_COLUMN
from hilum.evaluation.predictions import Predictions
from hilum.evaluation.schema import AgainstRest, Subgroup, Subgroups, TableColumn, TableFacts
from hilum.stats.auc import auroc_estimate
from hilum.stats.hypothesis_tests import p_of_interval
from hilum.stats.intervals import CONFIDENCE, Bools, Estimate, Patients, combined, proportion
from hilum.stats.records import Verdict
from hilum.stats.verdicts import (
    NOT_SHOWN,
    REFUTED,
    SHOWN,
    SIGNIFICANT,
    holm,
    not_lower,
    scaled_to_decide,
    weakest,
)
from hilum.text import interval_text, p_equals, percent

AGE = ("age", "age_years", "patient_age", "patientage", "age_at_study")
AGE_BANDS = ((0, 2), (2, 6), (6, 18), (18, 40), (40, 65), (65, 200))
MOST_VALUES = 12
FEWEST_IMAGES = 10  # of the largest subgroup: a column below that names images, whatever it is called
MARGIN = 0.10  # by which recall may be lower in a subgroup than in the rest
FINDING = re.compile(rf"^{PREFIX}")
UNKNOWN, OTHERS = "unknown", "others"
WANTED = {  # what a report asks for, by the names under which tables have it
    "source": ("source", "site", "hospital", "institution", "dataset"),
    "site": ("site", "hospital", "institution", "centre", "center"),
    "date": ("date", "year", "acquired", "acquisition_date", "study_date", "studydate"),
    "licence": ("licence", "license"),
    "age": AGE,
    "sex": ("sex", "gender", "patient_sex", "patientsex"),
    "view": ("view", "projection", "view_position", "viewposition"),
    "label_source": ("label_source", "reference_standard", "ground_truth", "labelled_by", "annotator", "rt_pcr"),
}
FIRST_COVID = 2019


def columns_of(rows: Sequence[Row]) -> dict[str, list[str]]:
    """What the table says of each image beyond path, label and patient.

    Args:
        rows: Of the N images.

    Returns:
        N values by column; columns that name images or labels, or say nothing, are left out. Ages become bands; of more
        than 12 values, numbers become thirds, and words that are not among the 11 most frequent are ``others``.
    """
    extras = [{"source": row.source, **row.extra} for row in rows]
    found: dict[str, list[str]] = {}
    for name in dict.fromkeys(key for extra in extras for key in extra):
        if name == GROUP_COLUMN or any(of.search(name.lower()) for of in (NAMES_AN_IMAGE, NAMES_THE_LABEL, FINDING)):
            continue
        values = [str(extra.get(name, "")).strip() for extra in extras]
        values = [age_band(value) for value in values] if name.lower() in AGE else _few(values)
        values = [value or UNKNOWN for value in values]
        counts = Counter(value for value in values if value != UNKNOWN)
        if len(set(values)) > 1 and max(counts.values(), default=0) >= FEWEST_IMAGES and values not in found.values():
            found[name] = values
    return found


def _few(values: list[str]) -> list[str]:
    """The same values, taken together where there are too many for subgroups."""
    counts = Counter(value for value in values if value)
    if len(counts) <= MOST_VALUES:
        return values
    try:
        numbers = np.array([float(value) if value else np.nan for value in values])
    except ValueError:
        frequent = {value for value, count in counts.most_common(MOST_VALUES - 1) if count >= FEWEST_IMAGES}
        rest = OTHERS if frequent else ""
        return [value if value in frequent or not value else rest for value in values]
    known = np.isfinite(numbers)
    third = np.searchsorted(np.quantile(numbers[known], [1 / 3, 2 / 3]), numbers, side="left")
    spans = {t: numbers[known & (third == t)] for t in set(third[known].tolist())}
    names = {t: f"{inside.min():g} to {inside.max():g}" for t, inside in spans.items()}
    return [names[t] if here else "" for t, here in zip(third.tolist(), known, strict=True)]


def age_band(value: str) -> str:
    """``6-17`` of ``9``; ``unknown`` of what is no age in years. DICOM's ``009Y`` and ``006M`` are understood."""
    text = value.strip().upper()
    unit = {"Y": 1.0, "M": 1 / 12, "W": 1 / 52.18, "D": 1 / 365.25}.get(text[-1:])
    try:
        years = float(text[:-1]) * unit if unit else float(text)
    except ValueError:
        return UNKNOWN
    for low, high in AGE_BANDS:
        if low <= years < high:
            return f"{low}-{high - 1}" if high < AGE_BANDS[-1][1] else f"{low}+"
    return UNKNOWN


def measure_subgroups(
    predictions: Predictions, columns: Mapping[str, Sequence[str]], positive_label: str | None
) -> Subgroups:
    """Accuracy, and recall, false alarms and AUROC of the positive label, within each value of each column.

    Args:
        predictions: Of N images.
        columns: N values by column.
        positive_label: The label that must not be missed, if there is one.

    Returns:
        By column, then value: ``n_images``, ``n_patients``, ``n_positive``, and the measures with their intervals,
        None where a subgroup lacks what they take; ``against_rest``, recall (accuracy without a positive label) minus
        that of all others whose value is known: its interval, ``p``, ``p_holm`` (Holm 1979, *Scand. J. Stat.*, over all
        subgroups), ``verdict`` on "at most 10 points lower" (refuted: it is, and significantly
        lower after Holm's correction), and ``patients_to_decide``.
    """
    found: Subgroups = {}
    for column, values in columns.items():
        given = np.asarray(values, dtype=object)
        order = sorted(set(values), key=in_order)
        found[column] = {value: _measure(predictions, given == value, given, positive_label) for value in order}
    compared = _compared(found)
    for (column, value, entry), adjusted in zip(compared, holm([entry.p for *_, entry in compared]), strict=True):
        by_chance = entry.verdict == REFUTED and adjusted >= SIGNIFICANT  # one of many looks lower
        verdict = NOT_SHOWN if by_chance else entry.verdict
        rest = entry.model_copy(update={"p_holm": adjusted, "verdict": verdict})
        found[column][value] = found[column][value].model_copy(update={"against_rest": rest})
    return found


def _against_rest(
    predictions: Predictions, here: Bools, known: Bools, positive_label: str | None
) -> AgainstRest | None:
    """How a subgroup's recall differs from that of the rest; None where either has no patient who counts."""
    k = predictions.labels.index(positive_label) if positive_label in predictions.labels else None
    right = predictions.predicted == predictions.truth
    counted = predictions.truth == k if k is not None else np.full(len(right), True)
    patients = Patients(predictions.clusters)
    mine, rest = counted & here & known, counted & ~here & known
    if not mine.any() or not rest.any():
        return None

    def difference(confidence: float) -> Estimate:
        sides = (proportion(right, side, patients, confidence=confidence) for side in (mine, rest))
        return combined([(factor, side) for factor, side in zip((1.0, -1.0), sides, strict=True)])

    entry = difference(CONFIDENCE).interval()
    number = int((patients.sums(mine) > 0).sum())
    return AgainstRest(
        **dict(entry),
        p=p_of_interval(difference),
        verdict=not_lower(entry, MARGIN),
        patients_to_decide=scaled_to_decide(entry.value, entry.low, entry.high, -MARGIN, number),
    )


def subgroup_verdict(found: Subgroups) -> Verdict:
    """Whether no subgroup is shown to be found more than 10 points less often than the rest: the least favourable.

    Args:
        found: As `measure_subgroups` gives it.
    """
    return weakest([entry.verdict for _, _, entry in _compared(found)])


def subgroup_lines(found: Subgroups, positive_label: str | None) -> list[str]:
    """One line a column: each subgroup with its images and its recall (without a positive label, accuracy); the worst.

    Args:
        found: As `measure_subgroups` gives it.
        positive_label: The label whose recall is compared.
    """
    lines = []
    for column, parts in found.items():
        measured = {
            value: (f"n = {part.n_images:,}", part.recall if positive_label else part.accuracy)
            for value, part in parts.items()
        }
        shown = ", ".join(
            f"{value} {percent(entry.value if entry else None)} ({size})" for value, (size, entry) in measured.items()
        )
        known = {value: entry for value, (_, entry) in measured.items() if entry and entry.value is not None}
        what = f"recall of {positive_label}" if positive_label else "accuracy"
        line = f"subgroups by {column}, {what}: {shown}"
        if len(known) > 1:
            worst = min(known, key=lambda value: known[value].value or 0.0)
            line += f"; worst: {worst} {interval_text(known[worst])}"
        lines.append(line)
    return lines


def subgroup_sentences(found: Subgroups, positive_label: str | None) -> list[str]:
    """The subgroups of which it is not shown, the worst first, each with the patients that would decide.

    Args:
        found: As `measure_subgroups` gives it.
        positive_label: The label whose recall is compared.
    """
    whose = f" with {positive_label}" if positive_label else ""
    told = []
    for column, value, entry in sorted(_compared(found), key=lambda one: one[2].value or 0.0):
        if entry.verdict == SHOWN:
            continue
        adjusted = f"{p_equals(entry.p if entry.p_holm is None else entry.p_holm)} after Holm's correction"
        needed = entry.patients_to_decide if entry.verdict == NOT_SHOWN else None
        enough = f"; about {needed:,} patients of it{whose} would decide" if needed else ""
        told.append(
            f"{column} {value}: against the rest {interval_text(entry, sign=True, more=adjusted)}, "
            f"{entry.verdict}{enough}"
        )
    return told


def _compared(found: Subgroups) -> list[tuple[str, str, AgainstRest]]:
    return [
        (column, value, entry.against_rest)
        for column, parts in found.items()
        for value, entry in parts.items()
        if value != UNKNOWN and entry.against_rest and entry.against_rest.value is not None
    ]


def _measure(predictions: Predictions, here: Bools, given: NDArray[Any], positive_label: str | None) -> Subgroup:
    part = predictions.take(np.flatnonzero(here))
    truth, patients = part.truth, Patients(part.clusters)
    k = part.labels.index(positive_label) if positive_label in part.labels else None
    measured = {"accuracy": proportion(part.predicted == truth, np.full(len(truth), True), patients)}
    positive = truth == k if k is not None else np.zeros(len(truth), bool)
    if k is not None:
        called = part.predicted == k
        measured["recall"] = proportion(called, positive, patients)
        measured["false_alarms"] = proportion(called, ~positive, patients)
        measured["auroc"] = auroc_estimate(part.probabilities[:, k], positive, patients)
    rest = (
        _against_rest(predictions, here, given != UNKNOWN, positive_label) if (given[here] != UNKNOWN).all() else None
    )
    return Subgroup(
        n_images=len(truth),
        n_patients=patients.number,
        n_positive=int((patients.sums(positive) > 0).sum()) if k is not None else None,
        against_rest=rest,
        **{name: estimate.interval() for name, estimate in measured.items()},
    )


def in_order(value: str) -> tuple[bool, bool, float, str]:
    """A key to sort values by: numbers and bands by size, then words, then `OTHERS` and `UNKNOWN`."""
    head = re.match(r"-?\d+(\.\d+)?", value)
    return value == UNKNOWN, value == OTHERS, float(head[0]) if head else float("inf"), value


def table_facts(table: Dataset) -> TableFacts:
    """What the table says of source, date, licence, age, sex, view, and the making of labels.

    Returns:
        ``n_images``; ``columns``: for each of `WANTED` the column that has it, its share of filled cells and, where it
        takes few values, counts by label; ``given_away``: labels that the source gives away; ``impossible``: labels
        that cannot be true at their images' dates; ``undated``: images whose date tells no year.
    """
    names = dict.fromkeys(name for row in table.rows for name in row.extra)
    columns: dict[str, TableColumn] = {}
    for wanted, synonyms in WANTED.items():
        named = [name for name in ("source", *names) if name.lower() in synonyms]
        cells = ((name, [_cell(row, name) for row in table.rows]) for name in named)
        name, values = next(((name, values) for name, values in cells if any(values)), ("", []))
        if not name:
            continue
        filled = sum(bool(value) for value in values)
        if wanted == "age":
            values = [age_band(value) for value in values]
        pairs = zip(table.rows, values, strict=True)
        by_label = Counter((row.label, value or "unknown") for row, value in pairs)
        few = len({value for _, value in by_label}) <= MOST_VALUES
        counts = {label: {v: n for (of, v), n in sorted(by_label.items()) if of == label} for label in table.labels}
        columns[wanted] = TableColumn(column=name, filled=filled / len(table), by_label=counts if few else None)
    date = columns["date"].column if "date" in columns else None
    return TableFacts(
        n_images=len(table),
        columns=columns,
        confounded_labels=[found.sentence for found in confounded_labels(table)],
        impossible=_impossible(table, date),
        undated=sum(_year(row, date) is None for row in table.rows) if date else None,
    )


def _impossible(table: Dataset, column: str | None) -> list[str]:
    """COVID-19 before there was any."""
    if column is None:
        return []
    early: Counter[str] = Counter()
    for row in table.rows:
        year = _year(row, column)
        if year and year < FIRST_COVID and is_covid(row.label):
            early[row.label] += 1
    return [f"{count} images of '{label}' are dated before {FIRST_COVID}" for label, count in early.items()]


def _year(row: Row, column: str) -> int | None:
    year = re.search(r"(19|20)\d\d", _cell(row, column))
    return int(year[0]) if year else None


def _cell(row: Row, column: str) -> str:
    return row.source.strip() if column == "source" else str(row.extra.get(column, "")).strip()
