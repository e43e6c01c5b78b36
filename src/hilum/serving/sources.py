"""What a predictor is asked about: files, bytes or arrays, and how each becomes a picture."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.data.grey_values import from_array
from hilum.data.images import DICOM_SUFFIXES, SUFFIXES, Picture, is_image_file
from hilum.data.readers.companions import without_companions
from hilum.data.readers.listing import SYSTEM, Folder
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
        raise ImageError(msg)
    return picture, notes


def find_files(
    paths: Iterable[Path], without: Path | None = None, say: Callable[[str], object] | None = None
) -> Iterator[Path]:
    """Files as they were named, and in order of their names all images and DICOM objects below folders.

    Hidden folders, what systems leave behind, and what goes with the images beside it (`without_companions`, as when a
    dataset is read) are passed over below a folder; a folder that is named itself is read.

    Args:
        paths: Files and folders.
        without: A folder that is passed over where it lies below another one: what an earlier call has drawn.
        say: Told in one line for each folder what was left out.

    Raises:
        UsageError: A folder holds none.
    """
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        inside = (file for file in path.rglob("*") if not _is_passed_over(path, file) and file.is_file())
        found = sorted(file for file in inside if is_image_file(file))
        if without and path.resolve() in without.resolve().parents:
            found = [file for file in found if without.resolve() not in file.resolve().parents]
        if not found:
            known = ", ".join(sorted(SUFFIXES | DICOM_SUFFIXES))
            msg = f"{path}: no image in this folder or below it ({known}). Name the files themselves."
            raise UsageError(msg)
        kept = _radiographs(path, found)
        if say and (left := sorted(set(found) - set(kept))):
            say(
                f"{printable(str(path))}: left out {len(left):,} of {len(found):,} files, which go by their names with "
                f"the images beside them (such as {printable(str(left[0].relative_to(path)))}); name these files, or "
                "their folder, to predict them"
            )
        yield from kept


def _radiographs(root: Path, files: Sequence[Path]) -> list[Path]:
    """Those files below a folder that do not lie in a companion's folder, nor are one by their own name."""
    names: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for file in files:
        names[file.relative_to(root).parts[:-1]].append(file.name)
    folders, _ = without_companions([Folder(parts, tuple(inside), (), leaf=True) for parts, inside in names.items()])
    kept = {(folder.parts, name) for folder in folders for name in folder.images}
    return [file for file in files if (file.relative_to(root).parts[:-1], file.name) in kept]


def _is_passed_over(root: Path, file: Path) -> bool:
    parts = file.relative_to(root).parts
    return any(name.startswith(".") or name.lower() in SYSTEM for name in parts)
