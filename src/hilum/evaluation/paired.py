"""Two classifiers on the same patients: what differs, how surely, and what could have been seen at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, binomtest, norm

from hilum.evaluation.metrics import answer_measures, mean_of
from hilum.intervals.areas import auroc_estimate
from hilum.intervals.combined import combined
from hilum.intervals.shares import (
    CONFIDENCE,
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
POWER = 0.8


def mcnemar(first: Bools, second: Bools) -> dict[str, Any]:
    """McNemar's test in its exact form (McNemar 1947, *Psychometrika*; binomial as in Liddell 1983).

    It takes images for independent. Where patients have several, `sign_flip` is the one to believe.

    Args:
        first: Whether the first classifier is right, shape (N,).
        second: Whether the second one is.

    Returns:
        ``both``, ``first_only``, ``second_only``, ``neither``: images; and ``p_value``, two-sided.
    """
    only = int((first & ~second).sum()), int((second & ~first).sum())
    return {
        "both": int((first & second).sum()),
        "first_only": only[0],
        "second_only": only[1],
        "neither": int((~first & ~second).sum()),
        "p_value": float(binomtest(only[0], sum(only)).pvalue) if sum(only) else 1.0,
    }


def sign_flip(first: Bools, second: Bools, clusters: Sequence[str]) -> dict[str, Any]:
    """McNemar's test for patients with several images: an exact sign-flip test over patients.

    If neither classifier is better, each patient's difference of right answers could as well have had the other
    sign (Fisher 1935, *The Design of Experiments*). The distribution of the sum over all signs is computed, not
    sampled. With one image a patient this is McNemar's exact test.

    Args:
        first: Whether the first classifier is right, shape (N,).
        second: Whether the second one is.
        clusters: The patient of each image.

    Returns:
        ``p_value``, two-sided; and of what could have been shown, as differences of accuracy. Given that these
        patients, and no others, tell the two apart: ``smallest_significant``, from which on p < 0.05 (None if nothing
        could reach that), and ``detectable``, the true difference that would be found in about four of five such
        samples (normal approximation; Connor 1987, *Biometrics*, for pairs). And whoever tells them apart: ``floor``,
        below which no sample of so many images shows anything (None with too few patients).
    """
    _, member = np.unique(np.asarray(clusters), return_inverse=True)
    by_patient = np.bincount(member, weights=second.astype(float) - first.astype(float)).astype(np.int64)
    sizes = Counter(abs(int(value)) for value in by_patient if value)
    pmf = np.ones(1)  # of the sum of all differences, from -reach to reach
    for size, count in sorted(sizes.items()):
        steps = np.zeros(2 * size * count + 1)
        steps[:: 2 * size] = binom.pmf(np.arange(count + 1), count, 0.5)
        pmf = np.convolve(pmf, steps)
    reach = len(pmf) // 2
    sums = np.abs(np.arange(-reach, reach + 1))
    weight = np.bincount(sums, weights=pmf)
    tail = np.minimum(1, weight[::-1].cumsum()[::-1])  # tail[s]: that the sum is at least s either way
    fewest = next(n for n in range(1, 99) if 2 * 0.5**n < 1 - CONFIDENCE)  # all of so many, one way
    possible = np.flatnonzero((tail < 1 - CONFIDENCE) & (weight > 0))
    most = sum(count * size for size, count in sizes.items())
    spread = float(np.sqrt(sum(count * size**2 for size, count in sizes.items())))
    factor = float(norm.ppf((1 + CONFIDENCE) / 2) + norm.ppf(POWER))
    return {
        "discordant_patients": sum(sizes.values()),
        "p_value": float(tail[abs(int(by_patient.sum()))]),
        "smallest_significant": float(possible[0] / len(first)) if len(possible) else None,
        "detectable": min(factor * spread, most) / len(first) if len(possible) else None,
        "floor": fewest / len(first) if len(set(clusters)) >= fewest else None,
    }


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
