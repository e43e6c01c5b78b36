"""Datasets, from whatever a program has: a folder, a CSV table, a data frame, or a dataset that was read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Literal, cast

from hilum.api.python_wording import public, told
from hilum.data.dataset import Dataset
from hilum.data.frames import Frame, is_frame
from hilum.data.joined import join, read_datasets
from hilum.data.options import ReadOptions
from hilum.data.readers.read import read_frame, read_table
from hilum.errors import UsageError
from hilum.progress import Progress
from hilum.signatures import refuse_ignored

One = str | PathLike[str] | Frame | Dataset
Data = One | Sequence[One]
"""A dataset: a folder, a CSV table, a data frame of pandas or polars, or a `Dataset`; or several, to be joined."""


@public
def open_dataset(
    data: Data,
    *,
    path_column: str = "",
    label_column: str = "",
    patient_column: str = "",
    split_column: str = "",
    patients: Literal["auto", "none"] = "auto",
    layout: str = "",
    map_label: Mapping[str, str] | None = None,
    findings: Sequence[str] = (),
    same_patients: bool = False,
    progress: bool = True,
) -> Dataset:
    """Read a dataset of radiographs, or join several.

    Args:
        data: Folder of class folders; folder with a ``metadata.csv``; CSV table; or data frame of pandas or polars with
            a column of image paths (absolute, or relative to the current folder) and one of labels. Of a list, all are
            joined: ``source`` says which dataset an image comes from.
        path_column: Column of image paths, if it is not recognised by its name.
        label_column: Column of labels, if it is not recognised.
        patient_column: Column of patients, if it is not recognised.
        split_column: Column of splits, if it is not recognised; ``none`` if there is none.
        patients: ``auto`` to recognise patients by DICOM headers and file names where no column names them; ``none`` to
            leave them unknown.
        layout: Layout of a public dataset (``hilum datasets`` lists them), if it is not recognised; ``plain`` to read
            the folder or table as any other.
        map_label: New names for labels of the dataset; empty text to leave the images of a label out.
        findings: Columns of findings, of which an image may have several, if they are not recognised: 1, 0, -1
            (uncertain) or empty (unknown).
        same_patients: Whether equal patient names of several datasets mean one person.
        progress: Whether long work shows its progress on standard error.

    Returns:
        The dataset, one row an image; ``notes`` say how it was read.

    Raises:
        TableError: It is not a labelled dataset of two or more labels.
        UsageError: `data` is a `Dataset`, and an option says how to read it.
        ExtraError: A file is DICOM, and the extra that reads those is not installed.
    """
    several = isinstance(data, list | tuple)
    options = ReadOptions(
        path_column,
        label_column,
        patient_column,
        split_column,
        patients,
        layout,
        () if several else tuple((map_label or {}).items()),
        tuple(findings),
    )
    if same_patients and not several:
        refuse_ignored("with a single dataset", {"--same-patients": True})
    if several:
        parts = cast("list[One]", data)
        return _joined(parts, told(progress), options, map_label, same_patients=same_patients)
    if isinstance(data, Dataset):
        refuse_ignored("with a Dataset, which was read already", options.stated())
    return table_of(data, told(progress), options)


def _joined(
    parts: Sequence[One],
    progress: Progress,
    options: ReadOptions | None,
    map_label: Mapping[str, str] | None = None,
    *,
    same_patients: bool = False,
) -> Dataset:
    if not parts:
        msg = "no dataset: the list is empty. Give at least one."
        raise UsageError(msg, code="no-dataset")
    paths = [Path(part) for part in parts if isinstance(part, str | PathLike)]
    if len(paths) == len(parts):
        tables = read_datasets(paths, options, progress)
    else:
        tables = [table_of(part, progress, options) for part in parts]
    return join(tables, map_label=map_label, same_patients=same_patients)


def table_of(data: Data, progress: Progress, options: ReadOptions | None = None) -> Dataset:
    """Read a dataset, unless it was read already; join several.

    Raises:
        UsageError: It is nothing that can be read.
    """
    if isinstance(data, Dataset):
        return data
    if isinstance(data, list | tuple):
        return _joined(data, progress, options)
    if isinstance(data, str | PathLike):
        return read_table(Path(data), options, progress)
    if is_frame(data):
        return read_frame(cast("Frame", data), options, progress)
    msg = (
        f"data: a {type(data).__name__} is not a dataset. Give a folder, a CSV table, or a data frame of pandas or "
        "polars with a column of image paths and one of labels."
    )
    raise UsageError(msg, code="no-dataset")
