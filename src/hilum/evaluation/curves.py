"""ROC and precision-recall curves for many weightings of the images, so that a bootstrap gives them bands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.evaluation.intervals import cluster_weights, expanded_tail

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
GRID = np.linspace(0, 1, 101)
DIGITS = 5


@dataclass(frozen=True)
class Counts:
    """How many are found and how many falsely so, from the highest threshold down.

    Attributes:
        found: Weight of the positives at or above each distinct score, of shape (R, T), rising.
        false: Weight of the negatives there, of shape (R, T).
    """

    found: Floats
    false: Floats


def counts_above(scores: Floats, positive: Bools, weights: Floats) -> Counts:
    """Count at every distinct score; equal scores are passed at once.

    Args:
        scores: Of shape (N,).
        positive: Of shape (N,).
        weights: Of shape (R, N).
    """
    order = np.argsort(-scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) != 0])
    ordered, truth = weights[:, order], positive[order]
    found = np.add.reduceat(ordered * truth, starts, axis=1).cumsum(axis=1)
    false = np.add.reduceat(ordered * ~truth, starts, axis=1).cumsum(axis=1)
    return Counts(found, false)


def average_precision(scores: Floats, positive: Bools, weights: Floats) -> Floats:
    """The area under the precision-recall curve as a sum of steps, not interpolated (as scikit-learn defines it).

    Args:
        scores: Of shape (N,).
        positive: Of shape (N,).
        weights: Of shape (R, N).

    Returns:
        Of shape (R,); NaN where a weighting leaves no positive. Chance gives the share of positives.
    """
    counts = counts_above(scores, positive, weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = counts.found / (counts.found + counts.false)
        gained = np.diff(counts.found, axis=1, prepend=0)
        area: Floats = (np.where(gained > 0, precision, 0) * gained).sum(axis=1) / counts.found[:, -1]
    return area


def curve_bands(
    probabilities: Floats,
    truth: NDArray[np.int64],
    labels: Sequence[str],
    clusters: Sequence[str],
    *,
    resamples: int = 500,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Any]:
    """Both curves of each label against the rest, with pointwise bands by bootstrap over patients.

    Args:
        probabilities: Of shape (N, K).
        truth: Index of each image's label, shape (N,).
        labels: K names.
        clusters: The patient of each image.
        resamples: Of the bootstrap; a band needs fewer than an interval that is quoted.
        confidence: Of the bands.
        seed: Of the draws.

    Returns:
        By label ``roc`` (``x`` the false positive rate, ``y`` recall) and ``pr`` (``x`` recall, ``y`` precision), each
        with ``low`` and ``high``, and ``prevalence``. Labels that all images have, or none, are left out.
    """
    found: dict[str, Any] = {}
    tail = expanded_tail(len(set(clusters)), confidence)
    tails = [tail, 1 - tail]
    for k, label in enumerate(labels):
        positive = truth == k
        if not positive.any() or positive.all():
            continue
        own = _both(probabilities[:, k], positive, np.ones((1, len(truth))))
        drawn = cluster_weights(clusters, resamples, seed)  # anew for each label: all of many images fill the memory
        samples = [_both(probabilities[:, k], positive, weights.astype(np.float32)) for weights in drawn]
        entry: dict[str, Any] = {"prevalence": round(float(positive.mean()), DIGITS)}
        for name in ("roc", "pr"):
            low, high = np.nanquantile(np.concatenate([sample[name] for sample in samples]), tails, axis=0)
            entry[name] = {
                "x": GRID.round(DIGITS).tolist(),
                "y": own[name][0].round(DIGITS).tolist(),
                "low": low.round(DIGITS).tolist(),
                "high": high.round(DIGITS).tolist(),
            }
        found[label] = entry
    return found


def _both(scores: Floats, positive: Bools, weights: NDArray[Any]) -> dict[str, Floats]:
    """Both curves on `GRID`, each of shape (R, G); NaN for weightings without one of the sides."""
    counts = counts_above(scores, positive, weights)
    roc, pr = np.full((2, len(weights), len(GRID)), np.nan)
    for r, (found, false) in enumerate(zip(counts.found, counts.false, strict=True)):
        if not found[-1] or not false[-1]:
            continue
        recall, rate = found / found[-1], false / false[-1]
        # The curve's upper end at each false positive rate; at a recall, the precision of the first that reaches it.
        roc[r] = np.interp(GRID, np.r_[0, rate], np.r_[0, recall])
        # At recall 0 that is the first which finds anybody: above it there is no precision.
        reached = np.minimum(np.searchsorted(recall, np.maximum(GRID - 1e-12, 1e-12)), len(recall) - 1)
        pr[r] = (found / np.maximum(found + false, 1e-12))[reached]
    return {"roc": roc, "pr": pr}
