"""Probabilities for a population in which the disease is more, or less, frequent than where they were made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hilum.errors import UsageError
from hilum.stats.intervals import Patients
from hilum.stats.verdicts import PREVALENCES

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
FEWEST = 5  # patients of each label, below which the shares of the training images are taken instead
STEPS, CLOSE = 500, 1e-10


@dataclass(frozen=True)
class Prior:
    """The label frequencies to which a model's probabilities belong.

    Attributes:
        shares: Frequency of each label, of shape (K,); they sum to one.
        offsets: Logarithm of the factor by which the probability of each label is too low there, of shape (K,).
        source: The patients who tell.
    """

    shares: Floats
    offsets: Floats
    source: str


def with_stated(prevalences: Sequence[float]) -> tuple[float, ...]:
    """The prevalences of every report and further ones, in order.

    Raises:
        UsageError: One is not between 0 and 1.
    """
    for prevalence in prevalences:
        if not 0 < prevalence < 1:
            msg = f"--prevalence {prevalence:g}: give a share above 0 and below 1, such as 0.02 for 2 %"
            raise UsageError(msg, code="not-a-share")
    return tuple(sorted({*PREVALENCES, *prevalences}))


def fit_prior(truth: Ints, probabilities: Floats, clusters: Sequence[str], source: str) -> Prior | None:
    """Find the frequencies of the labels, and the offsets with which the probabilities agree with them on average.

    The offsets are the intercepts of a multinomial logistic recalibration ("bias correction" in Alexandari et al.
    2020, ICML): class weights in training make frequent what is rare. Each patient counts once.

    Args:
        truth: Index of each image's label, shape (N,).
        probabilities: Of shape (N, K).
        clusters: The patient of each image, N names.
        source: Name of these patients.

    Returns:
        None where a label has fewer than five patients.
    """
    patients, n_labels = Patients(clusters), probabilities.shape[1]
    if min(int((patients.sums(truth == k) > 0).sum()) for k in range(n_labels)) < FEWEST:
        return None
    weight = 1 / patients.sums(np.ones(len(truth)))[patients.member]
    weight /= weight.sum()
    shares: Floats = np.bincount(truth, weight, n_labels).astype(np.float64)
    offsets = np.zeros(n_labels)
    for _ in range(STEPS):
        step = np.log(shares / (weight @ shifted(probabilities, offsets)))
        offsets += step - step.mean()
        if np.abs(step - step.mean()).max() < CLOSE:
            break
    return Prior(shares, offsets, source)


def at_prevalence(probabilities: Floats, prior: Prior, members: Sequence[int], prevalence: float) -> Floats:
    """Probabilities of the same images in a population with another prevalence of a disease.

    Each label's probability is multiplied by the ratio of its frequencies (Saerens et al. 2002, *Neural
    Computation*). That assumes that patients with a label look the same in both populations.

    Args:
        probabilities: Of shape (N, K).
        prior: The frequencies to which they belong.
        members: Columns of the labels that are the disease; those of the others stay as frequent among themselves.
        prevalence: Share of patients with the disease, strictly between 0 and 1.

    Returns:
        Of shape (N, K); each row sums to one.

    Raises:
        ValueError: The prevalence is not between 0 and 1, or every label is the disease, or none is.
    """
    inside = np.isin(np.arange(probabilities.shape[1]), members)
    if not 0 < prevalence < 1:
        msg = f"prevalence {prevalence:g}: give a number between 0 and 1, exclusive, such as 0.05"
        raise ValueError(msg)
    if inside.all() or not inside.any():
        msg = "a prevalence needs labels with the disease, and others without it"
        raise ValueError(msg)
    there = np.where(inside, prevalence / prior.shares[inside].sum(), (1 - prevalence) / prior.shares[~inside].sum())
    return shifted(probabilities, prior.offsets + np.log(there))


def shifted(probabilities: Floats, offsets: Floats) -> Floats:
    """Probabilities multiplied by exp(`offsets`), one a label, and made to sum to one."""
    raised = probabilities * np.exp(offsets - offsets.max())
    total = raised.sum(axis=1, keepdims=True)
    result: Floats = np.where(total > 0, raised / np.where(total > 0, total, 1), probabilities)
    return result


def shifted_findings(probabilities: Floats, offsets: Floats) -> Floats:
    """Probabilities (N, F) of findings whose odds are multiplied by exp(`offsets`), one a finding."""
    raised = probabilities * np.exp(np.minimum(offsets, 0))
    rest = (1 - probabilities) * np.exp(-np.maximum(offsets, 0))
    total = raised + rest
    result: Floats = np.where(total > 0, raised / np.where(total > 0, total, 1), probabilities)
    return result
