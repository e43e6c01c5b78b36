"""Counterfactual images: the same radiograph with a shortcut property of another one, or with a part blacked out."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hilum.auditing.probe_features import BLACKED_OUT
from hilum.data.file_kinds import has_slow_header
from hilum.data.grey_values import open_image
from hilum.data.images import read_bytes, read_picture, read_radiograph

Pixels = NDArray[np.float32]
Tables = dict[int, list[int]]
LUNG_MASKS = "masks/lungs"  # folder in the dataset; a mask has the path of its image, as PNG
OUTER = 0.1  # share of each side that is the frame
CORNER = 0.18  # share of each side of the two upper corners, where side markers are
FLAT = 0.02  # spread of grey values, of 1, up to which a row or column is a border
WIDEST = 0.25  # share of each side up to which a border is looked for
QUANTILES = 256
SEEN = 2**16  # pixels, about, by which a histogram is known
LONGEST = 1024  # pixels of the longer side: larger images are reduced first, so that edits take milliseconds


@dataclass(frozen=True)
class Source:
    """A radiograph as it is edited.

    Attributes:
        pixels: Grey values between 0 and 1, shape (H, W).
        tables: Quantisation tables of a JPEG file, by number; empty for files without loss.
        lungs: True mask of the lungs, shape (H, W); None where there is none.
    """

    pixels: Pixels
    tables: Tables
    lungs: NDArray[np.bool_] | None = None


Swap = Callable[[Source, Source], Pixels]


def read_source(root: Path, path: str) -> Source:
    """Read one radiograph, its compression, and its lung mask if the dataset has ``masks/lungs/``.

    Args:
        root: Folder of the dataset.
        path: Path of the image, relative to it.

    Raises:
        ImageError: It cannot be read as a radiograph.
        ExtraError: It is a DICOM object, and the extra that reads those is not installed.
    """
    content = read_bytes(root / path, path)
    pixels = read_radiograph(content, path)[0].pixels
    if max(pixels.shape) > LONGEST:
        height, width = (max(1, round(side * LONGEST / max(pixels.shape))) for side in pixels.shape)
        pixels = _resized(pixels, (height, width))
    return Source(pixels, _tables(content), _lungs(root, path, pixels.shape))


def frame(own: Source, donor: Source) -> Pixels:
    """The outer tenth of the image is the donor's."""
    edited = _resized(donor.pixels, own.pixels.shape).copy()
    inside = _box(own.pixels.shape, OUTER)
    edited[inside] = own.pixels[inside]
    return edited


def corners(own: Source, donor: Source) -> Pixels:
    """Both upper corners, with whatever signs are in them, are the donor's."""
    edited, other = own.pixels.copy(), _resized(donor.pixels, own.pixels.shape)
    height, width = (round(CORNER * side) for side in edited.shape)
    for part in ((slice(height), slice(width)), (slice(height), slice(edited.shape[1] - width, None))):
        edited[part] = other[part]
    return edited


def borders(own: Source, donor: Source) -> Pixels:
    """Uniform borders are the donor's: its own are cut off, and as much is covered as in the donor."""
    top, bottom, left, right = _borders(own.pixels)
    height, width = own.pixels.shape
    edited = own.pixels[top : height - bottom, left : width - right].copy()
    height, width = edited.shape
    sides = _borders(donor.pixels)
    shares = [side / donor.pixels.shape[axis] for side, axis in zip(sides, (0, 0, 1, 1), strict=True)]
    top, bottom, left, right = (
        round(share * length) for share, length in zip(shares, (height, height, width, width), strict=True)
    )
    for count, part, value in (
        (top, np.s_[:top], donor.pixels[0, 0]),
        (bottom, np.s_[height - bottom :], donor.pixels[-1, -1]),
        (left, np.s_[:, :left], donor.pixels[0, 0]),
        (right, np.s_[:, width - right :], donor.pixels[-1, -1]),
    ):
        if count:
            edited[part] = value
    return edited


