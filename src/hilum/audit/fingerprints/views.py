"""An image as it would look cropped and resized, as a product of two small matrices."""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

Floats = NDArray[np.float32]

UNITS = 160  # crops are counted in 160ths of the side, so that all matrices can be kept
DEEPEST = 20  # the deepest cut that is known, on each side
# What is cut off the left, right, top and bottom. With cuts of 2.5 and 7.5 % each way, every crop of up to 10 % a
# side, centred or not, is within 2.5 % of one of these.
_CUTS = (4, 12)
NO_CROP = np.zeros((1, 4), np.intp)
CROPS = np.array([(0, 0, 0, 0), *product(_CUTS, repeat=4)], np.intp)


def equalised(thumbnails: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Spread each image's grey values evenly, so that exposure, windowing and gamma matter less.

    Args:
        thumbnails: Bytes of shape (N, H, W).

    Returns:
        Bytes of the same shape.
    """
    done = np.empty_like(thumbnails)
    for i, image in enumerate(thumbnails):
        done[i] = np.asarray(ImageOps.equalize(Image.fromarray(image)))
    return done


@cache
def resampling(side: int, given: int) -> Floats:
    """Matrices that resize a part of a line of pixels, with a triangular filter (antialiased bilinear).

    Returns:
        Of shape (C, C, side, given), by what is cut off in front and behind, C = DEEPEST + 1; rows sum to one.
    """
    front, behind = np.meshgrid(*(np.arange(DEEPEST + 1) / UNITS,) * 2, indexing="ij")
    step = ((1 - front - behind) * given / side)[..., None, None]
    centres = (front * given)[..., None, None] + (np.arange(side) + 0.5)[:, None] * step
    weights = np.maximum(0, 1 - np.abs(np.arange(given) + 0.5 - centres) / np.maximum(step, 1))
    matrices: Floats = (weights / weights.sum(axis=-1, keepdims=True)).astype(np.float32)
    return matrices


def view(images: NDArray[np.uint8] | Floats, crops: NDArray[np.intp], side: int) -> Floats:
    """Crop and resize.

    Args:
        images: Of shape (N, S, S).
        crops: Left, right, top, bottom, in 160ths of the side, 0 to 20, of shape (N, 4), or (1, 4) for all alike.
        side: Of the result, in pixels.

    Returns:
        Of shape (N, side, side).
    """
    matrices = resampling(side, images.shape[-1])
    across, down = matrices[crops[:, 0], crops[:, 1]], matrices[crops[:, 2], crops[:, 3]]
    seen: Floats = down @ images.astype(np.float32) @ across.transpose(0, 2, 1)
    return seen


def unit(vectors: Floats) -> Floats:
    """Flatten to (N, D), subtract each one's mean, and scale to length one, so that a product is a correlation.

    What is constant becomes zero, and correlates with nothing.
    """
    flat = vectors.reshape(len(vectors), int(np.prod(vectors.shape[1:])))
    flat = flat - flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    scaled: Floats = np.where(length > 1e-3, flat / np.maximum(length, 1e-3), 0).astype(np.float32)
    return scaled
