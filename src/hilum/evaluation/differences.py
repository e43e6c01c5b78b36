"""Two classifiers on the same patients: how much their measures differ, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.errors import RunError
from hilum.evaluation.predictions import Predictions, read_predictions
from hilum.evaluation.schema import Drop, TwoSides
from hilum.files import settle
from hilum.stats.auc import auroc_estimate
from hilum.stats.hypothesis_tests import over_seeds
from hilum.stats.intervals import (
    CONFIDENCE,
    FEARED,
    Estimate,
    Patients,
    apart,
    as_json,
    combined,
    evenly,
    identical,
    proportion,
    undefined,
)
from hilum.stats.metrics import answer_measures, mean_of, measures
from hilum.text import interval_text, percent
from hilum.training.run import Run, read_json

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def paired_differences(
    truth: Ints, first: Ints, second: Ints, labels: Sequence[str], clusters: Sequence[str], *, same: bool = False
) -> dict[str, Any]:
    """Accuracy, balanced accuracy and recall of two classifiers and their difference, second minus first.

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
    return _beside(as_json(one), as_json(two), as_json(gains(truth, first, second, labels, patients, same=same)))


def gains(
    truth: Ints, first: Ints, second: Ints, labels: Sequence[str], patients: Patients, *, same: bool = False
) -> dict[str, Any]:
    """Differences of accuracy, balanced accuracy and recall by label, second minus first.

    A difference of shares is that of what only the second gets right and what only the first does, so that nothing is
    said by images that both treat alike; where there are no others, they can still be as frequent as their exact limits
    allow.

    Args:
        truth: Index of each image's label, shape (N,).
        first: Index of what the first one answered.
        second: Index of what the second one answered.
        labels: K names.
        patients: Of the N images.
        same: Both are one and the same classifier.
    """
    gained, lost = (second == truth) & (first != truth), (first == truth) & (second != truth)

    def difference(counted: Bools) -> Estimate:
        if same:
            return identical(patients) if counted.any() else undefined(patients)
        both = [proportion(which, counted, patients) for which in (gained, lost)]
        told = evenly(patients.sums(counted & (gained | lost)))
        return combined([(1.0, both[0]), (-1.0, both[1])], trust=told / (told + FEARED))

    by_label = {label: difference(truth == k) for k, label in enumerate(labels)}
    return {
        "accuracy": difference(truth >= 0),
        "balanced_accuracy": mean_of([one for one in by_label.values() if np.isfinite(one.value)], patients),
        "recall": by_label,
    }


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
        one, two, difference = _areas(truth == k, first[:, k], second[:, k], patients)
        found[label] = as_json({"first": one, "second": two, "difference": difference})
    return found


def _areas(has: Bools, first: Floats, second: Floats, patients: Patients) -> tuple[Estimate, Estimate, Estimate]:
    one, two = (auroc_estimate(scores, has, patients) for scores in (first, second))
    same = np.array_equal(first, second)
    return one, two, identical(patients) if same else combined([(1.0, two), (-1.0, one)])


def gains_over_seeds(pairs: Sequence[tuple[Predictions, Predictions]]) -> dict[str, Any]:
    """What one method gains over another, from several pairs of networks on the same images.

    Args:
        pairs: Predictions of the first and the second method, one pair a seed, at least 2, of the same N images in the
            same order.

    Returns:
        ``seeds``, their number; ``accuracy``, ``balanced_accuracy``, and by label ``recall`` and ``auroc``: each with
        ``values`` by seed, and the mean with its interval over seeds and patients (`hilum.stats.hypothesis_tests`).
    """
    one = pairs[0][0]
    truth, labels, patients = one.truth, one.labels, Patients(one.clusters)
    by_seed = []
    for first, second in pairs:
        found = gains(truth, first.predicted, second.predicted, labels, patients)
        columns = [(first.probabilities[:, k], second.probabilities[:, k]) for k in range(len(labels))]
        found["auroc"] = {label: _areas(truth == k, *columns[k], patients)[2] for k, label in enumerate(labels)}
        by_seed.append(found)
    return {"seeds": len(pairs), **_over_seeds(by_seed)}


def _over_seeds(found: Sequence[Any]) -> Any:
    if isinstance(found[0], dict):
        return {key: _over_seeds([one[key] for one in found]) for key in found[0]}
    return over_seeds(found).as_json() | {"values": [one.as_json()["value"] for one in found]}


def _beside(first: Any, second: Any, difference: Any) -> dict[str, Any]:
    if "value" in difference:
        return {"first": first, "second": second, "difference": difference}
    return {key: _beside(first[key], second[key], difference[key]) for key in difference}


INTERNAL = "test"


def internal_predictions(run: Run) -> Predictions | None:
    """What the run said of its own test images; None where that was not evaluated with these weights."""
    folder = run.path / "evaluation" / INTERNAL
    settle(folder)
    if read_json(folder / "metrics.json").get("weights_sha256") != run.environment.weights_sha256:
        return None
    try:
        return read_predictions(folder / "predictions.csv")
    except RunError:
        return None


def drop(internal: Predictions, external: Predictions, *, confidence: float = CONFIDENCE) -> Drop:
    """Measures of two groups of patients beside each other, and external minus internal.

    Both are measured on images of the labels that both have: a mean over three labels at home and one elsewhere would
    compare what cannot be compared, and so would an AUROC against another rest.

    Args:
        internal: Of the run's own test images.
        external: Of other people, with labels of the same names.
        confidence: Of the intervals.

    Returns:
        ``labels`` that both have, ``left_out`` (images of other labels, by side), and ``accuracy``,
        ``balanced_accuracy``, and ``recall`` and ``auroc`` by label: each ``internal``, ``external`` and ``difference``
        with ``value``, ``low``, ``high``, None where undefined.
    """
    sides = {"internal": internal, "external": external}
    common = np.intersect1d(internal.truth, external.truth)
    kept = {name: of.take(np.flatnonzero(np.isin(of.truth, common))) for name, of in sides.items()}
    found = {
        name: measures(of.truth, of.probabilities, of.labels, Patients(of.clusters), confidence=confidence)
        for name, of in kept.items()
    }
    inside, outside = found["internal"], found["external"]

    def by_label(name: str) -> dict[str, TwoSides]:
        return {label: _two_sides(inside[name][label], outside[name][label]) for label in internal.labels}

    return Drop(
        labels=[internal.labels[k] for k in common],
        left_out={name: len(of.truth) - len(kept[name].truth) for name, of in sides.items()},
        accuracy=_two_sides(inside["accuracy"], outside["accuracy"]),
        balanced_accuracy=_two_sides(inside["balanced_accuracy"], outside["balanced_accuracy"]),
        recall=by_label("recall"),
        auroc=by_label("auroc"),
    )


def _two_sides(internal: Estimate, external: Estimate) -> TwoSides:
    difference = apart(internal, external).interval()
    return TwoSides(internal=internal.interval(), external=external.interval(), difference=difference)


def drop_sentence(found: Drop) -> str:
    """The drop of accuracy in one sentence."""
    if not found.labels:
        return "external validation: no label of these images is one of the run's own test images"
    both = found.balanced_accuracy
    over = f" over the labels that both have ({', '.join(found.labels)})" if any(found.left_out.values()) else ""
    return (
        f"external validation: balanced accuracy{over} {percent(both.internal.value)} on the run's own test patients, "
        f"{percent(both.external.value)} here: {interval_text(both.difference, sign=True)}"
    )
