"""Images that are the same picture: identical files, identical pixels, copies that were cropped or changed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from hilum.audit.correlation import CHANGES, find_copies
from hilum.audit.findings import Finding, Severity
from hilum.audit.survey import Survey
from hilum.data.label_names import nested_findings
from hilum.data.table import Row, Table
from hilum.progress import Progress

Kind = Literal["identical", "pixels", "near", "mirrored", "inverted"]
KINDS: tuple[Kind, ...] = ("identical", "pixels", *CHANGES)
EXAMPLES = 5
WORDS: dict[Kind, str] = {
    "identical": "identical files",
    "pixels": "other files with the same pixels",
    "near": "cropped, resized or recompressed copies",
    "mirrored": "mirrored copies",
    "inverted": "copies with black and white exchanged",
}


@dataclass(frozen=True, slots=True)
class Pair:
    """Two images that are the same picture.

    Attributes:
        first: Position in the survey.
        second: Position in the survey, larger than `first`.
        kind: How they are the same; the first of `KINDS` that holds.
        correlation: Normalised cross-correlation at 32x32, aligned, up to 1.
    """

    first: int
    second: int
    kind: Kind
    correlation: float


@dataclass(frozen=True)
class Duplicates:
    """What `find_duplicates` found.

    Attributes:
        pairs: Pairs of the same picture. Of three or more with the same pixels, only the pairs with the first.
        groups: Positions of all images of one picture, ascending; pictures of one image are left out.
        across_splits: Indices of the groups that lie in more than one split.
        across_labels: Indices of the groups that have more than one label.
        across_patients: Indices of the groups that more than one patient claims.
    """

    pairs: tuple[Pair, ...]
    groups: tuple[tuple[int, ...], ...]
    across_splits: tuple[int, ...]
    across_labels: tuple[int, ...]
    across_patients: tuple[int, ...]

    @property
    def superfluous(self) -> int:
        """How many images would go if every picture were kept once."""
        return sum(len(group) - 1 for group in self.groups)

    def kinds(self) -> Counter[Kind]:
        """Number of pairs by kind."""
        return Counter(pair.kind for pair in self.pairs)


def find_duplicates(survey: Survey, progress: Progress | None = None) -> Duplicates:
    """Find the images that are the same picture, however the files differ.

    Copies are found that were resized, recompressed, cropped by up to 10 % on any side, brightened, mirrored or
    inverted; rotated ones are not. Two radiographs of one patient are not the same picture: nearly equal ones count
    only where they lie in other splits, or under other labels.

    Args:
        survey: Of the whole dataset: comparing one split alone would miss what lies across.
        progress: Told while images are compared.
    """
    progress = progress or Progress()
    rows = survey.table.rows
    pairs = {}
    first_with: dict[str, int] = {}
    for i, pixels in enumerate(survey.pixels):
        first = first_with.setdefault(pixels, i)
        if first != i:
            same_file = bool(rows[i].sha256) and rows[first].sha256 == rows[i].sha256
            pairs[first, i] = Pair(first, i, "identical" if same_file else "pixels", 1.0)
    # What has the same pixels has the same copies: one of each is compared.
    alone = np.array(sorted(first_with.values()), np.intp)
    with progress.task("Comparing images", len(alone)) as advance:
        found = find_copies(survey.thumbnails[alone], advance)
    for first, second, change, correlation in zip(
        alone[found.first], alone[found.second], found.change, found.correlation, strict=True
    ):
        key = (int(min(first, second)), int(max(first, second)))
        pair = Pair(*key, CHANGES[change], round(float(correlation), 4))
        if pair.kind == "near" and _next_exposure(rows[key[0]], rows[key[1]]):
            continue
        if key not in pairs or _rank(pair) < _rank(pairs[key]):
            pairs[key] = pair
    groups = _components(len(survey), list(pairs))
    return Duplicates(
        pairs=tuple(sorted(pairs.values(), key=lambda pair: (pair.first, pair.second))),
        groups=groups,
        across_splits=_across(groups, [row.split for row in rows]),
        across_labels=_across(groups, [row.label for row in rows]),
        across_patients=_across(groups, [row.patient_id for row in rows]),
    )


def _next_exposure(one: Row, other: Row) -> bool:
    """Whether two nearly equal images may well be two exposures: of one patient, side and label they do no harm."""
    same = (one.patient_id, one.split, one.label) == (other.patient_id, other.split, other.label)
    return bool(one.patient_id) and same


def findings(duplicates: Duplicates, table: Table) -> list[Finding]:
    """Say what was found.

    A picture on two sides of the splits is an error: results would be too good. So is one with two labels: one of
    them is wrong. A picture of two patients, and copies within one split and label, are a warning where they make
    up 1 % of the images or more, and otherwise good to know.

    Args:
        duplicates: As found.
        table: The survey's table.
    """
    if not duplicates.groups:
        return [Finding("duplicates", "info", f"No picture occurs twice among {len(table)} images.")]
    kinds = duplicates.kinds()
    told = ", ".join(f"{kinds[kind]} {WORDS[kind]}" for kind in KINDS if kinds[kind])
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
                "{n} in more than one split: a model is tested on what it was trained on, and looks better than it is.",
                "Keep each picture in one split only: hilum audit DATA --fix OUT.csv leaves it out of train.",
            )
        )
    finer = [g for g in duplicates.across_labels if both_right([table.rows[i].label for i in duplicates.groups[g]])]
    wrong = [g for g in duplicates.across_labels if g not in finer]
    if wrong:
        found.append(
            _finding(
                wrong,
                duplicates,
                table,
                "error",
                "{n} under more than one label: at least one label of each is wrong.",
                "Look at these pictures and correct their labels, or leave all out: hilum audit DATA --fix OUT.csv.",
            )
        )
    if finer:
        found.append(
            _finding(
                finer,
                duplicates,
                table,
                "warning",
                "{n} under two labels of which one says more than the other, such as COVID-19 and COVID-19, ARDS: both "
                "may be right.",
                "Give the copies of a picture one label.",
            )
        )
    if duplicates.across_patients:
        found.append(
            _finding(
                duplicates.across_patients,
                duplicates,
                table,
                severity,
                "{n} under more than one patient: these are one patient, or the identifiers are wrong.",
                "Give them one patient_id, so that no patient is on two sides of a split.",
            )
        )
    message = (
        f"{_pictures(len(duplicates.groups))} more than once: {duplicates.superfluous} of {len(table)} images "
        f"({share:.1%}) are superfluous ({told}). Each counts twice in training and in every figure."
    )
    found.append(
        Finding(
            "duplicates",
            severity,
            message,
            "Keep each picture once: hilum audit DATA --fix OUT.csv.",
            {
                "groups": len(duplicates.groups),
                "superfluous": duplicates.superfluous,
                "kinds": dict(kinds),
                "examples": _examples(range(len(duplicates.groups)), duplicates, table),
            },
        )
    )
    return found


def both_right(labels: Sequence[str]) -> bool:
    """Whether of any two of the labels one says all that the other says."""
    return all(nested_findings(a, b) for a, b in combinations(sorted(set(labels)), 2))


def _finding(
    which: Sequence[int], duplicates: Duplicates, table: Table, severity: Severity, message: str, remedy: str
) -> Finding:
    evidence = {"groups": len(which), "examples": _examples(which, duplicates, table)}
    return Finding("duplicates", severity, message.format(n=_pictures(len(which))), remedy, evidence)


def _pictures(number: int) -> str:
    return "1 picture lies" if number == 1 else f"{number} pictures lie"


def _examples(which: Sequence[int], duplicates: Duplicates, table: Table) -> list[list[str]]:
    """Paths of the largest groups."""
    worst = sorted(which, key=lambda number: -len(duplicates.groups[number]))[:EXAMPLES]
    return [[table.rows[i].path for i in duplicates.groups[number]] for number in worst]


def _rank(pair: Pair) -> tuple[int, float]:
    return KINDS.index(pair.kind), -pair.correlation


def _components(number: int, pairs: Sequence[tuple[int, int]]) -> tuple[tuple[int, ...], ...]:
    if not pairs:
        return ()
    first, second = np.array(pairs).T
    graph = coo_array((np.ones(len(pairs)), (first, second)), shape=(number, number))
    _, name = connected_components(graph, directed=False)
    members = defaultdict(list)
    for i in sorted({*map(int, first), *map(int, second)}):
        members[int(name[i])].append(i)
    return tuple(sorted(tuple(group) for group in members.values()))


def _across(groups: Sequence[Sequence[int]], values: Sequence[Hashable]) -> tuple[int, ...]:
    """Which groups have more than one value; empty ones (unknown) do not count."""
    return tuple(g for g, group in enumerate(groups) if len({values[i] for i in group if values[i]}) > 1)
