"""Paired tests, differences over random seeds, and permutations that keep patients together."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit
from scipy.stats import binom, binomtest, norm

from hilum.stats.intervals import CONFIDENCE, Estimate, combined, evenly
from hilum.stats.records import Record

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
POWER = 0.8
EVEN = (
    0.8  # of the patients, as many as their images are worth; below that, patients have too unequal numbers of images
)
RESAMPLES = 4999
FEWEST = 6  # patients with a difference, all one way: with fewer no sign-flip test reaches p < 0.05
REACH = float(norm.ppf((1 + CONFIDENCE) / 2)), float(norm.ppf(POWER))


class McNemar(Record):
    """Images by which of two classifiers is right about them, and McNemar's two-sided p-value."""

    both: int
    first_only: int
    second_only: int
    neither: int
    p_value: float


class PatientTest(Record):
    """A test of equal accuracy that counts patients; differences are of accuracy.

    Attributes:
        discordant_patients: Number of patients of whom one classifier gets more images right.
        test: ``sign-flip`` or ``studentised bootstrap``.
        assumes: Assumption of the test, in words.
        p_value: Two-sided p-value.
        smallest_significant: Smallest difference that these patients could have shown with p < 0.05; None if none.
        detectable: True difference that is found with 80 % power (normal approximation; Connor 1987, *Biometrics*, for
            pairs).
        floor: Difference below which no sample of as many images shows anything; None with too few patients.
    """

    discordant_patients: int
    test: str
    assumes: str
    p_value: float
    smallest_significant: float | None
    detectable: float | None
    floor: float | None


def mcnemar(first: Bools, second: Bools) -> McNemar:
    """McNemar's test in its exact form (McNemar 1947, *Psychometrika*; binomial as in Liddell 1983).

    It takes images for independent. Where patients have several, `patient_test` is the one to believe.

    Args:
        first: Whether the first classifier is right, shape (N,).
        second: Whether the second one is.
    """
    only = int((first & ~second).sum()), int((second & ~first).sum())
    return McNemar(
        both=int((first & second).sum()),
        first_only=only[0],
        second_only=only[1],
        neither=int((~first & ~second).sum()),
        p_value=float(binomtest(only[0], sum(only)).pvalue) if sum(only) else 1.0,
    )


def p_of_interval(difference: Callable[[float], Estimate]) -> float:
    """P-value of a difference: one minus the largest confidence at which the interval excludes zero.

    Args:
        difference: Gives the estimate at a confidence level.

    Returns:
        To a thousandth of itself.
    """
    low, high = 1e-9, 1.0
    while high - low > 0.001 * high:
        middle = float(np.sqrt(low * high))
        estimate = difference(1 - middle)
        excluded = estimate.low > 0 or estimate.high < 0
        low, high = (low, middle) if excluded else (middle, high)
    return high


def patient_test(first: Bools, second: Bools, clusters: Sequence[str]) -> PatientTest:
    """Test whether two classifiers are equally accurate, counting patients.

    The test is `sign_flip_if_exchangeable` where patients have about equally many images, and `studentised_bootstrap`
    where their numbers differ: then equal accuracy does not make the classifiers exchangeable, patient by patient. A
    classifier that gains many patients of one image and loses few of twenty is as accurate as the other, and the
    sign-flip test rejects that in 57 % (30 patients), 13 % (100) and 7 % (400); the studentised one in 22, 14 and 4 %
    (studies/evaluation_simulations.py). With 30 patients nobody can know of large ones that were not among them.

    Args:
        first: Correctness of the first classifier, shape (N,).
        second: Correctness of the second one, shape (N,).
        clusters: Patient of each image.
    """
    _, member = np.unique(np.asarray(clusters), return_inverse=True)
    sizes = np.bincount(member).astype(np.float64)
    gained = np.bincount(member, weights=second.astype(float) - first.astype(float)).astype(np.float64)
    chosen = sign_flip_if_exchangeable if evenly(sizes) >= EVEN * len(sizes) else studentised_bootstrap
    return chosen(gained, sizes)


