"""Is a claim shown, refuted, or neither? By the confidence interval's unfavourable limit, never by the value alone.

A claim such as "the false-negative rate is at most 5 %" is *shown* where the whole interval lies on its side of the
bound, *refuted* where the whole interval lies on the other side, and *not shown* otherwise (as in tests of
non-inferiority: Piaggio et al. 2012, *JAMA*). Three patients without a false negative show nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from hilum.intervals.shares import CONFIDENCE, exact_limits

Verdict = Literal["shown", "not shown", "refuted"]
SHOWN: Verdict = "shown"
NOT_SHOWN: Verdict = "not shown"
REFUTED: Verdict = "refuted"
MOST = 10_000_000  # patients: a value so near the bound that more would be needed decides nothing


def at_most(low: float | None, high: float | None, bound: float) -> Verdict:
    """Verdict on the claim that a measure is at most `bound`.

    Args:
        low: Lower limit of the measure's interval; None or NaN where undefined.
        high: Upper limit of the interval.
        bound: Largest value that the claim allows.
    """
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return NOT_SHOWN
    return SHOWN if high <= bound else REFUTED if low > bound else NOT_SHOWN


def at_least(low: float | None, high: float | None, bound: float) -> Verdict:
    """Verdict on the claim that a measure is at least `bound`.

    Args:
        low: Lower limit of the measure's interval; None or NaN where undefined.
        high: Upper limit of the interval.
        bound: Smallest value that the claim allows.
    """
    if low is None or high is None:
        return NOT_SHOWN
    return at_most(-high, -low, -bound)


def weakest(verdicts: list[Verdict]) -> Verdict:
    """Verdict on several claims together: the least favourable one; not shown of none."""
    return next((one for one in (REFUTED, NOT_SHOWN, SHOWN) if one in verdicts), NOT_SHOWN)


def patients_to_decide(value: float, bound: float, *, confidence: float = CONFIDENCE) -> int | None:
    """Number of patients, one observation each, with which the same observed share would decide the claim.

    Args:
        value: Observed share, in [0, 1].
        bound: Bound of the claim, in [0, 1].
        confidence: Confidence level of the two-sided exact interval, in (0, 1).

    Returns:
        Smallest number with which Clopper and Pearson's interval of `value` excludes `bound`; None where no number
        up to ten million does, because the value is the bound or next to it.
    """

    def decides(count: int) -> bool:
        low, high = exact_limits(np.float64(value), np.float64(count), confidence)
        return bool(high <= bound) if value < bound else bool(low > bound)

    if value == bound or not decides(MOST):
        return None
    below, enough = 0, 1
    while not decides(enough):
        below, enough = enough, 2 * enough
    while enough - below > 1:
        middle = (below + enough) // 2
        below, enough = (below, middle) if decides(middle) else (middle, enough)
    return enough


def not_lower(entry: Mapping[str, float | None], margin: float) -> Verdict:
    """Verdict on the claim that a difference is not below minus `margin` (non-inferiority).

    Refuted is also what lies below it and is significantly lower than zero: such a loss is not to be overlooked.

    Args:
        entry: The difference: ``value``, ``low`` and ``high``, None where undefined.
        margin: Loss that the claim allows, above 0.
    """
    value, low, high = entry["value"], entry["low"], entry["high"]
    if value is not None and high is not None and value < -margin and high < 0:
        return REFUTED
    return at_least(low, high, -margin)


def scaled_to_decide(
    value: float | None, low: float | None, high: float | None, bound: float, patients: int
) -> int | None:
    """About how many patients would decide a claim that so many do not, if the value stayed the same; two digits.

    Args:
        value: Measure; None where undefined.
        low: Lower limit of its interval.
        high: Upper limit.
        bound: Bound of the claim.
        patients: Number of patients that the interval comes from.

    Returns:
        None where the value is undefined, or so near the bound that it would take more than ten million.
    """
    if value is None or low is None or high is None:
        return None
    wide, distance = (value - low if value > bound else high - value), abs(value - bound)
    if patients * wide**2 >= MOST * distance**2:
        return None
    number = patients * (wide / distance) ** 2
    step = int(10 ** max(0, math.floor(math.log10(max(number, 1))) - 1))
    return math.ceil(number / step - 1e-9) * step


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values (1979, *Scand. J. Stat.*), in the same order.

    At most a share p of sets of true hypotheses has one below p.

    Args:
        p_values: One a hypothesis.
    """
    order = np.argsort(p_values, kind="stable")
    raised = np.asarray(p_values, np.float64)[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(raised))
    return [float(p) for p in adjusted]
