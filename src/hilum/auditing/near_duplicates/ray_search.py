"""The search for copies by a Ray cluster: every block of images asks every block, as tasks that hold two of them.

Each block is described once, and stays in the cluster's memory. A pair of blocks is searched as one machine searches
all images, so that each pair of images is compared in the same way. What is known from one pair of blocks is not known
to another: that costs time where many images are one picture, and changes which pairs connect them, not that they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil

import numpy as np
from numpy.typing import NDArray

from hilum.auditing.near_duplicates.codes import FEW, SMALLEST_SPREAD, Among, equalised
from hilum.auditing.near_duplicates.copy_pairs import Copies
from hilum.auditing.near_duplicates.described_images import Described, describe
from hilum.auditing.near_duplicates.looks import SPACES, Space
from hilum.auditing.near_duplicates.search import Search, searchers, use_index
from hilum.progress import Advance
from hilum.ray_engine import STORE, Cluster, failures, in_order

SMALLEST, LARGEST = 1000, 50_000  # images of a block: of fewer, their description costs most; of more, memory
STORED = 12_000  # bytes of shared memory an image: its thumbnail, and what is described of it
MOST_STORED = 2**30  # bytes
TASKS = 2  # pairs of blocks for each CPU, so that all end at nearly the same time
Moments = dict[Space, tuple[NDArray[np.float64], NDArray[np.float64]]]  # sums of components and of their squares


def store_for(images: int) -> int:
    """Bytes of shared memory for a local cluster that searches so many images.

    All blocks have room up to 90,000 images. Of more, Ray writes blocks to the folder of temporary files, 12 kB an
    image, and reads them again for each pair of blocks: a fraction of a second beside minutes of search. It fails where
    that disk is full.

    Args:
        images: Their number.
    """
    return min(max(STORE, STORED * images), MOST_STORED)


def find_copies_by_ray(
    cluster: Cluster,
    thumbnails: NDArray[np.uint8],
    advance: Advance = lambda done: None,
    *,
    hints: Sequence[tuple[int, int]] = (),
    block: int | None = None,
) -> Copies:
    """Find the copies among N images, as `hilum.auditing.near_duplicates.search.find_copies` does.

    Args:
        cluster: Does it.
        thumbnails: Bytes of shape (N, S, S), S at least 48.
        advance: Called with the number of images newly done.
        hints: Pairs that are compared in any case, at all orientations.
        block: Images of a block; by default so many that there are two pairs of blocks for each CPU, 1,000 to 50,000.

    Raises:
        EngineError: The processes of the cluster end without an answer.
    """
    import ray

    count = len(thumbnails)
    size = block or min(max(ceil(count / ceil((TASKS * max(cluster.cpus, 1)) ** 0.5)), SMALLEST), LARGEST)
    starts = range(0, count, size)
    merged = _Pictures(count)
    with failures():
        described = in_order(cluster, _describe, ((thumbnails[start : start + size],) for start in starts), results=2)
        blocks, moments = zip(*described, strict=True)
        among = _learn(ray.get(list(moments)), count)
        pairs = [(i, j) for i in range(len(blocks)) for j in range(len(blocks))]
        found = in_order(cluster, _search, ((blocks[i], blocks[j], i == j, among) for i, j in pairs))
        for (i, j), task in zip(pairs, found, strict=True):
            copies = ray.get(task)
            merged.add(replace(copies, first=copies.first + starts[i], second=copies.second + starts[j]))
            if j == len(blocks) - 1:
                advance(min(size, count - starts[i]))
    merged.add(_hinted(thumbnails, among, [pair for pair in hints if not merged.same(*pair)]))
    return merged.found()


def _describe(thumbnails: NDArray[np.uint8]) -> tuple[Described, Moments]:
    with searchers(1) as pool:
        found = describe(equalised(thumbnails), pool)
    sums = {space: part.astype(np.float64) for space, part in found.components.items()}
    return found, {space: (part.sum(axis=0), (part**2).sum(axis=0)) for space, part in sums.items()}


def _learn(moments: Sequence[Moments], count: int) -> dict[Space, Among]:
    """As `hilum.auditing.near_duplicates.codes.Among.learn`, of all blocks."""
    found = {}
    for space in SPACES:
        total, squares = (np.sum([part[space][k] for part in moments], axis=0) for k in (0, 1))
        mean = total / count
        spread = np.sqrt(np.maximum(squares / count - mean**2, 0))
        few = count < FEW
        found[space] = Among(
            (mean * (not few)).astype(np.float32),
            (np.ones_like(spread) if few else np.maximum(spread, SMALLEST_SPREAD)).astype(np.float32),
        )
    return found


def _search(asking: Described, answering: Described, same: bool, among: dict[Space, Among]) -> Copies:
    """The copies of one block among those of another, by their places in each."""
    beyond = 0 if same else len(answering.images)
    with searchers(1) as pool:
        search = Search(answering, among, pool, use_index(len(answering.images)))
        search.search_all(asking, lambda done: None, beyond)
    found = search.found()
    return replace(found, first=found.first - beyond)


def _hinted(thumbnails: NDArray[np.uint8], among: dict[Space, Among], hints: Sequence[tuple[int, int]]) -> Copies:
    """Pairs of which names say that they are copies; there are few, and this process compares them."""
    places = np.unique(np.array(hints, np.intp).reshape(-1, 2))
    if not len(places):
        return _Pictures(0).found()
    with searchers() as pool:
        search = Search(describe(equalised(thumbnails[places]), pool), among, pool, indexed=False)
        search.take_hints([tuple(pair) for pair in np.searchsorted(places, np.array(hints)).tolist()])
    found = search.found()
    return replace(found, first=places[found.first], second=places[found.second])


class _Pictures:
    """Which of N images are one picture so far, and the pairs that say so."""

    def __init__(self, count: int) -> None:
        self.parent = np.arange(count)
        self.parts: list[Copies] = []

    def _root(self, image: int) -> int:
        while (above := int(self.parent[image])) != image:
            self.parent[image] = self.parent[above]
            image = above
        return image

    def same(self, first: int, second: int) -> bool:
        """Whether two images are known to be one picture."""
        return self._root(first) == self._root(second)

    def add(self, copies: Copies) -> None:
        """Keep the pairs that connect what was not connected."""
        new = np.zeros(len(copies.first), bool)
        for k, (first, second) in enumerate(zip(copies.first.tolist(), copies.second.tolist(), strict=True)):
            a, b = sorted((self._root(first), self._root(second)))
            new[k] = a != b
            self.parent[b] = a
        self.parts.append(copies.take(new))

    def found(self) -> Copies:
        """All that were kept."""
        return Copies.joined(self.parts)
