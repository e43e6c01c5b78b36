"""All measures of some predictions, with intervals that count patients, and what a page draws of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hilum.data.labels import branches
from hilum.evaluation.predictions import Predictions
from hilum.evaluation.schema import Metrics
from hilum.stats.auc import curve_bands
from hilum.stats.calibration import calibration_errors
from hilum.stats.calibration_slope import brier_parts, calibration_by_label, reliability
from hilum.stats.intervals import CONFIDENCE, Patients, intervals
from hilum.stats.metrics import brier, confusion_counts, decision_auroc, log_loss, measures
from hilum.stats.records import AllBrierParts, Bin, Detectable, LabelCurves, PredictiveValues, ProbabilityScores
from hilum.stats.verdicts import DISCORDANCE, POWER, PREVALENCES, detectable_difference, predictive_values, wilson_of


def measure(
    predictions: Predictions,
    *,
    positive_label: str | None = None,
    folds: NDArray[np.int64] | None = None,
    prevalences: Sequence[float] = PREVALENCES,
) -> Metrics:
    """All measures of some predictions, with intervals that count patients.

    Args:
        predictions: Of N images, K labels.
        positive_label: The label that must not be missed.
        folds: Fold of each image, shape (N,), of a cross-validation: areas then compare scores within folds.
        prevalences: Of the predictive values.

    Returns:
        Without the parts that say where they come from.
    """
    truth, probabilities = predictions.truth, predictions.probabilities
    labels, patients = predictions.labels, Patients(predictions.clusters)
    confusion = confusion_counts(truth, predictions.predicted, len(labels)).tolist()
    known = all(predictions.patients)
    decisions = decision_auroc(truth, probabilities, labels, patients, folds=folds)
    found = {
        "labels": list(labels),
        "positive_label": positive_label,
        "n_images": len(truth),
        "n_patients": len(set(predictions.patients)) if known else None,
        "with_patient": sum(map(bool, predictions.patients)),
        "resampling_unit": "patients" if known else "images",
        "confusion": confusion,
        **intervals(measures(truth, probabilities, labels, patients, folds=folds)),
        **({"decisions": intervals(decisions)} if decisions else {}),
        "wilson": wilson_of(confusion, labels, CONFIDENCE),
        "predictive_values": _predictive_values(predictions, positive_label, patients, prevalences),
        "detectable": _detectable(predictions),
        **dict(probability_scores(truth, probabilities, predictions.clusters)),
        "calibration_by_label": calibration_by_label(truth, probabilities, labels, patients),
        "intervals": {"confidence": CONFIDENCE},
    }
    return Metrics.model_validate(found)


def probability_scores(truth: Ints, probabilities: Floats, clusters: Sequence[str]) -> ProbabilityScores:
    """Scores of the probabilities themselves.

    Args:
        truth: Index of each image's label, shape (N,).
        probabilities: Of shape (N, K).
        clusters: The patient of each image.

    """
    class_wise, top_label = calibration_errors(truth, probabilities, clusters)
    return ProbabilityScores(
        log_loss=log_loss(truth, probabilities),
        brier=brier(truth, probabilities),
        ece_class_wise=class_wise,
        ece_top_label=top_label,
        ece=class_wise,
    )


def _predictive_values(
    predictions: Predictions, positive_label: str | None, patients: Patients, prevalences: Sequence[float]
) -> PredictiveValues | None:
    """Of the positive label, called where it is the most probable one; None without patients on both sides."""
    if positive_label not in predictions.labels:
        return None
    k = predictions.labels.index(positive_label)
    positive = predictions.truth == k
    if not positive.any() or positive.all():
        return None
    found = predictive_values(positive, predictions.predicted == k, patients, prevalences=prevalences)
    return found.model_copy(update={"label": positive_label})


def _detectable(predictions: Predictions) -> Detectable:
    """The difference of accuracy that so many patients would show in four of five samples; images where unknown."""
    known = all(predictions.patients)
    count = len(set(predictions.clusters))
    return Detectable(
        discordance=DISCORDANCE,
        power=POWER,
        resampling_unit="patients" if known else "images",
        count=count,
        value=detectable_difference(count),
    )


@dataclass(frozen=True)
class Details:
    """What a page draws, by label: curves with bands, reliability diagrams; and the Brier score's parts."""

    curves: Mapping[str, LabelCurves]
    reliability: Mapping[str, list[Bin]]
    brier_parts: AllBrierParts


def details(predictions: Predictions) -> Details:
    """Curves, reliability diagrams, and the Brier score's parts."""
    truth, probabilities, labels = predictions.truth, predictions.probabilities, predictions.labels
    patients = Patients(predictions.clusters)
    return Details(
        curves=curve_bands(probabilities, truth, labels, patients),
        reliability=reliability(truth, probabilities, labels, patients),
        brier_parts=brier_parts(truth, probabilities, labels, predictions.clusters),
    )


Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def argmax(probabilities: Floats) -> Ints:
    """The label with the highest probability.

    Args:
        probabilities: Of shape (N, K).

    Returns:
        Indices of shape (N,).
    """
    answer: Ints = probabilities.argmax(axis=1)
    return answer


def top_down(probabilities: Floats, labels: Sequence[str]) -> Ints:
    """Top-down decoding: at each node of the label tree, from its root, the most probable child.

    A folder is as probable as its labels together, so for the original report's labels P(infected) = 1 - P(normal). An
    image with 0.4 for normal and 0.3 for each infection is normal to `argmax` and infected here. Any network
    can be decoded so, also one trained without the tree: what remains between it and a cascade is due to the network.

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
