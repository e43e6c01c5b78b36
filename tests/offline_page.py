"""What tests of the page without a server need: a browser, the runtime package, and phantoms in every kind of file."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hilum.phantoms import LABELS, make_phantom
from places import ROOT
from sizes import sized

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PLACES = [
    Path(os.environ.get("HILUM_ONNXRUNTIME_WEB", "nowhere")),
    ROOT / "node_modules" / "onnxruntime-web",
    ROOT.parent / "shared" / "onnxruntime-web-1.30.0.tgz",
]
RUNTIME = next((place for place in PLACES if place.exists()), None)
MARKS = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (Debian: apt install chromium)"),
    pytest.mark.skipif(RUNTIME is None, reason="no onnxruntime-web here: npm pack it, HILUM_ONNXRUNTIME_WEB names it"),
    pytest.mark.slow,
]
COUNT = sized(200, 500)


def disguised(pixels, number, generator):
    """One radiograph in one of the ways that PNG and JPEG have for it: the file's kind, and what to save."""
    grey = Image.fromarray(pixels)
    kind = number % 10
    if kind == 0:
        return "jpg", grey
    if kind == 1:
        return "jpg", grey.convert("RGB")
    if kind == 2:
        return "png", grey.convert("RGB")
    if kind == 3:
        return "png", grey.quantize(200)
    if kind == 4:
        alpha = generator.integers(0, 256, pixels.shape, np.uint8)
        return "png", Image.merge("LA", [grey, Image.fromarray(np.where(pixels > 40, 255, alpha).astype(np.uint8))])
    if kind == 5 and number % 50 == 5:
        tint = np.stack([pixels, pixels // 2, 255 - pixels], axis=2)
        return "png", Image.fromarray(tint)
    return "png", grey


def write_disguised(folder):
    """Phantoms of 75 to 600 pixels a side, many not square."""
    generator = np.random.default_rng(8)
    files = []
    for number in range(COUNT):
        size = round(75 + 525 * generator.random() ** 3)
        pixels = make_phantom(LABELS[number % 3], seed=11, patient=number, size=size).image
        cut = generator.integers(0, size // 5, 2) if number % 2 else (0, 0)
        kind, image = disguised(np.ascontiguousarray(pixels[cut[0] :, cut[1] :]), number, generator)
        files.append(folder / f"{number:03}.{kind}")
        image.save(files[-1], **({"quality": 92} if kind == "jpg" else {}))
    return files
