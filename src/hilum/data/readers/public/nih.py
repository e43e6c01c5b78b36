"""NIH ChestX-ray14: a table of findings, and the lists of its train and test images.

Wang et al. 2017, "ChestX-ray8", *CVPR*. Findings are separated by vertical bars, or are ``No Finding``. The patients of
``test_list.txt`` are none of ``train_val_list.txt``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from hilum.data.dataset import Dataset
from hilum.data.options import ReadOptions
from hilum.data.readers.public.assembling import Entry, Layout, assemble, folder_of
from hilum.data.readers.public.tables import files_like, find_table, records, required, subgroup_columns
from hilum.files import open_text

TABLES = ("data_entry_2017*.csv", "sample_labels.csv")
NEEDS = ("Image Index", "Finding Labels", "Patient ID", "View Position")
LISTS = {"train_val_list*.txt": "train", "test_list*.txt": "test"}
NONE = "No Finding"
FINDINGS = (
    *("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Emphysema", "Fibrosis", "Hernia"),
    *("Infiltration", "Mass", "Nodule", "Pleural_Thickening", "Pneumonia", "Pneumothorax"),
)
SUBGROUPS = {"view": "View Position", "age": "Patient Age", "sex": "Patient Gender", "follow_up": "Follow-up #"}
SEX = "Patient Sex"  # as some versions call it


def _recognise(data: Path) -> str | None:
    table = find_table(data, TABLES, NEEDS)
    return table.name if table else None


def _read(data: Path, options: ReadOptions) -> Dataset:
    table = required("nih", data, TABLES, NEEDS)
    splits = {name: split for pattern, split in LISTS.items() for name in _listed(folder_of(data), pattern)}
    remarks = ["splits by its official lists"] if splits else ["its official lists of train and test are not there"]
    strange: set[str] = set()
    dataset = assemble("nih", data, _entries(table, splits, strange), options, findings=FINDINGS, remarks=remarks)
    if strange:
        note = f"WARNING: {len(strange)} findings are none of the 14, and were not read ({', '.join(sorted(strange))})"
        dataset = replace(dataset, notes=(*dataset.notes, note))
    return dataset


def _entries(table: Path, splits: dict[str, str], strange: set[str]) -> Iterator[Entry]:
    for cells in records(table, NEEDS):
        present = {name.strip() for name in cells["Finding Labels"].split("|")} - {NONE, ""}
        strange |= present - set(FINDINGS)
        name = cells["Image Index"]
        extra = subgroup_columns(cells, SUBGROUPS | {"sex": SEX if SEX in cells else SUBGROUPS["sex"]})
        yield Entry(
            name,
            "",
            splits.get(name, ""),
            cells["Patient ID"],
            extra=extra,
            left_out="" if cells["Finding Labels"] else "without findings",
            findings=tuple(float(finding in present) for finding in FINDINGS),
        )


def _listed(folder: Path, pattern: str) -> list[str]:
    for file in files_like(folder, (pattern,)):
        with open_text(file, errors="replace") as lines:
            return [line.strip() for line in lines if line.strip()]
    return []


NIH = Layout("nih", _recognise, _read)
