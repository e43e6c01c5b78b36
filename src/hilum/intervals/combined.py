"""Intervals of sums, differences and ratios, from the intervals of their parts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.special import stdtrit

from hilum.intervals.shares import FEWEST, Estimate, Floats

METHOD = "mover"


def combined(parts: Sequence[tuple[float, Estimate]], *, trust: float = 1.0) -> Estimate:
    """A weighted sum of measures of the same patients, such as a mean or a difference.

    The distance to each end is put together from the parts' own distances, as standard errors would be, with the
    correlation that the patients' influences show (MOVER: Zou and Donner 2008, *Stat. Med.*; with correlation Zou 2008,
    *Am. J. Epidemiol.*, but see `_length`). So the ends know that a share cannot pass 1, and a difference of two
    measures that no patient moves is as uncertain as they are; one of two that every patient moves alike is not.

    Args:
        parts: Factors and measures.
        trust: By which a correlation is lessened, where few patients show it.
    """
    factors = np.array([factor for factor, _ in parts])
    estimates = [estimate for _, estimate in parts]
    influences = np.stack([estimate.influence for estimate in estimates])
    low, value, high = (np.array([getattr(e, name) for e in estimates]) for name in ("low", "value", "high"))
    total = float(factors @ value)
    if not np.isfinite(total):
        return replace(estimates[0], value=np.nan, low=np.nan, high=np.nan, method=METHOD)
    products = influences @ influences.T
    spread = np.sqrt(np.diag(products))
    both = np.outer(spread, spread)
    correlation = np.where(both > 0, products / np.where(both > 0, both, 1), 0.0)
    correlation = np.where(correlation > 0, trust * correlation, correlation)
    # What tells two parts apart was seen on so many patients: that is Student's t.
    least = min(estimate.patients for estimate in estimates)
    reach = stdtrit(max(least - 1, FEWEST), 0.975) / stdtrit(np.inf, 0.975)
    differ = (np.outer(factors, factors) < 0) & (correlation > 0)
    correlation = np.where(differ, np.maximum(0.0, 1 - (1 - correlation) * reach**2), correlation)
    np.fill_diagonal(correlation, 1.0)
    below, above = value - low, high - value
    sides = np.abs(factors) * below, np.abs(factors) * above
    down = _length(factors * np.where(factors > 0, below, above), sides, correlation)
    up = _length(factors * np.where(factors > 0, above, below), sides, correlation)
    return Estimate(total, total - down, total + up, METHOD, least, factors @ influences)


def apart(first: Estimate, second: Estimate) -> Estimate:
    """Second minus first, of different patients: as `combined`, without correlation."""
    none = np.zeros(len(first.influence)), np.zeros(len(second.influence))
    one = replace(first, influence=np.r_[first.influence, none[1]])
    two = replace(second, influence=np.r_[none[0], second.influence])
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


def _length(distances: Floats, sides: tuple[Floats, Floats], correlation: Floats) -> float:
    """How far an end is: distances of the parts, put together.

    Args:
        distances: Of the parts to the ends that move the sum there, with the sign of their factors, of shape (K,).
        sides: Their distances to the lower and to the upper end, without.
        correlation: Of shape (K, K).
    """
    products = np.outer(distances, distances)
    # What goes together moves two parts to the same side, so that of their difference only these distances' remains.
    unlike = np.maximum(*(np.subtract.outer(side, side) ** 2 for side in sides))
    squares = np.diag(products)
    together = (unlike - squares[:, None] - squares) / 2
    products = np.where((products < 0) & (correlation > 0), together, products)
    return math.sqrt(max(0.0, float((products * correlation).sum())))
