"""What the page shows of a radiograph: grey values and heatmaps, as plain numbers. No file reaches its script."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hilum.serving.explain import Explanation, Heatmap, full_colour, is_healthy
from hilum.serving.model_file import ModelFile
from hilum.serving.prediction import PredictionLine, UnreadableLine

LARGEST = 1600  # pixels of the longer side; screens show no more, and a client has to hold it
HEAT = 160  # of a heatmap's longer side; the network's own is coarser


@dataclass(frozen=True)
class HeatmapFacts:
    """A heatmap behind the picture.

    Attributes:
        decision: At which folder of the label hierarchy it was taken; empty at the root.
        child: What it supports.
        share: Its probability among those who reach the decision.
        healthy: Whether that is a label of the healthy.
        width: In pixels.
        height: In pixels.
    """

    decision: str
    child: str
    share: float
    healthy: bool
    width: int
    height: int


@dataclass(frozen=True)
class PictureFacts:
    """What lies before the numbers: the answer, and the sizes.

    Attributes:
        prediction: As ``/v1/predict`` gives it.
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.
        heatmaps: In their order behind the picture.
        method: How the heatmaps were made; empty without any.
    """

    prediction: PredictionLine | UnreadableLine
    width: int
    height: int
    heatmaps: tuple[HeatmapFacts, ...] = ()
    method: str = ""


def pack_picture(
    prediction: PredictionLine | UnreadableLine,
    pixels: NDArray[np.float32],
    explanation: Explanation | None = None,
    model_file: ModelFile | None = None,
) -> bytes:
    """One message of numbers for the page.

    Args:
        prediction: About the picture.
        pixels: Of shape (H, W), 0 to 1.
        explanation: With heatmaps, where they were asked for.
        model_file: Of the explanation.

    Returns:
        Four bytes with the length of a JSON object (`PictureFacts`, UTF-8, filled up with spaces to a multiple of 4),
        the object, the picture's pixels as little-endian uint16 row by row, then those of each heatmap as uint8,
        where 255 is full colour.
    """
    grey = np.rint(_at_most(pixels, LARGEST) * 65535).clip(0, 65535).astype("<u2")
    maps = [_strength(heatmap) for heatmap in explanation.heatmaps] if explanation else []
    facts = PictureFacts(
        prediction,
        grey.shape[1],
        grey.shape[0],
        tuple(_facts(*pair, model_file) for pair in zip(explanation.heatmaps, maps, strict=True))
        if explanation and model_file
        else (),
        explanation.method if explanation else "",
    )
    head = json.dumps(facts, default=vars_of).encode()
    head += b" " * (-len(head) % 4)
    return b"".join((len(head).to_bytes(4, "little"), head, grey.tobytes(), *(found.tobytes() for found in maps)))


def vars_of(record: object) -> dict[str, object]:
    """The fields of a record, for JSON."""
    return {name: getattr(record, name) for name in record.__dataclass_fields__}  # type: ignore[attr-defined]


def _strength(heatmap: Heatmap) -> NDArray[np.uint8]:
    values = _at_most(heatmap.values, HEAT)
    strength: NDArray[np.uint8] = np.rint(255 * (values / full_colour(heatmap)).clip(0, 1)).astype(np.uint8)
    return strength


def _facts(heatmap: Heatmap, values: NDArray[np.uint8], model_file: ModelFile) -> HeatmapFacts:
    height, width = values.shape
    healthy = is_healthy(heatmap, model_file)
    return HeatmapFacts(heatmap.decision, heatmap.child, float(heatmap.share), healthy, width, height)


def _at_most(values: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    height, width = values.shape
    scale = side / max(height, width)
    if scale >= 1:
        return values
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BILINEAR))
