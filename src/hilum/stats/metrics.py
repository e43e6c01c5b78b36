"""Measures of a classifier with their intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hilum.data.labels import nested_decisions
from hilum.stats.auc import auprc_estimate, auroc_estimate
from hilum.stats.intervals import CONFIDENCE, Estimate, Patients, combined, f1_of, proportion, undefined

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class OneLabel:
    """One label against all others, for N images.

    Attributes:
        has: Whether an image has the label, shape (N,).
        called: Whether it is the most probable one, shape (N,).
        score: Its probability, shape (N,).
        patients: Of the N images.
        confidence: Confidence level of the intervals, in (0, 1).
        folds: Fold of each image, shape (N,), where several networks gave the probabilities: see `within_folds`.
    """

    has: Bools
    called: Bools
    score: Floats
    patients: Patients
    confidence: float = CONFIDENCE
    folds: Ints | None = None

    def share(self, hits: Bools, counted: Bools) -> Estimate:
        """The share of the counted images that are hits, with an interval that counts patients."""
        return proportion(hits, counted, self.patients, confidence=self.confidence)

    def area(self, area: Callable[..., Estimate]) -> Estimate:
        """The area under a curve of the score, with an interval that counts patients."""
        return within_folds(area, self.score, self.has, self.patients, self.folds, self.confidence)


class ByLabel(NamedTuple):
    """A measure of each label: how it is computed, and how tables name it.

    Attributes:
        key: In ``metrics.json``.
        title: Heading of a table's column.
        of: The measure with its interval.
        as_percent: Whether it is a share; else a number such as an AUROC.
    """

    key: str
    title: str
    of: Callable[[OneLabel], Estimate]
    as_percent: bool = True


BY_LABEL = (
    ByLabel("recall", "sensitivity (recall)", lambda one: one.share(one.called, one.has)),
    ByLabel("specificity", "specificity", lambda one: one.share(~one.called, ~one.has)),
    ByLabel("precision", "PPV (precision)", lambda one: one.share(one.has, one.called)),
    ByLabel("npv", "NPV", lambda one: one.share(~one.has, ~one.called)),
    ByLabel("auroc", "AUROC", lambda one: one.area(auroc_estimate), as_percent=False),
    ByLabel("f1", "F1", lambda one: f1_of(one.share(one.has & one.called, one.has | one.called))),
    ByLabel("auprc", "AUPRC", lambda one: one.area(auprc_estimate), as_percent=False),
)
"""All measures by label: ``metrics.json``, the console and the report follow this table. A new one is a line here.
The first and the third have their earlier keys, which evaluations of earlier versions have, too."""


def confusion_counts(truth: Ints, predicted: Ints, n_labels: int) -> Ints:
    """The confusion matrix.

    Args:
        truth: Index of each image's label, shape (N,).
        predicted: Index of the label each was given, shape (N,).
        n_labels: K.

    Returns:
        Of shape (K, K), rows truth, columns predicted.
    """
    return np.bincount(truth * n_labels + predicted, minlength=n_labels**2).reshape(n_labels, n_labels)


def answer_measures(
    truth: Ints, predicted: Ints, labels: Sequence[str], patients: Patients, *, confidence: float = CONFIDENCE
) -> dict[str, Any]:
    """What can be said of answers alone.

    Args:
        truth: Index of each image's label, shape (N,).
        predicted: Index of the label each was given, shape (N,).
        labels: K names.
        patients: Of the N images.
        confidence: Of the intervals.

    Returns:
        ``accuracy``, ``recall`` by label, and ``balanced_accuracy``, the mean recall over the labels that occur.
    """
    everything = np.full(len(truth), True)
    recall = {
        label: proportion(predicted == k, truth == k, patients, confidence=confidence) for k, label in enumerate(labels)
    }
    return {
        "accuracy": proportion(predicted == truth, everything, patients, confidence=confidence),
        "balanced_accuracy": mean_of([one for one in recall.values() if np.isfinite(one.value)], patients),
        "recall": recall,
    }


def mean_of(estimates: Sequence[Estimate], patients: Patients) -> Estimate:
    """The mean of some measures of the same patients; undefined of none."""
    if not estimates:
        return undefined(patients)
    return combined([(1 / len(estimates), one) for one in estimates])


def measures(
    truth: Ints,
    probabilities: Floats,
    labels: Sequence[str],
    patients: Patients,
    *,
    confidence: float = CONFIDENCE,
    folds: Ints | None = None,
) -> dict[str, Any]:
    """The measures that get an interval.

    Args:
        truth: Index of each image's label, shape (N,).
        probabilities: Of shape (N, K).
        labels: K names.
        patients: Of the N images.
        confidence: Of the intervals.
        folds: Fold of each image, shape (N,), where several networks gave the probabilities: see `within_folds`.

    Returns:
        What `answer_measures` has of the most probable labels, by label all of `BY_LABEL`, and ``sensitivity`` (the
        recall) and ``ppv`` (the precision).
    """
    predicted = probabilities.argmax(axis=1)
    found = answer_measures(truth, predicted, labels, patients, confidence=confidence)
    each = {
        label: OneLabel(truth == k, predicted == k, probabilities[:, k], patients, confidence, folds)
        for k, label in enumerate(labels)
    }
    found |= {measure.key: {label: measure.of(one) for label, one in each.items()} for measure in BY_LABEL}
    return found | {"sensitivity": found["recall"], "ppv": found["precision"]}


def within_folds(
    area: Callable[..., Estimate],
    score: Floats,
    has: NDArray[np.bool_],
    patients: Patients,
    folds: Ints | None,
    confidence: float = CONFIDENCE,
) -> Estimate:
    """An area under a curve that compares scores of one network only.

    Each fold's network has a scale of its own, so that scores are compared within folds and the folds' areas are
    averaged, weighted by how much was compared in each (Parker et al. 2007, *BMC Bioinformatics*: pooling scores of
    folds biases the area downwards).

    Args:
        area: `auroc_estimate` or `auprc_estimate`.
        score: Of shape (N,).
        has: Whether an image has the label, shape (N,).
        patients: Of the N images.
        folds: Fold of each image, shape (N,); None where one network gave all scores.
        confidence: Of the interval.
    """
    if folds is None:
        return area(score, has, patients, confidence=confidence)
    parts = []
    for fold in np.unique(folds):
        here = folds == fold
        known = int(has[here].sum()), int((~has[here]).sum())
        if min(known):
            one = area(score[here], has[here], patients.take(here), confidence=confidence)
            parts.append((float(known[0] * (known[1] if area is auroc_estimate else 1)), one))
    if not parts:
        return undefined(patients)
    total = sum(weight for weight, _ in parts)
    return combined([(weight / total, one) for weight, one in parts])


def decision_auroc(
    truth: Ints,
    probabilities: Floats,
    labels: Sequence[str],
    patients: Patients,
    *,
    confidence: float = CONFIDENCE,
    folds: Ints | None = None,
) -> dict[str, dict[str, Estimate]]:
    """How well each decision of the label tree is made, apart from the others.

    At the root of the original report's labels that is normal against infected, by P(infected) = 1 - P(normal); below
    it one infection against the other, among infected images only, by the probability within P(infected).

    Args:
        truth: Index of each image's label, shape (N,).
        probabilities: Of shape (N, K).
        labels: K names; of a label that is also a folder there is no tree, and nothing is returned.
        patients: Of the N images.
        confidence: Of the intervals.
        folds: As `measures` takes it.

    Returns:
        By the folder at which it is made (empty at the root), then by what is separated from the rest there: an AUROC.
        Empty for labels without nesting, where the only decision is the one that `measures` has.
    """
    found: dict[str, dict[str, Estimate]] = {}
    for branch in nested_decisions(labels):
        below = sum(branch.members, ())
        here = np.isin(truth, below)
        total = np.maximum(probabilities[here][:, below].sum(axis=1), np.finfo(np.float64).tiny)
        found[branch.name] = {
            child: within_folds(
                auroc_estimate,
                probabilities[here][:, inside].sum(axis=1) / total,
                np.isin(truth[here], inside),
                patients.take(here),
                None if folds is None else folds[here],
                confidence,
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
