"""Calibration errors (ECE) beside what perfectly calibrated models would show."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
BINS = 15
DRAWS = 200


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


def top_label_error(outcomes: Floats, probabilities: Floats, bins: int = BINS) -> float:
    """Calibration error of the most probable label, over bins of equal width.

    The absolute difference between the mean probability of the most probable label and the share of images that have
    it, averaged over bins of that probability (Guo et al. 2017, "On Calibration of Modern Neural Networks").

    Args:
        outcomes: Of shape (N, K), 1 where an image has the label and 0 elsewhere.
        probabilities: Of shape (N, K).
        bins: Number of bins, each 1 / `bins` wide.

    Returns:
        Between 0 and 1.
    """
    stated = probabilities.max(axis=1)
    right = np.take_along_axis(outcomes, probabilities.argmax(axis=1)[:, None], axis=1)[:, 0]
    place = np.clip(np.ceil(stated * bins).astype(int) - 1, 0, bins - 1)
    return float(np.abs(np.bincount(place, right - stated, bins)).sum() / len(stated))


ECE = {"ece_class_wise": "class-wise", "ece_top_label": "top-label"}
ERRORS: dict[str, Callable[[Floats, Floats], float]] = {
    "ece_class_wise": expected_calibration_error,
    "ece_top_label": top_label_error,
}


def calibration_errors(truth: NDArray[np.int64], probabilities: Floats, clusters: Sequence[str]) -> dict[str, Any]:
    """Both calibration errors, each with its noise floor.

    Args:
        truth: Index of each image's label, shape (N,).
        probabilities: Of shape (N, K).
        clusters: The patient of each image, N names.

    Returns:
        ``ece_class_wise`` and ``ece_top_label``: ``value``, ``noise_floor`` (the mean of perfectly calibrated models
        of these probabilities) and ``noise_high``, below which 95 % of them stay.
    """
    identity = np.eye(probabilities.shape[1])
    noise: dict[str, list[float]] = {name: [] for name in ERRORS}
    for drawn in outcomes_if_calibrated(probabilities, clusters, draws=DRAWS, seed=0):
        for name, error in ERRORS.items():
            noise[name].append(error(identity[drawn], probabilities))
    return {
        name: {
            "value": error(identity[truth], probabilities),
            "noise_floor": float(np.mean(noise[name])),
            "noise_high": float(np.quantile(noise[name], 0.95)),
        }
        for name, error in ERRORS.items()
    }


def noise_floor(
    probabilities: Floats, clusters: Sequence[str] | None = None, *, draws: int = DRAWS, seed: int = 0
) -> float:
    """The class-wise calibration error that a perfectly calibrated model of these probabilities would show.

    Args:
        probabilities: Of shape (N, K).
        clusters: The patient of each image; by default each its own.
        draws: Number of draws of the outcomes.
        seed: Seed of the draws.

    Returns:
        The mean over the draws.
    """
    identity = np.eye(probabilities.shape[1])
    drawn = outcomes_if_calibrated(probabilities, clusters, draws=draws, seed=seed)
    return float(np.mean([expected_calibration_error(identity[truth], probabilities) for truth in drawn]))


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
