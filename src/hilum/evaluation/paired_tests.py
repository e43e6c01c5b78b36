"""Is one of two classifiers right more often? Tests on the same patients, and what they could have found at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, binomtest, norm

from hilum.intervals.shares import CONFIDENCE, evenly

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
POWER = 0.8
EVEN = (
    0.8  # of the patients, as many as their images are worth; below that, patients have too unequal numbers of images
)
RESAMPLES = 4999
FEWEST = 6  # patients with a difference, all one way: with fewer no sign-flip test reaches p < 0.05
REACH = float(norm.ppf((1 + CONFIDENCE) / 2)), float(norm.ppf(POWER))


def mcnemar(first: Bools, second: Bools) -> dict[str, Any]:
    """McNemar's test in its exact form (McNemar 1947, *Psychometrika*; binomial as in Liddell 1983).

    It takes images for independent. Where patients have several, `patient_test` is the one to believe.

    Args:
        first: Whether the first classifier is right, shape (N,).
        second: Whether the second one is.

    Returns:
        ``both``, ``first_only``, ``second_only``, ``neither``: images; and ``p_value``, two-sided.
    """
    only = int((first & ~second).sum()), int((second & ~first).sum())
    return {
        "both": int((first & second).sum()),
        "first_only": only[0],
        "second_only": only[1],
        "neither": int((~first & ~second).sum()),
        "p_value": float(binomtest(only[0], sum(only)).pvalue) if sum(only) else 1.0,
    }


def patient_test(first: Bools, second: Bools, clusters: Sequence[str]) -> dict[str, Any]:
    """Test whether two classifiers are equally accurate, counting patients.

    The test is `sign_flip_if_exchangeable` where patients have about equally many images, and `studentised_bootstrap`
    where their numbers differ: then equal accuracy does not make the classifiers exchangeable, patient by patient. A
    classifier that gains many patients of one image and loses few of twenty is as accurate as the other, and the
    sign-flip test rejects that in 57 % (30 patients), 13 % (100) and 7 % (400); the studentised one in 22, 14 and 4 %
    (docs/study/statistics_review.py). With 30 patients nobody can know of large ones that were not among them.

    Args:
        first: Correctness of the first classifier, shape (N,).
        second: Correctness of the second one, shape (N,).
        clusters: Patient of each image.

    Returns:
        ``test`` (``sign-flip`` or ``studentised bootstrap``), ``assumes``, ``p_value`` (two-sided),
        ``discordant_patients``, and as differences of accuracy: ``smallest_significant``, the smallest that these
        patients could have shown with p < 0.05 (None if none could), ``detectable``, the true difference found with
        80 % power (normal approximation; Connor 1987, *Biometrics*, for pairs), and ``floor``, below which no sample of
        as many images shows anything (None with too few patients).
    """
    names, member = np.unique(np.asarray(clusters), return_inverse=True)
    sizes = np.bincount(member).astype(np.float64)
    gained = np.bincount(member, weights=second.astype(float) - first.astype(float)).astype(np.float64)
    chosen = sign_flip_if_exchangeable if evenly(sizes) >= EVEN * len(sizes) else studentised_bootstrap
    return {
        "discordant_patients": int((gained != 0).sum()),
        **chosen(gained, sizes),
        "floor": FEWEST / len(first) if len(names) >= FEWEST else None,
    }


def sign_flip_if_exchangeable(gained: Floats, sizes: Floats) -> dict[str, Any]:
    """Sign-flip test over patients, exact if the classifiers are exchangeable within each patient.

    Under that assumption each patient's difference of correct answers could as well have had the other sign (Fisher
    1935, *The Design of Experiments*). The distribution of the sum over all signs is computed, not sampled. With one
    image a patient, this is McNemar's exact test. Equal accuracy alone is not enough: see `patient_test`.

    Args:
        gained: Correct answers of the second classifier minus those of the first, by patient, shape (P,).
        sizes: Images of each patient, shape (P,).

    Returns:
        As `patient_test`, without ``floor`` and ``discordant_patients``.
    """
    counts = Counter(abs(int(value)) for value in gained if value)
    pmf = np.ones(1)  # of the sum of all differences, from -reach to reach
    for size, count in sorted(counts.items()):
        steps = np.zeros(2 * size * count + 1)
        steps[:: 2 * size] = binom.pmf(np.arange(count + 1), count, 0.5)
        pmf = np.convolve(pmf, steps)
    reach, images = len(pmf) // 2, float(sizes.sum())
    sums = np.abs(np.arange(-reach, reach + 1))
    weight = np.bincount(sums, weights=pmf)
    tail = np.minimum(1, weight[::-1].cumsum()[::-1])  # tail[s]: that the sum is at least s either way
    possible = np.flatnonzero((tail < 1 - CONFIDENCE) & (weight > 0))
    most = sum(count * size for size, count in counts.items())
    spread = float(np.sqrt((gained**2).sum()))
    return {
        "test": "sign-flip",
        "assumes": "the two classifiers are exchangeable within each patient",
        "p_value": float(tail[abs(int(gained.sum()))]),
        "smallest_significant": float(possible[0] / images) if len(possible) else None,
        "detectable": min(sum(REACH) * spread, most) / images if len(possible) else None,
    }


def studentised_bootstrap(
    gained: Floats, sizes: Floats, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Any]:
    """Bootstrap-t test of equal accuracy over patients with different numbers of images.

    The difference of accuracy is a ratio of sums over patients; it is divided by its own standard error in each
    resample (Hall 1992, *The Bootstrap and Edgeworth Expansion*; symmetric). A resample without any difference cannot
    be studentised and counts as extreme.

    Args:
        gained: Correct answers of the second classifier minus those of the first, by patient, shape (P,).
        sizes: Images of each patient, shape (P,).
        resamples: Number of resamples.
        seed: Seed of the resampling.

    Returns:
        As `patient_test`, without ``floor`` and ``discordant_patients``.
    """
    images, patients = float(sizes.sum()), len(sizes)
    assumes = "patients are drawn independently, the large ones with a chance to be among them"
    found: dict[str, Any] = {"test": "studentised bootstrap", "assumes": assumes}
    value = float(gained.sum() / images)
    error = float(np.sqrt(((gained - value * sizes) ** 2).sum())) / images
    if not error or (gained != 0).sum() < FEWEST:
        return {**found, "p_value": 1.0, "smallest_significant": None, "detectable": None}
    generator, extremes = np.random.default_rng(seed), np.empty(resamples)
    for number in range(resamples):
        drawn = np.bincount(generator.integers(0, patients, patients), minlength=patients)
        total = float(drawn @ sizes)
        centre = float(drawn @ gained) / total
        spread = float(np.sqrt(drawn @ (gained - centre * sizes) ** 2)) / total
        extremes[number] = abs(centre - value) / spread if spread > 1e-12 else np.inf
    critical = float(np.quantile(extremes, CONFIDENCE, method="higher"))
    possible = np.isfinite(critical) and critical * error < 1
    return {
        **found,
        "p_value": float((1 + (extremes >= abs(value) / error - 1e-12).sum()) / (resamples + 1)),
        "smallest_significant": critical * error if possible else None,
        "detectable": min((critical + REACH[1]) * error, 1.0) if possible else None,
    }
