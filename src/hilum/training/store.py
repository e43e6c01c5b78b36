"""Where the bytes of the images lie while batches are gathered: in the mapped file, or whole on the GPU."""

from __future__ import annotations

import weakref

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hilum.data.cache import release

SHARE = 0.25  # of the GPU's free memory that images may take for the length of a training
BLOCK = 2**26  # bytes copied to the GPU at a time
_resident: dict[tuple[int, str], Tensor] = {}


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
    found = torch.from_numpy(np.asarray(pixels[positions])).unsqueeze(1)
    release(pixels)
    return found.pin_memory() if device.type == "cuda" else found


def gather_resident(kept: Tensor, positions: NDArray[np.int64]) -> Tensor:
    """The images at some positions of an array (M, H, W) that lies on a device, as (B, 1, H, W) there."""
    index = torch.from_numpy(positions)
    if kept.device.type == "cuda":
        index = index.pin_memory().to(kept.device, non_blocking=True)
    return kept.index_select(0, index).unsqueeze(1)


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
