"""What lies in a download, listed once for all layouts that ask about it."""

from __future__ import annotations

import os
from functools import lru_cache
from itertools import islice
from pathlib import Path

from hilum.data.images import DICOM_SUFFIXES, SUFFIXES
from hilum.data.readers.split_names import split_of

READ = SUFFIXES | DICOM_SUFFIXES
# Levels of folders, folders, and images of each that are looked at to recognise a dataset; what is listed of a folder.
DEEPEST, MOST, SAMPLE, LISTED = 5, 200, 20, 5000
BESIDE = frozenset({"annotations", "data", "labels"})  # folders of tables beside folders of images


def forget() -> None:
    """Look again at the next question: files may have changed since the last dataset was opened."""
    other_files.cache_clear()
    image_samples.cache_clear()


def is_read(name: str) -> bool:
    """Whether a file's name ends as one that is read as an image."""
    return f".{name.rpartition('.')[2].lower()}" in READ


@lru_cache(maxsize=1)
def other_files(folder: Path) -> tuple[Path, ...]:
    """Files that are no images, in a folder, and in the folder in it that is the only one, a split or meant for tables.

    Tables in other folders are those of other datasets.
    """
    found, inside = _listed(folder)
    for name in inside:
        if len(inside) == 1 or name.lower() in BESIDE or split_of(name):
            found += _listed(folder / name)[0]
    return tuple(found)


def _listed(folder: Path) -> tuple[list[Path], list[str]]:
    """Files that are no images, and names of folders."""
    files, folders = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if is_read(entry.name) or entry.name.startswith((".", "__")):
                    continue
                if entry.is_dir():
                    folders.append(entry.name)
                else:
                    files.append(folder / entry.name)
    except OSError:
        return [], []
    return sorted(files), sorted(folders)


@lru_cache(maxsize=1)
def image_samples(root: Path) -> tuple[str, ...]:
    """Paths of a few images of each folder, of not too many folders, those with the fewest parents first."""
    waiting: list[tuple[str, ...]] = [()]
    found: list[str] = []
    seen = 0
    while waiting and seen < MOST:
        parts = waiting.pop(0)
        seen += 1
        folders: list[tuple[str, ...]] = []
        files = 0
        try:
            with os.scandir(root.joinpath(*parts)) as listed:
                for entry in islice(listed, LISTED):
                    if entry.name.startswith((".", "__")):
                        continue
                    if is_read(entry.name):
                        files += 1
                        if files <= SAMPLE:
                            found.append("/".join((*parts, entry.name)))
                    elif len(parts) < DEEPEST and entry.is_dir():
                        folders.append((*parts, entry.name))
        except OSError:
            continue
        waiting += sorted(folders)
    return tuple(found)
