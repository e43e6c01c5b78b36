"""Which files a phantom dataset consists of, before any is drawn."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hilum.data.phantoms.radiograph import LABELS, patient_name
from hilum.errors import UsageError

_PLAN = 7
_IMAGES_A_PATIENT = (0.6, 0.3, 0.1)


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
    images = rng.choice([1, 2, 3], patients, p=_IMAGES_A_PATIENT)
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
