"""Many files at a time: their hashes, their pixels as the network gets them, and thumbnails; the work of a `Crew`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hilum.data.images import LARGEST_FILE, read_bytes
from hilum.data.preprocessing import Preprocessing
from hilum.data.reading import read_radiograph
from hilum.data.reduction import reduce
from hilum.errors import ImageError, PassingImageError
from hilum.opening import read_whole

THUMBNAIL = 64  # side, in pixels


@dataclass(slots=True)
class Decoded:
    """Some consecutive files, n of them.

    Attributes:
        pixels: Bytes of shape (n, size, size); zeros where a file could not be read.
        thumbnails: Bytes of shape (n, 64, 64), stretched to a square, the same whatever the preprocessing.
        hashes: SHA-256 of the very bytes that were decoded, as `hash_files` gives them.
        failures: Why not, by position among the n.
        passing: Those of them that may be readable another time.
        warned: How many their decoder complained of, and read all the same.
    """

    pixels: NDArray[np.uint8]
    thumbnails: NDArray[np.uint8]
    hashes: list[str] = field(default_factory=list)
    failures: dict[int, str] = field(default_factory=dict)
    passing: list[int] = field(default_factory=list)
    warned: int = 0


def hash_files(root: Path, paths: Sequence[str]) -> list[str]:
    """SHA-256 of each file's bytes, in hexadecimal; empty where it cannot be read, which decoding reports."""
    return [_hash_file(root / path) for path in paths]


def _hash_file(path: Path) -> str:
    try:
        return hashlib.sha256(read_whole(path, LARGEST_FILE)).hexdigest()
    except (OSError, ValueError, MemoryError):
        return ""


def decode_files(root: Path, preprocessing: Preprocessing, paths: Sequence[str]) -> Decoded:
    """Read and preprocess files; one that cannot be read does not stop the others.

    Args:
        root: What the paths are relative to.
        preprocessing: Makes the bytes.
        paths: Of n files; messages call them so.

    Raises:
        ExtraError: One is a DICOM object, and the extra that reads those is not installed.
    """
    pixels, thumbnails = (np.zeros((len(paths), side, side), np.uint8) for side in (preprocessing.size, THUMBNAIL))
    found = Decoded(pixels, thumbnails)
    for number, path in enumerate(paths):
        found.hashes.append("")
        try:  # read once: it may be changed meanwhile, and what is decoded must be what is hashed
            content = read_bytes(root / path, path)
            found.hashes[-1] = hashlib.sha256(content).hexdigest()
            picture = read_radiograph(content, name=path)[0]
            pixels[number] = preprocessing.apply(picture.pixels)
            thumbnails[number] = reduce(picture.pixels, THUMBNAIL)
            found.warned += picture.warned
        except ImageError as error:
            found.failures[number] = str(error).removeprefix(f"{path}: ")
            if isinstance(error, PassingImageError):
                found.passing.append(number)
    return found
