"""How well heatmaps find what is known to be there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TOLERANCE = 0.06  # of the longer side: the 15 pixels of 224 that the pointing game's authors allow


def points_into(values: NDArray[np.float32], mask: NDArray[np.bool_], tolerance: float = TOLERANCE) -> bool:
    """The pointing game: whether the strongest place lies in the lesion, or nearly (Zhang et al. 2018, *IJCV*).

    Args:
        values: Of shape (H, W).
        mask: Of the same shape, True where the lesion is; not empty.
        tolerance: How far from it is near enough, as a share of the longer side; 0 for none.
    """
    y, x = np.unravel_index(int(values.argmax()), values.shape)
    rows, columns = np.nonzero(mask)
    return bool(np.hypot(rows - y, columns - x).min() <= tolerance * max(values.shape))


def energy_inside(values: NDArray[np.float32], mask: NDArray[np.bool_]) -> float:
    """Which share of all that speaks for the answer lies in the lesion (Wang et al. 2020, *CVPR Workshops*).

    Returns:
        0 to 1; the mask's share of the image is what a map that knows nothing has.
    """
    positive = np.maximum(values.astype(np.float64), 0)
    total = positive.sum()
    return float((positive * mask).sum() / total) if total > 0 else 0.0
