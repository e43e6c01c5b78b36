"""One simulated radiograph, and its disease: air of the lung replaced by fluid, patchy or densely in one lobe.

Patterns follow the radiological descriptions of Wong et al., *Frequency and distribution of chest
radiographic findings in patients positive for COVID-19*, Radiology 296 (2020) E72 (bilateral, peripheral,
lower zones, ground glass), and Franquet, *Imaging of community-acquired pneumonia*, J Thorac Imaging 33
(2018) 282 (lobar consolidation bounded by fissures, with air bronchograms).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.fft
import scipy.ndimage
from numpy.typing import NDArray

from hilum.errors import UsageError
from hilum.phantoms.anatomy import LUNG_AXIS, Anatomy, Pose, Profiles
from hilum.phantoms.image import AIRED_LUNG, SOFT_TISSUE, Array, Ellipsoid, Grid
from hilum.phantoms.scene import draw_scene
from hilum.phantoms.thorax import Thorax, right_dome
from hilum.phantoms.tubes import TubeCanvas, breathe, hilum_of

_TILE, _CELL = 128, 0.3


@dataclass(frozen=True)
class Lesion:
    """One region of diseased lung at full inspiration.

    Attributes:
        shape: Its outline before the edge is roughened.
        fill: Share of the air that is replaced, 0 to 1.
        rough: How irregular the edge is.
        patchy: How uneven the filling is, 0 for even.
        lobe: ``upper``, ``middle`` or ``lower``: bounded by the fissures; empty: bounded by the pleura only.
    """

    shape: Ellipsoid
    fill: float
    rough: float
    patchy: float
    lobe: str = ""


@dataclass(frozen=True)
class Disease:
    """All lesions of one patient; ``texture`` is a smooth random field over the patient's frontal plane."""

    lesions: tuple[Lesion, ...]
    texture: Array
    bronchi: NDArray[np.float64]


def _texture(rng: np.random.Generator) -> Array:
    """A wrapping random field of mean 0 and variance 1 with detail from 0.5 to 4 cm."""
    k = np.hypot(scipy.fft.fftfreq(_TILE)[:, None], scipy.fft.rfftfreq(_TILE)[None, :]) / _CELL
    band = (k / 0.10) / (1 + (k / 0.10) ** 2.9)
    spectrum = scipy.fft.rfft2(rng.standard_normal((_TILE, _TILE))) * band
    field = scipy.fft.irfft2(spectrum, s=(_TILE, _TILE))
    scaled: Array = (field / field.std()).astype(np.float32)
    return scaled


def sample_ground_glass(
    rng: np.random.Generator, anatomy: Anatomy, profiles: Profiles, severity: float | None = None
) -> Disease:
    """Several faint patches near the pleura of both lungs, more of them below; severity 0 to 1, drawn if None."""
    drawn = rng.uniform(0.0, 1.0)
    severity = drawn if severity is None else severity
    number = int(rng.integers(5, 8) + round(6 * severity))
    sides = np.concatenate([[-1, -1, 1, 1], rng.choice([-1, 1], number - 4, p=rng.permutation([0.35, 0.65]))])
    lesions = []
    for side in sides:
        y = anatomy.apex + anatomy.height * (0.28 + 0.72 * rng.beta(2.3, 1.4))
        angle = rng.uniform(0.5, 2.3)
        inset = rng.uniform(0.72, 0.95)
        width = float(profiles("lateral", y)) + LUNG_AXIS
        depth, middle = float(profiles("depth", y)), float(profiles("centre", y))
        centre = (side * inset * width * np.sin(angle), y, middle - inset * depth * np.cos(angle))
        size = rng.uniform(1.7, 2.9) + 0.9 * severity
        radii = (size * rng.uniform(0.7, 1.2), size * rng.uniform(0.8, 1.5), size * rng.uniform(0.9, 1.5))
        fill = (0.35 + 0.14 * severity) * rng.uniform(0.7, 1.4)
        lesions.append(Lesion(Ellipsoid(centre, radii, rng.uniform(-0.5, 0.5)), fill, 0.34, 0.24))
    return Disease(tuple(lesions), _texture(rng), np.zeros((0, 3)))


