"""From stored values to grey values between 0 and 1, some rows at a time: one more array of all pixels is too many."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hilum.data.images import LARGEST_PIXELS, SMALLEST_SIDE, Picture
from hilum.errors import ImageError

CONTAINER_BITS = (8, 10, 12, 14, 16)
LUMA = (19595, 38470, 7471)  # ITU-R BT.601, in 65536ths
AT_ONCE = 2**20  # pixels
SEEN_FOR_CHROMA = (64, 64)

Rows = Callable[[slice], NDArray[np.uint16]]


def from_array(values: NDArray[Any], name: str = "array") -> Picture:
    """Take a radiograph that is in memory already, by the same rules.

    Args:
        values: Of shape (H, W): bytes, integers of 16 bits, or floating point between 0 and 1; or colours of shape
            (H, W, 3 or 4) in bytes or 16 bits without sign.
        name: What messages call it.

    Raises:
        ImageError: It is of another shape or kind, too small or too large, or holds values out of range.
    """
    coloured = values.ndim == 3 and values.shape[2] in (3, 4) and values.dtype in (np.uint8, np.uint16)
    if not (coloured or values.ndim == 2) or values.dtype.kind not in "uif":
        msg = (
            f"{name}: an array of {values.dtype} and shape {values.shape}; a radiograph is (H, W) of integers or of "
            "floating point between 0 and 1, or (H, W, 3) of bytes."
        )
        raise ImageError(msg, code="no-radiograph")
    height, width = values.shape[:2]
    if min(height, width) < SMALLEST_SIDE or height * width > LARGEST_PIXELS:
        msg = (
            f"{name}: {width}x{height} pixels; a radiograph has at least {SMALLEST_SIDE} a side and at most "
            f"{LARGEST_PIXELS:,} in all."
        )
        raise ImageError(msg, code="wrong-size")
    if values.dtype.kind == "f":
        return Picture(in_unit_range(values.astype(np.float32), name))
    if values.dtype == np.uint8:
        image = Image.fromarray(np.ascontiguousarray(values))
        return Picture(from_bytes(image), chroma(image))
    return from_colours(values.__getitem__, values.shape) if coloured else Picture(from_integers(values, name))


def from_bytes(image: Image.Image) -> NDArray[np.float32]:
    """Luma of an image of 8 bits, of shape (H, W), between 0 and 1; transparent pixels are black."""
    transparent = "transparency" in image.info or image.mode in ("LA", "PA", "La", "RGBA", "RGBa")
    found = np.empty((image.height, image.width), np.float32)
    for rows in strips(image.height, image.width):
        part = rows_of(image, rows)
        if transparent:
            part = part.convert("RGBA")
            part = Image.alpha_composite(Image.new("RGBA", part.size, (0, 0, 0, 255)), part)
        grey = part if part.mode == "L" else part.convert("L")
        np.divide(np.asarray(grey), 255, out=found[rows], dtype=np.float32)
    return found


def from_colours(values: Rows, shape: tuple[int, ...], key: object = None) -> Picture:
    """Luma of 16-bit colours, by the bit depth that their visible pixels use.

    Args:
        values: Gives some rows of (H, W, 2 to 4): grey or red, green and blue; of 2 and 4 the last is alpha.
        shape: Of all of them.
        key: The one colour that is transparent, if any.
    """
    height, width, channels = shape
    count = 1 if channels == 2 else 3
    blocks = list(strips(height, width))
    highest = (
        int(colours.max(axis=2)[alpha > 0].max(initial=0))
        for colours, alpha in (_with_alpha(values(rows), count, key) for rows in blocks)
    )
    full = _full_scale(max(highest))
    weights = np.array(LUMA if count == 3 else [sum(LUMA)], np.uint32)
    found = np.empty((height, width), np.float32)
    small = Image.new("RGB", (width, height)) if count == 3 else None
    for rows in blocks:
        colours, alpha = _with_alpha(values(rows), count, key)
        grey = (colours @ weights) / (sum(LUMA) * full)  # whole numbers of at most 32 bits: grey stays what it is
        found[rows] = np.minimum(grey, 1) * alpha
        if small is not None:
            part = (np.minimum(colours, full) * (255 / full)).astype(np.uint8)
            small.paste(Image.fromarray(part), (0, rows.start))
    return Picture(found, chroma(small) if small else 0.0)


def _with_alpha(values: NDArray[np.uint16], count: int, key: object) -> tuple[NDArray[np.uint16], NDArray[np.float32]]:
    """Colours, and how opaque they are."""
    colours = values[..., :count]
    alpha: NDArray[np.float32] = np.ones(values.shape[:2], np.float32)
    if values.shape[2] in (2, 4):
        alpha = values[..., -1].astype(np.float32) / np.float32(65535)
    if isinstance(key, tuple):
        alpha = alpha * (colours != np.array(key, np.uint16)).any(axis=2).astype(np.float32)
    return colours, alpha


def in_unit_range(values: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    """Floating-point pixels as they are, if they are between 0 and 1.

    Raises:
        ImageError: They are not.
    """
    if not np.isfinite(values).all():
        count = int((~np.isfinite(values)).sum())
        msg = f"{name}: {count:,} floating-point pixels that are not finite. Replace them, and scale all to 0 to 1."
        raise ImageError(msg, code="not-finite")
    lowest, highest = float(values.min()), float(values.max())
    if lowest < 0 or highest > 1:
        msg = (
            f"{name}: floating-point pixels from {lowest:g} to {highest:g}; only 0 (black) to 1 (white) is read. "
            "Scale them to 0 to 1, or store 16-bit integers."
        )
        raise ImageError(msg, code="out-of-range")
    return values


def from_integers(values: NDArray[np.integer], name: str) -> NDArray[np.float32]:
    """Scale integers of at most 16 bits by the bit depth that is really used; below zero from the lowest one on.

    Raises:
        ImageError: They span more.
    """
    lowest, highest = int(values.min()), int(values.max())
    start = min(lowest, 0)
    if highest - start >= 2**16:
        msg = f"{name}: integer pixels from {lowest} to {highest}; at most 16 bits are read. Store 16-bit integers."
        raise ImageError(msg, code="too-many-bits")
    full = _full_scale(highest - start)
    found = np.empty(values.shape, np.float32)
    for rows in strips(*values.shape):
        found[rows] = (values[rows].astype(np.float64) - start) / full
    return found


def chroma(image: Image.Image) -> float:
    """How colourful an image is (see `hilum.data.images.Picture`)."""
    if image.mode not in ("RGB", "RGBA", "P", "CMYK", "YCbCr", "LAB", "HSV"):
        return 0.0
    coloured = image if image.mode == "RGB" else image.convert("RGB")
    small = np.asarray(coloured.resize(SEEN_FOR_CHROMA, Image.Resampling.BOX), dtype=np.float32)
    return float((small.max(axis=2) - small.min(axis=2)).mean() / 255)


def strips(height: int, width: int) -> Iterator[slice]:
    """All rows, as many at a time as have about `AT_ONCE` pixels."""
    each = max(1, AT_ONCE // width)
    for top in range(0, height, each):
        yield slice(top, min(top + each, height))


def rows_of(image: Image.Image, rows: slice) -> Image.Image:
    """Some rows of an image; the image itself if these are all."""
    if rows.stop - rows.start == image.height:
        return image
    return image.crop((0, rows.start, image.width, rows.stop))


def _full_scale(highest: int) -> int:
    """What is white, where this is the brightest value: all bits of the smallest depth that holds it."""
    return int(2 ** min(bits for bits in CONTAINER_BITS if highest < 2**bits) - 1)
