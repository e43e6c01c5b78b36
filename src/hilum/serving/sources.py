"""What a predictor is asked about: files, bytes or arrays, and how each becomes a picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.data.images import DICOM_SUFFIXES, SUFFIXES, Picture, from_array, read_picture
from hilum.errors import ImageError, UsageError

Source = Path | str | bytes | NDArray[Any]
PREAMBLE = 132  # 128 bytes of anything, then "DICM" (DICOM PS3.10, 7.1)


def name_of(source: Source, number: int) -> str:
    """What answers and messages call a source; bytes and arrays by their position, from 1 on."""
    return str(source) if isinstance(source, (Path, str)) else f"image {number}"


def read_source(source: Source, name: str) -> tuple[Picture, tuple[str, ...]]:
    """Read one source, and what has to be known about it.

    Raises:
        ImageError: It cannot be read as a radiograph, or shows the same value everywhere.
        ExtraError: It is a DICOM object, and the extra that reads those is not installed.
    """
    notes: tuple[str, ...] = ()
    if isinstance(source, np.ndarray):
        picture = from_array(source, name)
    else:
        given = source if isinstance(source, bytes) else Path(source)
        if _is_dicom(given):
            from hilum.data.dicom import read_dicom

            picture, notes = read_dicom(given, name)
        else:
            picture = read_picture(given, name)
    if picture.pixels.min() == picture.pixels.max():
        msg = f"{name}: every pixel has the same value; there is nothing to see. Check how it was made, or remove it."
        raise ImageError(msg)
    return picture, notes


def _is_dicom(source: Path | bytes) -> bool:
    if isinstance(source, bytes):
        return source[PREAMBLE - 4 : PREAMBLE] == b"DICM"
    if source.suffix.lower() in DICOM_SUFFIXES:
        return True
    if source.suffix.lower() in SUFFIXES:
        return False
    try:
        with source.open("rb") as file:
            return file.read(PREAMBLE)[-4:] == b"DICM"
    except OSError:
        return False  # reading it says what is wrong


def find_files(paths: Iterable[Path], without: Path | None = None) -> Iterator[Path]:
    """Files as they were named, and in order of their names all images and DICOM objects below folders.

    Args:
        paths: Files and folders.
        without: A folder that is passed over where it lies below another one: what an earlier call has drawn.

    Raises:
        UsageError: A folder holds none.
    """
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        inside = (file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES | DICOM_SUFFIXES)
        found = sorted(file for file in inside if file.is_file() and not file.name.startswith("."))
        if without and path.resolve() in without.resolve().parents:
            found = [file for file in found if without.resolve() not in file.resolve().parents]
        if not found:
            known = ", ".join(sorted(SUFFIXES | DICOM_SUFFIXES))
            msg = f"{path}: no image in this folder or below it ({known}). Name the files themselves."
            raise UsageError(msg)
        yield from found
