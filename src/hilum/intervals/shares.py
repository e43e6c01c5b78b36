"""Intervals of shares, from what was counted and from how many patients it comes.

An interval is made once, by whoever counts: a share knows its numerator and its denominator. Images of one patient are
not independent, so that a share of n images is worth that of an *effective number* of independent patients, for which
its exact interval is taken (Korn and Graubard 1998, *Survey Methodology*). With one image a patient that is Clopper and
Pearson's interval. Where nothing was missed, or everything, no spread can be seen, and patients are counted as if all
images of one were alike. In between both pass into each other: what is seen of the spread counts as much as patients
stand behind the rarer outcome, what is feared as much as `FEARED` of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, stdtrit

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
CONFIDENCE = 0.95
METHOD = "korn-graubard"
FEARED = 2.0  # chosen by the grid of docs/study/interval_coverage.py: with 1 tails above 4.5 %, with 4 wider by 4 %
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

    def as_json(self) -> dict[str, Any]:
        """``value``, ``low`` and ``high``, None where undefined, and ``method``."""
        numbers = {name: getattr(self, name) for name in ("value", "low", "high")}
        return {name: float(n) if np.isfinite(n) else None for name, n in numbers.items()} | {"method": self.method}


def undefined(patients: Patients) -> Estimate:
    """A measure of nothing, of these patients."""
    return Estimate(np.nan, np.nan, np.nan, "none", 0.0, np.zeros(patients.number))


def identical(patients: Patients) -> Estimate:
    """The difference of a thing from itself."""
    return Estimate(0.0, 0.0, 0.0, "identical", float(patients.number), np.zeros(patients.number))


def as_json(found: Any) -> Any:
    """Measures, or dictionaries of them, as JSON holds them."""
    return {key: as_json(value) for key, value in found.items()} if isinstance(found, dict) else found.as_json()


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
    return Estimate(value, float(low), float(high), METHOD, whole, influence)


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


def exact_interval(share: float, patients: int, confidence: float = CONFIDENCE) -> dict[str, float]:
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
