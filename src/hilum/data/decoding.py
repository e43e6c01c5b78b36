"""Many files at a time: their hashes, their pixels as the network gets them, and thumbnails; the work of a `Crew`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hilum.data.preprocessing import Preprocessing
from hilum.data.reading import read_radiograph
from hilum.data.reduction import reduce
from hilum.errors import ImageError, PassingImageError

THUMBNAIL = 64  # side, in pixels


@dataclass(slots=True)
class Decoded:
    """Some consecutive files, n of them.

    Attributes:
        pixels: Bytes of shape (n, size, size); zeros where a file could not be read.
        thumbnails: Bytes of shape (n, 64, 64), stretched to a square, the same whatever the preprocessing.
        failures: Why not, by position among the n.
        passing: Those of them that may be readable another time.
    """

    pixels: NDArray[np.uint8]
    thumbnails: NDArray[np.uint8]
    failures: dict[int, str] = field(default_factory=dict)
    passing: list[int] = field(default_factory=list)


def hash_files(root: Path, paths: Sequence[str]) -> list[str]:
    """SHA-256 of each file's bytes, in hexadecimal; empty where it cannot be opened, which decoding reports."""
    return [_hash_file(root / path) for path in paths]


def _hash_file(path: Path) -> str:
    try:
        with path.open("rb", buffering=0) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
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
        try:
            image = read_radiograph(root / path, name=path)[0].pixels
            pixels[number] = preprocessing.apply(image)
            thumbnails[number] = reduce(image, THUMBNAIL)
        except ImageError as error:
            found.failures[number] = str(error).removeprefix(f"{path}: ")
            if isinstance(error, PassingImageError):
                found.passing.append(number)
    return found
