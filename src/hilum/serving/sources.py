"""What a predictor is asked about: files, bytes or arrays, and how each becomes a picture."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.data.grey_values import from_array
from hilum.data.images import DICOM_SUFFIXES, SUFFIXES, Picture, is_image_file
from hilum.data.readers.companions import without_companions
from hilum.data.readers.listing import Folder, list_all
from hilum.data.reading import read_radiograph
from hilum.errors import ImageError, UsageError
from hilum.printable import printable

Source = Path | str | bytes | NDArray[Any]


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
        picture, notes = read_radiograph(source if isinstance(source, bytes) else Path(source), name)
    if picture.pixels.min() == picture.pixels.max():
        msg = f"{name}: every pixel has the same value; there is nothing to see. Check how it was made, or remove it."
        raise ImageError(msg, code="constant")
    return picture, notes


def find_files(
    paths: Iterable[Path],
    without: Path | None = None,
    say: Callable[[str], object] | None = None,
    unlisted: Callable[[str], object] | None = None,
) -> Iterator[Path]:
    """Files as they were named, and in order of their names all images and DICOM objects below folders.

    Hidden folders, what systems leave behind, and what goes with the images beside it (`without_companions`, as when a
    dataset is read) are passed over below a folder; a folder that is named itself is read. Links are followed, each
    folder is read once.

    Args:
        paths: Files and folders.
        without: A folder that is passed over where it lies below another one: what an earlier call has drawn.
        say: Told in one line for each folder what was left out.
        unlisted: Told in one line of each folder that cannot be listed.

    Raises:
        UsageError: A folder holds none.
    """
    drawn = os.path.realpath(without) if without else ""
    for path in paths:
        if not os.path.isdir(path):  # noqa: PTH112 - false where permissions are missing, which reading reports
            yield path
            continue
        listed, _, failed = list_all(path)
        for message in failed:
            if unlisted:
                unlisted(message)
        folders = [folder for folder in map(partial(_with_objects, path), listed) if folder.images]
        if drawn.startswith(os.path.join(os.path.realpath(path), "")):  # noqa: PTH118
            folders = [folder for folder in folders if not _is_in(drawn, path.joinpath(*folder.parts))]
        if not folders and not failed:
            known = ", ".join(sorted(SUFFIXES | DICOM_SUFFIXES))
            msg = f"{path}: no image in this folder or below it ({known}). Name the files themselves."
            raise UsageError(msg, code="no-images", path=path)
        kept, _ = without_companions(folders)
        found, chosen = (
            sorted(path.joinpath(*folder.parts, name) for folder in some for name in folder.images)
            for some in (folders, kept)
        )
        if say and (left := sorted(set(found) - set(chosen))):
            say(
                f"{printable(str(path))}: left out {len(left):,} of {len(found):,} files, which go by their names with "
                f"the images beside them (such as {printable(str(left[0].relative_to(path)))}); name these files, or "
                "their folder, to predict them"
            )
        yield from chosen


def _with_objects(root: Path, folder: Folder) -> Folder:
    """The folder with DICOM objects under any name among its images."""
    more = [name for name in folder.others if is_image_file(root.joinpath(*folder.parts, name))]
    return replace(folder, images=tuple(sorted((*folder.images, *more)))) if more else folder


def _is_in(drawn: str, folder: Path) -> bool:
    real = os.path.realpath(folder)
    return real == drawn or real.startswith(os.path.join(drawn, ""))  # noqa: PTH118
