"""Sixty numbers a radiograph, in which two radiographs are more different than their pixels are.

All chest radiographs look alike: the correlation of two patients' downscaled images often is above 0.9. What they
share is taken out (the mean radiograph) and the directions in which they vary are weighted down by how much they
vary (whitened principal components: Jégou and Chum 2012, *ECCV*), learnt once from the images of `make`. A code
serves to find candidates among millions of pairs; it does not decide.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from itertools import product

import numpy as np
from numpy.typing import NDArray

from hilum.extras import install

Floats = NDArray[np.float32]

LEVELS, EQUALISED_AT_ONCE = 256, 256  # grey values; images
UNITS = 160  # crops are counted in 160ths of the side, so that all matrices can be kept
DEEPEST = 20  # the deepest cut that is known, on each side
# What is cut off the left, right, top and bottom. With cuts of 2.5 and 7.5 % each way, every crop of up to 10 % a
# side, centred or not, is within 2.5 % of one of these.
_CUTS = (4, 12)
NO_CROP = np.zeros((1, 4), np.intp)
CROPS = np.array([(0, 0, 0, 0), *product(_CUTS, repeat=4)], np.intp)


def equalised(thumbnails: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Spread each image's grey values evenly, so that exposure, windowing and gamma matter less.

    The bytes are those of Pillow's ``ImageOps.equalize``, for many images at once.

    Args:
        thumbnails: Bytes of shape (N, H, W).

    Returns:
        Bytes of the same shape.
    """
    done = np.empty_like(thumbnails)
    for start in range(0, len(thumbnails), EQUALISED_AT_ONCE):
        part = thumbnails[start : start + EQUALISED_AT_ONCE]
        flat = part.reshape(len(part), -1)
        which = np.arange(len(part))[:, None]
        counts = np.bincount((flat + which * LEVELS).ravel(), minlength=len(part) * LEVELS).reshape(-1, LEVELS)
        brightest = counts[which[:, 0], flat.max(axis=1)] if flat.size else np.zeros(len(part), np.intp)
        step = ((flat.shape[1] - brightest) // (LEVELS - 1))[:, None]
        below = counts.cumsum(axis=1) - counts
        levels = np.where(step > 0, (step // 2 + below) // np.maximum(step, 1), np.arange(LEVELS))
        levels = np.minimum(levels, LEVELS - 1).astype(np.uint8)
        done[start : start + len(part)] = levels[which, flat].reshape(part.shape)
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


SIDE = 24
LENGTH = 60
BASIS_FILE = "basis.npz"
_LEVELS = 127
_RANGE = 4.0  # standard deviations that a stored byte spans, to either side


@dataclass(frozen=True)
class Basis:
    """The directions in which radiographs vary.

    Attributes:
        mean: The mean view, of shape (SIDE * SIDE,).
        axes: Principal axes, of shape (SIDE * SIDE, LENGTH), nearly orthonormal (they are stored as bytes).
        spread: Standard deviation along each axis, of shape (LENGTH,).
    """

    mean: Floats
    axes: Floats
    spread: Floats

    def project(self, images: NDArray[np.uint8] | Floats, crop: NDArray[np.intp]) -> Floats:
        """Components of views, cropped by (1, 4), of equalised images (N, S, S).

        Returns:
            In standard deviations, of shape (N, LENGTH).
        """
        return self.describe(unit(view(images, crop, SIDE)))

    def describe(self, views: Floats) -> Floats:
        """Components (..., LENGTH) of views that `unit` has scaled, of shape (..., SIDE * SIDE)."""
        return np.asarray((views @ self.axes - self.mean @ self.axes) / self.spread, np.float32)

    def rebuild(self, components: Floats) -> Floats:
        """The blurred views, of shape (N, SIDE, SIDE), that these components describe."""
        views = np.asarray((components * self.spread) @ self.axes.T + self.mean, np.float32)
        return views.reshape(-1, SIDE, SIDE)

    def codes(self, components: Floats, whiten: float = 1.0) -> Floats:
        """Vectors of length one, of shape (..., LENGTH), whose products tell how alike two radiographs are.

        Args:
            components: As from `project`, of shape (..., LENGTH).
            whiten: 1 makes all axes count alike: different radiographs differ most. 0.5 leaves coarse ones
                heavier: bad copies suffer least.
        """
        weighted = components * self.spread ** (1 - whiten)
        scaled: Floats = weighted / np.maximum(np.linalg.norm(weighted, axis=-1, keepdims=True), 1e-9)
        return scaled


def pack(components: Floats) -> NDArray[np.int8]:
    """Components as one byte each."""
    levels = np.rint(components * (_LEVELS / _RANGE))
    packed: NDArray[np.int8] = np.clip(levels, -_LEVELS, _LEVELS).astype(np.int8)
    return packed


def unpack(packed: NDArray[np.int8]) -> Floats:
    """Undo `pack`, but for the rounding."""
    components: Floats = packed.astype(np.float32) * np.float32(_RANGE / _LEVELS)
    return components


@cache
def basis() -> Basis:
    """The basis that comes with hilum."""
    with (files("hilum.auditing.fingerprints") / BASIS_FILE).open("rb") as file, np.load(file) as stored:
        return Basis(
            mean=stored["mean"].astype(np.float32),
            axes=stored["axes"].astype(np.float32) / np.linalg.norm(stored["axes"].astype(np.float32), axis=0),
            spread=stored["spread"].astype(np.float32),
        )


FEW, SMALLEST_SPREAD = 64, 0.05  # images that are too few to learn that from; and standard deviations


@dataclass(frozen=True)
class Among:
    """How images differ among these ones, where they look more alike than radiographs in general.

    Of phantoms, or of one machine's series, a tenth of all pairs are candidates; measured against their own mean and
    spread, a thirtieth. No candidate that was a copy was lost (240 of each kind of `studies/audit_power.py`).

    Attributes:
        mean: Of the components, of shape (L,).
        spread: Their standard deviation, of shape (L,); one where there are too few images to learn from.
    """

    mean: Floats
    spread: Floats

    @classmethod
    def learn(cls, components: Floats) -> Among:
        """Learn from components of shape (N, L)."""
        mean, spread = components.mean(axis=0), np.maximum(components.std(axis=0), SMALLEST_SPREAD)
        if len(components) < FEW:
            mean, spread = np.zeros_like(mean), np.ones_like(spread)
        return cls(mean, spread)

    def measure(self, components: Floats) -> Floats:
        """Unit vectors of components, both of shape (..., L)."""
        vectors = (components - self.mean) / self.spread
        scaled: Floats = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
        return scaled


MANY = 20_000  # images from which an index is quicker than all pairs
Ints = NDArray[np.intp]


@cache
def has_faiss() -> bool:
    """Whether the extra is installed."""
    return find_spec("faiss") is not None


def remark(images: int) -> str:
    """What to say where so many images were compared pair by pair for want of faiss; empty where that is no trouble."""
    if images < MANY or has_faiss():
        return ""
    return f"{images:,} images were compared pair by pair, in quadratic time; faiss is faster: {install('faiss')}"
