"""Measures of a classifier, for many weightings of the images at once.

A bootstrap is a weighting: an image drawn twice counts twice. Every function takes weights (R, N), one row a
resample, and gives one value a row; weights of one give the plain measure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hilum.data.ranking import weighted_auroc
from hilum.data.taxonomy import nested_decisions
from hilum.evaluation.curves import average_precision

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def confusion_counts(truth: Ints, predicted: Ints, n_labels: int, weights: Floats) -> Floats:
    """Weighted confusion matrices.

    Args:
        truth: Index of each image's label, shape (N,).
        predicted: Index of the label each was given, shape (N,).
        n_labels: K.
        weights: Of shape (R, N).

    Returns:
        Of shape (R, K, K), rows truth, columns predicted.
    """
    cells = np.zeros((len(truth), n_labels * n_labels))
    cells[np.arange(len(truth)), truth * n_labels + predicted] = 1
    return (weights @ cells).reshape(len(weights), n_labels, n_labels)


def divide(numerator: Floats, denominator: Floats) -> Floats:
    """Quotients; NaN where nothing is divided by nothing."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(denominator > 0, numerator / denominator, np.nan)


def balanced_accuracy(counts: Floats, occurs: NDArray[np.bool_]) -> Floats:
    """The mean recall over the labels that occur.

    Args:
        counts: Confusion matrices (R, K, K), rows truth.
        occurs: Which labels the images have, shape (K,).

    Returns:
        Of shape (R,); NaN in a resample that lacks one of these labels.
    """
    recall = divide(np.diagonal(counts, axis1=1, axis2=2), counts.sum(axis=2))
    known = ~np.isnan(recall[:, occurs])
    return np.where(known.all(axis=1), np.where(known, recall[:, occurs], 0).mean(axis=1), np.nan)


def measures(
    truth: Ints, probabilities: Floats, weights: Floats, labels: Sequence[str]
) -> dict[str, Floats | dict[str, Floats]]:
    """The measures that get an interval.

    Args:
        truth: Index of each image's label, shape (N,).
        probabilities: Of shape (N, K).
        weights: Of shape (R, N).
        labels: K names.

    Returns:
        ``accuracy`` and ``balanced_accuracy`` (the mean recall over labels that occur; NaN in a resample that lacks
        one of them), each of shape (R,), and ``recall``, ``precision``, ``f1``, ``auroc``, ``auprc`` by label.
    """
    counts = confusion_counts(truth, probabilities.argmax(axis=1), len(labels), weights)
    right = np.diagonal(counts, axis1=1, axis2=2)
    recall = divide(right, counts.sum(axis=2))
    precision = divide(right, counts.sum(axis=1))
    f1 = divide(2 * right, counts.sum(axis=1) + counts.sum(axis=2))
    everyone = range(len(labels))
    areas = [weighted_auroc(probabilities[:, k], truth == k, weights) for k in everyone]

    def by_label(values: Sequence[Floats] | Floats) -> Mapping[str, Floats]:
        return dict(zip(labels, values, strict=True))

    return {
        "accuracy": divide(right.sum(axis=1), counts.sum(axis=(1, 2))),
        "balanced_accuracy": balanced_accuracy(counts, np.bincount(truth, minlength=len(labels)) > 0),
        "recall": dict(by_label(recall.T)),
        "precision": dict(by_label(precision.T)),
        "f1": dict(by_label(f1.T)),
        "auroc": dict(by_label(areas)),
        "auprc": dict(by_label([average_precision(probabilities[:, k], truth == k, weights) for k in everyone])),
    }


def decision_auroc(
    truth: Ints, probabilities: Floats, weights: Floats, labels: Sequence[str]
) -> dict[str, dict[str, Floats]]:
    """How well each decision of the label tree is made, apart from the others.

    At the root of the seed's labels that is normal against infected, by P(infected) = 1 - P(normal); below it one
    infection against the other, among infected images only, by the probability within P(infected).

    Args:
        truth: Index of each image's label, shape (N,).
        probabilities: Of shape (N, K).
        weights: Of shape (R, N).
        labels: K names; of a label that is also a folder there is no tree, and nothing is returned.

    Returns:
        By the folder at which it is made (empty at the root), then by what is told from the rest there: an AUROC of
        shape (R,). Empty for labels without nesting, where the only decision is the one that `measures` has.
    """
    found: dict[str, dict[str, Floats]] = {}
    for branch in nested_decisions(labels):
        below = sum(branch.members, ())
        here = np.isin(truth, below)
        total = np.maximum(probabilities[here][:, below].sum(axis=1), np.finfo(np.float64).tiny)
        found[branch.name] = {
            child: weighted_auroc(
                probabilities[here][:, inside].sum(axis=1) / total, np.isin(truth[here], inside), weights[:, here]
            )
            for child, inside in zip(branch.children, branch.members, strict=True)
        }
    return found


def log_loss(truth: Ints, probabilities: Floats) -> float:
    """Mean negative log-probability of the truth, in nats; 0 is perfect, log K is guessing among K."""
    smallest = np.finfo(np.float64).tiny
    return float(-np.log(np.maximum(probabilities[np.arange(len(truth)), truth], smallest)).mean())


def brier(truth: Ints, probabilities: Floats) -> float:
    """Mean squared distance of the probabilities from the truth (Brier 1950): 0 is perfect, 2 the worst."""
    target = np.eye(probabilities.shape[1])[truth]
    return float(((probabilities - target) ** 2).sum(axis=1).mean())
