"""A miss rate that is certified: an exact bound for the patients to come, from patients that nothing was fitted to.

Of n patients who have the disease let s(1) <= ... <= s(n) be their scores. Flagging everybody with a score of at least
s(k) misses a new patient when his score is below s(k). Whatever the scores' distribution, the share of patients below
s(k) exceeds `alpha` with a probability of at most BinomCDF(k - 1; n, alpha), with ties as well (this is the
non-parametric tolerance limit of Wilks 1941, *Ann. Math. Statist.*). The rule takes the largest k for which that is at
most `delta`: the highest threshold, and so the fewest false alarms, that the certificate allows. A threshold that
merely has `alpha` misses on the sample exceeds it on new patients half of the time.
"""

from __future__ import annotations

from math import floor, log10

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

Floats = NDArray[np.float64]
DIGITS = 4  # to which a threshold is rounded down: float32 networks differ from float64 ones in later digits


def allowed_rank(patients: int, miss_rate: float, confidence: float) -> int:
    """Which of the sorted scores is the threshold.

    Args:
        patients: n, with the disease.
        miss_rate: alpha, between 0 and 1.
        confidence: 1 - delta, between 0 and 1.

    Returns:
        k, from 1 to n, so that k - 1 of them may be missed; 0 where even s(1) cannot be certified.
    """
    chances = binom.cdf(np.arange(patients), patients, miss_rate)
    return int((chances <= 1 - confidence).sum())


def split_confidence(confidence: float, *, two_sided: bool) -> float:
    """Confidence of each of two guarantees that have to hold together (Bonferroni), or of the only one.

    Args:
        confidence: 1 - delta, of all that is guaranteed together.
        two_sided: Whether an upper threshold is certified, too.
    """
    return 1 - (1 - confidence) / 2 if two_sided else confidence


def patients_needed(miss_rate: float, confidence: float, misses: int = 0) -> int:
    """The fewest patients with which so many may be missed.

    Args:
        miss_rate: alpha, between 0 and 1.
        confidence: 1 - delta, between 0 and 1.
        misses: How many.
    """
    high = misses + 1
    while binom.cdf(misses, high, miss_rate) > 1 - confidence:
        high *= 2
    low = max(misses + 1, high // 2)
    while low < high:
        middle = (low + high) // 2
        if binom.cdf(misses, middle, miss_rate) > 1 - confidence:
            low = middle + 1
        else:
            high = middle
    return low


def certified_threshold(scores: Floats, miss_rate: float, confidence: float) -> float | None:
    """The highest threshold whose miss rate is certified.

    Args:
        scores: One a patient with the disease, of shape (n,), independent of each other and of the model.
        miss_rate: alpha: P(miss rate > alpha) is at most delta.
        confidence: 1 - delta.

    Returns:
        One of the scores; None where n is too small (see `patients_needed`).
    """
    rank = allowed_rank(len(scores), miss_rate, confidence)
    return float(np.sort(scores)[rank - 1]) if rank else None


def round_down(threshold: float, digits: int = DIGITS) -> float:
    """A threshold with few digits, not above the given one, so that nobody whom that flags is cleared by it."""
    if threshold <= 0:
        return threshold
    scale = 10.0 ** (digits - 1 - floor(log10(threshold)))
    rounded = floor(threshold * scale) / scale
    return rounded if rounded <= threshold else (floor(threshold * scale) - 1) / scale
