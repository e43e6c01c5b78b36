"""The pairs that a search for copies finds, and what was changed between the two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from hilum.auditing.near_duplicates.codes import Floats
from hilum.progress import Advance

Ints = NDArray[np.intp]
Change = Literal["near", "mirrored", "inverted", "turned_90", "turned_180", "upside_down", "transposed", "rotated"]
CHANGES: tuple[Change, ...] = (
    "near",
    "mirrored",
    "inverted",
    "turned_90",
    "turned_180",
    "upside_down",
    "transposed",
    "rotated",
)
# By quarter turns, counterclockwise; then of what is mirrored left to right before.
ORIENTATIONS: tuple[Change, ...] = (
    *("near", "turned_90", "turned_180", "turned_90"),
    *("mirrored", "transposed", "upside_down", "transposed"),
)


@dataclass(frozen=True)
class Copies:
    """Pairs of one picture, P of them: enough to connect all of one picture, not every two of them.

    Attributes:
        first: Positions, of shape (P,).
        second: Positions, of shape (P,).
        change: Index into `CHANGES`, of shape (P,).
        correlation: Normalised cross-correlation of both at 32x32, equalised and aligned, of shape (P,).
        detail: Correlation of the fine detail at 64x64, of the whole or within a margin, whichever is less, of
            shape (P,).
        orientation: What makes `second` of `first`, of shape (P,): quarter turns, counterclockwise, and 4 if it is
            mirrored left to right before.
    """

    first: Ints
    second: Ints
    change: Ints
    correlation: Floats
    detail: Floats
    orientation: Ints

    @classmethod
    def joined(cls, parts: Sequence[Copies]) -> Copies:
        """All pairs of all parts."""
        none = cls(*(np.zeros(0, np.intp),) * 3, *(np.zeros(0, np.float32),) * 2, np.zeros(0, np.intp))
        return cls(*(np.concatenate([getattr(part, each.name) for part in (none, *parts)]) for each in fields(cls)))

    def take(self, chosen: NDArray[np.bool_]) -> Copies:
        """Only some pairs, by a mask of shape (P,)."""
        return Copies(*(getattr(self, each.name)[chosen] for each in fields(self)))


class FindCopies(Protocol):
    """Finds the copies among N images, as `hilum.auditing.near_duplicates.search.find_copies` does."""

    def __call__(
        self, thumbnails: NDArray[np.uint8], advance: Advance = ..., *, hints: Sequence[tuple[int, int]] = ...
    ) -> Copies:
        """The pairs, none twice.

        Args:
            thumbnails: Bytes of shape (N, S, S), S at least 48.
            advance: Called with the number of images newly done.
            hints: Pairs that are compared in any case, at all orientations.
        """
        ...
