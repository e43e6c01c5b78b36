"""Read a dataset, whichever way it is laid out."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from hilum.data.dicom_headers import with_headers
from hilum.data.label_names import several_in_words, tidy_labels
from hilum.data.options import ReadOptions
from hilum.data.patients import recognise_patients, tidy_patients
from hilum.data.readers.columns import choose_columns, is_known
from hilum.data.readers.csv_table import read_csv_table
from hilum.data.readers.folders import read_folders
from hilum.data.readers.text_table import open_text_table
from hilum.data.table import Table
from hilum.errors import TableError
from hilum.printable import printable
from hilum.progress import Progress

TABLE = "metadata"  # what a table beside the images is called, in any case
ENDINGS = (".csv", ".tsv")
SHOWN = 5


def read_table(data: Path, options: ReadOptions | None = None, progress: Progress | None = None) -> Table:
    """Read a dataset, whichever way it is laid out.

    Labels are brought to one spelling each, images without a label are left out, and patients whom no column names are
    taken from DICOM headers or recognised by file names: the table's notes tell of all that.

    Args:
        data: A folder of class folders (optionally below ``train``, ``val``, ``test``), a folder that
            holds a ``metadata.csv``, or such a table itself.
        options: How to read it, where it does not say so itself.
        progress: Told while the headers of DICOM files are read.

    Raises:
        TableError: There is nothing there, or it is not a labelled dataset of two or more labels.
        ExtraError: A file is DICOM, and the extra that reads those is not installed.
    """
    options = options or ReadOptions()
    try:
        return _read(data, options, progress)
    except TableError as error:
        found = _tables_of_images(data, options) if data.is_dir() else []
        if len(found) != 1:
            raise
        why = str(error.__cause__ if isinstance(error.__cause__, TableError) else error)
        msg = (
            f"{data}: holds {printable(found[0].name)}, a table of images and labels: give it instead "
            f"({printable(str(found[0]))}). Without it: {why}"
        )
        raise TableError(msg, code="table-in-folder", path=data) from error


def _read(data: Path, options: ReadOptions, progress: Progress | None) -> Table:
    if not data.exists():
        msg = f"{data}: no such folder or file. Give a folder of class folders, or a CSV with path and label."
        raise TableError(msg, code="missing", path=data)
    table = _read_folder(data, options) if data.is_dir() else read_csv_table(data, options)
    table = tidy_patients(tidy_labels(table))
    if len(table.labels) < 2:
        only = "".join(f" ('{printable(label)}')" for label in table.labels)
        found = f"{len(table)} images with a single label{only}" if len(table) else "no image with a label"
        msg = (
            f"{data}: found {found}. A classifier needs "
            "at least two: put each label's images into a folder of its own, such as normal/ and infected/covid/."
            + "".join(f" ({note})" for note in table.notes)
        )
        raise TableError(msg, code="single-label", path=data)
    table = with_headers(table, progress, patients=options.patients == "auto")
    if several := several_in_words(table):
        note = f"{several}: an audit takes each for a label of its own, and a training refuses them"
        table = replace(table, notes=(*table.notes, note))
    if options.patients == "auto":
        table = recognise_patients(table)
    return replace(table, given=data, options=options)


def _tables(data: Path) -> list[Path]:
    return sorted(file for file in data.iterdir() if file.suffix.lower() in ENDINGS and not file.is_dir())


def _tables_of_images(data: Path, options: ReadOptions) -> list[Path]:
    """The tables in a folder with columns of paths and labels; none where one of them is read with the folder."""
    found = []
    for file in _tables(data):
        if file.stem.lower() == TABLE:
            return []
        try:
            choose_columns(open_text_table(file, partial(is_known, options=options)), options, lambda _: None)
        except TableError:
            continue
        found.append(file)
    return found


def _read_folder(data: Path, options: ReadOptions) -> Table:
    """A folder by its ``metadata.csv``, else by its class folders; other tables in it are named."""
    tables = _tables(data)
    meant = [file for file in tables if file.stem.lower() == TABLE]
    exact = [file for file in meant if file.name == f"{TABLE}.csv"] or meant
    if len(exact) > 1:
        msg = f"{data}: holds {' and '.join(printable(file.name) for file in exact)}. Give the one that is meant."
        raise TableError(msg, code="several-tables", path=data)
    if exact:
        return read_csv_table(exact[0], options)
    columns = [name for name in ("path", "label", "patient", "split") if getattr(options, f"{name}_column")]
    others = ", ".join(printable(file.name) for file in tables[:SHOWN])
    if columns:
        hint = f"Give one of its tables ({others})." if tables else "Leave the option out, or give a table."
        msg = f"{data}: --{columns[0]}-column takes a table, and this folder has no {TABLE}.csv. {hint}"
        raise TableError(msg, code="no-table", path=data)
    hint = f"tables in it were not read ({others}): to use one, give it instead of the folder"
    try:
        table = read_folders(data)
    except TableError as error:
        if not tables:
            raise
        msg = f"{error} ({hint[0].upper()}{hint[1:]}.)"
        raise TableError(msg, code=error.code, path=error.path) from error
    return replace(table, notes=(*table.notes, hint)) if tables else table
