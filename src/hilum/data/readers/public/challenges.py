"""The challenges of the RSNA: pneumonia (2018) and COVID-19 (SIIM-FISABIO-RSNA, 2021), DICOM files beside tables.

Shih et al. 2019, *Radiol. Artif. Intell.* 1:e180041; Lakhani et al. 2023, *J. Digit. Imaging* 36:365-372. A patient of
the first is an image. Labels of the second are of studies, in whose folders the images lie.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hilum.data.dataset import Dataset
from hilum.data.options import ReadOptions
from hilum.data.readers.public.assembling import Entry, Layout, assemble, folder_of
from hilum.data.readers.public.tables import find_table, records, required
from hilum.errors import TableError

CLASSES, CLASS_NEEDS = ("*detailed_class_info.csv",), ("patientId", "class")
BOXES, BOX_NEEDS = ("*train_labels.csv",), ("patientId", "x", "y", "width", "height", "Target")
RSNA_LABELS = {
    "Normal": "normal",
    "Lung Opacity": "abnormal/lung opacity",
    "No Lung Opacity / Not Normal": "abnormal/no lung opacity",
}
TARGETS = {"0": "no pneumonia", "1": "pneumonia"}


def _rsna_recognise(data: Path) -> str | None:
    table = find_table(data, CLASSES, CLASS_NEEDS) or find_table(data, BOXES, BOX_NEEDS)
    return table.name if table else None


def _rsna_read(data: Path, options: ReadOptions) -> Dataset:
    boxes = find_table(data, BOXES, BOX_NEEDS)
    target = {row["patientId"]: row["Target"] for row in records(boxes, BOX_NEEDS)} if boxes else {}
    classes = find_table(folder_of(data), CLASSES, CLASS_NEEDS)
    if classes is None:
        required("rsna", data, BOXES, BOX_NEEDS)
        label, remark = {name: TARGETS.get(value, value) for name, value in target.items()}, "labels by Target"
    else:
        named = {row["patientId"]: row["class"] for row in records(classes, CLASS_NEEDS)}
        label, remark = {name: RSNA_LABELS.get(kind, kind) for name, kind in named.items()}, f"labels by {classes.name}"
        _check_targets(data, named, target)
    extra = {name: {"target": target.get(name, "")} for name in label}
    entries = (Entry(name, kind, extra=extra[name]) for name, kind in label.items())
    return assemble("rsna", folder_of(data), entries, options, remarks=[remark])


def _check_targets(data: Path, named: dict[str, str], target: dict[str, str]) -> None:
    wrong = [
        name for name, value in target.items() if name in named and (named[name] == "Lung Opacity") != (value == "1")
    ]
    if wrong:
        msg = (
            f"{data}: the two tables of labels disagree on {len(wrong):,} images: '{wrong[0]}' has Target "
            f"{target[wrong[0]]} and the class {named[wrong[0]]}. Take both from one version of the challenge."
        )
        raise TableError(msg, code="contradicting-labels", path=data)


STUDIES, IMAGES = ("train_study_level.csv",), ("train_image_level.csv",)
APPEARANCES = {
    "Negative for Pneumonia": "negative for pneumonia",
    "Typical Appearance": "pneumonia/typical",
    "Indeterminate Appearance": "pneumonia/indeterminate",
    "Atypical Appearance": "pneumonia/atypical",
}
STUDY_NEEDS, IMAGE_NEEDS = ("id", *APPEARANCES), ("id", "StudyInstanceUID")


def _siim_recognise(data: Path) -> str | None:
    table = find_table(data, STUDIES, STUDY_NEEDS)
    return table.name if table else None


def _siim_read(data: Path, options: ReadOptions) -> Dataset:
    studies = required("siim-covid19", data, STUDIES, STUDY_NEEDS)
    images = required("siim-covid19", folder_of(data), IMAGES, IMAGE_NEEDS)
    return assemble("siim-covid19", folder_of(data), _siim_entries(studies, images), options)


def _siim_entries(studies: Path, images: Path) -> Iterator[Entry]:
    labels = {}
    for row in records(studies, STUDY_NEEDS):
        marked = [label for column, label in APPEARANCES.items() if row[column] in ("1", "1.0")]
        if len(marked) > 1:
            msg = f"{studies}: the study {row['id']} has {len(marked)} appearances. Take the table as it is published."
            raise TableError(msg, code="contradicting-labels", path=studies)
        labels[row["id"].removesuffix("_study")] = marked[0] if marked else ""
    for row in records(images, IMAGE_NEEDS):
        study = row["StudyInstanceUID"]
        yield Entry(row["id"].removesuffix("_image"), labels.get(study, ""), patient=study)


RSNA = Layout("rsna", _rsna_recognise, _rsna_read)
SIIM_COVID19 = Layout("siim-covid19", _siim_recognise, _siim_read)
