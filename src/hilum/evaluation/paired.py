"""Two classifiers on the same patients: what differs, how surely, and what could have been seen at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, binomtest, norm

from hilum.data.ranking import weighted_auroc
from hilum.evaluation.extremes import widen_area, widen_difference
from hilum.evaluation.intervals import bootstrap, exact_interval, widen_mean
from hilum.evaluation.metrics import balanced_accuracy, confusion_counts, divide

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
CONFIDENCE = 0.95
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
    truth: Ints,
    first: Ints,
    second: Ints,
    labels: Sequence[str],
    clusters: Sequence[str],
    *,
    same: bool = False,
    resamples: int = 2000,
) -> dict[str, Any]:
    """Accuracy, balanced accuracy and recall of two classifiers and their difference, second minus first.

    Args:
        truth: Index of each image's label, shape (N,).
        first: Index of what the first one answered.
        second: Index of what the second one answered.
        labels: K names.
        clusters: The patient of each image; both are resampled by the same patients.
        same: Both are one and the same classifier, whose difference is zero without doubt.
        resamples: Of the bootstrap.

    Returns:
        For each measure ``first``, ``second`` and ``difference``, each ``{"value", "low", "high"}``.
    """

    def measure(weights: Floats) -> dict[str, Any]:
        one, two = (_scores(truth, answer, labels, weights) for answer in (first, second))
        return {
            name: _beside(one[name], two[name])
            if name != "recall"
            else {label: _beside(one[name][label], two[name][label]) for label in labels}
            for name in one
        }

    found = bootstrap(measure, clusters, resamples=resamples, confidence=CONFIDENCE)
    patients = np.asarray(clusters)
    parts = [(found["accuracy"], np.full(len(truth), True))]
    parts += [(found["recall"][label], truth == k) for k, label in enumerate(labels) if (truth == k).any()]
    for entry, counted in parts:
        _widen(entry, len(set(patients[counted])))
    for which in ("first", "second", "difference"):
        occurring = [entry[which] for entry, _ in parts[1:]]
        widen_mean(found["balanced_accuracy"][which], occurring)
    if same:
        for entry in (found["accuracy"], found["balanced_accuracy"], *found["recall"].values()):
            entry["difference"] = {"value": 0.0, "low": 0.0, "high": 0.0}
    return found


def paired_auroc(
    truth: Ints, first: Floats, second: Floats, labels: Sequence[str], clusters: Sequence[str], *, resamples: int = 2000
) -> dict[str, Any]:
    """AUROC of each label by two classifiers and its difference, second minus first.

    Args:
        truth: Index of each image's label, shape (N,).
        first: Probabilities (N, K) of the first classifier.
        second: Those of the second.
        labels: K names.
        clusters: The patient of each image.
        resamples: Of the bootstrap.
    """

    def measure(weights: Floats) -> dict[str, Any]:
        return {
            label: _beside(
                weighted_auroc(first[:, k], truth == k, weights), weighted_auroc(second[:, k], truth == k, weights)
            )
            for k, label in enumerate(labels)
        }

    found = bootstrap(measure, clusters, resamples=resamples, confidence=CONFIDENCE)
    patients = np.asarray(clusters)
    for k, label in enumerate(labels):
        entry, with_it, without = found[label], len(set(patients[truth == k])), len(set(patients[truth != k]))
        for which in ("first", "second"):
            widen_area(entry[which], with_it, without, CONFIDENCE)
        if not np.array_equal(first, second):
            widen_difference(entry["difference"], entry["first"], entry["second"])
    return found


def _scores(truth: Ints, answer: Ints, labels: Sequence[str], weights: Floats) -> dict[str, Any]:
    counts = confusion_counts(truth, answer, len(labels), weights)
    right = np.diagonal(counts, axis1=1, axis2=2)
    recall = divide(right, counts.sum(axis=2))
    return {
        "accuracy": divide(right.sum(axis=1), counts.sum(axis=(1, 2))),
        "balanced_accuracy": balanced_accuracy(counts, np.bincount(truth, minlength=len(labels)) > 0),
        "recall": dict(zip(labels, recall.T, strict=True)),
    }


def _beside(first: Floats, second: Floats) -> Mapping[str, Floats]:
    return {"first": first, "second": second, "difference": second - first}


def _widen(entry: dict[str, Any], patients: int) -> None:
    """Where resampling sees no variation (all right, all wrong, always alike), take the exact bounds."""
    for which in ("first", "second"):
        if entry[which]["value"] in (0.0, 1.0):
            entry[which] |= exact_interval(entry[which]["value"], patients, CONFIDENCE)
    difference = entry["difference"]
    if difference["low"] == difference["high"]:
        most = exact_interval(0.0, patients, CONFIDENCE)["high"]  # of patients on whom it could still be otherwise
        reach = 2 * most if abs(difference["value"]) == 1 else most  # they may turn
        difference["low"] = max(-1.0, difference["value"] - reach)
        difference["high"] = min(1.0, difference["value"] + reach)
