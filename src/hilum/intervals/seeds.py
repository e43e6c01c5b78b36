"""Intervals of a method's measure or gain, from several trained networks on the same patients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.special import stdtrit

from hilum.intervals.combined import combined
from hilum.intervals.shares import CONFIDENCE, Estimate


def over_seeds(estimates: Sequence[Estimate], *, confidence: float = CONFIDENCE) -> Estimate:
    """Mean over training seeds, with an interval for other seeds and other patients.

    `combined` gives the interval of the mean of these very networks: other patients, same networks. A statement about
    a method needs the seeds as well. Both distances are added as variances are (MOVER), the seeds' by Student's t with
    one degree of freedom less than seeds: with two or three seeds it is very wide, and rightly so (Bouthillier et al.
    2021, *MLSys*). Chance between patients that differs by seed is counted twice, which widens it a little.

    Args:
        estimates: One per seed, of the same patients; for a gain the paired differences.
        confidence: Confidence level, in (0, 1).

    Returns:
        The mean; of one seed, or where a measure is undefined, without an interval for other seeds: NaN limits.
    """
    mean = combined([(1 / len(estimates), one) for one in estimates])
    values = np.array([one.value for one in estimates])
    if len(values) < 2 or not np.isfinite(mean.value):
        return replace(mean, low=math.nan, high=math.nan, method="one seed")
    half = float(stdtrit(len(values) - 1, (1 + confidence) / 2)) * values.std(ddof=1) / math.sqrt(len(values))
    return replace(
        mean,
        low=mean.value - math.hypot(mean.value - mean.low, half),
        high=mean.value + math.hypot(mean.high - mean.value, half),
        method="seeds and patients",
    )
