"""Do other patients' images look like the calibration patients' to the network itself?

A classifier is trained to tell the two samples apart by the network's last features, one image a patient; if it can, on
patients that it was not trained on, they differ (classifier two-sample test: Lopez-Paz and Oquab 2017, *ICLR*; Kim et
al. 2021, *Ann. Statist.*). Both samples are compared label by label, so that another mix of labels is no shift.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hilum.intervals.areas import aurocs

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
PERMUTATIONS = 999
FOLDS = 5
FEWEST = 5  # patients of a label in each sample
RIDGE = 10.0  # of 0.1, 1 and 10 the one that sees a subgroup of 10 % most often (docs/study/shift_power.py)


def two_sample(
    features: Floats, second: NDArray[np.bool_], strata: Ints, *, permutations: int = PERMUTATIONS, seed: int = 0
) -> tuple[float, float] | None:
    """A permutation test of whether two samples can be told apart by their features, within strata.

    The classifier is a ridge regression whose scores are taken out of fold; samples are permuted within strata, so
    that the p-value is exact.

    Args:
        features: Of shape (N, D), one row a patient.
        second: Which of the samples each belongs to, of shape (N,).
        strata: Label of each, of shape (N,).
        permutations: Number of permutations.
        seed: Seed of folds and permutations.

    Returns:
        The p-value, and the mean AUROC within strata; None without a stratum of five patients in each sample.
    """
    counts = {k: (int(second[strata == k].sum()), int((strata == k).sum())) for k in np.unique(strata)}
    used = [k for k, (mine, size) in counts.items() if mine >= FEWEST and size - mine >= FEWEST]
    if not used:
        return None
    kept = np.isin(strata, used)
    features, second, strata = features[kept], second[kept], strata[kept]
    generator = np.random.default_rng(seed)
    centred, fold = features.astype(np.float64), np.empty(len(second), np.int64)
    targets = np.empty((permutations + 1, len(second)))
    for k in used:
        here = np.flatnonzero(strata == k)
        centred[here] -= centred[here].mean(axis=0)
        fold[here] = generator.permutation(np.arange(len(here)) % FOLDS)
        mine = second[here] - second[here].mean()
        targets[0, here] = mine
        targets[1:, here] = generator.permuted(np.tile(mine, (permutations, 1)), axis=1)
    spread = centred.std(axis=0)
    varied = spread > 1e-12
    if not varied.any():
        return 1.0, 0.5
    centred = centred[:, varied] / spread[varied]
    inner = centred @ centred.T / centred.shape[1]
    scores = np.empty_like(targets)
    for held_out in range(FOLDS):
        test, train = np.flatnonzero(fold == held_out), np.flatnonzero(fold != held_out)
        ridge = inner[np.ix_(train, train)] + RIDGE * np.eye(len(train))
        scores[:, test] = (inner[np.ix_(test, train)] @ np.linalg.solve(ridge, targets[:, train].T)).T
    length = np.sqrt((scores**2).sum(axis=1))
    statistic = (scores * targets).sum(axis=1) / np.where(length > 0, length, 1)
    p_value = float((statistic >= statistic[0] - 1e-12).sum() / (permutations + 1))
    areas = [float(aurocs(scores[:1, strata == k], second[None, strata == k])[0]) for k in used]
    return p_value, float(np.average(areas, weights=[(strata == k).sum() for k in used]))
