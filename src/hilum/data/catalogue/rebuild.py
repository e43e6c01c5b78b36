"""Datasets made again from public downloads, by a table of the originals' names that comes with hilum."""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path, PurePosixPath

from PIL import Image

from hilum.data.images import SUFFIXES, read_picture
from hilum.data.readers.file_search import files_by_name
from hilum.errors import ImageError, TableError, UsageError
from hilum.files import save_text
from hilum.outputs import cell
from hilum.progress import Progress

TABLE, MISSING = "metadata.csv", "missing.txt"
Record = dict[str, str]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one of these datasets is made.

    Attributes:
        table: Key of the catalogue under which the table of names is kept.
        size: From width and height of an original to those of its copy.
        quality: Of the JPEG files, as Pillow counts it.
        unnamed: By class, the pattern of the originals that the table does not name.
    """

    table: str
    size: Callable[[int, int], tuple[int, int]]
    quality: int
    unnamed: Mapping[str, str]


def _at_most_448(width: int, height: int) -> tuple[int, int]:
    factor = min(1.0, 448 / max(width, height))
    return max(1, round(width * factor)), max(1, round(height * factor))


RECIPES: Mapping[str, Recipe] = {
    "kermany": Recipe(
        "kermany-150",
        lambda _width, _height: (150, 150),
        75,
        {"normal": r"((?:NORMAL2-)?IM-\d+)-.*", "bacterial pneumonia": r"(person\d+_bacteria)_.*"},
    ),
    "darkcovidnet": Recipe("darkcovidnet", _at_most_448, 92, {}),
}


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What was made.

    Attributes:
        folder: Where.
        written: Number of images.
        missing: Originals that were not found or cannot be read.
    """

    folder: Path
    written: int
    missing: tuple[str, ...]


def rebuild(name: str, source: Path, out: Path, progress: Progress | None = None) -> Rebuilt:
    """Make a dataset from the public download of its originals.

    Labels, splits and patients are those of the table. Pixels are close to those of the copies that were measured, and
    not the same, since it is not known how those were reduced.

    Args:
        name: ``kermany`` (the original report's copy) or ``darkcovidnet``.
        source: Folder below which the originals lie, under their own names.
        out: A folder that is new or empty.
        progress: Told while images are written.

    Raises:
        UsageError: There is no such table of names, or `out` is not empty.
        TableError: No original is there.
    """
    recipe = RECIPES.get(name)
    if recipe is None:
        msg = f"--rebuild: {name} cannot be made. These can: {', '.join(RECIPES)}."
        raise UsageError(msg, code="no-such-recipe")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        msg = f"{out}: is not empty. Choose a new folder."
        raise UsageError(msg, code="not-empty", path=out)
    if not source.is_dir():
        msg = f"{source}: no such folder. Give the folder of the unpacked download."
        raise TableError(msg, code="missing", path=source)
    places = _places(source)
    rows = _named(_rows(recipe.table), places, recipe.unnamed)
    if not any(row["original_name"] in places for row in rows):
        first = next(row["original_name"] for row in rows if row["original_name"])
        msg = (
            f"{source}: none of the {len(rows):,} originals is there, such as {first}. Unpack the download, and give "
            "its folder."
        )
        raise TableError(msg, code="missing-images", path=source)
    written, missing = [], []
    with (progress or Progress()).task("Writing images", len(rows)) as advance:
        for row in rows:
            place = places.get(row["original_name"])
            if place and _write(place, out / row["path"], recipe):
                written.append(row)
            else:
                missing.append(row["original_name"] or f"the original of {row['path']}")
            advance(1)
    save_text(out / TABLE, _table(written))
    if missing:
        save_text(out / MISSING, "\n".join(missing) + "\n")
    return Rebuilt(out, len(written), tuple(missing))


def _rows(table: str) -> list[Record]:
    packed = files("hilum.data.catalogue").joinpath(f"{table}.csv.gz").read_bytes()
    return list(csv.DictReader(io.StringIO(gzip.decompress(packed).decode("utf-8"))))


def _places(source: Path) -> dict[str, Path]:
    """Where each image lies, by its name."""
    found: dict[str, Path] = {}
    for paths in files_by_name(source).values():
        for path in paths:
            if PurePosixPath(path).suffix.lower() in SUFFIXES:
                found.setdefault(PurePosixPath(path).name, source / path)
    return found


def _named(rows: list[Record], places: Mapping[str, Path], unnamed: Mapping[str, str]) -> list[Record]:
    """The rows with the originals that the table does not name: of their class, those that it names nowhere else."""
    named = {row["original_name"] for row in rows}
    for etiology, pattern in unnamed.items():
        blank = [row for row in rows if not row["original_name"] and row["etiology"] == etiology]
        left = {
            name: match[1] for name in sorted(places) if name not in named and (match := re.fullmatch(pattern, name))
        }
        if len(left) == len(blank):
            for row, (name, patient) in zip(blank, left.items(), strict=True):
                row |= {"original_name": name, "patient_id": patient}
    return rows


def _write(original: Path, copy: Path, recipe: Recipe) -> bool:
    """Write one copy; whether the original could be read."""
    try:
        read_picture(original, original.name)
        with Image.open(original) as image:
            grey = image.convert("L")
    except (ImageError, OSError, ValueError):
        return False
    copy.parent.mkdir(parents=True, exist_ok=True)
    grey.resize(recipe.size(*grey.size), Image.Resampling.LANCZOS).save(copy, "JPEG", quality=recipe.quality)
    return True


def _table(rows: list[Record]) -> str:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(rows[0])
    writer.writerows([cell(value) for value in row.values()] for row in rows)
    return stream.getvalue()