def sign_flip_if_exchangeable(gained: Floats, sizes: Floats) -> PatientTest:
    """Sign-flip test over patients, exact if the classifiers are exchangeable within each patient.

    Under that assumption each patient's difference of correct answers could as well have had the other sign (Fisher
    1935, *The Design of Experiments*). The distribution of the sum over all signs is computed, not sampled. With one
    image a patient, this is McNemar's exact test. Equal accuracy alone is not enough: see `patient_test`.

    Args:
        gained: Correct answers of the second classifier minus those of the first, by patient, shape (P,).
        sizes: Images of each patient, shape (P,).
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
    return PatientTest(
        discordant_patients=int((gained != 0).sum()),
        test="sign-flip",
        assumes="the two classifiers are exchangeable within each patient",
        p_value=float(tail[abs(int(gained.sum()))]),
        smallest_significant=float(possible[0] / images) if len(possible) else None,
        detectable=min(sum(REACH) * spread, most) / images if len(possible) else None,
        floor=_floor(sizes),
    )


def studentised_bootstrap(gained: Floats, sizes: Floats, *, resamples: int = RESAMPLES, seed: int = 0) -> PatientTest:
    """Bootstrap-t test of equal accuracy over patients with different numbers of images.

    The difference of accuracy is a ratio of sums over patients; it is divided by its own standard error in each
    resample (Hall 1992, *The Bootstrap and Edgeworth Expansion*; symmetric). A resample without any difference cannot
    be studentised and counts as extreme.

    Args:
        gained: Correct answers of the second classifier minus those of the first, by patient, shape (P,).
        sizes: Images of each patient, shape (P,).
        resamples: Number of resamples.
        seed: Seed of the resampling.
    """
    images, patients = float(sizes.sum()), len(sizes)
    nothing = PatientTest(
        discordant_patients=int((gained != 0).sum()),
        test="studentised bootstrap",
        assumes="patients are drawn independently, the large ones with a chance to be among them",
        p_value=1.0,
        smallest_significant=None,
        detectable=None,
        floor=None,
    )
    value = float(gained.sum() / images)
    error = float(np.sqrt(((gained - value * sizes) ** 2).sum())) / images
    if not error or nothing.discordant_patients < FEWEST:
        return nothing
    generator, extremes = np.random.default_rng(seed), np.empty(resamples)
    for number in range(resamples):
        drawn = np.bincount(generator.integers(0, patients, patients), minlength=patients)
        total = float(drawn @ sizes)
        centre = float(drawn @ gained) / total
        spread = float(np.sqrt(drawn @ (gained - centre * sizes) ** 2)) / total
        extremes[number] = abs(centre - value) / spread if spread > 1e-12 else np.inf
    critical = float(np.quantile(extremes, CONFIDENCE, method="higher"))
    possible = np.isfinite(critical) and critical * error < 1
    found = {
        "p_value": float((1 + (extremes >= abs(value) / error - 1e-12).sum()) / (resamples + 1)),
        "smallest_significant": critical * error if possible else None,
        "detectable": min((critical + REACH[1]) * error, 1.0) if possible else None,
    }
    return nothing.model_copy(update=found)


def _floor(sizes: Floats) -> float | None:
    return FEWEST / float(sizes.sum()) if len(sizes) >= FEWEST else None


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


Ints = NDArray[np.int64]


def grouped_folds(labels: Ints, groups: Ints, folds: int, seed: int = 0) -> Ints:
    """Divide images into folds: whole groups, stratified by label and by size of group.

    Groups alike in label and size are shuffled and dealt like cards. Unlike a greedy division, this treats them
    alike, so that exchanging the labels of two of a fold (see `permute_labels`) could not have changed the folds.

    Args:
        labels: Index of each image's label, shape (N,).
        groups: A number an image, equal where images must stay together, shape (N,).
        folds: How many, at least 2.
        seed: Of the shuffling.

    Returns:
        The fold of each image, shape (N,), from 0 to `folds` - 1.
    """
    members = _members(groups)
    alike: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for number, rows in enumerate(members):
        counts = np.bincount(labels[rows])
        alike[int(counts.argmax()), _size_class(len(rows))].append(number)
    generator = np.random.default_rng(seed)
    fold = np.empty(len(labels), np.int64)
    dealt = 0
    for key in sorted(alike):
        for number in generator.permutation(alike[key]):
            fold[members[number]] = dealt % folds
            dealt += 1
    return fold


def permute_labels(labels: Ints, groups: Ints, folds: Ints, times: int, seed: int = 0) -> Ints:
    """Exchange labels between whole groups of the same fold and size.

    Images of one patient are not independent, so blocks are exchanged rather than images (Winkler et al. 2015,
    *NeuroImage*). A block is an independent group; within its fold and size it may change places. Sizes of five
    and more count as equal within a factor of two, and a shorter block's labels are then repeated.

    Args:
        labels: Index of each image's label, shape (N,).
        groups: As in `grouped_folds`, shape (N,).
        folds: The fold of each image, shape (N,).
        times: B.
        seed: Of the exchanges.

    Returns:
        Of shape (B + 1, N); the first row is `labels`.
    """
    generator = np.random.default_rng([seed, 1])
    cells: defaultdict[tuple[int, int], list[NDArray[np.intp]]] = defaultdict(list)
    for rows in _members(groups):
        cells[int(folds[rows[0]]), _size_class(len(rows))].append(rows)
    permuted = np.tile(labels, (times + 1, 1))
    for key in sorted(cells):
        blocks = cells[key]
        longest = max(map(len, blocks))
        givers = labels[np.stack([np.resize(rows, longest) for rows in blocks])]
        order = generator.permuted(np.tile(np.arange(len(blocks)), (times, 1)), axis=1)
        for number, rows in enumerate(blocks):
            permuted[1:, rows] = givers[order[:, number], : len(rows)]
    return permuted


def corrected_p(statistics: Floats) -> Floats:
    """P-values that hold for all tests together: Westfall and Young's single-step maximum (1993, *Wiley*).

    Each test's statistic is measured in standard deviations of its own permutations, so that a rare label's wider
    chance does not drown the others; then the observed one is compared with the largest of all tests in each
    permutation. The family is wrong with at most the stated probability, whatever the tests' dependence.

    Args:
        statistics: Of shape (B + 1, T), large where something was found; the first row is the observed one. NaN
            counts as nothing found.

    Returns:
        Of shape (T,), from 1 / (B + 1) to 1.
    """
    known = np.where(np.isnan(statistics).any(axis=0), 0.0, statistics)
    centred = known - known.mean(axis=0)
    spread = centred.std(axis=0)
    standard = np.where(spread > 1e-9, centred / np.where(spread > 1e-9, spread, 1.0), 0.0)
    highest = standard.max(axis=1)
    share: Floats = (highest[:, None] >= standard[0] - 1e-9).mean(axis=0)
    return share


def _members(groups: Ints) -> list[NDArray[np.intp]]:
    """The rows of each group."""
    order = np.argsort(groups, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)


def _size_class(size: int) -> int:
    """1, 2, 3, 4; then 5 to 8, 9 to 16, and so on share a class."""
    return size if size <= 4 else 2 + (size - 1).bit_length()
