"""Candidates among very many images: an inverted index over their codes (faiss) instead of all pairs.

The images are divided into cells around centres of their codes (k-means); each query is compared with those of the
nearest cells only (Jégou et al. 2011, *TPAMI*; Douze et al. 2024, arXiv:2401.08281). What comes back is compared
exactly, as without an index: only a candidate can be missed, none is added.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.audit.fingerprints.codes import Floats

MANY = 20_000  # images from which an index is quicker than all pairs
VISITED = 16  # cells that a query visits: copies lie in the first few
INSTALL = "pip install 'hilum[faiss]'"
Ints = NDArray[np.intp]


@cache
def has_faiss() -> bool:
    """Whether the extra is installed."""
    return find_spec("faiss") is not None


def remark(images: int) -> str:
    """What to say where so many images were compared pair by pair for want of faiss; empty where that is no trouble."""
    if images < MANY or has_faiss():
        return ""
    return (
        f"{images:,} images were compared pair by pair, for which the time grows with the square of their number; "
        f"with faiss it does not: {INSTALL}"
    )


class Index:
    """Codes in cells.

    Args:
        codes: Unit vectors of shape (N, L).
    """

    def __init__(self, codes: Floats) -> None:
        import faiss

        count, length = codes.shape
        cells = max(1, min(round(4 * count**0.5), count // 40))
        centres = faiss.IndexFlatIP(length)
        self._index: Any = faiss.IndexIVFFlat(centres, length, cells, faiss.METRIC_INNER_PRODUCT)
        self._index.cp.min_points_per_centroid = 1
        every = max(1, count // (64 * cells))  # to learn the cells, 64 codes of each will do
        self._index.train(np.ascontiguousarray(codes[::every]))
        self._index.add(np.ascontiguousarray(codes))
        self._index.nprobe = min(cells, VISITED)

    def above(self, asked: Floats, least: float) -> tuple[Ints, Ints, Floats]:
        """All codes that correlate with a query by more than `least`.

        Args:
            asked: Unit vectors of shape (Q, L).
            least: Of the inner product.

        Returns:
            The query, the position of the code, and their inner product, each of shape (P,).
        """
        limits, fits, found = self._index.range_search(np.ascontiguousarray(asked), least)
        query = np.repeat(np.arange(len(asked)), np.diff(limits.astype(np.intp)))
        return query.astype(np.intp), found.astype(np.intp), fits
