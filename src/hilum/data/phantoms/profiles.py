"""How the thorax's cross-section changes from top to bottom: one table of measures by height."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hilum.data.phantoms.anatomy import Anatomy
from hilum.data.phantoms.projection import Array

_TOP, _BOTTOM, _ROWS = -26.0, 26.0, 1040
LUNG_AXIS = 4.3
"""Distance of a lung's apex from the midline in cm; cross-sections are measured from this line."""

NAMES = ("body_width", "body_depth", "lateral", "medial", "depth", "centre", "right", "left", "spine")
"""Rows of the table: half-width and half-depth of the body; the lungs' extent from their axis to the side and
to the middle, half-depth and ``z`` of their middle; right and left edge of the mediastinum; ``x`` of spine.
"""


@dataclass(frozen=True)
class Profiles:
    """Cross-section measures in cm by ``y``; ``table`` is (len(NAMES), rows)."""

    table: Array

    def __call__(self, name: str, y: NDArray[np.floating] | float) -> Array:
        """The measure ``name`` at heights ``y``."""
        index = ((np.asarray(y, np.float32) - np.float32(_TOP)) * np.float32((_ROWS - 1) / (_BOTTOM - _TOP))).astype(
            np.int32
        )
        taken: Array = np.take(self.table[NAMES.index(name)], index, mode="clip")
        return taken

    def rows(self, y: Array) -> dict[str, Array]:
        """All measures at the heights ``y`` of a whole grid."""
        scale = np.float32((_ROWS - 1) / (_BOTTOM - _TOP))
        index = ((y - np.float32(_TOP)) * scale).astype(np.int32)
        return {name: np.take(row, index, mode="clip") for name, row in zip(NAMES, self.table, strict=True)}


def _rise(t: NDArray[np.float64], power: float) -> NDArray[np.float64]:
    """A quarter of a superellipse: 0 at t = 0, 1 with a level tangent from t = 1."""
    rest = 1 - np.clip(t, 0, 1)
    risen: NDArray[np.float64] = (1 - rest**power) ** (1 / power)
    return risen


def _step(y: NDArray[np.float64], middle: float, width: float) -> NDArray[np.float64]:
    stepped: NDArray[np.float64] = 1 / (1 + np.exp(-(y - middle) / width))
    return stepped


def profiles_of(anatomy: Anatomy) -> Profiles:
    """Tabulate the thorax of ``anatomy``."""
    a = anatomy
    y = np.linspace(_TOP, _BOTTOM, _ROWS)
    down = y - a.apex
    outline = _rise(down / (0.80 * a.height), a.roundness)
    outline = outline * (1 - 0.05 * np.clip(down / a.height - 0.85, 0, 1) ** 2)
    share = np.clip(down / a.height, 0, 1)
    outline = outline * (1 + sum(wave * np.sin(np.pi * (k + 1) * share) for k, wave in enumerate(a.outline)))
    lateral = (a.half_width - LUNG_AXIS) * outline
    lateral = np.where(down > 0, np.maximum(lateral, 1e-3), 1e-3)
    medial = np.where(down > 0, LUNG_AXIS * _rise(down / 3.5, 2.2), 1e-3)
    depth = np.where(down > 0, a.half_depth * _rise(down / (0.75 * a.height), 1.8), 1e-3)
    centre = -2.2 + 1.6 * np.clip(down / a.height, 0, 1)

    shoulder = _step(y, a.apex - 1.0, 0.9)
    chest = a.half_width + a.wall
    armpit = _step(y, a.apex + 8.5, 1.3)
    body_width = a.neck * (1 + 0.05 * np.maximum(-down - 4, 0)) * (1 - shoulder) + shoulder * (
        (1 - armpit) * (chest + 4.0) + armpit * chest
    )
    body_depth = 7.4 + (a.half_depth + 0.8 * a.wall - 6.4) * _step(y, a.apex + 3.0, 2.0)

    spread = 1 + 0.25 * np.exp(-(((down - 0.5) / 2.5) ** 2))
    edge = a.mediastinum * spread
    lower = _step(down, 0.5 * a.height, 1.2)
    right = edge + 0.3 - 0.7 * lower
    left = edge - 0.6 * lower
    spine = a.scoliosis * np.sin(0.16 * y + 0.4)
    table = np.stack([body_width, body_depth, lateral, medial, depth, centre, right, left, spine])
    return Profiles(table.astype(np.float32))
