"""PadChest: a table with a list of labels an image, and PNG files of 16 bits.

Bustos et al. 2020, *Med. Image Anal.* 66:101797. ``Labels`` is a list in Python's form, such as ``['normal']`` or
``['cardiomegaly', 'pleural effusion']``.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from hilum.data.dataset import Dataset
from hilum.data.options import ReadOptions
from hilum.data.readers.public.assembling import Entry, Layout, assemble
from hilum.data.readers.public.tables import Record, find_table, records, required, subgroup_columns
from hilum.errors import TableError

TABLES = ("padchest*.csv", "padchest*.csv.gz", "*chest_x_ray_images_labels*.csv*")
NEEDS = ("ImageID", "PatientID", "Projection", "Labels")
ONE_IN = 200  # images of which at least one shows a finding that is read
NO_FINDINGS = frozenset({"normal", "unchanged", "exclude", "suboptimal study", ""})
UNUSABLE = {"exclude": "labelled exclude", "suboptimal study": "labelled suboptimal study"}
LATERAL = frozenset({"L", "LL", "LATERAL"})
OTHERS = frozenset({"COSTAL", "EXCLUDE", "UNK"})
SUBGROUPS = {
    "view": "Projection",
    "sex": "PatientSex_DICOM",
    "scanner": "Manufacturer_DICOM",
    "date": "StudyDate_DICOM",
    "label_method": "MethodLabel",
}


def _recognise(data: Path) -> str | None:
    table = find_table(data, TABLES, NEEDS)
    return table.name if table else None


def _labels(cells: Record, table: Path) -> frozenset[str]:
    text = cells["Labels"].strip()
    if not text or text.casefold() == "nan":
        return frozenset()
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        msg = (
            f"{table}: Labels of {cells['ImageID']} is no list such as ['normal'] but {text[:60]}. Take the table as "
            "it is published."
        )
        raise TableError(msg, code="unknown-list", path=table)
    return frozenset(name.strip().casefold() for name in found)


def _read(data: Path, options: ReadOptions) -> Dataset:
    table = required("padchest", data, TABLES, NEEDS)
    counts = Counter[str]()
    images = 0
    for cells in records(table, NEEDS):
        counts.update(_labels(cells, table) - NO_FINDINGS)
        images += 1
    findings = sorted(name for name, count in counts.items() if count * ONE_IN >= images)
    remarks = []
    if rare := len(counts) - len(findings):
        remarks.append(f"{rare} findings of fewer than one in {ONE_IN} images are not read")
    return assemble("padchest", data, _entries(table, findings), options, findings=findings, remarks=remarks)


def _entries(table: Path, findings: list[str]) -> Iterator[Entry]:
    for cells in records(table, NEEDS):
        labels, view = _labels(cells, table), cells["Projection"].upper()
        extra = subgroup_columns(cells, {name: column for name, column in SUBGROUPS.items() if column in cells})
        born, date = cells.get("PatientBirth", "").partition(".")[0], extra.get("date", "")[:4]
        if born.isdigit() and date.isdigit():
            extra["age"] = str(int(date) - int(born))
        unusable = next((why for name, why in UNUSABLE.items() if name in labels), "")
        if view in LATERAL or view in OTHERS:
            unusable = "lateral" if view in LATERAL else "other views"
        yield Entry(
            cells["ImageID"],
            "",
            patient=cells["PatientID"],
            extra=extra,
            left_out=unusable or ("" if labels else "without labels"),
            findings=tuple(float(name in labels) for name in findings),
        )


PADCHEST = Layout("padchest", _recognise, _read)
