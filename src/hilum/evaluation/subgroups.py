"""The same measures within parts of the patients: source, view, sex, bands of age, or any column of the table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hilum.audit.features import NAMES_AN_IMAGE, NAMES_THE_LABEL
from hilum.data.readers.read import read_table
from hilum.data.splits import GROUP_COLUMN
from hilum.data.table import Row
from hilum.errors import HilumError
from hilum.evaluation.predictions import Predictions
from hilum.intervals.areas import auroc_estimate
from hilum.intervals.shares import Patients, as_json, proportion
from hilum.training.run import Run

AGE = ("age", "age_years", "patient_age", "patientage", "age_at_study")
AGE_BANDS = ((0, 2), (2, 6), (6, 18), (18, 40), (40, 65), (65, 200))
MOST_VALUES = 12
FEWEST_IMAGES = 10  # of the largest subgroup: a column below that names images, whatever it is called
UNKNOWN, OTHERS = "unknown", "others"


def columns_of(run: Run, rows: Sequence[Row]) -> dict[str, list[str]]:
    """What the table says of each image beyond path, label and patient.

    Args:
        run: Whose own data may have been opened without their further columns.
        rows: Of the N images.

    Returns:
        N values by column; columns that name images or labels, or say nothing, are left out. Ages become bands; of more
        than 12 values, numbers become thirds, and words that are not among the 11 most frequent are ``others``.
    """
    extras = [{"source": row.source, **row.extra} for row in rows]
    if not any(value for extra in extras for value in extra.values()):
        extras = _from_dataset(run, rows)
    found: dict[str, list[str]] = {}
    for name in dict.fromkeys(key for extra in extras for key in extra):
        if name == GROUP_COLUMN or NAMES_AN_IMAGE.search(name.lower()) or NAMES_THE_LABEL.search(name.lower()):
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
    predictions: Predictions, columns: Mapping[str, Sequence[str]], protected: str | None
) -> dict[str, Any]:
    """Accuracy, and recall, false alarms and AUROC of the protected label, within each value of each column.

    Args:
        predictions: Of N images.
        columns: N values by column.
        protected: The label that must not be missed, if there is one.

    Returns:
        By column, then value: ``n_images``, ``n_patients``, ``n_protected``, and the measures with their intervals,
        None where a subgroup lacks what they take. Many subgroups are looked at: that one of them stands out is to be
        expected.
    """
    found: dict[str, Any] = {}
    for column, values in columns.items():
        given = np.asarray(values, dtype=object)
        order = sorted(set(values), key=in_order)
        found[column] = {value: _measure(predictions, given == value, protected) for value in order}
    return found


def _measure(predictions: Predictions, here: Any, protected: str | None) -> dict[str, Any]:
    part = predictions.take(np.flatnonzero(here))
    truth, patients = part.truth, Patients(part.clusters)
    k = part.labels.index(protected) if protected in part.labels else None
    measured = {"accuracy": proportion(part.predicted == truth, np.full(len(truth), True), patients)}
    positive = truth == k if k is not None else np.zeros(len(truth), bool)
    if k is not None:
        called = part.predicted == k
        measured["recall"] = proportion(called, positive, patients)
        measured["false_alarms"] = proportion(called, ~positive, patients)
        measured["auroc"] = auroc_estimate(part.probabilities[:, k], positive, patients)
    return {
        "n_images": len(truth),
        "n_patients": patients.number,
        "n_protected": int((patients.sums(positive) > 0).sum()) if k is not None else None,
        **as_json(measured),
    }


def _from_dataset(run: Run, rows: Sequence[Row]) -> list[dict[str, str]]:
    """The columns of the run's own data, read anew: a run keeps paths, labels and patients only."""
    data = run.environment.get("data", {})
    try:
        table = read_table(Path(data.get("given") or data["root"]), run.read_options)
    except (HilumError, KeyError, OSError):
        return [{} for _ in rows]
    wanted = {row.path for row in rows}
    known = {row.path: {"source": row.source, **row.extra} for row in table.rows if row.path in wanted}
    return [known.get(row.path, {}) for row in rows]


def in_order(value: str) -> tuple[bool, bool, float, str]:
    """A key to sort values by: numbers and bands by size, then words, then `OTHERS` and `UNKNOWN`."""
    head = re.match(r"-?\d+(\.\d+)?", value)
    return value == UNKNOWN, value == OTHERS, float(head[0]) if head else float("inf"), value
