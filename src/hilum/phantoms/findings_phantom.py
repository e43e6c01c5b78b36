"""One simulated radiograph with several findings at once, and a mask of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hilum.errors import UsageError
from hilum.phantoms.anatomy import Anatomy, Profiles
from hilum.phantoms.cooccurrence import FINDINGS
from hilum.phantoms.image import AIR, SOFT_TISSUE, Array
from hilum.phantoms.nodules import nodule_path, sample_nodules
from hilum.phantoms.pleura import air_share, displacement, fluid_share, sample_effusion, sample_pneumothorax
from hilum.phantoms.radiograph import (
    LUNG,
    VISIBLE,
    Disease,
    lesion_integral,
    patient_name,
    sample_consolidation,
    sample_ground_glass,
    shown_area,
)
from hilum.phantoms.scene import Scene, draw_scene
from hilum.phantoms.thorax import Thorax, build_thorax, cardiothoracic_ratio, heart_shadow, with_ratio
from hilum.phantoms.tubes import TubeCanvas, draw_airways

_FINDING = 11
_NORMAL_RATIO = (0.38, 0.47)
_LARGE_RATIO = (0.53, 0.68)
_RANGES = {"consolidation": (0.25, 1.0), "ground_glass": (0.0, 0.75)}
"""Part of each severity's range that is used: the densest ground glass is like a consolidation."""

_FULLEST = 0.97
_CALCIFIED = 3.4
"""Attenuation of a nodule beyond aired lung, relative to soft tissue: some calcium, as in an old granuloma."""


@dataclass(frozen=True)
class FindingsPhantom:
    """One radiograph and its truth.

    Attributes:
        image: Display-ready, 0 black to 255 white, (H, W).
        severities: Of each finding present, from 0 to 1.
        masks: Of each finding present, the pixels where it visibly changes the image of a patient who has it alone;
            of cardiomegaly the heart; (H, W) each. Another finding may cover it, as an effusion covers a consolidation.
        lungs: Pixels whose ray passes through the inside of a pleural space, whatever it holds, (H, W).
        patient_id: The patient's name, unique within a seed.
        view: ``PA``, or ``AP`` for a film taken at the bedside.
        sex: ``F`` or ``M``.
        age: In years.
    """

    image: NDArray[np.uint8]
    severities: Mapping[str, float]
    masks: Mapping[str, NDArray[np.bool_]]
    lungs: NDArray[np.bool_]
    patient_id: str
    view: str
    sex: str
    age: int


def make_findings_phantom(
    severities: Mapping[str, float], *, seed: int = 0, patient: int = 0, image: int = 0, size: int = 128
) -> FindingsPhantom:
    """Make one phantom with any of the findings; the same arguments always give the same pixels.

    A finding lies in the same place whichever others there are, so that two phantoms of one patient and image, with
    and without a finding, differ by that finding alone.

    Args:
        severities: Severity of each finding present, from 0 (just called) to 1; empty for none. Of cardiomegaly it
            is the cardiothoracic ratio, from 0.53 to 0.68; of nodules the largest diameter, from 17 to 30 mm.
        seed: Names the population.
        patient: Number of the patient. The same seed and patient have the same anatomy and places of findings.
        image: Number of the patient's image; it changes pose, exposure and noise only.
        size: Edge of the square image in pixels.

    Raises:
        UsageError: A finding is unknown, a severity not within 0 to 1, or the size below 32.
    """
    for name, severity in severities.items():
        if name not in FINDINGS or not 0 <= severity <= 1:
            msg = f"phantoms have no finding {name!r} of severity {severity}. Use {', '.join(FINDINGS)} with 0 to 1."
            raise UsageError(msg, code="unknown-finding")
    scene = _calm(draw_scene(seed, patient, image, size))
    rngs = {name: np.random.default_rng([seed, patient, _FINDING, k]) for k, name in enumerate(FINDINGS)}
    drawing = _Drawing(scene, severities, rngs)
    added = drawing.added()
    area = shown_area(scene.exposure.shutter, size)
    return FindingsPhantom(
        image=scene.expose(added),
        severities=dict(severities),
        masks={name: scene.crop(drawing.masks[name]) & area for name in FINDINGS if name in severities},
        lungs=scene.crop(drawing.thorax.lung() > LUNG) & area,
        patient_id=patient_name(patient),
        view="AP" if scene.pose.bedside else "PA",
        sex="F" if scene.anatomy.breast else "M",
        age=round(16 + 74 * scene.anatomy.age),
    )


def _calm(scene: Scene) -> Scene:
    """The same patient with a heart of normal size."""
    ratio = float(np.clip(cardiothoracic_ratio(scene.anatomy, scene.profiles) - 0.05, *_NORMAL_RATIO))
    anatomy = with_ratio(scene.anatomy, scene.profiles, ratio)
    return replace(scene, anatomy=anatomy, thorax=build_thorax(scene.grid, anatomy, scene.pose, scene.profiles))


