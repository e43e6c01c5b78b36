"""Intervals of shares, means, sums, differences and ratios, from counts and from the number of patients behind them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, stdtrit

from hilum.stats.records import Interval, Known

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
CONFIDENCE = 0.95
SHARE_METHOD = "korn-graubard"
FEARED = 2.0  # chosen by the grid of studies/interval_coverage.py: with 1 tails above 4.5 %, with 4 wider by 4 %
FEWEST = 0.05  # degrees of freedom that a t quantile is asked for; the interval then is 0 to 1


class Patients:
    """Whose the images are.

    Attributes:
        number: Of patients, P.
        member: The patient of each image, an index of shape (N,).
    """

    def __init__(self, clusters: Sequence[Any] | NDArray[Any]) -> None:
        """Number the patients.

        Args:
            clusters: The patient of each image, N names or numbers.
        """
        distinct, self.member = np.unique(np.asarray(clusters), return_inverse=True)
        self.number = len(distinct)

    def take(self, chosen: NDArray[Any]) -> Patients:
        """The same patients, of whom only the `chosen` images (a mask or indices) are looked at."""
        part = object.__new__(Patients)
        part.number, part.member = self.number, self.member[chosen]
        return part

    def sums(self, values: NDArray[Any]) -> Floats:
        """Sums by patient, of shape (P,), of values of shape (N,)."""
        found: Floats = np.bincount(self.member, values.astype(np.float64), minlength=self.number).astype(np.float64)
        return found


@dataclass(frozen=True)
class Estimate:
    """A measure with its interval.

    Attributes:
        value: NaN where undefined.
        low: The interval's lower end; NaN where undefined.
        high: Its upper end.
        method: How the interval was made.
        patients: From how many it comes, as `evenly` counts them.
        influence: By how much each patient moves the value, of shape (P,): the derivative by the patient's weight. Its
            products tell how two measures of the same patients go together.
    """

    value: float
    low: float
    high: float
    method: str
    patients: float
    influence: Floats

    def complement(self) -> Estimate:
        """The share of the others."""
        return replace(self, value=1 - self.value, low=1 - self.high, high=1 - self.low, influence=-self.influence)

    def interval(self) -> Interval:
        """The measure as results hold it, None where undefined."""
        value, low, high = (float(n) if np.isfinite(n) else None for n in (self.value, self.low, self.high))
        return Interval(value=value, low=low, high=high, method=self.method)

    def known(self) -> Known:
        """The same of a measure that is defined.

        Raises:
            ValueError: It is not.
        """
        return Known(**dict(self.interval()))

    def as_json(self) -> dict[str, Any]:
        """``value``, ``low`` and ``high``, None where undefined, and ``method``."""
        return self.interval().as_json()


def undefined(patients: Patients) -> Estimate:
    """A measure of nothing, of these patients."""
    return Estimate(np.nan, np.nan, np.nan, "none", 0.0, np.zeros(patients.number))


def identical(patients: Patients) -> Estimate:
    """The difference of a thing from itself."""
    return Estimate(0.0, 0.0, 0.0, "identical", float(patients.number), np.zeros(patients.number))


def as_json(found: Any) -> Any:
    """Measures, or dictionaries of them, as JSON holds them."""
    return {key: as_json(value) for key, value in found.items()} if isinstance(found, dict) else found.as_json()


def intervals(found: Any) -> Any:
    """Measures, or dictionaries of them, as results hold them."""
    return {key: intervals(value) for key, value in found.items()} if isinstance(found, dict) else found.interval()


def proportion(hits: Bools, counted: Bools, patients: Patients, *, confidence: float = CONFIDENCE) -> Estimate:
    """The share of the counted images that are hits.

    Args:
        hits: Of shape (N,).
        counted: Of shape (N,); hits among others do not count.
        patients: Of the N images.
        confidence: Of the interval.

    Returns:
        With Korn and Graubard's interval; undefined where nothing is counted.
    """
    sizes, found = patients.sums(counted), patients.sums(hits & counted)
    images = float(sizes.sum())
    if not images:
        return undefined(patients)
    value = float(found.sum() / images)
    influence, whole = (found - value * sizes) / images, evenly(sizes)
    variance = max(float((influence**2).sum()), value * (1 - value) / images)  # images say no more than each for itself
    number = effective_number(
        value,
        variance,
        patients=whole,
        rarer=min(evenly(found), evenly(sizes - found)),
        images=images,
        confidence=confidence,
    )
    low, high = exact_limits(value, number, confidence)
    return Estimate(value, float(low), float(high), SHARE_METHOD, whole, influence)


def evenly(sizes: Floats) -> float:
    """How many parts of equal size tell as much as these (Kish 1965, *Survey Sampling*)."""
    squares = float((sizes**2).sum())
    return float(sizes.sum()) ** 2 / squares if squares > 0 else 0.0


def effective_number(
    value: Any, variance: Any, *, patients: Any, rarer: Any, images: float = np.inf, confidence: float = CONFIDENCE
) -> Floats:
    """Of how many independent patients a share would be as sure.

    Args:
        value: The share, or shares, between 0 and 1.
        variance: What the patients' influences say of its variance.
        patients: How many there are, as `evenly` counts them.
        rarer: How many stand behind the rarer outcome, as `evenly` counts them.
        images: How many were counted; patients with one image each need no t quantile.
        confidence: Of the interval.
    """
    tail = (1 + confidence) / 2
    reach = stdtrit(np.maximum(patients - 1, FEWEST), tail) / stdtrit(max(images - 1, FEWEST), tail)
    spread = np.asarray(value * (1 - value))
    seen = (spread > 0) & (np.asarray(rarer) > 0)
    doubt = rarer * variance * reach**2 + FEARED * spread / patients
    number: Floats = np.where(seen, spread * (rarer + FEARED) / np.where(seen, doubt, 1), patients)
    return number


def exact_limits(value: Any, number: Any, confidence: float = CONFIDENCE) -> tuple[Any, Any]:
    """Clopper and Pearson's limits (1934, *Biometrika*) of shares of numbers that need not be whole."""
    tail = (1 - confidence) / 2
    hits = np.asarray(value * number, dtype=np.float64)
    misses = np.asarray((1 - value) * number, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        low = np.where(hits > 0, betaincinv(np.maximum(hits, 1e-300), misses + 1, tail), 0.0)
        high = np.where(misses > 0, betaincinv(hits + 1, np.maximum(misses, 1e-300), 1 - tail), 1.0)
    return low, high


def exact_interval(share: float, patients: int, confidence: float = CONFIDENCE) -> dict[str, Any]:
    """The exact interval of a share of patients who count once each, as ``low`` and ``high``.

    Args:
        share: Of the patients.
        patients: How many.
        confidence: Of the interval.
    """
    low, high = exact_limits(round(share * patients) / patients, patients, confidence)
    return {"low": float(low), "high": float(high)}


def f1_of(share: Estimate) -> Estimate:
    """F1 = 2 J / (1 + J), where J is the share of true positives among all who have the label or are called so."""
    low, value, high = (2 * number / (1 + number) for number in (share.low, share.value, share.high))
    return replace(share, value=value, low=low, high=high, influence=share.influence * 2 / (1 + share.value) ** 2)


SUM_METHOD = "mover"


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
        return replace(estimates[0], value=np.nan, low=np.nan, high=np.nan, method=SUM_METHOD)
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
    return Estimate(total, total - down, total + up, SUM_METHOD, least, factors @ influences)


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


MEAN_METHOD, RATIO = "t", "fieller"
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
        return Estimate(value, math.nan, math.nan, MEAN_METHOD, float(count), np.zeros(count))
    value = float(values.mean())
    reach = float(stdtrit(count - 1, (1 + confidence) / 2) * values.std(ddof=1) / math.sqrt(count))
    return Estimate(value, value - reach, value + reach, MEAN_METHOD, float(count), (values - value) / count)


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


def share(count: int, total: int, confidence: float = CONFIDENCE) -> Interval:
    """A share of patients who count once each; undefined of nobody."""
    if not total:
        return Interval(value=None, low=None, high=None)
    return Interval(value=count / total, **exact_interval(count / total, total, confidence))
