"""Letters and signs in the upper corners: small, bright, and sharper than anatomy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

Floats = NDArray[np.float64]
FAINT, CLEAR = 0.05, 0.10  # how much brighter than around it a pixel has to be to count


def marks(grey: Floats, side: int) -> Floats:
    """Describe what stands out in the upper corners, wherever it stands and whatever it says.

    A side marker is in the one corner or the other. So the stronger corner is described, and how much it differs
    from the weaker one: tubes, collars and edges of the film are often in both.

    Args:
        grey: Thumbnails between 0 and 1, of shape (N, S, S).
        side: Of a corner, in pixels.

    Returns:
        Of shape (N, F).
    """
    fine, coarse = (grey - uniform_filter(grey, (0, width, width)) for width in (5, 7))
    parts = [(slice(None), slice(side), columns) for columns in (slice(side), slice(-side, None))]
    left, right = (_describe(fine[part], coarse[part], grey[part]) for part in parts)
    strong, weak = np.maximum(left, right), np.minimum(left, right)
    return np.hstack([strong, strong - weak])


def _describe(fine: Floats, coarse: Floats, grey: Floats) -> Floats:
    """One corner of every image, by its brightest pixels after what is smooth was taken away: (N, F)."""
    sharp, wide, bright = (np.sort(part.reshape(len(part), -1), axis=1) for part in (fine, coarse, grey))

    def top(values: Floats, count: int) -> Floats:
        mean: Floats = values[:, -count:].mean(axis=1)
        return mean

    return np.stack(
        [
            *(top(sharp, count) for count in (1, 4, 12, 24)),
            sharp.std(axis=1),
            *(np.sqrt((sharp > least).sum(axis=1)) for least in (FAINT, CLEAR)),
            *(top(wide, count) for count in (8, 24)),
            top(bright, 1),
            top(bright, 8) - np.median(bright, axis=1),
        ],
        axis=1,
    )
