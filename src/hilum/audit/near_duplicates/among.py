"""How images differ among themselves, rather than among radiographs in general."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hilum.audit.fingerprints.views import Floats

FEW, SMALLEST_SPREAD = 64, 0.05  # images that are too few to learn that from; and standard deviations


@dataclass(frozen=True)
class Among:
    """How images differ among these ones, where they look more alike than radiographs in general.

    Of phantoms, or of one machine's series, a tenth of all pairs are candidates; measured against their own mean and
    spread, a thirtieth. No candidate that was a copy was lost (240 of each kind of `docs/study/audit_power.py`).

    Attributes:
        mean: Of the components, of shape (L,).
        spread: Their standard deviation, of shape (L,); one where there are too few images to learn from.
        codes: Unit vectors, of shape (N, L).
    """

    mean: Floats
    spread: Floats
    codes: Floats

    @classmethod
    def learn(cls, components: Floats) -> Among:
        """Learn from components of shape (N, L)."""
        mean, spread = components.mean(axis=0), np.maximum(components.std(axis=0), SMALLEST_SPREAD)
        if len(components) < FEW:
            mean, spread = np.zeros_like(mean), np.ones_like(spread)
        among = cls(mean, spread, np.empty((0, len(mean)), np.float32))
        return cls(mean, spread, among.measure(components))

    def measure(self, components: Floats) -> Floats:
        """Unit vectors of components, both of shape (..., L)."""
        vectors = (components - self.mean) / self.spread
        scaled: Floats = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
        return scaled
