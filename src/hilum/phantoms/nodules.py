"""Nodules: round opacities of 5 to 30 mm, one to three of them.

Sizes follow Hansell et al., *Fleischner Society: glossary of terms for thoracic imaging*, Radiology 246 (2008) 697: a
nodule is a rounded opacity of at most 3 cm.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hilum.phantoms.anatomy import Anatomy, Pose, Profiles
from hilum.phantoms.image import Array, Ellipsoid, Grid
from hilum.phantoms.tubes import breathe, sample_inside

SMALLEST, LARGEST = 0.5, 3.0
"""Diameters in cm."""

_CALLED = 1.7
"""Diameter of the largest nodule of a patient at severity 0."""

_PARTS = (np.arange(3) - 1) / 3


def sample_nodules(
    rng: np.random.Generator, anatomy: Anatomy, profiles: Profiles, severity: float
) -> tuple[Ellipsoid, ...]:
    """Nodules at full inspiration, away from heart and diaphragm; severity is the size of the largest."""
    number = int(rng.choice([1, 2, 3], p=[0.25, 0.4, 0.35]))
    sides, smaller = rng.choice([-1, 1], 3), np.sort(rng.uniform(0.4, 0.95, 3))[::-1]
    smaller[0] = 1.0
    nodules = []
    for k in range(3):
        spread = sample_inside(rng, 40, anatomy, profiles, int(sides[k]), reach=0.8)
        share = (spread[:, 1] - anatomy.apex) / anatomy.height
        inner = np.where((sides[k] > 0) & (share > 0.5), 8.0, 5.5)
        free = (share > 0.12) & (share < 0.85) & (np.abs(spread[:, 0]) > inner)
        centre = spread[int(np.argmax(free))]
        diameter = max(SMALLEST, (_CALLED + (LARGEST - _CALLED) * severity) * smaller[k])
        (x, y, z), radii = centre.tolist(), (diameter / 2 * rng.uniform(0.85, 1.0, 3)).tolist()
        nodules.append(Ellipsoid((x, y, z), (radii[0], radii[1], radii[2]), rng.uniform(-0.8, 0.8)))
    return tuple(nodules[:number])


def nodule_path(grid: Grid, anatomy: Anatomy, pose: Pose, nodules: tuple[Ellipsoid, ...]) -> Array:
    """Path of each ray through the nodules in cm, averaged over the ray's width, (side, side)."""
    path = np.zeros((grid.side, grid.side), np.float32)
    turn = np.sin(pose.rotation)
    for nodule in nodules:
        x, y, z = breathe(np.array([nodule.centre]), anatomy, pose)[0]
        for across in _PARTS * grid.spacing:
            for along in _PARTS * grid.spacing:
                part = replace(nodule, centre=(float(x + turn * z + across), float(y + along), float(z)))
                window = grid.window(part.centre[0], part.centre[1], max(part.radii[:2]) + grid.spacing)
                path[window] += part.half_chord(grid, window) * np.float32(2 / _PARTS.size**2)
    return path
