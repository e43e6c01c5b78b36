"""Formats in which many datasets are exchanged: Hugging Face imagefolder with tables, and COCO.

An imagefolder has a ``metadata.csv`` or ``metadata.jsonl`` with a column ``file_name`` in the folder of each split. A
COCO file lists ``images``, ``annotations`` and ``categories``; of classification, each image has one category.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hilum.data.dataset import Dataset
from hilum.data.options import ReadOptions
from hilum.data.readers.columns import NAMES, plain
from hilum.data.readers.public.assembling import Entry, Layout, assemble, folder_of
from hilum.data.readers.public.tables import files_like, header_of, records
from hilum.data.readers.split_names import split_of
from hilum.errors import TableError
from hilum.files import LARGEST_TABLE, read_text
from hilum.text import printable

FILE_NAME = "file_name"
TABLES = ("metadata.csv", "metadata.jsonl")
CODED = 2**16  # bytes of a COCO file's beginning, by which it is recognised


def _tables(data: Path) -> dict[str, Path]:
    """The table in the folder of each split, or in the dataset's own."""
    if not data.is_dir():
        return {}
    found: dict[str, Path] = {}
    for file in files_like(data, TABLES):
        split = "" if file.parent == data else split_of(file.parent.name)
        if (split or file.parent == data) and (file.suffix == ".jsonl" or FILE_NAME in header_of(file)):
            found.setdefault(split, file)
    return found


def _folder_recognise(data: Path) -> str | None:
    return ", ".join(str(file.relative_to(data)) for file in _tables(data).values()) or None


def _folder_read(data: Path, options: ReadOptions) -> Dataset:
    tables = _tables(data)
    if not tables:
        msg = f"{data}: --layout imagefolder needs a metadata.csv or metadata.jsonl with the column file_name."
        raise TableError(msg, code="not-this-layout", path=data)
    entries = (entry for split, file in tables.items() for entry in _folder_entries(data, split, file, options))
    return assemble("imagefolder", data, entries, replace(options, label_column="", patient_column=""))


def _folder_entries(data: Path, split: str, file: Path, options: ReadOptions) -> Iterator[Entry]:
    inside = file.parent.relative_to(data).as_posix()
    for cells in _lines(file) if file.suffix == ".jsonl" else records(file, (FILE_NAME,)):
        label = cells.get(_column(cells, "label", options.label_column, file), "")
        patient = cells.get(_column(cells, "patient_id", options.patient_column, file), "")
        extra = {name: value for name, value in cells.items() if name and name != FILE_NAME}
        yield Entry(f"{inside}/{cells[FILE_NAME]}", label, split, patient, extra=extra)


def _lines(file: Path) -> Iterator[Mapping[str, str]]:
    for number, line in enumerate(read_text(file, LARGEST_TABLE).splitlines(), 1):
        try:
            values = json.loads(line) if line.strip() else None
        except (ValueError, RecursionError) as error:
            msg = f"{file}, line {number}: is no JSON ({error}). Write one object a line."
            raise TableError(msg, code="malformed-table", path=file) from error
        if isinstance(values, dict) and FILE_NAME in values:
            yield {str(name): "" if value is None else str(value) for name, value in values.items()}


def _column(cells: Mapping[str, str], role: str, said: str, file: Path) -> str:
    """The column that plays a role; a label has to have one."""
    found = [name for name in cells if name == said] if said else [n for n in cells if plain(n) in NAMES[role]]
    if len(found) == 1 or (role != "label" and not said):
        return found[0] if found else ""
    flag = f"--{role.removesuffix('_id')}-column"
    what = f"may all be the {role}" if found else "are none"
    shown = ", ".join(printable(name) for name in (found or cells))
    msg = f"{file}: no single column of the {role.removesuffix('_id')}: {shown} {what}. Name it: {flag} NAME."
    raise TableError(msg, code="unrecognised-columns", path=file)


def _coco_files(data: Path) -> list[Path]:
    found = []
    for file in files_like(data, ("*.json",)):
        try:
            with file.open("rb") as stream:
                start = stream.read(CODED)
        except OSError:
            continue
        if any(b'"%s"' % key in start for key in (b"images", b"categories")) and _coco(file) is not None:
            found.append(file)
    return found


def _coco(file: Path) -> dict[str, Any] | None:
    try:
        values = json.loads(read_text(file, LARGEST_TABLE))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(values, dict):
        return None
    return values if all(isinstance(values.get(key), list) for key in ("images", "annotations", "categories")) else None


def _coco_recognise(data: Path) -> str | None:
    return ", ".join(file.name for file in _coco_files(data)) or None


def _coco_read(data: Path, options: ReadOptions) -> Dataset:
    files = _coco_files(data)
    if not files:
        msg = f"{data}: --layout coco needs a JSON file with images, annotations and categories."
        raise TableError(msg, code="not-this-layout", path=data)
    root = folder_of(data)
    root = root.parent if root.name == "annotations" else root
    return assemble("coco", root, (entry for file in files for entry in _coco_entries(file)), options)


def _coco_entries(file: Path) -> Iterator[Entry]:
    values = _coco(file) or {}
    try:
        names = {item["id"]: str(item["name"]) for item in values["categories"]}
        labels: dict[Any, set[str]] = {item["id"]: set() for item in values["images"]}
        for item in values["annotations"]:
            labels[item["image_id"]].add(names[item["category_id"]])
        images = [(str(item["file_name"]), labels[item["id"]]) for item in values["images"]]
    except (KeyError, TypeError) as error:
        msg = f"{file}: an entry lacks {error}. A COCO file has images (id, file_name), annotations and categories."
        raise TableError(msg, code="malformed-table", path=file) from error
    for name, found in images:
        if len(found) > 1:
            shown = ", ".join(sorted(found))
            msg = f"{file}: {printable(name)} has the categories {shown}. Keep one an image, or list findings in a CSV."
            raise TableError(msg, code="contradicting-labels", path=file)
        yield Entry(name, next(iter(found), ""), split_of(file.stem.rpartition("_")[2]))


IMAGEFOLDER = Layout("imagefolder", _folder_recognise, _folder_read)
COCO = Layout("coco", _coco_recognise, _coco_read)
