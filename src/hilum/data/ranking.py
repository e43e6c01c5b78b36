"""How well scores rank images: many AUROCs at once, and one under many weightings of the images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def auroc(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> Floats:
    """Areas under ROC curves, ties counting half (Hanley and McNeil 1982, *Radiology*).

    Args:
        scores: Of shape (C, N).
        positive: Of shape (C, N).

    Returns:
        Of shape (C,); NaN where one of the two classes is absent.
    """
    order = np.argsort(scores, axis=1)
    ordered, ups = np.take_along_axis(scores, order, axis=1), np.take_along_axis(positive, order, axis=1)
    place = np.arange(scores.shape[1])
    rank = np.broadcast_to(place + 1.0, scores.shape)
    new = np.ones(scores.shape, bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    if not new.all():
        first = np.maximum.accumulate(np.where(new, place, 0), axis=1)
        ends = np.where(np.roll(new, -1, axis=1), place, len(place))  # the first is always new: so the last is an end
        last = np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1]
        rank = (first + last) / 2 + 1
    n_up = ups.sum(axis=1)
    n_down = len(place) - n_up
    with np.errstate(invalid="ignore", divide="ignore"):
        area: Floats = ((rank * ups).sum(axis=1) - n_up * (n_up + 1) / 2) / (n_up * n_down)
    return area


def weighted_auroc(scores: NDArray[np.floating], positive: NDArray[np.bool_], weights: NDArray[np.floating]) -> Floats:
    """The area under one ROC curve for many weightings of the images.

    Args:
        scores: Of shape (N,).
        positive: Of shape (N,).
        weights: Of shape (R, N), zero or above.

    Returns:
        Of shape (R,); NaN where a weighting leaves one of the two classes out.
    """
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) != 0])  # first of each group of equal scores
    ordered, truth = weights[:, order], positive[order].astype(weights.dtype)
    ups = np.add.reduceat(ordered * truth, starts, axis=1, dtype=np.float64)
    downs = np.add.reduceat(ordered * (1 - truth), starts, axis=1, dtype=np.float64)
    wins = (ups * (np.cumsum(downs, axis=1) - downs / 2)).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        area: Floats = wins / (ups.sum(axis=1) * downs.sum(axis=1))
    return area
