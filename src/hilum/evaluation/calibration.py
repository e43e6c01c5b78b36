"""How far probabilities can be taken at their word."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
BINS = 15


def expected_calibration_error(outcomes: Floats, probabilities: Floats, bins: int = BINS) -> float:
    """Class-wise calibration error over bins of equal numbers of images.

    For each label the images are sorted by its probability and cut into bins of equal size; the absolute
    difference between the mean probability and the share that has the label is averaged over bins (weighted by
    their size) and labels (Nixon et al. 2019, "Measuring Calibration in Deep Learning": adaptive, class-wise).

    Args:
        outcomes: Of shape (N, K), 1 where an image has the label and 0 elsewhere.
        probabilities: Of shape (N, K).
        bins: At most so many; never more than images.

    Returns:
        Between 0 and 1. A perfectly calibrated model does not reach 0: see `noise_floor`.
    """
    count = len(outcomes)
    edges = np.linspace(0, count, min(bins, count) + 1).astype(int)
    order = np.argsort(probabilities, axis=0, kind="stable")
    gap = np.take_along_axis(outcomes - probabilities, order, axis=0)
    sums = np.add.reduceat(gap, edges[:-1], axis=0)
    return float(np.abs(sums).sum(axis=0).mean() / count)


def noise_floor(probabilities: Floats, *, draws: int = 200, seed: int = 0, bins: int = BINS) -> float:
    """The calibration error that a perfectly calibrated model of these probabilities would show.

    Args:
        probabilities: Of shape (N, K).
        draws: How often outcomes are drawn from the probabilities themselves.
        seed: Of the draws.
        bins: As in `expected_calibration_error`.

    Returns:
        The mean over the draws.
    """
    generator = np.random.default_rng(seed)
    count, n_labels = probabilities.shape
    cumulative = np.cumsum(probabilities, axis=1)
    cumulative[:, -1] = 1
    identity = np.eye(n_labels)
    errors = []
    for _ in range(draws):
        drawn = (generator.random((count, 1)) > cumulative).sum(axis=1)
        errors.append(expected_calibration_error(identity[drawn], probabilities, bins))
    return float(np.mean(errors))
