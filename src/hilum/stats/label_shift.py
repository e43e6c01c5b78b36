"""Shares of labels where nobody knows the labels, and factors chosen on patients whose labels are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from hilum.stats.calibration import FOLDS, fold_of
from hilum.stats.intervals import Patients
from hilum.stats.prior_shift import shifted

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Measure = Literal["accuracy", "balanced-accuracy"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
STEPS, CLOSE = 10_000, 1e-9
EDGE = 1e-6  # from 0 and 1, within which log-odds are no scale for an interval
NORMAL_95 = 1.959964
# Logarithms of the factors that are tried: from 1/16 to 16 in quarters of an octave, the smallest change first.
GRID = np.log(2) / 4 * np.array(sorted(range(-16, 17), key=abs))
SWEEPS = 10


def estimate_shares(probabilities: Floats, implied: Floats, clusters: Sequence[str]) -> Floats:
    """The shares of the labels among patients whose labels are unknown, by expectation maximisation.

    The method of Saerens, Latinne and Decaestecker (2002), *Neural Computation*: each round takes the mean of the
    probabilities as the shares, and multiplies the probabilities by what the shares have changed by. That finds the
    shares of largest likelihood (Alexandari et al. 2020, *ICML*), if patients with a label look as they did in
    training and the probabilities are calibrated. Each patient counts once.

    Args:
        probabilities: Of shape (N, K).
        implied: Shares to which they belong, of shape (K,); they sum to one.
        clusters: The patient of each image, N names.

    Returns:
        Of shape (K,); they sum to one.
    """
    patients = Patients(clusters)
    weight = 1 / patients.sums(np.ones(len(probabilities)))[patients.member]
    weight /= weight.sum()
    shares = implied
    for _ in range(STEPS):
        before, shares = shares, weight @ shifted(probabilities, log_ratio(shares, implied))
        if np.abs(shares - before).max() < CLOSE:
            break
    return shares


def share_intervals(probabilities: Floats, implied: Floats, shares: Floats, clusters: Sequence[str]) -> Floats:
    """Intervals of 95 % of shares that `estimate_shares` has found.

    Standard errors of the shares of largest likelihood from the scores of patients (White 1982, "Maximum likelihood
    estimation of misspecified models", *Econometrica*), with limits on the scale of log-odds. They tell how much chance
    there is in the patients, not whether the probabilities are calibrated there.

    Args:
        probabilities: Of shape (N, K).
        implied: Shares to which they belong, of shape (K,).
        shares: The estimate, of shape (K,).
        clusters: The patient of each image, N names.

    Returns:
        Lower and upper limits, of shape (K, 2). A share next to 0 or 1, or one about which the images say nothing, has
        the limits 0 and 1.
    """
    patients = Patients(clusters)
    weight = (1 / patients.sums(np.ones(len(probabilities))))[patients.member]
    raised = probabilities / np.maximum(implied, np.finfo(np.float64).tiny)
    likelihood = raised / (raised @ shares)[:, None]
    slopes = likelihood[:, :-1] - likelihood[:, -1:]  # the last share is what the others leave
    scores = np.stack([patients.sums(weight * slope) for slope in slopes.T], axis=1)
    bread = np.linalg.pinv((weight[:, None] * slopes).T @ slopes)
    free = bread @ (scores.T @ scores) @ bread
    variances = np.append(np.diag(free), free.sum())
    result = np.tile([0.0, 1.0], (len(shares), 1))
    inside = (shares > EDGE) & (shares < 1 - EDGE) & (variances > 0)
    spread = NORMAL_95 * np.sqrt(variances[inside]) / (shares * (1 - shares))[inside]
    result[inside] = expit(logit(shares[inside])[:, None] + spread[:, None] * np.array([-1.0, 1.0]))
    return result


def log_ratio(shares: Floats, implied: Floats) -> Floats:
    """Logarithms of the factors between shares, of shape (K,); of a share of 0 that of the smallest number."""
    smallest = np.finfo(np.float64).tiny
    result: Floats = np.log(np.maximum(shares, smallest)) - np.log(np.maximum(implied, smallest))
    return result


def choose_offsets(truth: Ints, probabilities: Floats, measure: Measure) -> Floats:
    """Logarithms of the factors of the probabilities with which the most probable label is right most often.

    Factors from 1/16 to 16 are tried label by label, over and over until none improves the measure. Of equally good
    ones, those that change less are taken.

    Args:
        truth: Index of each image's label, shape (N,).
        probabilities: Of shape (N, K).
        measure: What is to be large: ``accuracy``, or ``balanced-accuracy``, in which labels count the same.

    Returns:
        Of shape (K,); the largest is 0.
    """
    n_labels = probabilities.shape[1]
    worth = _worth(truth, n_labels, measure)
    logs = np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
    offsets = np.zeros(n_labels)
    best = float(worth[logs.argmax(axis=1) == truth].sum())
    for _ in range(SWEEPS):
        before = best
        for label in range(n_labels):
            for step in GRID:
                tried = offsets.copy()
                tried[label] = step
                found = float(worth[(logs + tried).argmax(axis=1) == truth].sum())
                if found > best + CLOSE:
                    best, offsets = found, tried
        if best <= before:
            break
    result: Floats = offsets - offsets.max()
    return result


def held_out_gain(truth: Ints, probabilities: Floats, clusters: Sequence[str], measure: Measure) -> dict[str, float]:
    """What chosen factors do for patients on whom they were not chosen, by cross-validation over patients.

    Args:
        truth: Index of each image's label, shape (N,).
        probabilities: Of shape (N, K).
        clusters: The patient of each image, N names; five folds by a hash of the name.
        measure: As of `choose_offsets`.

    Returns:
        The measure ``before`` and ``after``, and ``error``, the standard error by patient of their difference.
    """
    fold, patients = np.array([fold_of(name) for name in clusters]), Patients(clusters)
    moved = probabilities.copy()
    for held_out in range(FOLDS):
        rest, here = fold != held_out, fold == held_out
        if rest.any() and here.any():
            moved[here] = shifted(probabilities[here], choose_offsets(truth[rest], probabilities[rest], measure))
    worth = _worth(truth, probabilities.shape[1], measure)
    right = [stated.argmax(axis=1) == truth for stated in (probabilities, moved)]
    gain = right[1].astype(np.float64) - right[0]
    means = np.bincount(truth, gain, probabilities.shape[1]) / np.maximum(np.bincount(truth), 1)
    centre = means[truth] if measure == "balanced-accuracy" else gain.mean()
    error = float(np.sqrt((patients.sums(worth * (gain - centre)) ** 2).sum()))
    before, after = (float(worth[hit].sum()) for hit in right)
    return {"before": before, "after": after, "error": error}


def _worth(truth: Ints, n_labels: int, measure: Measure) -> Floats:
    """What each image counts in a measure, shape (N,); they sum to one."""
    if measure == "accuracy":
        return np.full(len(truth), 1 / len(truth))
    counts = np.bincount(truth, minlength=n_labels)
    result: Floats = 1 / (counts[truth] * (counts > 0).sum())
    return result
