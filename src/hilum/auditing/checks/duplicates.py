"""Images that are the same picture: identical files, identical pixels, copies that were cropped, turned or changed."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from hilum.auditing.near_duplicates.copy_pairs import CHANGES, ORIENTATIONS, Change, FindCopies
from hilum.auditing.near_duplicates.groups import hints, is_altered, say_so
from hilum.auditing.near_duplicates.register import QUARTERS
from hilum.auditing.near_duplicates.search import find_copies
from hilum.auditing.scan import Scan
from hilum.data.dataset import Dataset
from hilum.data.multilabel import contradicted, finding_values
from hilum.data.splits import components
from hilum.progress import Progress

Kind = Literal["identical", "pixels"] | Change
KINDS: tuple[Kind, ...] = ("identical", "pixels", *CHANGES)


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
        across_labels: Indices of the groups that have more than one label; of several findings an image, those with a
            finding that is present on one copy and absent on another.
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


def find_duplicates(scan: Scan, *, find: FindCopies = find_copies, progress: Progress | None = None) -> Duplicates:
    """Find the images that are the same picture, however the files differ.

    Copies are found that were resized, recompressed, cropped by up to 10 % on any side, brightened, inverted, mirrored,
    turned by quarter turns, or rotated by up to 10 degrees. Two radiographs of one patient are not the same picture:
    nearly equal ones count only where they lie in other splits, or under other labels.

    Args:
        scan: Of the whole dataset: comparing one split alone would miss what lies across.
        find: Finds the pairs.
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
        found = find(scan.thumbnails[alone], advance, hints=named)
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
        across_labels=_across_labels(groups, scan.table),
        across_patients=_across(groups, [row.patient_id for row in rows]),
        exposures=len(everything - {i for pair in steps for i in pair}),
    )


def _without_exposures(steps: dict[tuple[int, int], _Step], scan: Scan) -> dict[tuple[int, int], _Step]:
    """Leave out nearly equal images of one patient, split and label: two exposures, which do no harm there."""
    rows = scan.table.rows
    one: set[int] = set()
    groups = _components(len(scan), list(steps))
    unlike = set(_across_labels(groups, scan.table))
    for number, group in enumerate(groups):
        whose = {(rows[i].patient_id, rows[i].split) for i in group}
        if len(whose) == 1 and rows[group[0]].patient_id and number not in unlike:
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


def _components(number: int, pairs: Sequence[tuple[int, int]]) -> tuple[tuple[int, ...], ...]:
    if not pairs:
        return ()
    members = defaultdict(list)
    for i, name in enumerate(components(number, *np.array(pairs).T).tolist()):
        members[name].append(i)
    return tuple(sorted(tuple(group) for group in members.values() if len(group) > 1))


def _across(groups: Sequence[Sequence[int]], values: Sequence[Hashable]) -> tuple[int, ...]:
    """Which groups have more than one value; empty ones (unknown) do not count."""
    return tuple(g for g, group in enumerate(groups) if len({values[i] for i in group if values[i]}) > 1)


def _across_labels(groups: Sequence[Sequence[int]], table: Dataset) -> tuple[int, ...]:
    """Which groups have more than one label, or a finding that is present on one image and absent on another."""
    if not table.findings:
        return _across(groups, [row.label for row in table.rows])
    values = finding_values(table)
    return tuple(g for g, group in enumerate(groups) if contradicted(values[list(group)]).any())
