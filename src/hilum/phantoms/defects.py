"""Datasets as planned, and the defects that are injected in them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from hilum.errors import UsageError
from hilum.phantoms.image import VARIANTS
from hilum.phantoms.radiograph import LABELS, patient_name

LABEL_DEFECTS: dict[str, str] = {
    "marker": "marker:LABEL[:SHARE]  a bright corner letter on SHARE (0.95) of the label's images, no others",
    "frame": "frame:LABEL           a black border of varying width around the label's images",
    "brightness": "brightness:LABEL      the label's images are displayed brighter",
    "format": "format:LABEL          the label's files are JPEG instead of PNG",
    "size": "size:LABEL            the label's images have 1.25 times as many rows and columns",
    "bytes": "bytes:LABEL           the label's PNG files are stored uncompressed: same pixels, larger files",
}
"""Defects that go with a label, each with its spelling and meaning."""

COUNT_DEFECTS: dict[str, tuple[int, str]] = {
    "duplicates": (
        12,
        "duplicates[:N]        copies of N (12) training images in test, exact or altered in turn",
    ),
    "patient": (5, "patient[:N]           N (5) patients have images on both sides of the split"),
    "mislabel": (10, "mislabel[:N]          N (10) training images lie under a wrong label"),
}
"""Defects that are counted, each with its usual number, spelling and meaning."""

_MARKER_SHARE = 0.95


def _refuse(text: str, why: str) -> UsageError:
    kinds = [*LABEL_DEFECTS.values(), *(spelling for _, spelling in COUNT_DEFECTS.values())]
    listed = "\n".join(f"  {spelling}" for spelling in kinds)
    msg = f"no such defect: {text!r} ({why}). There are:\n{listed}\nLABEL is one of: {', '.join(LABELS)}"
    return UsageError(msg, code="unknown-defect")


@dataclass(frozen=True)
class Defect:
    """One defect to inject.

    Attributes:
        kind: A key of ``LABEL_DEFECTS`` or ``COUNT_DEFECTS``.
        label: The label it goes with; empty for the counted ones.
        share: Share of the label's images that have it, above 0 and at most 1.
        number: How many, for the counted ones; otherwise 0.
    """

    kind: str
    label: str = ""
    share: float = 1.0
    number: int = 0

    @classmethod
    def parse(cls, text: str) -> "Defect":
        """Read a defect such as ``marker:infected/covid:0.9`` or ``duplicates:20``.

        Raises:
            UsageError: The text names no defect; the message lists all there are.
        """
        kind, *rest = (part.strip() for part in text.split(":"))
        if kind in COUNT_DEFECTS:
            if not rest:
                return cls(kind, number=COUNT_DEFECTS[kind][0])
            if len(rest) > 1 or not rest[0].isdecimal() or int(rest[0]) < 1:
                raise _refuse(text, f"{kind!r} takes one whole number above 0")
            return cls(kind, number=int(rest[0]))
        if kind not in LABEL_DEFECTS:
            raise _refuse(text, f"unknown kind {kind!r}")
        if not rest or rest[0] not in LABELS:
            raise _refuse(text, f"{kind!r} needs a label, found {rest[0] if rest else 'none'!r}")
        if kind != "marker":
            if len(rest) > 1:
                raise _refuse(text, f"{kind!r} takes a label and nothing more")
            return cls(kind, rest[0])
        try:
            share = float(rest[1]) if len(rest) > 1 else _MARKER_SHARE
        except ValueError:
            share = 0.0
        if len(rest) > 2 or not 0 < share <= 1:
            raise _refuse(text, "the share is a number above 0 and at most 1")
        return cls(kind, rest[0], share)

    def __str__(self) -> str:
        parts = [self.kind, self.label, f"{self.share:g}" if self.kind == "marker" else ""]
        return ":".join([*(part for part in parts if part), *([str(self.number)] if self.number else [])])


_PLAN = 7
IMAGES_A_PATIENT = (0.6, 0.3, 0.1)
"""Share of the patients with one, two and three images."""


@dataclass(frozen=True)
class PlannedImage:
    """One file of the dataset and all that is done to it.

    Attributes:
        seed: Of the population.
        patient: Number of the patient drawn.
        image: Number of the patient's image.
        truth: The label that is drawn.
        size: Edge in pixels at which it is drawn.
        label: The label it is filed under.
        split: ``train`` or ``test``.
        patient_id: As written in the metadata.
        number: The image's number in its file name.
        edits: Pixel defects, in the order in which they are applied.
        suffix: ``.png`` or ``.jpg``.
        stored: Whether the PNG is left uncompressed.
        variant: How a duplicate differs from its original; empty for originals.
    """

    seed: int
    patient: int
    image: int
    truth: str
    size: int
    label: str
    split: str
    patient_id: str
    number: int
    edits: tuple[str, ...] = ()
    suffix: str = ".png"
    stored: bool = False
    variant: str = ""

    @property
    def path(self) -> str:
        """Where the image goes, relative to the dataset's folder."""
        return f"{self.split}/{self.label}/{self.patient_id}-{self.number}{self.suffix}"

    @property
    def mask_path(self) -> str:
        """Where its mask goes, if it has one."""
        return f"masks/{self.path.removesuffix(self.suffix)}.png"

    @property
    def lung_mask_path(self) -> str:
        """Where the mask of its lungs goes."""
        return f"masks/lungs/{self.path.removesuffix(self.suffix)}.png"


