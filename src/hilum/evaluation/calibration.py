"""How far probabilities can be taken at their word."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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


def noise_floor(probabilities: Floats, clusters: Sequence[str] | None = None, **how: int) -> float:
    """The calibration error that a perfectly calibrated model of these probabilities would show.

    Args:
        probabilities: Of shape (N, K).
        clusters: The patient of each image; by default each its own.
        how: As `errors_if_calibrated` takes it.

    Returns:
        The mean over the draws.
    """
    return float(errors_if_calibrated(probabilities, clusters, **how).mean())


def errors_if_calibrated(
    probabilities: Floats, clusters: Sequence[str] | None = None, *, draws: int = 200, seed: int = 0, bins: int = BINS
) -> Floats:
    """Calibration errors of outcomes that are drawn from the probabilities themselves.

    Args:
        probabilities: Of shape (N, K).
        clusters: The patient of each image; by default each its own.
        draws: How often.
        seed: Of the draws.
        bins: As in `expected_calibration_error`.

    Returns:
        Of shape (draws,).
    """
    identity = np.eye(probabilities.shape[1])
    drawn = outcomes_if_calibrated(probabilities, clusters, draws=draws, seed=seed)
    return np.array([expected_calibration_error(identity[truth], probabilities, bins) for truth in drawn])


def outcomes_if_calibrated(
    probabilities: Floats, clusters: Sequence[str] | None = None, *, draws: int, seed: int
) -> Iterator[NDArray[np.int64]]:
    """Labels that follow the probabilities exactly, those of one patient's images as much alike as these allow.

    One random number a patient is taken through each image's distribution: images of a patient that were given the same
    probabilities get the same label, as they have in truth.

    Args:
        probabilities: Of shape (N, K).
        clusters: The patient of each image; by default each its own.
        draws: How often.
        seed: Of the draws.

    Yields:
        Indices of shape (N,).
    """
    generator = np.random.default_rng(seed)
    cumulative = np.cumsum(probabilities, axis=1)
    cumulative[:, -1] = 1
    names = np.arange(len(probabilities)) if clusters is None else np.asarray(clusters)
    _, member = np.unique(names, return_inverse=True)
    for _ in range(draws):
        yield (generator.random(int(member.max()) + 1)[member, None] > cumulative).sum(axis=1)
