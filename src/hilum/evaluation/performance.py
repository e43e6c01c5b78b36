"""All measures of some predictions, with intervals that count patients, and what a page draws of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.data.labels import branches
from hilum.evaluation.predictions import Predictions
from hilum.stats.auc import curve_bands
from hilum.stats.calibration import calibration_errors
from hilum.stats.calibration_slope import brier_parts, calibration_by_label, reliability
from hilum.stats.intervals import CONFIDENCE, Patients, as_json
from hilum.stats.metrics import brier, confusion_counts, decision_auroc, log_loss, measures
from hilum.stats.verdicts import DISCORDANCE, POWER, PREVALENCES, detectable_difference, predictive_values, wilson_of


def measure(
    predictions: Predictions,
    *,
    protected: str | None = None,
    folds: NDArray[np.int64] | None = None,
    prevalences: Sequence[float] = PREVALENCES,
) -> dict[str, Any]:
    """All measures of some predictions, with intervals that count patients.

    Args:
        predictions: Of N images, K labels.
        protected: The label that must not be missed.
        folds: Fold of each image, shape (N,), of a cross-validation: areas then compare scores within folds.
        prevalences: Of the predictive values.

    Returns:
        What ``metrics.json`` holds, without the parts that say where it comes from.
    """
    truth, probabilities = predictions.truth, predictions.probabilities
    labels, patients = predictions.labels, Patients(predictions.clusters)
    confusion = confusion_counts(truth, predictions.predicted, len(labels)).tolist()
    known = all(predictions.patients)
    decisions = decision_auroc(truth, probabilities, labels, patients, folds=folds)
    return {
        "labels": list(labels),
        "protected": protected,
        "n_images": len(truth),
        "n_patients": len(set(predictions.patients)) if known else None,
        "with_patient": sum(map(bool, predictions.patients)),
        "unit": "patients" if known else "images",
        "confusion": confusion,
        **as_json(measures(truth, probabilities, labels, patients, folds=folds)),
        **({"decisions": as_json(decisions)} if decisions else {}),
        "wilson": wilson_of(confusion, labels, CONFIDENCE),
        "predictive_values": _predictive_values(predictions, protected, patients, prevalences),
        "detectable": _detectable(predictions),
        **probability_scores(truth, probabilities, predictions.clusters),
        "calibration_by_label": calibration_by_label(truth, probabilities, labels, patients),
        "intervals": {"confidence": CONFIDENCE},
    }


def probability_scores(truth: Any, probabilities: Any, clusters: Sequence[str]) -> dict[str, Any]:
    """Scores of the probabilities themselves: ``log_loss``, ``brier`` and both calibration errors.

    Args:
        truth: Index of each image's label, shape (N,).
        probabilities: Of shape (N, K).
        clusters: The patient of each image.

    Returns:
        ``ece_class_wise`` and ``ece_top_label`` as `calibration_errors` has them; ``ece`` is the former, under its
        earlier name.
    """
    errors = calibration_errors(truth, probabilities, clusters)
    return {
        "log_loss": log_loss(truth, probabilities),
        "brier": brier(truth, probabilities),
        **errors,
        "ece": errors["ece_class_wise"],
    }


def _predictive_values(
    predictions: Predictions, protected: str | None, patients: Patients, prevalences: Sequence[float]
) -> dict[str, Any] | None:
    """Of the protected label, called where it is the most probable one; None without patients on both sides."""
    if protected not in predictions.labels:
        return None
    k = predictions.labels.index(protected)
    positive = predictions.truth == k
    if not positive.any() or positive.all():
        return None
    found = predictive_values(positive, predictions.predicted == k, patients, prevalences=prevalences)
    return {"label": protected, **found}


def _detectable(predictions: Predictions) -> dict[str, Any]:
    """The difference of accuracy that so many patients would show in four of five samples; images where unknown."""
    known = all(predictions.patients)
    count = len(set(predictions.clusters))
    return {
        "discordance": DISCORDANCE,
        "power": POWER,
        "unit": "patients" if known else "images",
        "count": count,
        "value": detectable_difference(count),
    }


def details(predictions: Predictions) -> dict[str, Any]:
    """What a page draws: curves with bands, reliability diagrams, and the Brier score's parts."""
    truth, probabilities, labels = predictions.truth, predictions.probabilities, predictions.labels
    patients = Patients(predictions.clusters)
    return {
        "curves": curve_bands(probabilities, truth, labels, patients),
        "reliability": reliability(truth, probabilities, labels, patients),
        "brier_parts": brier_parts(truth, probabilities, labels, predictions.clusters),
    }


Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def most_probable(probabilities: Floats) -> Ints:
    """The label with the highest probability.

    Args:
        probabilities: Of shape (N, K).

    Returns:
        Indices of shape (N,).
    """
    answer: Ints = probabilities.argmax(axis=1)
    return answer


def down_the_tree(probabilities: Floats, labels: Sequence[str]) -> Ints:
    """The answer that is reached by deciding level by level: infected or not first, which infection after that.

    A folder is as probable as its labels together, so for the seed's labels P(infected) = 1 - P(normal). An image
    with 0.4 for normal and 0.3 for each infection is normal to `most_probable` and infected here. Any network
    can be read so, also one that never heard of the tree: what is left between it and a cascade is the network.

    Args:
        probabilities: Of shape (N, K).
        labels: K nested labels.

    Returns:
        Indices of shape (N,).

    Raises:
        ValueError: A label is also a folder of other labels.
    """
    decisions = branches(labels)
    deciding = {frozenset(sum(branch.members, ())): branch for branch in decisions}  # by the labels below it
    answer = np.zeros(len(probabilities), dtype=np.int64)
    waiting = [(decisions[0], np.arange(len(probabilities)))] if decisions else []
    while waiting:
        branch, here = waiting.pop()
        share = np.stack([probabilities[here][:, list(inside)].sum(axis=1) for inside in branch.members], axis=1)
        chosen = share.argmax(axis=1)
        for child, inside in enumerate(branch.members):
            below = here[chosen == child]
            if len(inside) == 1:
                answer[below] = inside[0]
            else:
                waiting.append((deciding[frozenset(inside)], below))
    return answer
