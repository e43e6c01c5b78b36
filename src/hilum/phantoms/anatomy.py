"""The patient: anatomy, how it is posed in one image, and the outlines that follow from it."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hilum.phantoms.image import Array


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
        age: From 0, adolescent, to 1, old.
        heart_width: Width of the heart relative to its height; 1 is average.
        displaced: How far heart and mediastinum are pushed to the patient's left, in cm.
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
    age: float
    heart_width: float = 1.0
    displaced: float = 0.0


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
        age=age,
    )
    return replace(
        average,
        rib_levels=_LEVEL * _along_ribs(rng, 2),
        rib_waves=_WAVE * _along_ribs(rng, 2, 2),
        shoulders=rng.normal(0, 0.8) + rng.normal(0, 0.4, 2),
        outline=rng.normal(0, 0.04, 3),
    )


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
