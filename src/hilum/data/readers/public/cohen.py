"""The COVID-19 collections of ieee8023, Actualmed and Figure 1: one table, with other columns in each.

Cohen et al. 2020, "COVID-19 Image Data Collection", arXiv:2003.11597. A finding is a path, such as
``Pneumonia/Viral/COVID-19``; views are PA, AP, AP Supine, AP semi erect, L, and Axial and Coronal of CT.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from hilum.data.dataset import Dataset
from hilum.data.options import ReadOptions
from hilum.data.readers.public.assembling import Entry, Layout, assemble
from hilum.data.readers.public.tables import Record, find_table, records, required, subgroup_columns

TABLE = ("metadata.csv",)
HEALTHY = {"no finding": "no finding"}
LATERAL, SECTIONS = frozenset({"l", "lateral", "ll", "rl"}), frozenset({"axial", "coronal", "sagittal"})
SUBGROUPS = {"view": "view", "age": "age", "sex": "sex", "date": "date", "offset": "offset"}
DATE = re.compile(r"date taken \(YYYYMMDD\): (\d{8})")


def _left_out(cells: Record) -> str:
    view, modality = cells["view"].casefold(), cells["modality"].casefold()
    if "ct" in modality.split() or view in SECTIONS:
        return "CT"
    return "lateral" if view in LATERAL else ""


def _layout(name: str, needs: tuple[str, ...], files: str, source: str = "", patients: str = r"(.*)") -> Layout:
    """One of the collections.

    Args:
        name: Key of the catalogue.
        needs: Columns by which its table is recognised.
        files: Column of the files' names.
        source: Column of the place that an image is from; empty where there is none.
        patients: What of a cell of ``patientid`` is the patient.
    """

    def recognise(data: Path) -> str | None:
        table = find_table(data, TABLE, needs)
        return f"{table.name} with the columns {', '.join(needs)}" if table else None

    def read(data: Path, options: ReadOptions) -> Dataset:
        table = required(name, data, TABLE, needs)
        return assemble(name, data, map(entry, records(table, needs)), options)

    def entry(cells: Record) -> Entry:
        extra = subgroup_columns(cells, {key: column for key, column in SUBGROUPS.items() if column in cells})
        if not extra.get("date") and (taken := DATE.search(cells.get("notes", ""))):
            extra["date"] = taken[1]
        return Entry(
            _file(cells, files),
            _finding(cells["finding"]),
            patient=_patient(cells["patientid"], patients),
            source=cells.get(source, ""),
            extra=extra,
            left_out=_left_out(cells),
        )

    return Layout(name, recognise, read)


def _patient(cell: str, pattern: str) -> str:
    match = re.fullmatch(pattern, cell)
    return match[1] if match else cell


def _finding(text: str) -> str:
    label = "/".join(part.strip() for part in text.split("/"))
    return "" if label.casefold() in ("todo", "unknown", "inconclusive") else HEALTHY.get(label.casefold(), label)


def _file(cells: Mapping[str, str], column: str) -> str:
    name = cells[column] or cells["patientid"]  # files of Figure 1 are named by the patient
    return f"{cells['folder']}/{name}" if cells.get("folder") else name


IEEE8023 = _layout(
    "ieee8023", ("patientid", "finding", "view", "modality", "folder", "filename"), "filename", "location"
)
ACTUALMED = _layout("actualmed", ("patientid", "finding", "view", "modality", "imagename"), "imagename")
FIGURE1 = _layout(
    "figure1",
    ("patientid", "finding", "view", "modality", "artifacts/distortion"),
    "patientid",
    patients=r"(COVID-\d+)[a-z]?",  # COVID-00003a and COVID-00003b are two images of one patient
)
