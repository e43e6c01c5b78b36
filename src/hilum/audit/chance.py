"""What chance alone would do: folds and permutations that keep patients together."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def deal_folds(labels: Ints, groups: Ints, folds: int, seed: int = 0) -> Ints:
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
        groups: As in `deal_folds`, shape (N,).
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
