"""The healthy patient of one image: anatomy, pose, exposure, and what each ray passes through."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hilum.errors import UsageError
from hilum.phantoms.anatomy import Anatomy, Pose, Profiles, profiles_of, sample_anatomy, sample_pose
from hilum.phantoms.image import ADIPOSE, AIRED_LUNG, SOFT_TISSUE, Array, Exposure, Grid, expose, sample_exposure
from hilum.phantoms.thorax import BONE_STEP, Thorax, build_thorax, draw_skeleton
from hilum.phantoms.tubes import Branches, TubeCanvas, draw_airways, draw_devices, draw_vessels, grow_vessels

_ANATOMY, _VESSELS, _VIEW = 1, 2, 4


@dataclass(frozen=True)
class Scene:
    """One patient in front of the detector, without disease; every array is (side, side).

    Attributes:
        anatomy: The patient.
        profiles: Cross-sections of the patient's thorax.
        pose: Of this image.
        exposure: Of this image.
        grid: The rays, with a margin around the image.
        margin: Rays of the margin on each side.
        thorax: The soft parts.
        vessels: What the vessels of the lungs add, as if all of each ray passed through lung.
        bones: What bones, airways and devices add.
        noise: Standard normal field of the image's shape.
    """

    anatomy: Anatomy
    profiles: Profiles
    pose: Pose
    exposure: Exposure
    grid: Grid
    margin: int
    thorax: Thorax
    vessels: Array
    bones: Array
    noise: Array

    @property
    def air(self) -> float:
        """Attenuation of the patient's aired lung in 1/cm."""
        return AIRED_LUNG * self.anatomy.lung_density

    def vessels_in(self, thorax: Thorax) -> Array:
        """What vessels add where there is lung around them."""
        seen: Array = self.vessels * np.clip((thorax.lung() - 2) * np.float32(0.15), 0, 1)
        return seen

    def integral(self) -> Array:
        """Line integrals of attenuation of the healthy patient."""
        thorax, lung = self.thorax, self.thorax.lung()
        soft, air = np.float32(SOFT_TISSUE), np.float32(self.air)
        integral: Array = soft * (thorax.body - lung - np.minimum(thorax.gas, 0.6 * thorax.body)) + air * lung
        integral += np.float32(ADIPOSE) * thorax.breast + self.vessels_in(thorax)
        integral += self.bones * (thorax.body > 0.5)
        np.maximum(integral, 0, out=integral)
        return integral

    def expose(self, added: Array) -> NDArray[np.uint8]:
        """The radiograph of the patient with what disease adds to the line integrals, (H, W)."""
        return expose(self.integral(), added, self.grid.spacing, self.margin, self.exposure, self.noise)

    def crop(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A mask of all rays without the margin, (H, W)."""
        inner = slice(self.margin, self.margin + self.noise.shape[0])
        return mask[inner, inner]


@lru_cache(maxsize=4)
def _patient(seed: int, patient: int) -> tuple[Anatomy, Profiles, Branches]:
    anatomy = sample_anatomy(np.random.default_rng([seed, patient, _ANATOMY]))
    profiles = profiles_of(anatomy)
    vessels = grow_vessels(np.random.default_rng([seed, patient, _VESSELS]), anatomy, profiles)
    return anatomy, profiles, vessels


def draw_scene(seed: int, patient: int, image: int, size: int) -> Scene:
    """Draw the healthy patient in one pose.

    Args:
        seed: Names the population.
        patient: Number of the patient.
        image: Number of the patient's image.
        size: Edge of the square image in pixels.

    Raises:
        UsageError: The size is below 32.
    """
    if size < 32:
        msg = f"a phantom of {size}x{size} pixels shows no anatomy; ask for a size of 32 or more"
        raise UsageError(msg)
    anatomy, profiles, branches = _patient(seed, patient)
    rng = np.random.default_rng([seed, patient, _VIEW, image])
    pose = sample_pose(rng, anatomy)
    exposure = sample_exposure(rng, pose.bedside)

    margin = size // 16
    grid = Grid.of(size + 2 * margin, pose.field / size, pose.tilt, (pose.shift[0], pose.shift[1]))
    thorax = build_thorax(grid, anatomy, pose, profiles)

    bones = TubeCanvas(grid, pose.turn, anchor=anatomy.rib_radius, step=BONE_STEP)
    spine = draw_skeleton(bones, grid, anatomy, pose, profiles, profiles("spine", grid.y))
    draw_airways(bones, anatomy, pose)
    draw_devices(bones, rng, anatomy, pose)
    vessels = TubeCanvas(grid, pose.turn, anchor=0.3, step=1.7)
    draw_vessels(vessels, branches, anatomy, pose)
    skeleton, inside = bones.render() + spine, vessels.render()
    noise = rng.standard_normal((size, size), dtype=np.float32)
    return Scene(anatomy, profiles, pose, exposure, grid, margin, thorax, inside, skeleton, noise)