class _Drawing:
    """What each ray passes through with all findings; `masks` says where each is seen.

    The inside of a pleural space holds fluid, air and lung; the lung holds air and whatever replaces it. What several
    findings leave of the air is the product of what each leaves, so that none shows beyond its own mask.
    """

    def __init__(self, scene: Scene, severities: Mapping[str, float], rngs: Mapping[str, np.random.Generator]):
        self.scene, self.severities, self.rngs = scene, severities, rngs
        self.masks: dict[str, NDArray[np.bool_]] = {}
        anatomy = scene.anatomy
        if "cardiomegaly" in severities:
            low, high = _LARGE_RATIO
            ratio = low + (high - low) * severities["cardiomegaly"]
            anatomy = with_ratio(anatomy, scene.profiles, ratio)
        unpushed = anatomy
        self.collapse = None
        if "pneumothorax" in severities:
            self.collapse = sample_pneumothorax(rngs["pneumothorax"], severities["pneumothorax"])
            anatomy = replace(anatomy, displaced=displacement(self.collapse))
        self.anatomy, self.unpushed = anatomy, unpushed
        self.thorax = scene.thorax if anatomy is scene.anatomy else self._thorax(anatomy)

    def _thorax(self, anatomy: Anatomy) -> Thorax:
        return build_thorax(self.scene.grid, anatomy, self.scene.pose, self.scene.profiles)

    def added(self) -> Array:
        """What all findings add to the line integrals of the healthy patient, (side, side)."""
        scene, thorax = self.scene, self.thorax
        inside, vessels = thorax.lung(), scene.vessels_in(thorax)
        soft, lung = np.float32(SOFT_TISSUE), np.float32(scene.air)
        aired, seen = np.ones_like(inside), np.ones_like(inside)
        for name in ("consolidation", "ground_glass", "nodule"):
            if name in self.severities:
                filled = self._filled(name, inside)
                self.masks[name] = filled * ((soft - lung) * inside - np.float32(0.8) * vessels) > VISIBLE
                aired *= 1 - filled
                seen *= 1 - np.float32(0.8) * filled  # vessels vanish in lung as dense as they are
        fluid, gas, line = self._pleura(inside, vessels)
        content = (1 - gas) * (soft * (1 - aired) + lung * aired) + gas * np.float32(AIR)
        content = fluid * soft + (1 - fluid) * content
        after: Array = soft * (thorax.body - inside - np.minimum(thorax.gas, 0.6 * thorax.body)) + content * inside
        after += vessels * seen * (1 - gas) * (1 - fluid) + line * (1 - fluid)
        before = soft * (thorax.body - scene.thorax.lung() - np.minimum(thorax.gas, 0.6 * thorax.body))
        before += lung * scene.thorax.lung() + scene.vessels_in(scene.thorax)
        added: Array = after - before
        if "cardiomegaly" in self.severities:
            self._mask_heart()
        if self.anatomy.displaced:
            added += self._push()
        return added

    def _filled(self, name: str, inside: Array) -> Array:
        """Share of each ray's air that a finding of the lung itself replaces."""
        scene, severity, rng = self.scene, self.severities[name], self.rngs[name]
        anatomy, profiles = scene.anatomy, scene.profiles
        if name == "nodule":
            nodules = sample_nodules(rng, anatomy, profiles, severity)
            path = _CALCIFIED * nodule_path(scene.grid, anatomy, scene.pose, nodules)
        else:
            path = self._lesions(rng, anatomy, profiles, name) / np.float32(SOFT_TISSUE - scene.air)
        share: Array = np.minimum(path / np.maximum(inside, np.float32(0.5)), np.float32(_FULLEST))
        return share

    def _lesions(self, rng: np.random.Generator, anatomy: Anatomy, profiles: Profiles, name: str) -> Array:
        sample = sample_consolidation if name == "consolidation" else sample_ground_glass
        low, high = _RANGES[name]
        disease: Disease = sample(rng, anatomy, profiles, low + (high - low) * self.severities[name])
        return lesion_integral(self.scene.grid, self.thorax, disease, anatomy, self.scene.pose)[0]

    def _pleura(self, inside: Array, vessels: Array) -> tuple[Array, Array, Array]:
        """Shares of fluid and air of each ray's path, and what the pleural line adds."""
        scene, lung = self.scene, np.float32(self.scene.air)
        fluid, gas, line = np.zeros_like(inside), np.zeros_like(inside), np.zeros_like(inside)
        if "effusion" in self.severities:
            for one in sample_effusion(self.rngs["effusion"], self.severities["effusion"]):
                fluid += fluid_share(scene.grid, scene.anatomy, scene.pose, scene.profiles, one)
            denser = (np.float32(SOFT_TISSUE) - lung) * inside - vessels
            self.masks["effusion"] = fluid * denser > VISIBLE
        if self.collapse:
            gas, line = air_share(scene.grid, scene.anatomy, scene.profiles, self.collapse)
            line = line * np.clip(inside - 1, 0, 1)
            thinner = gas * ((lung - np.float32(AIR)) * inside + vessels)
            self.masks["pneumothorax"] = (thinner > VISIBLE) | (line > VISIBLE)
        return fluid, gas, line

    def _mask_heart(self) -> None:
        small = self.scene.thorax
        if self.anatomy.displaced:
            small = self._thorax(replace(self.scene.anatomy, displaced=self.anatomy.displaced))
        wider = np.abs(self.thorax.lung() - small.lung()) * (SOFT_TISSUE - self.scene.air) > VISIBLE
        self.masks["cardiomegaly"] = wider | heart_shadow(self.scene.grid, self.anatomy, self.scene.pose)

    def _push(self) -> Array:
        """What the trachea's displacement adds; the mediastinum's is marked as part of the pneumothorax."""
        scene = self.scene
        moved = np.zeros_like(scene.vessels)
        for anatomy, sign in ((self.anatomy, 1), (self.unpushed, -1)):
            canvas = TubeCanvas(scene.grid, scene.pose.turn, anchor=anatomy.rib_radius)
            draw_airways(canvas, anatomy, scene.pose)
            moved += sign * canvas.render()
        across = np.abs(self.thorax.lung() - self._thorax(self.unpushed).lung()) * (SOFT_TISSUE - scene.air)
        self.masks["pneumothorax"] |= (across > VISIBLE) | (np.abs(moved) > VISIBLE)
        return moved
