"""What an audit says of images that are the same picture: how many, across splits, labels or patients."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from pathlib import PurePosixPath

import numpy as np
from pydantic import Field

from hilum.auditing.checks.duplicates import KINDS, Duplicates, Kind
from hilum.auditing.findings import Finding, FindingEvidence, Severity
from hilum.data.dataset import Dataset, Row
from hilum.data.label_names import nested_findings
from hilum.data.multilabel import NO_FINDING, PRESENT, column_of, contradicted, finding_values
from hilum.text import printable

EXAMPLES = 5
WORDS: dict[Kind, tuple[str, str]] = {  # of one, of several
    "identical": ("identical file", "identical files"),
    "pixels": ("other file with the same pixels", "other files with the same pixels"),
    "near": ("cropped, resized or recompressed copy", "cropped, resized or recompressed copies"),
    "mirrored": ("mirrored copy", "mirrored copies"),
    "inverted": ("inverted copy (black and white exchanged)", "inverted copies (black and white exchanged)"),
    "turned_90": ("copy turned by 90°", "copies turned by 90°"),
    "turned_180": ("copy turned by 180°", "copies turned by 180°"),
    "upside_down": ("copy flipped upside down", "copies flipped upside down"),
    "transposed": ("copy mirrored and turned by 90°", "copies mirrored and turned by 90°"),
    "rotated": ("copy rotated by a few degrees", "copies rotated by a few degrees"),
}


class CopiesFound(FindingEvidence):
    """How many groups of copies a finding is about, and the largest; of all together also what the copies are.

    Attributes:
        groups: Number of groups.
        superfluous: Images that a group has beyond its first.
        kinds: Of these, how many were made in which way.
        labels: Of these, how many each label has.
        named: Of these, how many say so in their file names.
        examples: Paths of the largest groups, in each the file to keep first.
    """

    groups: int
    superfluous: int = 0
    kinds: dict[str, int] = Field(default_factory=dict)
    labels: dict[str, int] = Field(default_factory=dict)
    named: int = 0
    examples: list[list[str]]


def findings(duplicates: Duplicates, table: Dataset) -> list[Finding]:
    """Say what was found.

    A picture on two sides of the splits is an error: results would be too good. So is one with two labels: one of
    them is wrong. A picture of two patients, and copies within one split and label, are a warning where they make
    up 1 % of the images or more, and otherwise good to know.

    Args:
        duplicates: As found.
        table: The scan's table.
    """
    exposures = ""
    if duplicates.exposures:
        exposures = (
            f" {duplicates.exposures} images with a nearly equal one of the same patient, split and label count as "
            "repeated exposures."
        )
    if not duplicates.groups:
        return [Finding("duplicates", "info", f"No duplicates among {len(table)} images.{exposures}")]
    kinds = duplicates.kinds()
    told = ", ".join(f"{kinds[kind]} {WORDS[kind][kinds[kind] != 1]}" for kind in KINDS if kinds[kind])
    share = duplicates.superfluous / len(table)
    severity: Severity = "warning" if share >= 0.01 else "info"
    found = []
    if duplicates.across_splits:
        found.append(
            _finding(
                duplicates.across_splits,
                duplicates,
                table,
                "error",
                "{n} in more than one split: the model is tested on training images, and test results are optimistic.",
                "Keep each image in one split: hilum audit DATA --clean OUT.csv removes it from train.",
            )
        )
    finer: list[int] = []
    if table.findings:
        found += _contradictions(duplicates, table)
    else:
        finer = [g for g in duplicates.across_labels if both_right([table.rows[i].label for i in duplicates.groups[g]])]
    wrong = [] if table.findings else [g for g in duplicates.across_labels if g not in finer]
    if wrong:
        found.append(
            _finding(
                wrong,
                duplicates,
                table,
                "error",
                "{n} under more than one label: at least one label of each is wrong.",
                "Review these images and correct their labels, or exclude all: hilum audit DATA --clean OUT.csv.",
            )
        )
    if finer:
        found.append(
            _finding(
                finer,
                duplicates,
                table,
                "warning",
                "{n} under two labels, one more specific than the other, such as COVID-19 and COVID-19, ARDS: both "
                "may be right.",
                "Give all copies of an image one label.",
            )
        )
    if duplicates.across_patients:
        found.append(
            _finding(
                duplicates.across_patients,
                duplicates,
                table,
                severity,
                "{n} under more than one patient: either these are one patient, or the identifiers are wrong.",
                "Give them one patient_id, so that no patient is in two splits.",
            )
        )
    labels = _by_label(duplicates, table)
    message = (
        f"{_pictures(len(duplicates.groups))} more than once: {duplicates.superfluous} of {len(table)} images "
        f"({share:.1%}) {'is' if duplicates.superfluous == 1 else 'are'} redundant ({told})"
        f"{_most(labels, duplicates, table)}.{_named(duplicates, table)}"
        f" Duplicates are counted several times in training and in all metrics.{exposures}"
    )
    found.append(
        Finding(
            "duplicates",
            severity,
            message,
            "Keep each image once: hilum audit DATA --clean OUT.csv.",
            CopiesFound(
                groups=len(duplicates.groups),
                superfluous=duplicates.superfluous,
                kinds={str(kind): count for kind, count in kinds.items()},
                labels=labels,
                named=len(duplicates.named),
                examples=_examples(range(len(duplicates.groups)), duplicates, table),
            ),
        )
    )
    return found


def both_right(labels: Sequence[str]) -> bool:
    """Whether of any two of the labels one says all that the other says."""
    return all(nested_findings(a, b) for a, b in combinations(sorted(set(labels)), 2))


def _contradictions(duplicates: Duplicates, table: Dataset) -> list[Finding]:
    """Copies of one image on which a finding is present here and absent there."""
    if not duplicates.across_labels:
        return []
    values = finding_values(table)
    of_groups = [contradicted(values[list(duplicates.groups[g])]) for g in duplicates.across_labels]
    counts = np.sum(of_groups, axis=0)
    named = ", ".join(
        f"{printable(table.findings[k])} {counts[k]}" for k in np.argsort(-counts)[:EXAMPLES] if counts[k]
    )
    return [
        _finding(
            duplicates.across_labels,
            duplicates,
            table,
            "error",
            f"{{n}} with a finding present on one copy and absent on another ({named.replace('{', '{{')}): one of the "
            "two is wrong.",
            "Review these images and correct their findings, or exclude all: hilum audit DATA --clean OUT.csv.",
        )
    ]


def _finding(
    which: Sequence[int], duplicates: Duplicates, table: Dataset, severity: Severity, message: str, remedy: str
) -> Finding:
    evidence = CopiesFound(groups=len(which), examples=_examples(which, duplicates, table))
    return Finding("duplicates", severity, message.format(n=_pictures(len(which))), remedy, evidence)


def _pictures(number: int) -> str:
    return "1 image lies" if number == 1 else f"{number} images lie"


def _names(row: Row, findings: Sequence[str]) -> list[str]:
    """The label of an image, or the findings that are present on it."""
    if not findings:
        return [row.label]
    return [name for name in findings if row.extra.get(column_of(name)) == PRESENT] or [NO_FINDING]


def _by_label(duplicates: Duplicates, table: Dataset) -> dict[str, int]:
    """Number of redundant images of each label, or with each finding, most first."""
    rows = (table.rows[pair.second] for pair in duplicates.pairs)
    return dict(Counter(name for row in rows for name in _names(row, table.findings)).most_common())


def _most(labels: dict[str, int], duplicates: Duplicates, table: Dataset) -> str:
    """The label with the largest share of redundant images, if there are others."""
    images = Counter(name for row in table.rows for name in _names(row, table.findings))
    label = max(labels, key=lambda name: labels[name] / images[name])
    if labels[label] / images[label] <= duplicates.superfluous / len(table):
        return ""
    whose = "images with" if table.findings and label != NO_FINDING else "images of"
    return f", {labels[label]} of them among the {images[label]} {whose} {printable(label)!r}"


def _named(duplicates: Duplicates, table: Dataset) -> str:
    if not duplicates.named:
        return ""
    number = len(duplicates.named)
    name = printable(PurePosixPath(table.rows[duplicates.named[0]].path).name)
    return f" {number} file {'name states' if number == 1 else 'names state'} this (such as {name!r})."


def _examples(which: Sequence[int], duplicates: Duplicates, table: Dataset) -> list[list[str]]:
    """Paths of the largest groups, in each the file to keep before its copies."""
    worst = sorted(which, key=lambda number: -len(duplicates.groups[number]))[:EXAMPLES]
    kept = {pair.first for pair in duplicates.pairs}
    return [
        [table.rows[i].path for i in sorted(duplicates.groups[number], key=lambda i: (i not in kept, i))]
        for number in worst
    ]
