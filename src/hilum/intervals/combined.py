"""Intervals of sums, differences and ratios, from the intervals of their parts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hilum.intervals.shares import Estimate, Floats

METHOD = "mover"


def combined(parts: Sequence[tuple[float, Estimate]], *, lowest: float = -1.0, highest: float = 1.0) -> Estimate:
    """A weighted sum of measures of the same patients, such as a mean or a difference.

    The distance to each end is put together from the parts' own distances, as standard errors would be, with the
    correlation that the patients' influences show (MOVER: Zou and Donner 2008, *Stat. Med.*; Zou 2008, *Am. J.
    Epidemiol.*). So the ends know that a share cannot pass 1, and a difference of two measures that no patient moves
    is as uncertain as they are. Two measures that every patient moves alike do not differ, and the interval says so.

    Args:
        parts: Factors and measures.
        lowest: That is possible.
        highest: That is possible.
    """
    factors = np.array([factor for factor, _ in parts])
    estimates = [estimate for _, estimate in parts]
    influences = np.stack([estimate.influence for estimate in estimates])
    low, value, high = (np.array([getattr(e, name) for e in estimates]) for name in ("low", "value", "high"))
    total = float(factors @ value)
    if not np.isfinite(total):
        return Estimate(np.nan, np.nan, np.nan, METHOD, factors @ influences)
    products = influences @ influences.T
    spread = np.sqrt(np.diag(products))
    seen = np.outer(spread, spread)
    correlation = np.where(seen > 0, products / np.where(seen > 0, seen, 1), 0.0)
    np.fill_diagonal(correlation, 1.0)
    down = factors * (value - np.where(factors > 0, low, high))
    up = factors * (np.where(factors > 0, high, low) - value)
    ends = total - _length(down, correlation), total + _length(up, correlation)
    return Estimate(total, max(lowest, ends[0]), min(highest, ends[1]), METHOD, factors @ influences)


def apart(first: Estimate, second: Estimate) -> Estimate:
    """Second minus first, of different patients: as `combined`, without correlation."""
    none = np.zeros(len(first.influence)), np.zeros(len(second.influence))
    one = Estimate(first.value, first.low, first.high, first.method, np.r_[first.influence, none[1]])
    two = Estimate(second.value, second.low, second.high, second.method, np.r_[none[0], second.influence])
    return combined([(-1.0, one), (1.0, two)])


def ratio(upper: Estimate, lower: Estimate) -> tuple[float, float, float]:
    """The ratio of two shares of different patients, and its limits.

    MOVER-R (Donner and Zou 2012, *Stat. Methods Med. Res.*), in a form that stands a `lower` of zero.

    Args:
        upper: What is divided.
        lower: By what.

    Returns:
        The ratio, NaN of nothing by nothing, and its limits; infinite where `lower` may be zero.
    """
    product = upper.value * lower.value
    above = upper.low * (2 * upper.value - upper.low), upper.high * (2 * upper.value - upper.high)
    below = lower.low * (2 * lower.value - lower.low), lower.high * (2 * lower.value - lower.high)
    low, high = 0.0, float("inf")
    if above[0] > 0:
        low = above[0] / (product + math.sqrt(max(0.0, product**2 - above[0] * below[1])))
    if below[0] > 0:
        high = (product + math.sqrt(max(0.0, product**2 - above[1] * below[0]))) / below[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.float64(upper.value) / lower.value), low, high


def _length(distances: Floats, correlation: Floats) -> float:
    return math.sqrt(max(0.0, float(distances @ correlation @ distances)))
