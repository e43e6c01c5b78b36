"""Trees of folders with small images, and what was read of them."""

import hashlib
import io

import numpy as np
from PIL import Image

THREE = ("normal", "infected/covid", "infected/non-covid")
TWO = ("NORMAL", "PNEUMONIA")
SPLITS = ("train", "val", "test")


def picture(number, *, mask=False):
    """The bytes of a PNG: another one for every number; a mask is black and white only."""
    pixels = np.random.default_rng(number).integers(0, 255, (40, 40), np.uint8)
    if mask:
        pixels = np.zeros((40, 40), np.uint8)
        pixels[8 : 12 + number % 20, 10:30] = 255
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def below(folder, spec):
    return {f"{folder}/{name}": content for name, content in spec.items()}


def counts(table):
    return {f"{split}:{label}" if split else label: n for (split, label), n in table.counts().items()}


def every(counted, labels, **splits):
    """Whether all labels have so many images in each split, and nothing else is there."""
    return counted == {f"{split}:{label}": n for split, n in splits.items() for label in labels}


def digests(files):
    return {hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
