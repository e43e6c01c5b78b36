"""Images that are the same picture: identical files, identical pixels, copies that were cropped, turned or changed."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

import numpy as np

from hilum.auditing.findings import Finding, FindingEvidence, Severity
from hilum.auditing.near_duplicates.groups import hints, is_altered, say_so
from hilum.auditing.near_duplicates.register import QUARTERS
from hilum.auditing.near_duplicates.search import CHANGES, ORIENTATIONS, Change, find_copies
from hilum.auditing.scan import Scan
from hilum.data.dataset import Dataset
from hilum.data.label_names import nested_findings
from hilum.data.splits import components
from hilum.progress import Progress
from hilum.text import printable

Kind = Literal["identical", "pixels"] | Change
KINDS: tuple[Kind, ...] = ("identical", "pixels", *CHANGES)
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
    kinds: dict[str, int] = {}
    labels: dict[str, int] = {}
    named: int = 0
    examples: list[list[str]]


@dataclass(frozen=True, slots=True)
class Pair:
    """A file and a copy of it.

    Attributes:
        first: Position in the scan of the file that is kept, of its group.
        second: Position of the copy.
        kind: What was done to `first`.
        correlation: Normalised cross-correlation at 32x32, aligned, up to 1; where the copy was recognised by way of
            other copies, the least of these.
    """

    first: int
    second: int
    kind: Kind
    correlation: float


class _Step(NamedTuple):
    """What makes one image of another: turned, after it was mirrored, inverted or rotated by a few degrees."""

    quarters: int = 0
    mirrored: bool = False
    inverted: bool = False
    rotated: bool = False
    correlation: float = 1.0

    def then(self, other: _Step) -> _Step:
        quarters = other.quarters + (-self.quarters if other.mirrored else self.quarters)
        return _Step(
            quarters % QUARTERS,
            self.mirrored != other.mirrored,
            self.inverted != other.inverted,
            self.rotated or other.rotated,
            min(self.correlation, other.correlation),
        )

    def back(self) -> _Step:
        return self if self.mirrored else self._replace(quarters=-self.quarters % QUARTERS)

    @property
    def change(self) -> Change:
        change = ORIENTATIONS[self.quarters + QUARTERS * self.mirrored]
        if self.inverted:
            return "inverted"
        return "rotated" if self.rotated and change == "near" else change


@dataclass(frozen=True)
class Duplicates:
    """What `find_duplicates` found.

    Attributes:
        pairs: Of each group, the file to keep with each of the others.
        groups: Positions of all images of one picture, ascending; pictures of one image are left out.
        named: Positions of the copies whose file names say that they are copies.
        across_splits: Indices of the groups that lie in more than one split.
        across_labels: Indices of the groups that have more than one label.
        across_patients: Indices of the groups that more than one patient claims.
        exposures: Number of images with a nearly equal one of the same patient, split and label.
    """

    pairs: tuple[Pair, ...]
    groups: tuple[tuple[int, ...], ...]
    named: tuple[int, ...]
    across_splits: tuple[int, ...]
    across_labels: tuple[int, ...]
    across_patients: tuple[int, ...]
    exposures: int = 0

    @property
    def superfluous(self) -> int:
        """How many images would go if every picture were kept once."""
        return sum(len(group) - 1 for group in self.groups)

    def kinds(self) -> Counter[Kind]:
        """Number of redundant images by kind."""
        return Counter(pair.kind for pair in self.pairs)


def find_duplicates(scan: Scan, progress: Progress | None = None) -> Duplicates:
    """Find the images that are the same picture, however the files differ.

    Copies are found that were resized, recompressed, cropped by up to 10 % on any side, brightened, inverted, mirrored,
    turned by quarter turns, or rotated by up to 10 degrees. Two radiographs of one patient are not the same picture:
    nearly equal ones count only where they lie in other splits, or under other labels.

    Args:
        scan: Of the whole dataset: comparing one split alone would miss what lies across.
        progress: Told while images are compared.
    """
    progress = progress or Progress()
    rows = scan.table.rows
    paths = [row.path for row in rows]
    first_with: dict[str, int] = {}
    same = [(first, i) for i, pixels in enumerate(scan.pixels) if (first := first_with.setdefault(pixels, i)) != i]
    # What has the same pixels has the same copies: one of each is compared.
    alone = np.array(sorted(first_with.values()), np.intp)
    place = {int(i): k for k, i in enumerate(alone)}
    named = [(place[a], place[b]) for a, b in hints(paths) if a in place and b in place]
    with progress.task("Comparing images", len(alone)) as advance:
        found = find_copies(scan.thumbnails[alone], advance, hints=named)
    steps = dict.fromkeys(same, _Step())
    for first, second, change, correlation, orientation in zip(
        alone[found.first], alone[found.second], found.change, found.correlation, found.orientation, strict=True
    ):
        steps[int(first), int(second)] = _Step(
            int(orientation) % QUARTERS,
            bool(orientation >= QUARTERS),
            CHANGES[change] == "inverted",
            CHANGES[change] == "rotated",
            float(correlation),
        )
    everything = {i for pair in steps for i in pair}
    steps = _without_exposures(steps, scan)
    groups = _components(len(scan), list(steps))
    return Duplicates(
        pairs=tuple(_pairs(groups, steps, scan)),
        groups=groups,
        named=tuple(group[k] for group in groups for k in say_so([paths[i] for i in group])),
        across_splits=_across(groups, [row.split for row in rows]),
        across_labels=_across(groups, [row.label for row in rows]),
        across_patients=_across(groups, [row.patient_id for row in rows]),
        exposures=len(everything - {i for pair in steps for i in pair}),
    )


def _without_exposures(steps: dict[tuple[int, int], _Step], scan: Scan) -> dict[tuple[int, int], _Step]:
    """Leave out nearly equal images of one patient, split and label: two exposures, which do no harm there."""
    rows = scan.table.rows
    one: set[int] = set()
    for group in _components(len(scan), list(steps)):
        whose = {(rows[i].patient_id, rows[i].split, rows[i].label) for i in group}
        if len(whose) == 1 and rows[group[0]].patient_id:
            one.update(group)
    return {
        (first, second): step
        for (first, second), step in steps.items()
        if first not in one or step.change not in ("near", "rotated") or scan.pixels[first] == scan.pixels[second]
    }


def _pairs(groups: Sequence[Sequence[int]], steps: dict[tuple[int, int], _Step], scan: Scan) -> list[Pair]:
    """Of each group, the first file whose name does not say that it is a copy, with each of the others."""
    rows = scan.table.rows
    beside: defaultdict[int, list[tuple[int, _Step]]] = defaultdict(list)
    for (first, second), step in steps.items():
        beside[first].append((second, step))
        beside[second].append((first, step.back()))
    pairs = []
    for group in groups:
        kept = min(group, key=lambda i: (is_altered(rows[i].path), i))
        reached, waiting = {kept: _Step()}, deque([kept])
        while waiting:
            here = waiting.popleft()
            for there, step in beside[here]:
                if there not in reached:
                    reached[there] = reached[here].then(step)
                    waiting.append(there)
        for i in group:
            if i != kept:
                kind: Kind = reached[i].change
                if scan.pixels[i] == scan.pixels[kept]:
                    kind = "identical" if rows[i].sha256 and rows[i].sha256 == rows[kept].sha256 else "pixels"
                pairs.append(Pair(kept, i, kind, round(reached[i].correlation, 4)))
    return pairs


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


def _finding(
    which: Sequence[int], duplicates: Duplicates, table: Dataset, severity: Severity, message: str, remedy: str
) -> Finding:
    evidence = CopiesFound(groups=len(which), examples=_examples(which, duplicates, table))
    return Finding("duplicates", severity, message.format(n=_pictures(len(which))), remedy, evidence)


def _pictures(number: int) -> str:
    return "1 image lies" if number == 1 else f"{number} images lie"


def _by_label(duplicates: Duplicates, table: Dataset) -> dict[str, int]:
    """Number of redundant images of each label, most first."""
    return dict(Counter(table.rows[pair.second].label for pair in duplicates.pairs).most_common())


def _most(labels: dict[str, int], duplicates: Duplicates, table: Dataset) -> str:
    """The label with the largest share of redundant images, if there are others."""
    images = Counter(row.label for row in table.rows)
    label = max(labels, key=lambda name: labels[name] / images[name])
    if labels[label] / images[label] <= duplicates.superfluous / len(table):
        return ""
    return f", {labels[label]} of them among the {images[label]} images of {printable(label)!r}"


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


def _components(number: int, pairs: Sequence[tuple[int, int]]) -> tuple[tuple[int, ...], ...]:
    if not pairs:
        return ()
    members = defaultdict(list)
    for i, name in enumerate(components(number, *np.array(pairs).T)):
        members[name].append(i)
    return tuple(sorted(tuple(group) for group in members.values() if len(group) > 1))


def _across(groups: Sequence[Sequence[int]], values: Sequence[Hashable]) -> tuple[int, ...]:
    """Which groups have more than one value; empty ones (unknown) do not count."""
    return tuple(g for g, group in enumerate(groups) if len({values[i] for i in group if values[i]}) > 1)
