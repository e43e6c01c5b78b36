"""Some of very many images, by lot: the same ones every time, and whole patients."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

ALL = 2**64
SURE = 25  # patients of each label that are drawn in any case


@dataclass(frozen=True)
class Lot:
    """Whose images are drawn.

    Attributes:
        limits: By label, the number below which a patient's own one has to lie.
    """

    limits: Mapping[str, int]

    @classmethod
    def of(cls, images: Iterable[tuple[str, str]], most: int) -> Lot:
        """Draw about `most` images, or all where there are no more.

        Labels keep their shares, but a rare one gets half of what it would get if all were equally frequent, as far as
        it has that many, and at least the images of 25 patients.

        Args:
            images: Label and patient of each; gone through once, and not held.
            most: How many images, about.
        """
        counts: Counter[str] = Counter()
        lowest: dict[str, list[int]] = {}
        for label, patient in images:
            counts[label] += 1
            numbers = lowest.setdefault(label, [])
            numbers.append(_number(patient))
            if len(numbers) > 40 * SURE:
                numbers[:] = sorted(set(numbers))[:SURE]
        if counts.total() <= most:
            return cls(dict.fromkeys(counts, ALL))
        limits = {}
        for label, count in counts.items():
            wanted = max(most * count // counts.total(), most // (2 * len(counts)))
            surely = sorted(set(lowest[label]))[:SURE][-1] + 1
            limits[label] = max(min(ALL, ALL * wanted // count), surely)
        return cls(limits)

    def holds(self, label: str, patient: str) -> bool:
        """Whether a patient's images of a label are drawn."""
        return _number(patient) < self.limits[label]


def _number(patient: str) -> int:
    return int.from_bytes(hashlib.sha256(patient.encode(errors="surrogateescape")).digest()[:8], "big")
