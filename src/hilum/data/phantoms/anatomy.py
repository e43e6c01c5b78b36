"""The patient: every length and angle of one synthetic thorax, drawn once a patient."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Anatomy:
    """Measures of one thorax in cm, in patient coordinates whose origin lies between the lungs.

    Attributes:
        apex: ``y`` of the lung apices (negative: above the origin).
        height: From the apices to the top of the right diaphragm dome at full inspiration.
        half_width: From the midline to the widest point of the rib cage's inside.
        half_depth: Half the largest inner depth of the rib cage, front to back.
        roundness: Exponent of the rib cage's outline; larger is more box-like.
        wall: Thickness of muscle and fat around the rib cage.
        dome_drop: How much lower the left dome lies than the right.
        dome_rise: Height of the domes above their rim.
        heart: Size of the heart; 1 is a cardiothoracic ratio of about 0.46.
        heart_axis: Angle of the heart's long axis below the horizontal, in radians.
        aorta: Size of the aortic knob and the descending aorta.
        mediastinum: Half-width of the upper mediastinum.
        rib_pairs: Number of rib pairs drawn (11 to 12; children's and short films show fewer).
        rib_slope: How steeply the ribs fall; 1 is an adult's average.
        rib_radius: Half the height of a rib.
        rib_levels: How much lower each rib springs than on average, in cm, right and left, (2, 12).
        rib_waves: How much each rib's course leaves the average's, in cm down in its middle, and at its first quarter
            (and up at its third), right and left, (2, 2, 12).
        shoulders: How much higher each shoulder is held than on average, in cm, right and left, (2,).
        outline: Share by which the lungs are wider than average at a quarter, half and three quarters of the way
            down, in waves, (3,).
        rib_contrast: Thickness of the ribs' shell relative to average.
        bone: Mineral content of the bones relative to average.
        scoliosis: Sideways bend of the spine.
        breast: Size of the breasts, 0 for none.
        vessels: Prominence of the pulmonary vessels; 1 is average.
        lung_density: Density of the lungs relative to average.
        gas: Size of the gastric bubble, 0 for none.
        neck: Half-width of the neck.
    """

    apex: float
    height: float
    half_width: float
    half_depth: float
    roundness: float
    wall: float
    dome_drop: float
    dome_rise: float
    heart: float
    heart_axis: float
    aorta: float
    mediastinum: float
    rib_pairs: int
    rib_slope: float
    rib_radius: float
    rib_levels: NDArray[np.float64]
    rib_waves: NDArray[np.float64]
    shoulders: NDArray[np.float64]
    outline: NDArray[np.float64]
    rib_contrast: float
    bone: float
    scoliosis: float
    breast: float
    vessels: float
    lung_density: float
    gas: float
    neck: float


_RIBS = 12
_LEVEL, _WAVE = 0.25, 0.5


def _along_ribs(rng: np.random.Generator, *shape: int) -> NDArray[np.float64]:
    """Deviations of variance 1, (*shape, 12), mostly alike in neighbouring ribs, so that ribs do not cross."""
    apart = np.abs(np.arange(_RIBS)[:, None] - np.arange(_RIBS))
    alike = np.linalg.cholesky(np.exp(-apart / 8.0))
    deviations: NDArray[np.float64] = rng.standard_normal((*shape, _RIBS)) @ alike.T
    return deviations


def sample_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draw a patient from adolescent to old, slim to stout, of either sex."""
    age, stout = rng.uniform(), rng.uniform()
    height = rng.normal(20.5, 1.3)
    average = Anatomy(
        apex=-0.56 * height,
        height=height,
        half_width=float(np.clip(rng.normal(13.2 + 0.5 * stout, 0.7), 11.5, 15.2)),
        half_depth=rng.normal(8.6 + 0.8 * age, 0.5),
        roundness=rng.uniform(1.7, 2.3),
        wall=1.6 + 2.4 * stout + rng.normal(0, 0.2),
        dome_drop=float(np.clip(rng.normal(1.3, 0.5), 0.3, 2.6)),
        dome_rise=rng.uniform(2.6, 4.4),
        heart=float(np.clip(rng.normal(0.96 + 0.10 * stout + 0.06 * age, 0.08), 0.8, 1.3)),
        heart_axis=rng.uniform(0.45, 0.95) - 0.25 * stout,
        aorta=0.75 + 0.5 * age + rng.normal(0, 0.07),
        mediastinum=rng.normal(2.3 + 0.4 * stout, 0.2),
        rib_pairs=int(rng.choice([11, 12, 12, 12])),
        rib_slope=float(np.clip(rng.normal(0.8 + 0.25 * age, 0.15), 0.45, 1.3)),
        rib_radius=rng.normal(0.66, 0.06),
        rib_levels=np.zeros((2, _RIBS)),
        rib_waves=np.zeros((2, 2, _RIBS)),
        shoulders=np.zeros(2),
        outline=np.zeros(3),
        rib_contrast=rng.uniform(0.85, 1.5),
        bone=float(np.clip(rng.normal(1.25 - 0.4 * age, 0.15), 0.6, 1.6)),
        scoliosis=rng.normal(0, 0.5),
        breast=rng.uniform(0.6, 1.25) if rng.uniform() < 0.45 else 0.0,
        vessels=rng.uniform(0.7, 1.45),
        lung_density=rng.uniform(0.8, 1.3),
        gas=rng.uniform(0.5, 1.2) if rng.uniform() < 0.6 else 0.0,
        neck=rng.normal(6.3 + stout, 0.4),
    )
    return replace(
        average,
        rib_levels=_LEVEL * _along_ribs(rng, 2),
        rib_waves=_WAVE * _along_ribs(rng, 2, 2),
        shoulders=rng.normal(0, 0.8) + rng.normal(0, 0.4, 2),
        outline=rng.normal(0, 0.04, 3),
    )
