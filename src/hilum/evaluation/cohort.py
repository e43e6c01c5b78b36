"""Patients, each counted once: who of them has a disease, and one value of each from those of the images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.intervals.shares import Estimate, Patients, proportion

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Rates = tuple[Estimate, Estimate]


class Cohort:
    """Who of some patients has the disease, and one value a patient from those of the images.

    Attributes:
        ill: Whether each of the P patients has an image that shows the disease.
        persons: The P patients, each counted once.
    """

    def __init__(self, clusters: Sequence[str], inside: Bools) -> None:
        """Sort the patients.

        Args:
            clusters: The patient of each image, N names.
            inside: Whether each image shows the disease, of shape (N,).
        """
        self.images = Patients(clusters)
        self.ill = self.images.sums(inside) > 0
        self.persons = Patients(np.arange(self.images.number))
        self._counted = inside | ~self.ill[self.images.member]

    def highest(self, values: NDArray[Any]) -> Floats:
        """Largest value of each patient's images, of shape (P,); of the ill, of those that show the disease."""
        found = np.full(self.images.number, -np.inf)
        np.maximum.at(found, self.images.member[self._counted], values[self._counted].astype(np.float64))
        return found

    def rates(self, flagged: Bools) -> Rates:
        """Sensitivity and false-positive rate of patients of whom some are `flagged`, of shape (P,)."""
        return proportion(flagged, self.ill, self.persons), proportion(flagged, ~self.ill, self.persons)
