"""Heatmaps drawn over radiographs, as PNG files and a page of them; with Pillow alone."""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from hilum.errors import UsageError
from hilum.serving.answer import Answer
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
    sheet = Image.new("RGB", (len(panels) * (width + GAP) - GAP, height + CAPTION), (255, 255, 255))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT)
    for number, (panel, lines) in enumerate(panels):
        left = number * (width + GAP)
        sheet.paste(panel, (left, 0))
        for row, line in enumerate(lines):
            text = _shorten(line, width, font)
            pen.text((left + 2, height + 5 + row * (FONT + 5)), text, fill=(20, 20, 20), font=font)
    return sheet


class Album:
    """Draws explanations into a folder, one by one, and in the end a page that shows them.

    Args:
        folder: Made if it is not there.
        paths: Of all images that are to come; below `folder` they keep what distinguishes them.
        bundle: Whose answers they are.

    Raises:
        UsageError: The folder cannot be made.
    """

    def __init__(self, folder: Path, paths: Sequence[Path], bundle: Bundle) -> None:
        self.folder, self.bundle = folder, bundle
        self.root = os.path.commonpath([os.path.abspath(path.parent) for path in paths])  # noqa: PTH100 - links are kept
        self.shown: list[tuple[str, Answer, str]] = []
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            msg = f"{folder}: cannot be made ({error.strerror}). Choose another folder for --explain."
            raise UsageError(msg) from error

    def add(self, path: Path, explanation: Explanation) -> Path:
        """Draw one explanation; the file that was written."""
        relative = os.path.relpath(os.path.abspath(path), self.root)  # noqa: PTH100
        file = self.folder / f"{relative}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        draw(explanation, self.bundle).save(file)
        self.shown.append((file.relative_to(self.folder).as_posix(), explanation.answer, self.truth_of(path)))
        return file

    def truth_of(self, path: Path) -> str:
        """The label that an image's folders name; empty where they name none."""
        folder = f"/{path.absolute().parent.as_posix().strip('/')}/"
        found = [label for label in self.bundle.labels if folder.endswith(f"/{label}/")]
        return max(found, key=len, default="")

    def close(self) -> Path:
        """Write ``index.html``: wrong answers first, then right ones, then those whose truth is not known."""
        page = self.folder / "index.html"
        page.write_text(_page(self.shown, self.bundle), encoding="utf-8")
        return page


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


def _page(shown: Sequence[tuple[str, Answer, str]], bundle: Bundle) -> str:
    groups: dict[str, list[str]] = {"Wrong": [], "Right": [], "": []}
    for file, answer, truth in shown:
        group = "" if not truth else "Right" if truth == answer.label else "Wrong"
        said = f"{bundle.display[answer.label]} {answer.probabilities[answer.label]:.1%}"
        filed = f"; filed as {bundle.display[truth]}" if truth else ""
        caption = html.escape(f"{answer.path}: {said}{filed}. {answer.decision}: {answer.reason}.")
        picture = f'<img loading="lazy" src="{html.escape(_quoted(file))}" alt="{caption}">'
        groups[group].append(f"<figure>{picture}<figcaption>{caption}</figcaption></figure>")
    parts = []
    for title, figures in groups.items():
        if figures:
            heading = f"<h2>{title}: {len(figures)}</h2>" if title else "<h2>Truth not known</h2>"
            parts.append(heading + "\n".join(figures))
    name = html.escape(f"What {bundle.name} looks at")
    about = (
        "Colour marks what speaks for the answer; where several decisions are taken, one picture shows each. A map "
        "says where the network found its reasons, not whether they are good ones. Not for diagnosis."
    )
    style = (
        "body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:1040px;padding:0 1rem;color:#1a1a1a}"
        "figure{margin:0 0 1.6rem}img{max-width:100%;height:auto}figcaption{color:#444;overflow-wrap:anywhere}"
    )
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{name}</title>'
    body = "\n".join(parts)
    top = f'<!doctype html>\n<html lang="en"><head>{head}<style>{style}</style></head>'
    return f"{top}\n<body><h1>{name}</h1><p>{about}</p>\n{body}\n</body></html>\n"


def _quoted(file: str) -> str:
    from urllib.parse import quote

    return quote(file)
