"""Whole batches gathered from the array of bytes with one index; order without hidden state.

The bytes lie in the mapped file, or whole on a GPU whose memory holds them.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hilum.data.cache import Images, release
from hilum.training.devices import Place

SHARE = 0.25  # of the GPU's free memory that images may take for the length of a training
BLOCK = 2**26  # bytes copied to the GPU at a time
_resident: dict[tuple[int, str], Tensor] = {}


class Batches:
    """An iterable of (images (B, 1, H, W) uint8, targets (B,) int64, or (B, F) float32 of findings).

    The order of epoch e under seed s is a function of both: a training that was killed and continued sees the
    very batches that an uninterrupted one sees. While one batch is used, the next is gathered by a thread.

    Attributes:
        waited: Seconds for which whoever iterates had to wait for batches, so far.

    Args:
        images: What to iterate over.
        targets: Index of each image's label, shape (N,), or the targets of its findings, shape (N, F).
        batch_size: Images a batch; the last one may be smaller, but never a single image while training,
            which batch normalisation cannot use.
        shuffle: Seed and epoch, or None for the given order.
        start: Batches of this epoch that were seen already.
        device: Where the images are wanted (see `gather`); by default where hilum computes.
        place: The process for which this is: it gets its part of each batch, which may be empty, and with the other
            parts makes the batch of a single process. Targets and sizes are otherwise those of the whole batch.
    """

    def __init__(
        self,
        images: Images,
        targets: NDArray[np.int64] | NDArray[np.float32],
        batch_size: int,
        shuffle: tuple[int, int] | None = None,
        start: int = 0,
        device: torch.device | None = None,
        place: Place | None = None,
    ) -> None:
        self.pixels, self.positions, self.targets = images.pixels, images.positions, targets
        self.batch_size, self.shuffle, self.start = batch_size, shuffle, start
        self.device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.waited = 0.0
        self.place = place or Place()

    def __len__(self) -> int:
        count = len(self.positions)
        full, rest = divmod(count, self.batch_size)
        return full + (rest > (1 if self.shuffle and full else 0)) - self.start

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = np.arange(len(self.positions))
        if self.shuffle:
            order = np.random.default_rng(self.shuffle).permutation(len(order))
        end = self.start + len(self)
        with ThreadPoolExecutor(1) as pool:
            following = pool.submit(self._batch, order, self.start)
            for number in range(self.start + 1, end):
                batch = self._wait_for(following)
                following = pool.submit(self._batch, order, number)
                yield batch
            last = self._wait_for(following)
        # Outside, so that nothing is left to do where an epoch's end throws this generator away: a Ctrl-C that fell
        # into its closing would be lost.
        if end > self.start:
            yield last

    def _wait_for(self, batch: Future[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        begin = time.perf_counter()
        found = batch.result()
        self.waited += time.perf_counter() - begin
        return found

    def _batch(self, order: NDArray[np.int64], number: int) -> tuple[Tensor, Tensor]:
        # Sorted gathering reads the file in one direction; within a batch the order does not matter.
        chosen = np.sort(order[number * self.batch_size : (number + 1) * self.batch_size])
        chosen = chosen[self.place.share(len(chosen))]
        targets = torch.from_numpy(self.targets[chosen])
        if self.device.type == "cuda":
            targets = targets.pin_memory()
        return gather(self.pixels, self.positions[chosen], self.device), targets


def gather(pixels: NDArray[np.uint8], positions: NDArray[np.int64], device: torch.device) -> Tensor:
    """The images at some positions.

    Args:
        pixels: All bytes, of shape (M, H, W), usually a memory map.
        positions: Which, shape (B,); ascending, so that the file is read in one direction.
        device: Where they are wanted. On a GPU whose memory holds them all they are copied there once, and gathered
            there; where they do not fit, each batch goes into pinned memory, from which the trainer copies it while
            the GPU computes.

    Returns:
        Bytes of shape (B, 1, H, W).
    """
    if device.type == "cuda":
        kept = resident(pixels, device)
        if kept is not None:
            return gather_resident(kept, positions)
    found = with_channel(torch.from_numpy(np.asarray(pixels[positions])))
    release(pixels)
    return found.pin_memory() if device.type == "cuda" else found


def with_channel(images: Tensor) -> Tensor:
    """Images (B, H, W) as (B, 1, H, W); those of several preprocessings (B, V, H, W) as they are."""
    return images.unsqueeze(1) if images.dim() == 3 else images


def gather_resident(kept: Tensor, positions: NDArray[np.int64]) -> Tensor:
    """The images at some positions of an array (M, H, W) that lies on a device, as (B, 1, H, W) there."""
    index = torch.from_numpy(positions)
    if kept.device.type == "cuda":
        index = index.pin_memory().to(kept.device, non_blocking=True)
    return with_channel(kept.index_select(0, index))


def resident(pixels: NDArray[np.uint8], device: torch.device) -> Tensor | None:
    """All bytes on the device, copied at the first call; None where they take too much of its free memory."""
    key = (id(pixels), str(device))
    if key not in _resident:
        if pixels.nbytes > torch.cuda.mem_get_info(device)[0] * SHARE:
            return None
        _resident[key] = copy_to(pixels, device)
        weakref.finalize(pixels, _resident.pop, key, None)
    return _resident[key]


def copy_to(pixels: NDArray[np.uint8], device: torch.device) -> Tensor:
    """A copy of an array (M, H, W) on a device, made in blocks, so that it is never twice in memory."""
    kept = torch.empty(pixels.shape, dtype=torch.uint8, device=device)
    step = max(1, BLOCK // max(1, pixels[0].nbytes))
    for first in range(0, len(pixels), step):
        kept[first : first + step] = torch.from_numpy(np.array(pixels[first : first + step]))
        release(pixels)
    return kept
