"""Two classifiers on the same patients: how much their measures differ, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.evaluation.metrics import answer_measures, mean_of
from hilum.intervals.areas import auroc_estimate
from hilum.intervals.combined import combined
from hilum.intervals.shares import (
    FEARED,
    Estimate,
    Patients,
    as_json,
    evenly,
    identical,
    proportion,
    undefined,
)

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def paired_differences(
    truth: Ints, first: Ints, second: Ints, labels: Sequence[str], clusters: Sequence[str], *, same: bool = False
) -> dict[str, Any]:
    """Accuracy, balanced accuracy and recall of two classifiers and their difference, second minus first.

    A difference of shares is that of what only the second gets right and what only the first does, so that nothing is
    said by images that both treat alike; where there are no others, they can still be as frequent as their exact limits
    allow.

    Args:
        truth: Index of each image's label, shape (N,).
        first: Index of what the first one answered.
        second: Index of what the second one answered.
        labels: K names.
        clusters: The patient of each image.
        same: Both are one and the same classifier, whose difference is zero without doubt.

    Returns:
        For each measure ``first``, ``second`` and ``difference``, each ``{"value", "low", "high", "method"}``.
    """
    patients = Patients(clusters)
    one, two = (answer_measures(truth, answer, labels, patients) for answer in (first, second))
    gained, lost = (second == truth) & (first != truth), (first == truth) & (second != truth)

    def difference(counted: Bools) -> Estimate:
        if same:
            return identical(patients) if counted.any() else undefined(patients)
        both = [proportion(which, counted, patients) for which in (gained, lost)]
        told = evenly(patients.sums(counted & (gained | lost)))
        return combined([(1.0, both[0]), (-1.0, both[1])], trust=told / (told + FEARED))

    by_label = {label: difference(truth == k) for k, label in enumerate(labels)}
    differences = {
        "accuracy": difference(truth >= 0),
        "balanced_accuracy": mean_of([one for one in by_label.values() if np.isfinite(one.value)], patients),
        "recall": by_label,
    }
    return _beside(as_json(one), as_json(two), as_json(differences))


def paired_auroc(
    truth: Ints, first: Floats, second: Floats, labels: Sequence[str], clusters: Sequence[str]
) -> dict[str, Any]:
    """AUROC of each label by two classifiers and its difference, second minus first.

    Args:
        truth: Index of each image's label, shape (N,).
        first: Probabilities (N, K) of the first classifier.
        second: Those of the second.
        labels: K names.
        clusters: The patient of each image.
    """
    patients, found = Patients(clusters), {}
    for k, label in enumerate(labels):
        one, two = (auroc_estimate(scores[:, k], truth == k, patients) for scores in (first, second))
        same = np.array_equal(first[:, k], second[:, k])
        difference = identical(patients) if same else combined([(1.0, two), (-1.0, one)])
        found[label] = as_json({"first": one, "second": two, "difference": difference})
    return found


def _beside(first: Any, second: Any, difference: Any) -> dict[str, Any]:
    if "value" in difference:
        return {"first": first, "second": second, "difference": difference}
    return {key: _beside(first[key], second[key], difference[key]) for key in difference}