def sample_consolidation(
    rng: np.random.Generator, anatomy: Anatomy, profiles: Profiles, severity: float | None = None
) -> Disease:
    """One densely filled segment or lobe on one side, often with air-filled bronchi; severity as for ground glass."""
    drawn = rng.uniform(0.0, 1.0)
    severity = drawn if severity is None else severity
    side = int(rng.choice([-1, 1]))
    lobe = str(rng.choice(["upper", "middle", "lower"], p=[0.33, 0.24, 0.43]))
    low, high = {"upper": (0.20, 0.46), "middle": (0.60, 0.82), "lower": (0.50, 0.84)}[lobe]
    y = anatomy.apex + anatomy.height * rng.uniform(low, high)
    width = float(profiles("lateral", y)) + LUNG_AXIS
    inner, outer = (0.38, 0.6) if lobe == "middle" else (0.40, 0.76)
    if side > 0 and lobe != "upper":
        inner, outer = inner + 0.14, outer + 0.04  # beside the heart rather than behind it
    z = {"upper": 0.5, "middle": 4.0, "lower": -4.5}[lobe] + rng.normal(0, 1.0)
    size = 2.9 + 2.1 * severity + rng.uniform(-0.2, 0.4)
    radii = (size * rng.uniform(0.8, 1.15), size * rng.uniform(0.8, 1.15), size * rng.uniform(0.7, 1.0))
    shape = Ellipsoid((side * width * rng.uniform(inner, outer), y, z), radii, rng.uniform(-0.6, 0.6))
    core = Lesion(shape, rng.uniform(0.70, 0.88) + 0.08 * severity, 0.32, 0.14, lobe)
    # its edge fades into partly filled air spaces
    rim = replace(
        core,
        shape=replace(shape, radii=(1.3 * radii[0], 1.3 * radii[1], 1.3 * radii[2])),
        fill=0.12,
        patchy=0.5,
    )
    bronchi = np.zeros((0, 3))
    if rng.uniform() < 0.55:
        root = hilum_of(anatomy, side)
        fan = np.array(shape.centre) + rng.normal(0, 0.45, (6, 3)) * np.array(radii)
        t = np.linspace(0.25, 1.15, 90)[:, None, None]
        bronchi = np.swapaxes(root + t * (fan - root), 0, 1).reshape(-1, 3)
    return Disease((core, rim), _texture(rng), bronchi)


def _in_lobe(
    grid: Grid, window: tuple[slice, slice], anatomy: Anatomy, pose: Pose, lesion: Lesion
) -> tuple[Array, Array, Array]:
    """Where a lesion's lobe lies: lowest and highest ``z`` on each ray, and a weight for the minor fissure.

    The oblique fissure falls forward from the fourth thoracic vertebra to the front of the diaphragm. The
    minor one, in the right lung alone, is nearly level and so seen edge on.
    """
    x, y = np.abs(grid.x[window]), grid.y[window]
    top, bottom = anatomy.apex + 0.22 * anatomy.height, right_dome(anatomy, pose)
    oblique = (-8.0 + 14.0 * (y - top) / (bottom - top)).astype(np.float32)
    far, one = np.full_like(y, 1e3), np.ones_like(y)
    if lesion.lobe == "lower":
        return -far, oblique, one
    if lesion.shape.centre[0] > 0:
        return oblique, far, one
    minor = anatomy.apex + 0.53 * (bottom - anatomy.apex) + 0.012 * (x - 5.0) ** 2
    below = np.clip((y - minor) / 0.3 + 0.5, 0, 1).astype(np.float32)
    return oblique, far, below if lesion.lobe == "middle" else 1 - below


