"""Many files at a time: their hashes, and their pixels as the network gets them; what a `Crew` does in pieces."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hilum.data.preprocessing import Preprocessing
from hilum.data.reading import read_radiograph
from hilum.errors import ImageError, PassingImageError


@dataclass(slots=True)
class Decoded:
    """Some consecutive files, n of them.

    Attributes:
        pixels: Bytes of shape (n, size, size); zeros where a file could not be read.
        failures: Why not, by position among the n.
        passing: Those of them that may be readable another time.
    """

    pixels: NDArray[np.uint8]
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
    found = Decoded(np.zeros((len(paths), preprocessing.size, preprocessing.size), np.uint8))
    for number, path in enumerate(paths):
        try:
            picture, _ = read_radiograph(root / path, name=path)
            found.pixels[number] = preprocessing.apply(picture.pixels)
        except ImageError as error:
            found.failures[number] = str(error).removeprefix(f"{path}: ")
            if isinstance(error, PassingImageError):
                found.passing.append(number)
    return found
