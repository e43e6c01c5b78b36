"""VinDr-CXR: what each of three radiologists saw on a training image, and what five agreed on for a test image.

Nguyen et al. 2022, "VinDr-CXR", *Sci. Data* 9:429. PhysioNet gives ``image_labels_train.csv`` and
``image_labels_test.csv`` with a column a finding; Kaggle's ``train.csv`` has a line a box. A finding that two of three
radiologists saw is present, one that a single one saw is uncertain.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from hilum.data.dataset import Dataset
from hilum.data.options import ReadOptions
from hilum.data.readers.public.assembling import Entry, Layout, assemble, folder_of
from hilum.data.readers.public.tables import find_table, header_of, records, required

TRAIN, TEST = ("image_labels_train.csv",), ("image_labels_test.csv",)
NEEDS = ("image_id", "Pneumothorax", "Pleural effusion", "No finding")
BOXES, BOX_NEEDS = ("train.csv",), ("image_id", "class_name", "rad_id", "x_min")
NONE = "No finding"
OTHERS = {"Other disease": "Other diseases"}  # the same finding in the table of the test and of the training
NO_FINDINGS = frozenset({"image_id", "rad_id", "rad_ID", NONE, ""})
AGREEING = 2  # radiologists
Votes = Mapping[str, tuple[int, Counter[str]]]


def _recognise(data: Path) -> str | None:
    for tables, needs in ((TRAIN, NEEDS), (TEST, NEEDS), (BOXES, BOX_NEEDS)):
        if table := find_table(data, tables, needs):
            return table.name
    return None


def _read(data: Path, options: ReadOptions) -> Dataset:
    folder = folder_of(data)
    train, test = find_table(folder, TRAIN, NEEDS), find_table(folder, TEST, NEEDS)
    root = folder.parent if folder.name == "annotations" else folder
    if train is None and test is None:
        boxes = required("vindr-cxr", data, BOXES, BOX_NEEDS)
        votes = {"train": _by_box(boxes)}
        findings = tuple(sorted({name for _, seen in votes["train"].values() for name in seen}))
    else:
        tables = {"train": train, "test": test}
        votes = {split: _by_column(table) for split, table in tables.items() if table}
        header = header_of(train or test or data)
        findings = tuple(OTHERS.get(name, name) for name in header if name not in NO_FINDINGS)
    remarks = ["present: seen by two radiologists or more; uncertain: by one of several"]
    return assemble("vindr-cxr", root, _entries(votes, findings), options, findings=findings, remarks=remarks)


def _by_column(table: Path) -> Votes:
    votes: defaultdict[str, tuple[int, Counter[str]]] = defaultdict(lambda: (0, Counter()))
    for cells in records(table, NEEDS):
        readers, seen = votes[cells["image_id"]]
        present = (name for name, cell in cells.items() if name not in NO_FINDINGS and cell in ("1", "1.0"))
        seen.update(OTHERS.get(name, name) for name in present)
        votes[cells["image_id"]] = readers + 1, seen
    return votes


def _by_box(table: Path) -> Votes:
    seen: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
    for cells in records(table, BOX_NEEDS):
        seen[cells["image_id"]].add((cells["rad_id"], cells["class_name"]))
    return {
        image: (len({reader for reader, _ in pairs}), Counter(name for _, name in pairs if name != NONE))
        for image, pairs in seen.items()
    }


def _entries(votes: Mapping[str, Votes], findings: tuple[str, ...]) -> Iterator[Entry]:
    for split, images in votes.items():
        for image, (readers, seen) in images.items():
            needed = min(AGREEING, readers)
            values = tuple(1.0 if seen[name] >= needed else -1.0 if seen[name] else 0.0 for name in findings)
            yield Entry(f"{split}/{image}", "", split, findings=values)


VINDR_CXR = Layout("vindr-cxr", _recognise, _read)
