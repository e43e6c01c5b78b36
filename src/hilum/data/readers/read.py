"""Read a dataset, whichever way it is laid out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hilum.data.patients import recognise_patients
from hilum.data.readers.csv_table import read_csv_table
from hilum.data.readers.folders import read_folders
from hilum.data.readers.options import ReadOptions
from hilum.data.table import Table
from hilum.errors import TableError


def read_table(data: Path, options: ReadOptions | None = None) -> Table:
    """Read a dataset, whichever way it is laid out.

    Args:
        data: A folder of class folders (optionally below ``train``, ``val``, ``test``), a folder that
            holds a ``metadata.csv``, or such a CSV file itself.
        options: How to read it, where it does not say so itself.

    Raises:
        TableError: There is nothing there, or it is not a labelled dataset of two or more labels.
    """
    options = options or ReadOptions()
    if not data.exists():
        msg = f"{data}: no such folder or file. Give a folder of class folders, or a CSV with path and label."
        raise TableError(msg)
    if data.is_file():
        table = read_csv_table(data)
    elif (data / "metadata.csv").is_file():
        table = read_csv_table(data / "metadata.csv")
    else:
        table = read_folders(data)
    if len(table.labels) < 2:
        only = f"'{table.labels[0]}'" if table.labels else "none"
        msg = (
            f"{data}: found {len(table)} images with a single label ({only}). A classifier needs at least two: "
            "put each label's images into a folder of its own, such as normal/ and infected/covid/."
            + "".join(f" ({note})" for note in table.notes)
        )
        raise TableError(msg)
    if options.patients == "auto":
        table = recognise_patients(table)
    return replace(table, given=data, options=options)
