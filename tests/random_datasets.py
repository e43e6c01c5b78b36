"""Datasets of random pictures that differ by label."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

LABELS = ("normal", "infected/covid", "infected/non-covid")


def write_pictures(
    root, labels=LABELS, *, patients=12, images=2, splits=("train",), side=40, metadata=True, start=0, columns=()
):
    """Write noise that is brighter towards later labels, and its table.

    Args:
        root: Folder to write.
        labels: Labels, the darkest first.
        patients: Patients of each label in each split: a number, or one by split.
        images: Images of each patient.
        splits: Folders of the first level.
        side: Height and width of an image.
        metadata: Whether ``metadata.csv`` is written, too.
        start: Seed of the noise.
        columns: Further columns: name, and what it holds for the row of a number.
    """
    generator = np.random.default_rng(start)
    rows = []
    for split in splits:
        for k, label in enumerate(labels):
            for patient in range(patients[split] if isinstance(patients, dict) else patients):
                for image in range(images):
                    relative = Path(split, label, f"{split[:2]}{patient:03d}-{image}.png")
                    (root / relative).parent.mkdir(parents=True, exist_ok=True)
                    pixels = generator.normal(60 + 60 * k, 25, (side, side)).clip(0, 255).astype(np.uint8)
                    Image.fromarray(pixels).save(root / relative)
                    more = (of(len(rows)) for _, of in columns)
                    rows.append((relative.as_posix(), label, split, f"{split}-{label}-{patient}", *more))
    if metadata:
        with (root / "metadata.csv").open("w", newline="") as file:
            csv.writer(file).writerows(
                [("path", "label", "split", "patient_id", *(name for name, _ in columns)), *rows]
            )
    return root
