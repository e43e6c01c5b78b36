"""Intervals of means over independent units, such as patients, of measures without bounds, such as log-odds."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import stdtrit

from hilum.intervals.shares import CONFIDENCE, Estimate, Floats

METHOD, RATIO = "t", "fieller"
EXACT = 14  # units up to which all signs are tried
DRAWS = 20_000


def mean_estimate(values: Floats, *, confidence: float = CONFIDENCE) -> Estimate:
    """Mean of independent values with Student's t interval.

    Args:
        values: One value a unit, shape (B,).
        confidence: Confidence level of the interval, in (0, 1).

    Returns:
        Undefined, with limits that are no numbers, for fewer than two units.
    """
    count = len(values)
    if count < 2:
        value = float(values.mean()) if count else math.nan
        return Estimate(value, math.nan, math.nan, METHOD, float(count), np.zeros(count))
    value = float(values.mean())
    reach = float(stdtrit(count - 1, (1 + confidence) / 2) * values.std(ddof=1) / math.sqrt(count))
    return Estimate(value, value - reach, value + reach, METHOD, float(count), (values - value) / count)


def ratio_of_means(upper: Floats, lower: Floats, *, confidence: float = CONFIDENCE) -> Estimate:
    """Ratio of two means over the same units, with Fieller's interval (1954, *J. R. Stat. Soc. B*).

    Args:
        upper: Numerators, one a unit, shape (B,).
        lower: Denominators, shape (B,).
        confidence: Confidence level of the interval, in (0, 1).

    Returns:
        Undefined where the denominator's mean is not shown to differ from zero: every ratio then is possible.
    """
    count = len(upper)
    nothing = Estimate(math.nan, math.nan, math.nan, RATIO, float(count), np.zeros(count))
    if count < 2:
        return nothing
    reach = float(stdtrit(count - 1, (1 + confidence) / 2)) ** 2
    above, below = float(upper.mean()), float(lower.mean())
    spread = np.cov(upper, lower) / count
    square = below**2 - reach * spread[1, 1]
    if not square > 0:
        return nothing
    half = above * below - reach * spread[0, 1]
    root = math.sqrt(max(0.0, half**2 - square * (above**2 - reach * spread[0, 0])))
    value = above / below
    influence = ((upper - above) - value * (lower - below)) / (below * count)
    return Estimate(value, (half - root) / square, (half + root) / square, RATIO, float(count), influence)


def sign_flip_of_mean(values: Floats, seed: int = 0) -> float:
    """Two-sided p-value of the sign-flip test that independent values are symmetric about zero.

    Fisher (1935, *The Design of Experiments*): each value could as well have had the other sign. All signs are tried
    for at most 14 values, and 20,000 drawn for more, which counts the observed ones among the draws.

    Args:
        values: One value a unit, shape (B,).
        seed: Seed of the draws.
    """
    count = len(values)
    if not count or not np.any(values):
        return 1.0
    if count <= EXACT:
        signs = 1 - 2 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
        extra = 0
    else:
        signs = np.random.default_rng(seed).choice((-1, 1), (DRAWS, count))
        extra = 1
    sums = np.abs(signs @ values)
    observed = abs(float(values.sum()))
    return float((np.count_nonzero(sums >= observed * (1 - 1e-12)) + extra) / (len(signs) + extra))
