"""How the patient stands before the detector, drawn once an image."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hilum.data.phantoms.anatomy import Anatomy


@dataclass(frozen=True)
class Pose:
    """Position, breath and collimation of one exposure.

    Attributes:
        rotation: Turn about the patient's long axis in radians; positive: front to the image's right.
        tilt: Turn in the image plane in radians.
        shift: Displacement of the patient on the detector in cm.
        field: Edge of the square image field in cm.
        breath: How far the diaphragm is from full inspiration in cm (positive: breathed out).
        bedside: Whether the film was taken lying, front to back: arms down, blades over the lungs.
    """

    rotation: float
    tilt: float
    shift: tuple[float, float]
    field: float
    breath: float
    bedside: bool

    def turn(self, points: NDArray[np.floating]) -> NDArray[np.floating]:
        """Turn points (N, 3) about the patient's long axis."""
        c, s = np.cos(self.rotation), np.sin(self.rotation)
        x, y, z = points.T
        return np.stack([c * x + s * z, y, c * z - s * x], axis=1)


def sample_pose(rng: np.random.Generator, anatomy: Anatomy) -> Pose:
    """Draw a pose; the field follows the patient's size, as a radiographer's collimation does."""
    bedside = bool(rng.uniform() < 0.25)
    breath = rng.normal(1.2 if bedside else 0.2, 0.7)
    need = max(2 * (anatomy.half_width + anatomy.wall), anatomy.height + 12)
    return Pose(
        rotation=rng.normal(0, np.deg2rad(4 if bedside else 2.2)),
        tilt=rng.normal(0, np.deg2rad(3 if bedside else 1.5)),
        shift=(rng.normal(0, 0.9), rng.normal(0, 0.9)),
        field=need * rng.uniform(0.94, 1.16),
        breath=float(np.clip(breath, -0.8, 3.0)),
        bedside=bedside,
    )