def histogram(own: Source, donor: Source) -> Pixels:
    """The grey values have the donor's distribution, and keep their order (histogram matching)."""
    at = np.linspace(0, 1, QUANTILES + 1)
    mine, others = (
        np.quantile(image.pixels.ravel()[:: max(1, image.pixels.size // SEEN)], at) for image in (own, donor)
    )
    return np.asarray(np.interp(own.pixels, mine, others), np.float32)


def compression(own: Source, donor: Source) -> Pixels:
    """Compressed once more by the donor's JPEG quantisation tables; unchanged where the donor has none."""
    if not donor.tables:
        return own.pixels
    grey = Image.fromarray(np.rint(np.clip(own.pixels, 0, 1) * 255).astype(np.uint8))
    buffer = io.BytesIO()
    grey.save(buffer, "JPEG", qtables=[donor.tables[min(donor.tables)]])
    return np.asarray(np.asarray(Image.open(buffer)) / np.float32(255), np.float32)


def aspect(own: Source, donor: Source) -> Pixels:
    """Cut, about its middle, to the donor's ratio of width to height."""
    height, width = own.pixels.shape
    ratio = donor.pixels.shape[1] / donor.pixels.shape[0]
    tall, wide = min(height, max(1, round(width / ratio))), min(width, max(1, round(height * ratio)))
    top, left = (height - tall) // 2, (width - wide) // 2
    return np.ascontiguousarray(own.pixels[top : top + tall, left : left + wide])


def without_centre(own: Source) -> Pixels:
    """The centre, which covers both lungs, is black."""
    edited = own.pixels.copy()
    edited[_box(edited.shape, (1 - BLACKED_OUT) / 2)] = 0
    return edited


def centre_alone(own: Source) -> Pixels:
    """Everything but the centre is black."""
    edited = np.zeros_like(own.pixels)
    inside = _box(edited.shape, (1 - BLACKED_OUT) / 2)
    edited[inside] = own.pixels[inside]
    return edited


def without_lungs(own: Source) -> Pixels | None:
    """The lungs, by their true mask, are black; None without a mask."""
    return None if own.lungs is None else np.where(own.lungs, np.float32(0), own.pixels)


SWAPS: dict[str, Swap] = {
    "frame": frame,
    "corner marks": corners,
    "borders": borders,
    "histogram": histogram,
    "compression": compression,
    "aspect": aspect,
}
BLACKOUTS: dict[str, Callable[[Source], Pixels | None]] = {
    "centre blacked out": without_centre,
    "all but the centre blacked out": centre_alone,
    "lungs blacked out": without_lungs,
}


def _box(shape: tuple[int, ...], margin: float) -> tuple[slice, ...]:
    return tuple(slice(round(margin * side), side - round(margin * side)) for side in shape)


def _resized(pixels: Pixels, shape: tuple[int, ...]) -> Pixels:
    if pixels.shape == shape:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((shape[1], shape[0]), Image.Resampling.BILINEAR))


def _borders(pixels: Pixels) -> tuple[int, int, int, int]:
    """Rows at the top and the bottom, and columns at the left and the right, that are of one grey value."""
    flat = [np.ptp(pixels, axis=axis) <= FLAT for axis in (1, 0)]
    counts = []
    for line in flat:
        most = int(WIDEST * len(line))
        for side in (line, line[::-1]):
            ends = np.flatnonzero(~side[:most])
            counts.append(int(ends[0]) if len(ends) else most)
    return counts[0], counts[1], counts[2], counts[3]


def _tables(content: bytes) -> Tables:
    if not content.startswith(b"\xff\xd8") or has_slow_header(content):
        return {}
    with open_image(content) as image:
        found: dict[int, list[int]] = getattr(image, "quantization", None) or {}
        return {int(key): list(values) for key, values in found.items()}


def _lungs(root: Path, path: str, shape: tuple[int, ...]) -> NDArray[np.bool_] | None:
    file = (root / LUNG_MASKS / path).with_suffix(".png")
    if not file.is_file():
        return None
    mask = Image.fromarray(read_picture(file, f"{LUNG_MASKS}/{path}").pixels)
    return np.asarray(mask.resize((shape[1], shape[0]), Image.Resampling.NEAREST)) > 0.5
