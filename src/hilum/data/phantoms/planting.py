"""Planting defects into a planned dataset, and remembering where."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from hilum.data.phantoms.defects import Defect
from hilum.data.phantoms.edits import VARIANTS
from hilum.data.phantoms.plan import PlannedImage
from hilum.data.phantoms.radiograph import LABELS, patient_name
from hilum.errors import UsageError

_ORDER = ("mislabel", "patient", "marker", "frame", "brightness", "size", "bytes", "format", "duplicates")
_PLANTING = 8


@dataclass(frozen=True)
class PlantedDefect:
    """The truth about one planted defect.

    Attributes:
        defect: What was asked for.
        paths: The images concerned, relative to the dataset's folder.
        details: For each duplicate its ``path``, ``original`` and ``variant``; for each patient on both sides
            ``patient_id``, ``train`` and ``test``; for each wrong label ``path``, ``label`` and ``truth``.
    """

    defect: Defect
    paths: tuple[str, ...]
    details: tuple[dict[str, str | list[str]], ...] = field(default=())

    @property
    def kind(self) -> str:
        """The defect's kind."""
        return self.defect.kind


Plan = list[PlannedImage]
Details = list[dict[str, str | list[str]]]


def _draw(rng: np.random.Generator, candidates: list[int], defect: Defect) -> list[int]:
    if len(candidates) < defect.number:
        msg = f"cannot plant {defect}: only {len(candidates)} qualify; ask for fewer, or for more patients"
        raise UsageError(msg, code="too-few-candidates")
    return sorted(int(i) for i in rng.choice(candidates, defect.number, replace=False))


def _mislabel(plan: Plan, defect: Defect, rng: np.random.Generator) -> set[int]:
    chosen = _draw(rng, [i for i, p in enumerate(plan) if p.split == "train"], defect)
    present = [label for label in LABELS if any(p.label == label for p in plan)]
    for i in chosen:
        wrong = [label for label in present if label != plan[i].truth] or [LABELS[0]]
        plan[i] = replace(plan[i], label=str(rng.choice(wrong)))
    return set(chosen)


def _share_patients(plan: Plan, defect: Defect, rng: np.random.Generator) -> set[int]:
    """Move a patient's last image from training to test, or give a patient of one image another one there."""
    clean = {p.patient for p in plan if p.split == "train"} - {p.patient for p in plan if p.label != p.truth}
    chosen = _draw(rng, sorted(clean), defect)
    for patient in chosen:
        own = [i for i, p in enumerate(plan) if p.patient == patient]
        last = plan[own[-1]]
        if len(own) > 1:
            plan[own[-1]] = replace(last, split="test")
        else:
            plan.append(replace(last, image=last.image + 1, number=last.number + 1, split="test"))
    return {i for i, p in enumerate(plan) if p.patient in chosen}


def _alter(plan: Plan, defect: Defect, rng: np.random.Generator) -> set[int]:
    """Change the images filed under a label."""
    filed = [i for i, p in enumerate(plan) if p.label == defect.label]
    count = round(defect.share * len(filed))
    chosen = {int(i) for i in rng.choice(filed, count, replace=False)} if count else set()
    for i in chosen:
        if defect.kind == "format":
            plan[i] = replace(plan[i], suffix=".jpg")
        elif defect.kind == "bytes":
            plan[i] = replace(plan[i], stored=True)
        else:
            plan[i] = replace(plan[i], edits=(*plan[i].edits, defect.kind))
    return chosen


def _duplicate(plan: Plan, defect: Defect, rng: np.random.Generator, taken: set[int]) -> list[tuple[int, int]]:
    """Append altered copies to the test split; pairs of (copy, original)."""
    candidates = [i for i, p in enumerate(plan) if p.split == "train" and i not in taken]
    free = 1 + max(int(p.patient_id[1:]) for p in plan)
    pairs = []
    for n, i in enumerate(_draw(rng, candidates, defect)):
        variant = VARIANTS[n % len(VARIANTS)]
        suffix = ".jpg" if variant == "jpeg" else plan[i].suffix
        name = patient_name(free + n)
        copy = replace(plan[i], split="test", patient_id=name, number=0, suffix=suffix, variant=variant)
        plan.append(copy)
        pairs.append((len(plan) - 1, i))
    return pairs


def plant(planned: Plan, defects: Sequence[Defect], seed: int) -> tuple[Plan, tuple[PlantedDefect, ...]]:
    """Plant ``defects`` in a planned dataset.

    Wrong labels and shared patients come first, then what goes with a label (as filed, wrong labels
    included), then duplicates, which carry over what their originals show.

    Returns:
        The changed plan, and the truth about every defect in the order asked for.

    Raises:
        UsageError: There are not enough images for what is asked.
    """
    plan = list(planned)
    touched: dict[Defect, set[int]] = {}
    pairs: dict[Defect, list[tuple[int, int]]] = {}
    for defect in sorted(set(defects), key=lambda d: (_ORDER.index(d.kind), str(d))):
        rng = np.random.default_rng(
            [seed, _ORDER.index(defect.kind), _PLANTING, LABELS.index(defect.label or LABELS[0])]
        )
        if defect.kind == "mislabel":
            touched[defect] = _mislabel(plan, defect, rng)
        elif defect.kind == "patient":
            touched[defect] = _share_patients(plan, defect, rng)
        elif defect.kind == "duplicates":
            special = {i for d, found in touched.items() if d.kind in ("mislabel", "patient") for i in found}
            pairs[defect] = _duplicate(plan, defect, rng, special)
            touched[defect] = {copy for copy, _ in pairs[defect]}
            # what goes with a label now goes with the copies of its images, too
            for other in [d for d in touched if d.label]:
                touched[other] |= {copy for copy, original in pairs[defect] if original in touched[other]}
        else:
            touched[defect] = _alter(plan, defect, rng)
    planted = []
    for defect in dict.fromkeys(defects):
        found = sorted(touched[defect])
        details: Details = []
        if defect.kind == "mislabel":
            details = [{"path": plan[i].path, "label": plan[i].label, "truth": plan[i].truth} for i in found]
        elif defect.kind == "duplicates":
            details = [
                {"path": plan[copy].path, "original": plan[i].path, "variant": plan[copy].variant}
                for copy, i in pairs[defect]
            ]
        elif defect.kind == "patient":
            for name in sorted({plan[i].patient_id for i in found}):
                sides = {
                    s: [plan[i].path for i in found if plan[i].patient_id == name and plan[i].split == s]
                    for s in ("train", "test")
                }
                details.append({"patient_id": name, **sides})
        planted.append(PlantedDefect(defect, tuple(sorted(plan[i].path for i in found)), tuple(details)))
    return plan, tuple(planted)
