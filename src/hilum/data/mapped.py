"""Memory maps that do not count as memory of this process for longer than they are looked at."""

from __future__ import annotations

import mmap

import numpy as np
from numpy.typing import NDArray


def release(pixels: NDArray[np.uint8]) -> None:
    """Take a map's pages out of this process; the system keeps them in its cache, and memory does not grow.

    Args:
        pixels: A memory map or a view of one; of any other array nothing happens.
    """
    mapped = pixels
    while isinstance(mapped.base, np.ndarray):
        mapped = mapped.base
    if isinstance(mapped.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        mapped.base.madvise(mmap.MADV_DONTNEED)
