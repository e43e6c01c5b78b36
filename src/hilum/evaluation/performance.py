"""All measures of some predictions, with intervals that count patients, and what a page draws of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.evaluation.calibration import calibration_errors
from hilum.evaluation.curves import curve_bands
from hilum.evaluation.metrics import brier, confusion_counts, decision_auroc, log_loss, measures
from hilum.evaluation.predictions import Predictions
from hilum.evaluation.proportions import (
    DISCORDANCE,
    POWER,
    PREVALENCES,
    detectable_difference,
    predictive_values,
    wilson_of,
)
from hilum.evaluation.reliability import brier_parts, reliability
from hilum.evaluation.slopes import calibration_by_label
from hilum.intervals.shares import CONFIDENCE, Patients, as_json


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
