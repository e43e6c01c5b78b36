"""Curves and the areas under them, with their intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from hilum.stats.intervals import (
    CONFIDENCE,
    SHARE_METHOD,
    Estimate,
    Patients,
    effective_number,
    evenly,
    exact_limits,
    undefined,
)
from hilum.stats.records import Curve, LabelCurves

Scores = NDArray[np.floating]


def aurocs(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> Floats:
    """Many areas under ROC curves at once, ties counting half (Hanley and McNeil 1982, *Radiology*).

    Args:
        scores: Of shape (C, N).
        positive: Of shape (C, N).

    Returns:
        Of shape (C,); NaN where one of the two classes is absent.
    """
    n_up = positive.sum(axis=1)
    n_down = positive.shape[1] - n_up
    with np.errstate(invalid="ignore", divide="ignore"):
        area: Floats = ((rankdata(scores, axis=1) * positive).sum(axis=1) - n_up * (n_up + 1) / 2) / (n_up * n_down)
    return area


def auroc_estimate(
    scores: Scores, positive: Bools, patients: Patients, *, inflation: float = 1.0, confidence: float = CONFIDENCE
) -> Estimate:
    """The area under the ROC curve, ties counting half.

    Args:
        scores: Of shape (N,).
        positive: Of shape (N,).
        patients: Of the N images.
        inflation: By how much the variance is larger than these scores show, because they come from fits to each other.
        confidence: Of the interval.

    Returns:
        Undefined without both kinds of images.
    """
    sides = [scores[positive], scores[~positive]]
    numbers = [len(side) for side in sides]
    if not min(numbers):
        return undefined(patients)
    right = np.empty(len(scores))  # of the other side, the share that each image is ranked rightly against
    right[positive] = _below(sides[0], np.sort(sides[1]))
    right[~positive] = 1 - _below(sides[1], np.sort(sides[0]))
    value = float(right[positive].mean())
    influence, spread = np.zeros(patients.number), np.zeros(patients.number)
    counts, rarer = [], []
    for side, images in zip((positive, ~positive), numbers, strict=True):
        sizes, won = patients.sums(side), patients.sums(side * right)
        own, known = (won - value * sizes) / images, int((sizes > 0).sum())
        influence += own
        spread += own * np.sqrt(known / max(known - 1, 1))
        counts.append(evenly(sizes))
        rarer += [evenly(won), evenly(sizes - won)]
    number = effective_number(
        value,
        inflation * float((spread**2).sum()),
        patients=min(counts),
        rarer=min(rarer),
        images=min(numbers),
        confidence=confidence,
    )
    low, high = exact_limits(value, number, confidence)
    return Estimate(value, float(low), float(high), SHARE_METHOD, min(counts), influence)


def auprc_estimate(scores: Scores, positive: Bools, patients: Patients, *, confidence: float = CONFIDENCE) -> Estimate:
    """The area under the precision-recall curve as a sum of steps, not interpolated (as scikit-learn defines it).

    Args:
        scores: Of shape (N,).
        positive: Of shape (N,).
        patients: Of the N images.
        confidence: Of the interval.

    Returns:
        Undefined without positives. Chance gives their share.
    """
    images = int(positive.sum())
    if not images:
        return undefined(patients)
    order = np.argsort(-scores, kind="stable")
    truth = positive[order]
    ends = np.flatnonzero(np.r_[np.diff(scores[order]) != 0, True])  # equal scores are passed at once
    found = np.cumsum(truth)[ends].astype(np.float64)
    called = ends + 1.0
    gained = np.diff(found, prepend=0)
    value = float((gained * found / called).sum() / images)
    # What one more image at a score would do to the precision there and at all lower ones.
    better = np.cumsum((gained * (called - found) / called**2)[::-1])[::-1]
    worse = np.cumsum((gained * found / called**2)[::-1])[::-1]
    step = np.searchsorted(ends, np.arange(len(order)))
    precision, moved = np.empty(len(order)), np.empty(len(order))
    precision[order] = (found / called)[step]
    moved[order] = np.where(truth, (found / called + better)[step] - value, -worse[step]) / images
    influence, sizes, won = patients.sums(moved), patients.sums(positive), patients.sums(positive * precision)
    known, count = int((sizes > 0).sum()), evenly(sizes)
    if images < len(scores):
        count = min(count, evenly(patients.sums(~positive)))
    number = effective_number(
        value,
        float((influence**2).sum()) * known / max(known - 1, 1),
        patients=count,
        rarer=min(evenly(won), evenly(sizes - won)),
        images=images,
        confidence=confidence,
    )
    low, high = exact_limits(value, number, confidence)
    return Estimate(value, float(low), float(high), SHARE_METHOD, count, influence)


def _below(scores: Scores, others: Scores) -> Floats:
    """Of the others, which are sorted, the share below each score; equal ones count half."""
    places = np.searchsorted(others, scores, "left") + np.searchsorted(others, scores, "right")
    return np.asarray(places / (2 * len(others)))


Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
GRID = np.linspace(0, 1, 101)
DIGITS = 5
CHUNK = 2**20  # weights held at a time; curves need six times as much memory


@dataclass(frozen=True)
class Counts:
    """How many are found and how many falsely so, from the highest threshold down.

    Attributes:
        found: Weight of the positives at or above each distinct score, of shape (R, T), rising.
        false: Weight of the negatives there, of shape (R, T).
    """

    found: Floats
    false: Floats


def counts_above(scores: Floats, positive: Bools) -> Callable[[NDArray[Any]], Counts]:
    """Count at every distinct score; equal scores are passed at once.

    Args:
        scores: Of shape (N,).
        positive: Of shape (N,).

    Returns:
        A function of weights, whole numbers of shape (R, N): scores are sorted once for all of them.
    """
    order = np.argsort(-scores, kind="stable")
    truth = positive[order]
    last = np.flatnonzero(np.r_[np.diff(scores[order]) != 0, True])  # of each distinct score

    def count(weights: NDArray[Any]) -> Counts:
        ordered = weights[:, order]
        above = ordered.cumsum(axis=1)
        ordered *= truth
        found = ordered.cumsum(axis=1)
        above -= found
        return Counts(found, above) if len(last) == len(order) else Counts(found[:, last], above[:, last])

    return count


def curve_bands(
    probabilities: Floats,
    truth: NDArray[np.int64],
    labels: Sequence[str],
    patients: Patients,
    *,
    resamples: int = 500,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> dict[str, LabelCurves]:
    """Both curves of each label against the rest, with pointwise bands.

    A point of either is a share: its spread is that of a bootstrap over patients, its interval is made of that as every
    share's is.

    Args:
        probabilities: Of shape (N, K).
        truth: Index of each image's label, shape (N,).
        labels: K names.
        patients: Of the N images.
        resamples: Of the bootstrap.
        confidence: Of the bands.
        seed: Of the draws.

    Returns:
        By label ``roc`` (``x`` the false positive rate, ``y`` recall) and ``pr`` (``x`` recall, ``y`` precision), each
        with ``low`` and ``high``, and ``prevalence``. Labels that all images have, or none, are left out.
    """
    found: dict[str, LabelCurves] = {}
    has = {k: truth == k for k in range(len(labels))}
    counting = {k: counts_above(probabilities[:, k], one) for k, one in has.items() if one.any() and not one.all()}
    drawn: dict[int, list[dict[str, Floats]]] = {k: [] for k in counting}
    for weights in patient_weights(patients, resamples, seed) if counting else ():  # all at once would fill the memory
        for k, count in counting.items():
            drawn[k].append(_both(count(weights)))
    for k, samples in drawn.items():
        label, positive = labels[k], has[k]
        own = _both(counting[k](np.ones((1, len(truth)))))
        curves: dict[str, Curve] = {}
        ill = evenly(patients.sums(positive))
        for name in ("roc", "pr"):
            value = own[name][0]
            # of the ill those found, or of the flagged those who are ill: so many, at a recall and a precision
            counted = ill if name == "roc" else np.maximum(ill * GRID / np.maximum(value, 1e-12), 1.0)
            variance = np.nanvar(np.concatenate([sample[name] for sample in samples]), axis=0)
            rarer = counted * np.minimum(value, 1 - value)
            number = effective_number(value, variance, patients=counted, rarer=rarer, confidence=confidence)
            low, high = exact_limits(value, number, confidence)
            x, y, below, above = (numbers.round(DIGITS).tolist() for numbers in (GRID, value, low, high))
            curves[name] = Curve(x=x, y=y, low=below, high=above)
        found[label] = LabelCurves(prevalence=round(float(positive.mean()), DIGITS), **curves)
    return found


def patient_weights(
    patients: Patients, resamples: int, seed: int, *, chunk: int = CHUNK
) -> Iterator[NDArray[np.float32]]:
    """Weights of the images when whole patients are drawn with replacement.

    Images of one patient are not independent: resampling images would give bands that are too narrow
    (Field and Welsh 2007, *J. R. Statist. Soc. B*).

    Args:
        patients: Of N images.
        resamples: Number of resamples in all.
        seed: Of the draws.
        chunk: How many weights to make at a time.

    Yields:
        Arrays of shape (r, N): how often each image counts in each of r resamples.
    """
    generator = np.random.default_rng(seed)
    step = max(1, chunk // max(1, len(patients.member)))
    for begin in range(0, resamples, step):
        rows = min(step, resamples - begin)
        drawn = generator.multinomial(patients.number, np.full(patients.number, 1 / patients.number), size=rows)
        yield drawn.astype(np.float32)[:, patients.member]


def _both(counts: Counts) -> dict[str, Floats]:
    """Both curves on `GRID`, each of shape (R, G); NaN for weightings without one of the sides."""
    roc, pr = np.full((2, len(counts.found), len(GRID)), np.nan)
    for r, (found, false) in enumerate(zip(counts.found, counts.false, strict=True)):
        if not found[-1] or not false[-1]:
            continue
        recall, rate = found / found[-1], false / false[-1]
        # The curve's upper end at each false positive rate; at a recall, the precision of the first that reaches it.
        roc[r] = np.interp(GRID, np.r_[0, rate], np.r_[0, recall])
        # At recall 0 that is the first which finds anybody: above it there is no precision.
        reached = np.minimum(np.searchsorted(recall, np.maximum(GRID - 1e-12, 1e-12)), len(recall) - 1)
        pr[r] = found[reached] / np.maximum(found[reached] + false[reached], 1e-12)
    return {"roc": roc, "pr": pr}