def lesion_integral(grid: Grid, thorax: Thorax, disease: Disease, anatomy: Anatomy, pose: Pose) -> tuple[Array, Array]:
    """What the disease adds along each ray.

    Returns:
        The added line integral of attenuation, and the share of each ray's lung filled, both (side, side).
    """
    filled = np.zeros((grid.side, grid.side), np.float32)
    turn = np.sin(pose.rotation)
    for lesion in disease.lesions:
        at = breathe(np.array([lesion.shape.centre]), anatomy, pose)[0]
        shape = replace(lesion.shape, centre=(float(at[0] + turn * at[2]), float(at[1]), float(at[2])))
        window = grid.window(shape.centre[0], shape.centre[1], 1.5 * max(shape.radii[:2]))
        rows = (grid.y[window] / _CELL + _TILE / 2, (grid.x[window] + 3 * at[2]) / _CELL + _TILE / 2)
        field = scipy.ndimage.map_coordinates(disease.texture, rows, order=1, mode="grid-wrap")
        half = shape.half_chord(grid, window, lesion.rough * field)
        # fluid thins out towards the rim
        thin = np.sqrt(half / np.float32(shape.radii[2])) if lesion.lobe else half / np.float32(shape.radii[2])
        low, high = shape.centre[2] - half, shape.centre[2] + half
        if lesion.lobe:
            back, front, weight = _in_lobe(grid, window, anatomy, pose, lesion)
            low, high, thin = np.maximum(low, back), np.minimum(high, front), thin * weight
        path = np.zeros_like(half)
        for part in (thorax.behind, thorax.before):
            path += np.maximum(np.minimum(high, part.high[window]) - np.maximum(low, part.low[window]), 0)
        uneven = np.clip(1 + lesion.patchy * field[..., ::-1], 0.1, 1.9)
        filled[window] += np.where(half > 0, path * thin * uneven * np.float32(lesion.fill), 0)
    lung = thorax.lung()
    filled = np.minimum(filled, 0.97 * lung)
    air = SOFT_TISSUE - AIRED_LUNG * anatomy.lung_density
    share = filled / np.maximum(lung, 0.5)
    added = filled * np.float32(air)
    if len(disease.bronchi):
        canvas = TubeCanvas(grid, pose.turn)
        lines = breathe(disease.bronchi, anatomy, pose).reshape(6, -1, 3)
        canvas.add(lines, np.linspace(0.3, 0.16, lines.shape[1])[None, :])
        added = added - np.minimum(canvas.render(), 0.9) * np.float32(air) * np.minimum(1.3 * share, 1) * 0.9
        added = np.maximum(added, 0)
    return added.astype(np.float32), share


LABELS: tuple[str, ...] = ("normal", "infected/covid", "infected/non-covid")
"""The classes, in the order of their numbers."""

VISIBLE = 0.06
"""Optical depth a lesion must add to a pixel's ray to count as visible: about 6 % less light."""

LUNG = 0.5
"""Path through lung, in cm, from which on a ray counts as passing through it."""

_DISEASE = 3


@dataclass(frozen=True)
class Phantom:
    """One radiograph and its truth.

    Attributes:
        image: Display-ready, 0 black to 255 white, (H, W).
        mask: Pixels where disease visibly adds to the image, (H, W); all false for ``normal``.
        lungs: Pixels whose ray passes through lung, whether diseased or not, (H, W).
        label: One of ``LABELS``.
        patient_id: The patient's name, unique within a seed.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    lungs: NDArray[np.bool_]
    label: str
    patient_id: str


def patient_name(patient: int) -> str:
    """The identifier of a patient's number."""
    return f"p{patient:05d}"


def _disease(label: str, seed: int, patient: int, anatomy: Anatomy, profiles: Profiles) -> Disease | None:
    rng = np.random.default_rng([seed, patient, _DISEASE])
    if label == LABELS[1]:
        return sample_ground_glass(rng, anatomy, profiles)
    if label == LABELS[2]:
        return sample_consolidation(rng, anatomy, profiles)
    return None


def make_phantom(label: str, *, seed: int = 0, patient: int = 0, image: int = 0, size: int = 128) -> Phantom:
    """Make one phantom; the same arguments always give the same pixels.

    Args:
        label: One of ``LABELS``.
        seed: Names the population.
        patient: Number of the patient. The same seed and patient have the same anatomy and disease.
        image: Number of the patient's image; it changes pose, exposure and noise only.
        size: Edge of the square image in pixels.

    Raises:
        UsageError: The label is unknown or the size below 32.
    """
    if label not in LABELS:
        msg = f"phantoms have no label {label!r}; choose one of: {', '.join(LABELS)}"
        raise UsageError(msg)
    scene = draw_scene(seed, patient, image, size)
    disease = _disease(label, seed, patient, scene.anatomy, scene.profiles)
    added: Array = np.zeros_like(scene.vessels)
    if disease is not None:
        added, share = lesion_integral(scene.grid, scene.thorax, disease, scene.anatomy, scene.pose)
        # vessels vanish in lung as dense as they are
        added = np.maximum(added - 0.8 * share * scene.vessels_in(scene.thorax), 0)
    shown = scene.expose(added)
    area = shown_area(scene.exposure.shutter, size)
    mask, lungs = scene.crop(added > VISIBLE), scene.crop(scene.thorax.lung() > LUNG)
    return Phantom(shown, mask & area, lungs & area, label, patient_name(patient))


def shown_area(shutter: tuple[float, float, float, float], size: int) -> NDArray[np.bool_]:
    """The part of the image that the shutter leaves open, (size, size)."""
    left, right, top, bottom = (round(edge * size) for edge in shutter)
    area = np.zeros((size, size), np.bool_)
    area[top : size - bottom, left : size - right] = True
    return area
