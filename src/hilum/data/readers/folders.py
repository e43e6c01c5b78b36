"""Class folders: the label is the folder path below the split."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from hilum.data.images import DICOM_SUFFIXES, SUFFIXES, is_image_file
from hilum.data.readers.split_names import SPLIT_NAMES
from hilum.data.rows import Row
from hilum.data.table import Table
from hilum.errors import TableError
from hilum.printable import is_text, printable


def read_folders(root: Path) -> Table:
    """Read class folders: the label is the folder path below the split.

    Raises:
        TableError: No image is found, or split folders and class folders stand side by side.
    """
    found = sorted(_walk(root))
    images = [path for path in found if is_image_file(root / path)]
    others = Counter(PurePosixPath(path).suffix.lower() or "no ending" for path in set(found) - set(images))
    if not images:
        kinds = ", ".join(sorted(suffix.lstrip(".") for suffix in SUFFIXES | DICOM_SUFFIXES))
        seen = f"{len(found)} files of other kinds" if found else "no files at all"
        msg = f"{root}: no images ({kinds}) below this folder, {seen}. Is it the right folder?"
        raise TableError(msg)
    tops = {path.split("/", 1)[0] for path in images if "/" in path}
    with_splits = {top for top in tops if top.lower() in SPLIT_NAMES}
    if with_splits and with_splits != tops:
        msg = (
            f"{root}: split folders ({', '.join(sorted(with_splits))}) stand beside other folders of images "
            f"({', '.join(sorted(tops - with_splits))}). Move those elsewhere, or list the images in a metadata.csv."
        )
        raise TableError(msg)
    rows: list[Row] = []
    stray: list[str] = []
    for path in images:
        parts = path.split("/")
        split = SPLIT_NAMES[parts[0].lower()] if with_splits and len(parts) > 1 else ""
        label = "/".join(parts[1:-1] if split else parts[:-1])
        if label:
            rows.append(Row(path=path, label=label, split=split))
        else:
            stray.append(path)
    strange = next((row.label for row in rows if not is_text(row.label)), None)
    if strange:
        shown = printable(strange)
        msg = f"{root}: the folder name '{shown}' is not UTF-8 text. Rename the folder: it is a label."
        raise TableError(msg)
    notes = []
    if others:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(5))
        notes.append(f"passed over {sum(others.values())} files that are not images ({kinds})")
    if stray:
        notes.append(f"left out {len(stray)} images that lie in no class folder (first: {stray[0]})")
    if not rows:
        msg = f"{root}: {len(stray)} images, but none in a class folder. Put each label's images into one folder."
        raise TableError(msg)
    return Table(root=root, rows=tuple(rows), notes=tuple(notes))


def _walk(root: Path) -> Iterator[str]:
    """Files below `root`, relative, without hidden ones; a folder reached twice through links counts once."""
    seen: set[tuple[int, int]] = set()
    waiting = [(str(root), "")]
    while waiting:
        folder, prefix = waiting.pop()
        try:
            status = Path(folder).stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            entries = list(os.scandir(folder))
        except FileNotFoundError as error:
            if prefix:  # taken away since its parent was listed
                continue
            msg = f"{folder}: no such folder. Give a folder of class folders."
            raise TableError(msg) from error
        except OSError as error:
            msg = f"{folder}: cannot be listed ({error.strerror}). Check the permissions, or move it away."
            raise TableError(msg) from error
        for entry in entries:
            if entry.name.startswith("."):
                continue
            try:
                folder_too, file_too = entry.is_dir(), entry.is_file() or entry.is_symlink()
            except OSError:  # a link to itself
                folder_too, file_too = False, True
            if folder_too:
                waiting.append((entry.path, f"{prefix}{entry.name}/"))
            elif file_too:  # a link that leads nowhere is reported, not passed over
                yield prefix + entry.name
