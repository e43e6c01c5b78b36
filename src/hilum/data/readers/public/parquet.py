"""Parquet files of Hugging Face: the bytes of images in one column, labels in another.

https://huggingface.co/docs/hub/datasets-image: ``data/train-00000-of-00001.parquet`` with ``image`` (a struct of
``bytes`` and ``path``) and ``label``, whose names are in the file's own metadata, under ``huggingface``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from hilum.data.dataset import Dataset
from hilum.data.file_kinds import kind_of
from hilum.data.options import ReadOptions
from hilum.data.readers.columns import NAMES, plain
from hilum.data.readers.public.assembling import Entry, Layout, assemble
from hilum.data.readers.public.extraction import extracted
from hilum.data.readers.public.tables import files_like
from hilum.data.readers.split_names import split_of
from hilum.errors import TableError
from hilum.extras import require

ENDING = ".parquet"
ENDINGS = {"a PNG image": ".png", "a JPEG image": ".jpg", "a TIFF image": ".tif", "a DICOM object": ".dcm"}
BATCH = 256  # images in memory


def _files(data: Path) -> list[Path]:
    if data.is_file():
        return [data] if data.suffix.lower() == ENDING else []
    return [file for file in files_like(data, (f"*{ENDING}",)) if file.parent in (data, data / "data")]


def _recognise(data: Path) -> str | None:
    files = _files(data)
    return f"{len(files)} files such as {files[0].name}" if files else None


def _read(data: Path, options: ReadOptions) -> Dataset:
    files = _files(data)
    if not files:
        msg = f"{data}: --layout parquet needs files that end in {ENDING}, in it or in data/. Give their folder."
        raise TableError(msg, code="not-this-layout", path=data)
    require("frames", f"{data}: a Parquet file", "polars")
    tables: list[Dataset] = []
    for file in files:
        columns = _columns(file, options)
        folder = extracted(file, partial(_write, file, columns["image"]))
        entries = _entries(file, folder, columns)
        said = replace(options, label_column="", patient_column="", path_column="")
        tables.append(assemble("parquet", folder, entries, said))
    if len(tables) == 1:
        return tables[0]
    above = tables[0].root.parent
    rows = [replace(row, path=f"{table.root.name}/{row.path}") for table in tables for row in table.rows]
    notes = tuple(f"{file.name}: {note}" for file, table in zip(files, tables, strict=True) for note in table.notes)
    return Dataset(above, tuple(rows), notes)


def _schema(file: Path) -> Mapping[str, object]:
    import polars

    try:
        return polars.read_parquet_schema(file)
    except (polars.exceptions.PolarsError, OSError) as error:
        msg = f"{file}: cannot be read as Parquet ({str(error).splitlines()[0]}). Download it again."
        raise TableError(msg, code="unreadable", path=file) from error


def _columns(file: Path, options: ReadOptions) -> dict[str, str]:
    """The columns of images, labels and patients.

    Raises:
        TableError: There is no column of images or of labels, or there are several.
    """
    import polars

    schema = _schema(file)
    images = [name for name, kind in schema.items() if kind == polars.Binary or "bytes" in _fields(kind)]
    found = {"image": [name for name in images if name == options.path_column] if options.path_column else images}
    for role, said in (("label", options.label_column), ("patient_id", options.patient_column)):
        found[role] = [n for n in schema if (n == said if said else plain(n) in NAMES[role]) and n not in images]
    for role in ("image", "label"):
        if len(found[role]) != 1:
            shown = ", ".join(found[role] or schema)
            flag = "--path-column" if role == "image" else "--label-column"
            msg = f"{file}: no single column of the {role}s among {shown}. Name it: {flag} NAME."
            raise TableError(msg, code="unrecognised-columns", path=file)
    return {role: names[0] for role, names in found.items() if names}


def _fields(kind: Any) -> list[str]:
    return [field.name for field in getattr(kind, "fields", [])]


def _write(file: Path, column: str, folder: Path) -> None:
    import polars

    frame = polars.scan_parquet(file).select(column)
    number = 0
    while len(batch := frame.slice(number, BATCH).collect()):
        for value in batch[column]:
            content = value["bytes"] if isinstance(value, dict) else value
            kind = kind_of(content[:4096]) if content else ""
            (folder / f"{number:07d}{ENDINGS.get(kind, '.bin')}").write_bytes(content or b"")
            number += 1


def _entries(file: Path, folder: Path, columns: Mapping[str, str]) -> Iterator[Entry]:
    import polars

    names = _label_names(file, columns["label"])
    written = {path.stem: path.name for path in folder.iterdir()}
    others = [name for name in _schema(file) if name != columns["image"]]
    frame = polars.read_parquet(file, columns=others)
    for number, row in enumerate(frame.iter_rows(named=True)):
        values = {name: "" if value is None else str(value) for name, value in row.items()}
        label = values.pop(columns["label"])
        label = names[int(label)] if names and label.isdigit() and int(label) < len(names) else label
        patient = values.pop(columns["patient_id"], "") if "patient_id" in columns else ""
        yield Entry(written[f"{number:07d}"], label, split_of(file.stem.split("-")[0]), patient, extra=values)


def _label_names(file: Path, column: str) -> list[str]:
    """Names of the labels by number, as the file's metadata give them."""
    import polars

    try:
        told = json.loads(polars.read_parquet_metadata(file)["huggingface"])
        names = told["info"]["features"][column]["names"]
    except (KeyError, ValueError, TypeError):
        return []
    return [str(name) for name in names]


PARQUET = Layout("parquet", _recognise, _read)
