"""What fills the space between lung and chest wall: fluid with a meniscus, or air behind a visible pleural line.

Patterns follow Light, *Pleural effusion*, N Engl J Med 346 (2002) 1971 (blunted costophrenic angle, then a meniscus
that rises towards the chest wall), and O'Connor & Morgan, *Radiological review of pneumothorax*, BMJ 330 (2005) 1493
(a line parallel to the chest wall, no vessels beyond it, wider at the apex in the upright patient).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hilum.phantoms.anatomy import LUNG_AXIS, Anatomy, Pose, Profiles
from hilum.phantoms.image import SOFT_TISSUE, Array, Grid
from hilum.phantoms.thorax import right_dome

LARGE = 0.6
"""Severity of a pneumothorax from which it pushes the mediastinum to the other side."""

_PUSHED = 2.6
_LINE = 0.09


@dataclass(frozen=True)
class Pleura:
    """One pleural space.

    Attributes:
        side: -1 for the patient's right (the image's left), 1 for the left.
        severity: 0 for the smallest that is called, 1 for the largest.
    """

    side: int
    severity: float


def sample_effusion(rng: np.random.Generator, severity: float) -> tuple[Pleura, ...]:
    """Fluid on one side or, in two of five, on both."""
    first = int(rng.choice([-1, 1], p=[0.55, 0.45]))
    other, both = rng.uniform(0.3, 1.0), rng.uniform() < 0.4
    return (Pleura(first, severity), Pleura(-first, severity * other))[: 1 + both]


def sample_pneumothorax(rng: np.random.Generator, severity: float) -> Pleura:
    """Air on one side."""
    return Pleura(int(rng.choice([-1, 1], p=[0.55, 0.45])), severity)


def displacement(air: Pleura) -> float:
    """How far the air pushes heart and mediastinum to the patient's left, in cm (negative: to the right)."""
    return -air.side * _PUSHED * max(0.0, air.severity - LARGE) / (1 - LARGE)


def fluid_share(grid: Grid, anatomy: Anatomy, pose: Pose, profiles: Profiles, fluid: Pleura) -> Array:
    """Share of each ray's path through the chest's inside that is fluid, (side, side).

    The surface rises towards the chest wall. Above it, fluid before and behind the lung thins out.
    """
    out = fluid.side * grid.x
    dome = right_dome(anatomy, pose) + (anatomy.dome_drop if fluid.side > 0 else 0.0)
    angle = dome + 0.3 * (anatomy.dome_rise + 4.0)  # where diaphragm and chest wall meet
    height = 2.4 + 10.5 * fluid.severity
    inward = np.maximum(LUNG_AXIS + profiles("lateral", grid.y) - out, 0)
    surface = angle - height * (0.42 + 0.58 * np.exp(-inward / (2.2 + 1.5 * fluid.severity)))
    depth = np.clip((grid.y - surface) / (0.8 + 0.28 * height), 0, 1)
    share: Array = np.where(out > 0, depth * depth * (3 - 2 * depth), 0).astype(np.float32)
    return share


def air_share(grid: Grid, anatomy: Anatomy, profiles: Profiles, air: Pleura) -> tuple[Array, Array]:
    """Where the lung has left the chest wall.

    The density of a lung that collapses in part hardly changes, as its blood flow falls with its volume.

    Returns:
        Share of each ray's path that is air, 0 or 1 but for the edge, and what the pleura seen edge on adds to the
        line integral, both (side, side).
    """
    out = air.side * grid.x - np.float32(LUNG_AXIS)
    down = grid.y - np.float32(anatomy.apex)
    fallen, away = 1.8 + 5.5 * air.severity, 1.2 + 3.2 * air.severity
    reach = anatomy.height + 4.0
    own = (anatomy.apex + (down - fallen) * reach / (reach - fallen)).astype(np.float32)
    narrowed = away * (1 - 0.6 * np.clip(down / reach, 0, 1))
    within = np.minimum(profiles("lateral", own) - narrowed - out, profiles("medial", own) + out)
    across, along = np.gradient(within, grid.spacing)
    within = within / np.maximum(np.hypot(across, along), 0.5)  # a distance from the line, in cm
    mine = air.side * grid.x > 0
    share = np.where(mine, np.clip(0.5 - within / grid.spacing, 0, 1), 0)
    width = max(_LINE, 0.5 * grid.spacing)  # thinner than a ray's spacing, a line is fainter rather than thinner
    line = np.where(mine, 1.6 * SOFT_TISSUE * _LINE / width * np.exp(-((within / width) ** 2)), 0)
    return share.astype(np.float32), line.astype(np.float32)
