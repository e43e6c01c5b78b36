"""CheXpert and MIMIC-CXR-JPG: fourteen observations, each present, absent, uncertain or not mentioned.

Irvin et al. 2019, "CheXpert", *AAAI* 33:590-597; Johnson et al. 2019, "MIMIC-CXR-JPG", arXiv:1901.07042. In the tables
1 is present, 0 absent, -1 uncertain, and an empty cell was not mentioned. What ``No Finding`` means for the others is
said in `hilum.data.readers.findings_as_read`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from hilum.data.dataset import Dataset
from hilum.data.options import ReadOptions
from hilum.data.readers.public.assembling import Entry, Layout, assemble, folder_of
from hilum.data.readers.public.tables import (
    Record,
    files_like,
    find_table,
    header_of,
    records,
    required,
    subgroup_columns,
)
from hilum.errors import TableError

FINDINGS = (
    *("Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema", "Consolidation"),
    *("Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices"),
    "No Finding",
)
VALUES = {"": float("nan"), "1": 1.0, "1.0": 1.0, "0": 0.0, "0.0": 0.0, "-1": -1.0, "-1.0": -1.0}


def values_of(cells: Record, data: Path) -> tuple[float, ...]:
    """What is known of each finding.

    Raises:
        TableError: A cell is none of 1, 0, -1 and nothing.
    """
    for name in FINDINGS:
        if cells.get(name, "") not in VALUES:
            msg = (
                f"{data}: '{cells[name]}' stands under {name}, where 1, 0, -1 or nothing should. Take the table as "
                "published."
            )
            raise TableError(msg, code="unknown-finding-value", path=data)
    return tuple(VALUES[cells.get(name, "")] for name in FINDINGS)


CHEXPERT_TABLES = {"train.csv": "train", "valid.csv": "val", "test.csv": "test", "train_cheXbert.csv": "train"}
CHEXPERT_NEEDS = ("Path", "Cardiomegaly", "Pleural Effusion", "Support Devices")
CHEXPERT_SUBGROUPS = {"age": "Age", "sex": "Sex"}
PATIENT = re.compile(r"(?:^|/)(patient\d+)/")


def _chexpert_tables(data: Path) -> list[Path]:
    names = tuple(name for name in CHEXPERT_TABLES if not name.startswith("train_"))
    found = files_like(data, names)
    tables = [file for file in (found[:1] if data.is_file() else found) if set(CHEXPERT_NEEDS) <= set(header_of(file))]
    return [file for file in tables if any("patient" in row["Path"] for row in _first(file))]


def _first(file: Path) -> list[Record]:
    rows = records(file, CHEXPERT_NEEDS)
    return [row for _, row in zip(range(3), rows, strict=False)]


def _chexpert_recognise(data: Path) -> str | None:
    tables = _chexpert_tables(data)
    return ", ".join(table.name for table in tables) or None


def _chexpert_read(data: Path, options: ReadOptions) -> Dataset:
    tables = _chexpert_tables(data)
    if not tables:
        required("chexpert", data, CHEXPERT_TABLES, CHEXPERT_NEEDS)
    remarks = [f"read {', '.join(table.name for table in tables)}; findings that are not mentioned are unknown"]
    entries = (entry for table in tables for entry in _chexpert_entries(table))
    return assemble("chexpert", data, entries, options, findings=FINDINGS, remarks=remarks)


def _chexpert_entries(table: Path) -> Iterator[Entry]:
    for cells in records(table, CHEXPERT_NEEDS):
        path = cells["Path"]
        lateral = cells.get("Frontal/Lateral", "") == "Lateral" or path.endswith("_lateral.jpg")
        patient = PATIENT.search(path)
        extra = subgroup_columns(cells, {k: column for k, column in CHEXPERT_SUBGROUPS.items() if column in cells})
        extra["view"] = "LATERAL" if lateral else cells.get("AP/PA", "")
        yield Entry(
            path,
            "",
            CHEXPERT_TABLES[table.name.lower()],
            patient[1] if patient else "",
            extra=extra,
            left_out="lateral" if lateral else "",
            findings=values_of(cells, table),
        )


MIMIC_LABELS = ("mimic-cxr-*-chexpert.csv*", "mimic-cxr-*-negbio.csv*")
MIMIC_SPLIT = "mimic-cxr-*-split.csv*"
MIMIC_META = "mimic-cxr-*-metadata.csv*"
MIMIC_KEYS = ("subject_id", "study_id")
IMAGE_KEYS = ("dicom_id", "subject_id", "study_id")
MIMIC_SPLITS = {"train": "train", "validate": "val", "test": "test"}
MIMIC_LATERAL = frozenset({"LATERAL", "LL", "RL"})


def _mimic_recognise(data: Path) -> str | None:
    table = find_table(data, MIMIC_LABELS, MIMIC_KEYS)
    return table.name if table else None


def _mimic_read(data: Path, options: ReadOptions) -> Dataset:
    folder = folder_of(data)
    labels = required("mimic-cxr", data, MIMIC_LABELS, MIMIC_KEYS)
    images = required("mimic-cxr", folder, (MIMIC_META, MIMIC_SPLIT), IMAGE_KEYS)
    split = find_table(folder, (MIMIC_SPLIT,), ("dicom_id", "split"))
    splits = {row["dicom_id"]: row["split"] for row in records(split, ("dicom_id", "split"))} if split else {}
    studies = {row["study_id"]: values_of(row, labels) for row in records(labels, MIMIC_KEYS)}
    remarks = [f"findings of studies by {labels.name}; those that are not mentioned are unknown"]
    remarks += [] if split else ["its official split is not there"]
    entries = _mimic_entries(images, studies, splits)
    return assemble("mimic-cxr", folder, entries, options, findings=FINDINGS, remarks=remarks)


def _mimic_entries(
    images: Path, studies: Mapping[str, tuple[float, ...]], splits: Mapping[str, str]
) -> Iterator[Entry]:
    for cells in records(images, IMAGE_KEYS):
        image, patient, study = (cells[name] for name in IMAGE_KEYS)
        view = cells.get("ViewPosition", "")
        lateral = view.upper() in MIMIC_LATERAL
        yield Entry(
            f"p{patient[:2]}/p{patient}/s{study}/{image}",
            "",
            MIMIC_SPLITS.get(splits.get(image, ""), ""),
            patient,
            extra={"view": view, "date": cells.get("StudyDate", ""), "study": study},
            left_out="lateral" if lateral else "" if study in studies else "without findings",
            findings=studies.get(study, ()),
        )


CHEXPERT = Layout("chexpert", _chexpert_recognise, _chexpert_read)
MIMIC_CXR = Layout("mimic-cxr", _mimic_recognise, _mimic_read)
