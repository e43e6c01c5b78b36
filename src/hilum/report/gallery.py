"""Fig. 5, the gallery: which images of an evaluation the page shows, and their pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from hilum.data.images import read_radiograph
from hilum.errors import ExtraError, ImageError
from hilum.evaluation.predictions import Predictions

SHOW_ALL_UP_TO = 40
SAMPLE_SIZE = 36
LONGEST_SIDE = 192


@dataclass(frozen=True, slots=True)
class Prediction:
    """One row of ``predictions.csv``: truth, answer, and the probability of each label."""

    path: str
    label: str
    predicted: str
    probabilities: tuple[tuple[str, float], ...]

    @property
    def right(self) -> bool:
        """Whether the answer is the truth."""
        return self.label == self.predicted

    @property
    def confidence(self) -> float:
        """The probability of the label that was answered, 0 to 1."""
        return dict(self.probabilities).get(self.predicted, 0.0)

    def bars(self, most: int = 4) -> list[tuple[str, float]]:
        """The likeliest labels, highest probability first; the truth is always among them."""
        ranked = sorted(self.probabilities, key=lambda entry: -entry[1])
        if len(ranked) <= most:
            return ranked
        truth = [entry for entry in ranked[most - 1 :] if entry[0] == self.label][:1]
        return ranked[: most - len(truth)] + truth


@dataclass(frozen=True, slots=True)
class Choice:
    """The predictions that the gallery shows, and one sentence on how they were chosen."""

    predictions: tuple[Prediction, ...]
    how: str
    complete: bool


def rows_of(predictions: Predictions) -> list[Prediction]:
    """The predictions image by image, in words."""
    labels = predictions.labels
    return [
        Prediction(path, labels[truth], labels[answer], tuple(zip(labels, map(float, row), strict=True)))
        for path, truth, answer, row in zip(
            predictions.paths, predictions.truth, predictions.predicted, predictions.probabilities, strict=True
        )
    ]


def choose(predictions: Sequence[Prediction], labels: Sequence[str], seed: int = 0) -> Choice:
    """Choose what the gallery shows: everything when that is little, else a sample with many errors.

    The sample is stratified by true label. Of each label half are errors, the most confident first,
    and half are right answers drawn at random; where one kind is short, the other fills up.

    Args:
        predictions: Of one evaluation, in any order: the choice does not depend on it.
        labels: The order in which the labels are shown.
        seed: Of the random draw.
    """
    by_truth = {
        label: sorted((p for p in predictions if p.label == label), key=lambda p: (-p.confidence, p.path))
        for label in labels
    }
    by_truth = {label: found for label, found in by_truth.items() if found}
    if len(predictions) <= SHOW_ALL_UP_TO:
        everything = [p for found in by_truth.values() for p in sorted(found, key=lambda p: p.right)]
        return Choice(tuple(everything), f"All {len(everything)} images, errors first.", complete=True)
    generator = np.random.default_rng(seed)
    chosen: list[Prediction] = []
    for position, found in enumerate(by_truth.values()):
        quota = SAMPLE_SIZE // len(by_truth) + (position < SAMPLE_SIZE % len(by_truth))
        wrong, right = [p for p in found if not p.right], [p for p in found if p.right]
        n_right = min(len(right), max(quota // 2, quota - len(wrong)))
        drawn = sorted(generator.choice(len(right), size=n_right, replace=False)) if right else []
        chosen += wrong[: quota - n_right] + [right[i] for i in drawn]
    n_wrong = sum(not p.right for p in chosen)
    how = (
        f"{len(chosen)} of {len(predictions):,} images, selected and therefore not representative: of each true label "
        f"errors, the most confident first ({n_wrong} here; about half where there are enough of both); the others are "
        f"correct predictions drawn at random (seed {seed}; {len(chosen) - n_wrong} here). The share of errors in "
        "this gallery is not an error rate."
    )
    return Choice(tuple(chosen), how, complete=False)


def picture_uri(file: Path) -> str | None:
    """A small greyscale PNG of the image as a data URI; None when the file is gone or unreadable."""
    try:
        pixels = read_radiograph(file)[0].pixels
    except (ImageError, ExtraError):
        return None
    image = Image.fromarray(np.clip(np.rint(pixels * 255), 0, 255).astype(np.uint8))
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
