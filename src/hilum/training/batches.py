"""Whole batches gathered from the array of bytes with one index; order without hidden state."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hilum.data.cache import Images


class Batches:
    """An iterable of (images (B, 1, H, W) uint8, targets (B,) int64).

    The order of epoch e under seed s is a function of both: a training that was killed and continued sees the
    very batches that an uninterrupted one sees.

    Args:
        images: What to iterate over.
        targets: Index of each image's label, shape (N,).
        batch_size: Images a batch; the last one may be smaller, but never a single image while training,
            which batch normalisation cannot use.
        shuffle: Seed and epoch, or None for the given order.
        start: Batches of this epoch that were seen already.
    """

    def __init__(
        self,
        images: Images,
        targets: NDArray[np.int64],
        batch_size: int,
        shuffle: tuple[int, int] | None = None,
        start: int = 0,
    ) -> None:
        self.pixels, self.positions, self.targets = images.pixels, images.positions, targets
        self.batch_size, self.shuffle, self.start = batch_size, shuffle, start

    def __len__(self) -> int:
        count = len(self.positions)
        full, rest = divmod(count, self.batch_size)
        return full + (rest > (1 if self.shuffle and full else 0)) - self.start

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = np.arange(len(self.positions))
        if self.shuffle:
            order = np.random.default_rng(self.shuffle).permutation(len(order))
        for number in range(self.start, self.start + len(self)):
            chosen = order[number * self.batch_size : (number + 1) * self.batch_size]
            # Sorted gathering reads the file in one direction; within a batch the order does not matter.
            chosen = np.sort(chosen)
            pixels = np.asarray(self.pixels[self.positions[chosen]])
            yield torch.from_numpy(pixels).unsqueeze(1), torch.from_numpy(self.targets[chosen])
