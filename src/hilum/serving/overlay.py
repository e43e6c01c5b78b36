"""Heatmaps drawn over radiographs; with Pillow alone. What they say in words stands on the page (`album_page`)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hilum.serving.bundle import Bundle
from hilum.serving.explanation import Explanation, Heatmap, decisions

SHORTEST, LONGEST = 320, 640  # of a panel's longer side, in pixels
GAP, GREY = 8, (128, 128, 128)
FAINT = 2.0  # log-odds; weaker evidence is drawn weaker, instead of each map being stretched to full colour
# Ever less transparent, and not to be found in a grey picture: yellow to red for findings, and, as nothing about it is
# alarming, green to blue for what is healthy.
FINDING = np.array([[255, 215, 0], [255, 150, 0], [245, 70, 20], [215, 10, 70]], np.float32)
HEALTHY = np.array([[150, 235, 190], [60, 200, 200], [30, 140, 230], [60, 80, 235]], np.float32)
OPAQUE = 0.6


def draw(explanation: Explanation, bundle: Bundle) -> Image.Image:
    """The radiograph, and beside it once for each decision of the network with its heatmap.

    Colour shows what speaks for the answer, up to `full_colour`; what speaks against it is not shown.
    """
    grey = _panel(explanation.pixels)
    ramps = [HEALTHY if is_healthy(heatmap, bundle) else FINDING for heatmap in explanation.heatmaps]
    panels = [grey, *(_heat(grey, *pair) for pair in zip(explanation.heatmaps, ramps, strict=True))]
    width, height = grey.size
    sheet = Image.new("RGB", (len(panels) * (width + GAP) - GAP, height), GREY)
    for number, panel in enumerate(panels):
        sheet.paste(panel, (number * (width + GAP), 0))
    return sheet


def is_healthy(heatmap: Heatmap, bundle: Bundle) -> bool:
    """Whether a map speaks for labels of the healthy."""
    return set(decisions(bundle)[heatmap.decision][heatmap.child]) <= set(bundle.healthy)


def full_colour(heatmap: Heatmap) -> float:
    """The evidence that is drawn in full colour: the strongest of the image, and `FAINT` at least; in log-odds."""
    return max(float(heatmap.values.max()), FAINT)


def _panel(pixels: NDArray[np.float32]) -> Image.Image:
    height, width = pixels.shape
    scale = min(LONGEST / max(height, width), max(1.0, SHORTEST / max(height, width)))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
    return Image.fromarray(np.rint(small * 255).clip(0, 255).astype(np.uint8)).convert("RGB")


def _heat(grey: Image.Image, heatmap: Heatmap, ramp: NDArray[np.float32]) -> Image.Image:
    values = np.asarray(Image.fromarray(heatmap.values).resize(grey.size, Image.Resampling.BILINEAR))
    strength = (values / full_colour(heatmap)).clip(0, 1)
    position = strength * (len(ramp) - 1)
    below = np.minimum(position.astype(int), len(ramp) - 2)
    part = (position - below)[..., None]
    colour = ramp[below] * (1 - part) + ramp[below + 1] * part
    alpha = OPAQUE * strength[..., None]
    mixed = np.asarray(grey, np.float32) * (1 - alpha) + colour * alpha
    return Image.fromarray(np.rint(mixed).clip(0, 255).astype(np.uint8))
