"""From a greyscale image of any size to the bytes that a network gets; light, as serving starts with it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

SCHEME = 1  # raise it when the same arguments would give other bytes


def reduce(pixels: NDArray[np.float32], size: int, fit: str = "stretch", equalise: bool = False) -> NDArray[np.uint8]:
    """Reduce (antialiased, bilinear) or enlarge, then quantise, then equalise.

    Args:
        pixels: Of shape (H, W), between 0 and 1.
        size: Side of the result.
        fit: What happens to images that are not square: ``stretch`` them, ``pad`` them with black, or ``crop`` them
            to their central square.
        equalise: Spread the grey values evenly over 0 to 255 (histogram equalisation).

    Returns:
        Bytes of shape (size, size). The network sees them as ``byte / 127.5 - 1``, in [-1, 1].
    """
    height, width = pixels.shape
    side = min(height, width)
    box: tuple[float, float, float, float] = (0, 0, width, height)
    target = (size, size)
    if fit == "crop":
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
    elif fit == "pad":
        longest = max(height, width)
        target = (max(1, round(size * width / longest)), max(1, round(size * height / longest)))
    # Mode F keeps all 16 bits until the last step, so that 8-bit and 16-bit copies give the same bytes.
    small = np.asarray(Image.fromarray(pixels).resize(target, Image.Resampling.BILINEAR, box=box))
    quantised: NDArray[np.uint8] = np.clip(np.rint(small * 255), 0, 255).astype(np.uint8)
    if equalise:
        quantised = np.asarray(ImageOps.equalize(Image.fromarray(quantised)))
    if fit != "pad":
        return quantised
    square = np.zeros((size, size), np.uint8)
    top, left = (size - quantised.shape[0]) // 2, (size - quantised.shape[1]) // 2
    square[top : top + quantised.shape[0], left : left + quantised.shape[1]] = quantised
    return square
