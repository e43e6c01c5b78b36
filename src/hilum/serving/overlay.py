"""Heatmaps drawn over radiographs; with Pillow alone."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from hilum.serving.bundle import Bundle
from hilum.serving.explanation import Explanation, Heatmap

SHORTEST, LONGEST = 320, 640  # of a panel's longer side, in pixels
CAPTION, GAP, FONT = 44, 8, 13
FAINT = 2.0  # log-odds; weaker evidence is drawn weaker, instead of each map being stretched to full colour
# From yellow over orange to red, ever less transparent: none of it is found in a grey picture.
RAMP = np.array([[255, 215, 0], [255, 150, 0], [245, 70, 20], [215, 10, 70]], np.float32)
OPAQUE = 0.6
WORDS = {"activation": "class activation", "occlusion": "occlusion"}


def draw(explanation: Explanation, bundle: Bundle) -> Image.Image:
    """The radiograph, and beside it once for each decision with its heatmap; captions below.

    Colour shows what speaks for the answer (`FAINT` says how strong evidence has to be for full colour, where the
    strongest of the image is weaker); what speaks against it is not shown.
    """
    grey = _panel(explanation.pixels)
    panels = [(grey, _first_caption(explanation))]
    panels += [(_heat(grey, heatmap), _caption(heatmap, explanation, bundle)) for heatmap in explanation.heatmaps]
    width, height = grey.size
    scale = max(1.0, width / SHORTEST)  # pages show all panels in one width, and captions have to stay legible there
    sheet = Image.new("RGB", (len(panels) * (width + GAP) - GAP, height + round(CAPTION * scale)), (255, 255, 255))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT * scale)
    for number, (panel, lines) in enumerate(panels):
        left = number * (width + GAP)
        sheet.paste(panel, (left, 0))
        for row, line in enumerate(lines):
            text = _shorten(line, width, font)
            place = left + 2, height + scale * (5 + row * (FONT + 5))
            pen.text(place, text, fill=(20, 20, 20), font=font)
    return sheet


def _panel(pixels: NDArray[np.float32]) -> Image.Image:
    height, width = pixels.shape
    scale = min(LONGEST / max(height, width), max(1.0, SHORTEST / max(height, width)))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
    return Image.fromarray(np.rint(small * 255).clip(0, 255).astype(np.uint8)).convert("RGB")


def _heat(grey: Image.Image, heatmap: Heatmap) -> Image.Image:
    values = np.asarray(Image.fromarray(heatmap.values).resize(grey.size, Image.Resampling.BILINEAR))
    strength = (values / max(float(values.max()), FAINT)).clip(0, 1)
    position = strength * (len(RAMP) - 1)
    below = np.minimum(position.astype(int), len(RAMP) - 2)
    part = (position - below)[..., None]
    colour = RAMP[below] * (1 - part) + RAMP[below + 1] * part
    alpha = OPAQUE * strength[..., None]
    mixed = np.asarray(grey, np.float32) * (1 - alpha) + colour * alpha
    return Image.fromarray(np.rint(mixed).clip(0, 255).astype(np.uint8))


def _first_caption(explanation: Explanation) -> list[str]:
    name = explanation.answer.path.replace(os.sep, "/").rsplit("/", 1)[-1]
    return [name, f"decision: {explanation.answer.decision}"]


def _caption(heatmap: Heatmap, explanation: Explanation, bundle: Bundle) -> list[str]:
    shown = bundle.display.get(heatmap.child, heatmap.child)
    given = f" (if {heatmap.decision})" if heatmap.decision else ""
    strongest = max(0.0, float(heatmap.values.max()))
    return [f"{heatmap.share:.1%} {shown}{given}", f"{WORDS[explanation.method]}, up to {strongest:.1f} log-odds"]


def _shorten(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    if font.getlength(text) <= width - 4:
        return text
    while text and font.getlength(f"{text}...") > width - 4:
        text = text[:-1]
    return f"{text}..."
