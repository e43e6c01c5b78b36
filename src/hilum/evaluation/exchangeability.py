"""Do two groups of patients look as if they came from the same place? What a certificate silently takes for granted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
PERMUTATIONS = 4999
AT_ONCE = 2**22


def exchangeable_p(first: Floats, second: Floats, *, permutations: int = PERMUTATIONS, seed: int = 0) -> float:
    """A permutation test of whether two groups of scores come from one distribution.

    The statistic is Cramér and von Mises' (Anderson 1962, *Ann. Math. Statist.*), the mean squared distance between
    both distribution functions. By permuting who belongs to which group the p-value is exact, with ties and in small
    groups as well, up to its steps of 1 / (permutations + 1).

    Args:
        first: One score a patient, of shape (n,).
        second: Those of the others, of shape (m,).
        permutations: How many.
        seed: Of the permutations.

    Returns:
        The p-value: small where they differ, in whatever way; 1 where one group is empty.
    """
    if not len(first) or not len(second):
        return 1.0
    pooled = np.concatenate([first, second])
    order = np.argsort(pooled, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(pooled[order])), len(pooled) - 1)  # the last of each group of ties
    repeats = np.diff(np.append(-1, ends))
    below = (ends + 1) / len(pooled)
    mine = (order < len(first)).astype(np.float64)
    generator = np.random.default_rng(seed)
    step = max(1, AT_ONCE // len(pooled))
    observed = _distance(mine[None], ends, repeats, below)[0]
    as_far = 1
    for begin in range(0, permutations, step):
        drawn = generator.permuted(np.tile(mine, (min(step, permutations - begin), 1)), axis=1)
        as_far += int((_distance(drawn, ends, repeats, below) >= observed - 1e-12).sum())
    return as_far / (permutations + 1)


def _distance(mine: Floats, ends: NDArray[np.intp], repeats: NDArray[np.intp], below: Floats) -> Floats:
    """Of one group's distribution function from the pooled one, of shape (B,): the other's differs in proportion."""
    share = np.cumsum(mine, axis=1)[:, ends] / mine[0].sum()
    distance: Floats = ((share - below) ** 2 * repeats).sum(axis=1)
    return distance