def _deal(patients: int, shares: Mapping[str, float]) -> list[str]:
    """Labels for ``patients`` in the given shares, by largest remainders."""
    unknown = sorted(set(shares) - set(LABELS))
    total = sum(shares.values())
    if unknown or total <= 0 or min(shares.values(), default=0) < 0:
        msg = f"shares {dict(shares)} are no shares of {', '.join(LABELS)}; give each a number of 0 or more"
        raise UsageError(msg)
    exact = np.array([patients * shares.get(label, 0.0) / total for label in LABELS])
    counts = exact.astype(int)
    for i in np.argsort(counts - exact, kind="stable")[: patients - counts.sum()]:
        counts[i] += 1
    return [label for label, count in zip(LABELS, counts, strict=True) for _ in range(count)]


def plan_dataset(
    *, patients: int, seed: int, size: int, test_fraction: float, shares: Mapping[str, float]
) -> list[PlannedImage]:
    """Plan a dataset without defects: every patient has 1 to 3 images, one label and one split.

    Raises:
        UsageError: The numbers cannot make a dataset.
    """
    if patients < 2 or not 0 <= test_fraction < 1:
        msg = f"{patients} patients with {test_fraction} in test make no dataset; give 2 or more and 0 to <1"
        raise UsageError(msg)
    rng = np.random.default_rng([seed, 0, _PLAN])
    labels = _deal(patients, shares)
    order = rng.permutation(patients)
    images = rng.choice([1, 2, 3], patients, p=IMAGES_A_PATIENT)
    planned = []
    for label in LABELS:
        mine = [int(order[i]) for i in range(patients) if labels[i] == label]
        in_test = set(mine[: round(test_fraction * len(mine))])
        for patient in mine:
            split = "test" if patient in in_test else "train"
            planned += [
                PlannedImage(seed, patient, k, label, size, label, split, patient_name(patient), k)
                for k in range(int(images[patient]))
            ]
    return sorted(planned, key=lambda p: (p.patient, p.image))


_ORDER = ("mislabel", "patient", "marker", "frame", "brightness", "size", "bytes", "format", "duplicates")
_PLANTING = 8


@dataclass(frozen=True)
class InjectedDefect:
    """The truth about one injected defect.

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
        msg = f"cannot inject {defect}: only {len(candidates)} qualify; ask for fewer, or for more patients"
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


def inject(planned: Plan, defects: Sequence[Defect], seed: int) -> tuple[Plan, tuple[InjectedDefect, ...]]:
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
    injected = []
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
        injected.append(InjectedDefect(defect, tuple(sorted(plan[i].path for i in found)), tuple(details)))
    return plan, tuple(injected)
