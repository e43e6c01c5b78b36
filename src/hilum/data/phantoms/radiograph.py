"""One synthetic frontal chest radiograph with known truth."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hilum.data.phantoms.anatomy import Anatomy, Profiles, profiles_of, sample_anatomy, sample_pose
from hilum.data.phantoms.image import ADIPOSE, AIRED_LUNG, SOFT_TISSUE, Array, Grid, expose, sample_exposure
from hilum.data.phantoms.lesions import Disease, lesion_integral, sample_consolidation, sample_ground_glass
from hilum.data.phantoms.thorax import BONE_STEP, build_thorax, draw_skeleton
from hilum.data.phantoms.tubes import Branches, TubeCanvas, draw_airways, draw_devices, draw_vessels, grow_vessels
from hilum.errors import UsageError

LABELS: tuple[str, ...] = ("normal", "infected/covid", "infected/non-covid")
"""The classes, in the order of their numbers."""

VISIBLE = 0.06
"""Optical depth a lesion must add to a pixel's ray to count as visible: about 6 % less light."""

LUNG = 0.5
"""Path through lung, in cm, from which on a ray counts as passing through it."""

_ANATOMY, _VESSELS, _DISEASE, _VIEW = 1, 2, 3, 4


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


@lru_cache(maxsize=4)
def _patient(seed: int, patient: int) -> tuple[Anatomy, Profiles, Branches]:
    anatomy = sample_anatomy(np.random.default_rng([seed, patient, _ANATOMY]))
    profiles = profiles_of(anatomy)
    vessels = grow_vessels(np.random.default_rng([seed, patient, _VESSELS]), anatomy, profiles)
    return anatomy, profiles, vessels


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
    if size < 32:
        msg = f"a phantom of {size}x{size} pixels shows no anatomy; ask for a size of 32 or more"
        raise UsageError(msg)
    anatomy, profiles, branches = _patient(seed, patient)
    rng = np.random.default_rng([seed, patient, _VIEW, image])
    pose = sample_pose(rng, anatomy)
    exposure = sample_exposure(rng, pose.bedside)

    margin = size // 16
    spacing = pose.field / size
    grid = Grid.of(size + 2 * margin, spacing, pose.tilt, (pose.shift[0], pose.shift[1]))
    thorax = build_thorax(grid, anatomy, pose, profiles)
    lung = thorax.lung()

    bones = TubeCanvas(grid, pose.turn, anchor=anatomy.rib_radius, step=BONE_STEP)
    spine = draw_skeleton(bones, grid, anatomy, pose, profiles, profiles("spine", grid.y))
    draw_airways(bones, anatomy, pose)
    draw_devices(bones, rng, anatomy, pose)
    vessels = TubeCanvas(grid, pose.turn, anchor=0.3, step=1.7)
    draw_vessels(vessels, branches, anatomy, pose)
    in_lung = vessels.render() * np.clip((lung - 2) * np.float32(0.15), 0, 1)

    soft, air = np.float32(SOFT_TISSUE), np.float32(AIRED_LUNG * anatomy.lung_density)
    integral = soft * (thorax.body - lung - np.minimum(thorax.gas, 0.6 * thorax.body)) + air * lung
    integral += np.float32(ADIPOSE) * thorax.breast + in_lung
    integral += (bones.render() + spine) * (thorax.body > 0.5)
    np.maximum(integral, 0, out=integral)

    disease = _disease(label, seed, patient, anatomy, profiles)
    added: Array = np.zeros_like(integral)
    if disease is not None:
        added, share = lesion_integral(grid, thorax, disease, anatomy, pose)
        # vessels vanish in lung as dense as they are
        added = np.maximum(added - 0.8 * share * in_lung, 0)
    noise = rng.standard_normal((size, size), dtype=np.float32)
    shown = expose(integral, added, spacing, margin, exposure, noise)
    mask: NDArray[np.bool_] = added[margin : margin + size, margin : margin + size] > VISIBLE
    area = shown_area(exposure.shutter, size)
    lungs: NDArray[np.bool_] = lung[margin : margin + size, margin : margin + size] > LUNG
    return Phantom(shown, mask & area, lungs & area, label, patient_name(patient))


def shown_area(shutter: tuple[float, float, float, float], size: int) -> NDArray[np.bool_]:
    """The part of the image that the shutter leaves open, (size, size)."""
    left, right, top, bottom = (round(edge * size) for edge in shutter)
    area = np.zeros((size, size), np.bool_)
    area[top : size - bottom, left : size - right] = True
    return area
