"""Whose image each is, and what follows from it for splits and labels."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from hilum.audit.findings import Finding
from hilum.data.patients import FROM_HEADER, rule_of
from hilum.data.table import Table

EXAMPLES = 5
COLUMN, FOLDERS, HEADERS = "column", "folders", "DICOM headers"
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Patients:
    """Whose images a table holds.

    Attributes:
        patient: One a row; empty where unknown.
        how: One a row: ``column``, ``folders``, ``DICOM headers``, the public set whose file names tell it, or
            ``unknown``.
        across_splits: Patients with images in more than one split, those with most images first.
        several_labels: Patients with more than one label, those with most images first.
        images: Number of images of each patient.
    """

    patient: tuple[str, ...]
    how: tuple[str, ...]
    across_splits: tuple[str, ...]
    several_labels: tuple[str, ...]
    images: Mapping[str, int]


def count_patients(table: Table) -> Patients:
    """Tell whose image each is, by the table, where file names were recognised when it was read.

    Args:
        table: Any.
    """
    patient = [row.patient_id for row in table.rows]
    stated = COLUMN if table.columns else FOLDERS
    how = [_rule(name) or stated if name else UNKNOWN for name in patient]
    images = Counter(name for name in patient if name)
    splits, labels = defaultdict(set), defaultdict(set)
    for row, name in zip(table.rows, patient, strict=True):
        if name:
            splits[name].add(row.split)
            labels[name].add(row.label)
    most = [name for name, _ in images.most_common()]
    return Patients(
        patient=tuple(patient),
        how=tuple(how),
        across_splits=tuple(name for name in most if len(splits[name] - {""}) > 1),
        several_labels=tuple(name for name in most if len(labels[name]) > 1),
        images=images,
    )


def _rule(patient: str) -> str:
    return HEADERS if patient.startswith(FROM_HEADER) else rule_of(patient)


def findings(patients: Patients) -> list[Finding]:
    """Say what was found.

    A patient on two sides of the splits is an error: results would be too good. Unknown patients are a warning:
    nobody can tell. Several labels of one patient are good to know: a disease may come and go.
    """
    total, known = len(patients.patient), sum(map(bool, patients.patient))
    found = []
    if patients.across_splits:
        number = len(patients.across_splits)
        plural = "s have" if number > 1 else " has"
        images = sum(patients.images[name] for name in patients.across_splits)
        found.append(
            Finding(
                "patients",
                "error",
                f"{number} patient{plural} images in more than one split ({images} images): "
                "a model may recognise the patient instead of the disease, and looks better than it is.",
                "Split by patient: hilum audit DATA --fix OUT.csv keeps each patient on one side.",
                {"patients": number, "images": images, "examples": list(patients.across_splits[:EXAMPLES])},
            )
        )
    if known < total:
        what = "No image says whose it is"
        what = what if not known else f"{total - known} of {total} images do not say whose they are"
        counted = "splits and" if not known else "each counts as a patient of its own in splits and"
        found.append(
            Finding(
                "patients",
                "warning",
                f"{what}, by a column, folder, DICOM header or file name that follows a known rule: {counted} "
                f"intervals{' are by image' if not known else ''}, which are optimistic if a patient has several.",
                "Fill in a column patient_id: hilum audit DATA --fix OUT.csv writes a table that has it.",
                {"unknown": total - known, "how": dict(Counter(patients.how))},
            )
        )
    if patients.several_labels:
        number = len(patients.several_labels)
        found.append(
            Finding(
                "patients",
                "info",
                f"{number} patient{'s have' if number > 1 else ' has'} images of more than one label.",
                "Check that this is the course of a disease and not a mistake.",
                {"patients": number, "examples": list(patients.several_labels[:EXAMPLES])},
            )
        )
    if known:
        stated = {COLUMN: "from the column patient_id", FOLDERS: "from folders", HEADERS: "from DICOM headers"}
        rules = sorted(set(patients.how) - {*stated, UNKNOWN})
        ways = [way for how, way in stated.items() if how in patients.how]
        ways += [f"from file names as in {rule}" for rule in rules]
        found.append(
            Finding(
                "patients",
                "info",
                f"{known} images of {len(patients.images)} patients ({known / len(patients.images):.2f} images "
                f"each, at most {max(patients.images.values())}), known {' and '.join(ways)}.",
                "Splits are made by these patients, unless --patients none is given; hilum audit DATA --fix OUT.csv "
                "writes them down."
                if rules or HEADERS in patients.how
                else "",
                {"images": known, "patients": len(patients.images), "how": dict(Counter(patients.how))},
            )
        )
    return found
