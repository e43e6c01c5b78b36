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

import numpy as np
from numpy.typing import NDArray

from hilum.audit.fingerprints.views import Floats, unit, view

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
    """The basis that is shipped with hilum."""
    with (files("hilum.audit.fingerprints") / BASIS_FILE).open("rb") as file, np.load(file) as stored:
        return Basis(
            mean=stored["mean"].astype(np.float32),
            axes=stored["axes"].astype(np.float32) / np.linalg.norm(stored["axes"].astype(np.float32), axis=0),
            spread=stored["spread"].astype(np.float32),
        )
