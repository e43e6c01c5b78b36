"""Codes of very many images in cells, of which a query visits the nearest few (an inverted file: Jégou et al. 2011).

faiss learns the cells and finds the nearest ones. The codes of a cell are then compared with all queries that visit it
in one product of matrices: that is several times faster than query by query.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.auditing.near_duplicates.codes import Floats

HITS = 2**20  # codes that are held at once, 20 bytes each, and products: 4 MiB
VISITED = 16  # cells that a query visits: copies lie in the first few
Ints = NDArray[np.intp]


class Cells:
    """Codes, sorted by the cell in which they lie.

    Args:
        codes: Unit vectors of shape (N, L).
    """

    def __init__(self, codes: Floats) -> None:
        import faiss

        count, length = codes.shape
        number = max(1, min(round(4 * count**0.5), count // 40))
        self._centres: Any = faiss.IndexFlatIP(length)
        learning = faiss.IndexIVFFlat(self._centres, length, number, faiss.METRIC_INNER_PRODUCT)
        learning.cp.min_points_per_centroid = 1
        every = max(1, count // (64 * number))  # to learn the cells, 64 codes of each will do
        learning.train(np.ascontiguousarray(codes[::every]))
        cell = self._nearest(codes, 1)[:, 0]
        self._position = np.argsort(cell, kind="stable")
        self._codes = codes[self._position]
        self._limits = np.searchsorted(cell[self._position], np.arange(number + 1))
        self._visited = min(number, VISITED)

    def _nearest(self, asked: Floats, number: int) -> Ints:
        """The nearest cells of queries (Q, L), of shape (Q, number)."""
        found: Ints = self._centres.search(np.ascontiguousarray(asked), number)[1].astype(np.intp)
        return found

    def above(self, asked: Floats, least: float) -> Iterator[tuple[Ints, Ints, Floats]]:
        """All codes in the nearest cells that correlate with a query by more than `least`.

        Args:
            asked: Unit vectors of shape (Q, L).
            least: Of the inner product.

        Yields:
            The query, the position of the code, and their inner product, each of shape (P,), P at most `HITS` (of a
            cell with more codes, their number); no pair twice. Where many images are one picture there may be very
            many.
        """
        visits = self._nearest(asked, self._visited).ravel()
        order = np.argsort(visits.astype(np.int32), kind="stable")
        visitors = np.searchsorted(visits[order], np.arange(len(self._limits)))
        query = order // self._visited
        found: list[tuple[Ints, Ints, Floats]] = []
        held = 0
        for cell in np.flatnonzero(np.diff(visitors) * np.diff(self._limits)).tolist():
            first = self._limits[cell]
            codes = self._codes[first : self._limits[cell + 1]]
            step = max(1, HITS // len(codes))
            for start in range(visitors[cell], visitors[cell + 1], step):
                who = query[start : min(start + step, visitors[cell + 1])]
                fits = (asked[who] @ codes.T).ravel()
                above = np.flatnonzero(fits > least)
                if found and held + len(above) > HITS:
                    yield joined(found)
                    found, held = [], 0
                i, j = np.divmod(above, len(codes))
                found.append((who[i], self._position[first + j], fits[above]))
                held += len(above)
        yield joined(found)


def joined(parts: Sequence[tuple[Ints, Ints, Floats]]) -> tuple[Ints, Ints, Floats]:
    """Hits that were found one after the other."""
    none = (np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros(0, np.float32))
    i, j, fits = (np.concatenate(part) for part in zip(none, *parts, strict=True))
    return i, j, fits
