"""What can be checked in a moment before a training starts: who and what is on two sides, and whose images they are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hilum.auditing.checks.public_sets import ImpossibleLabel, Match, findings, recognise_thumbnails
from hilum.auditing.findings import CheckedData, Finding, FindingEvidence, LeakageCounts
from hilum.auditing.near_duplicates.groups import PIXELS, Groups
from hilum.data.cache import Images
from hilum.data.splits import NAMED, Leakage, counted, find_leakage

LOOKED_AT = 400  # images compared with known sets, spread over all labels
WORDS = {PIXELS: "equal pixels", "near": "cropped or recompressed"}


class OnTwoSides(FindingEvidence):
    """How many patients or pictures lie on several parts, and the first: names, or the paths of each picture."""

    number: int
    examples: Sequence[str | tuple[str, ...]]


@dataclass(frozen=True)
class Checked:
    """What was checked before a training, and what was found.

    Attributes:
        what: What the parts are called, such as ``sides of the splits``.
        images: How many there are.
        with_patient: Of how many of them the patient is known.
        looked_for: What counts as a duplicate (see `hilum.auditing.near_duplicates.groups.Groups`).
        leakage: Patients and pictures on more than one of the parts.
        compared: The places of the images that were compared with known public sets, spread over all labels.
        matches: The sets that were recognised; they count places among `compared`.
    """

    what: str
    images: int
    with_patient: int
    looked_for: tuple[str, ...]
    leakage: Leakage
    compared: tuple[int, ...]
    matches: tuple[Match, ...]

    def sentence(self) -> str:
        """One line for people, which says no more than was checked."""
        kinds = ", ".join(WORDS.get(name, name.replace("_", " ")) for name in self.looked_for)
        numbers = [f"{_number(len(self.leakage.pictures), 'duplicate')} ({kinds})"]
        if self.with_patient:
            some = f" (known for {self.with_patient:,} of {self.images:,} images)"
            patients = _number(len(self.leakage.patients), "patient")
            numbers.insert(0, patients + some if self.with_patient < self.images else patients)
        told = f"{' and '.join(numbers)} on two {self.what}"
        if self.leakage:
            told = f"WARNING: {told}; test results are optimistic"
        if not self.with_patient:
            told += "; patients are unknown and were not checked"
        return f"checked: {told}; {self._whence()}. More: hilum audit DATA"

    def leaks(self) -> list[Finding]:
        """Patients and pictures on several of the parts, as the audit says it."""
        found = []
        for check, name, items in (
            ("patients", "patient", self.leakage.patients),
            ("duplicates", "picture", self.leakage.pictures),
        ):
            if items:
                shown = self.leakage.examples()[f"{name}s"]
                message = f"{counted(len(items), name)} on two {self.what} ({shown}): test results are optimistic."
                remedy = "hilum audit DATA --clean OUT.csv writes a table that excludes them from train."
                evidence = OnTwoSides(number=len(items), examples=list(items[:NAMED]))
                found.append(Finding(check, "error", message, remedy, evidence))
        return found

    def reported(self) -> CheckedData:
        """For ``environment.json``."""
        return CheckedData(
            images=self.images,
            with_patient=self.with_patient,
            duplicates=list(self.looked_for),
            leakage=LeakageCounts(patients=len(self.leakage.patients), pictures=len(self.leakage.pictures)),
            compared=len(self.compared),
        )

    def _whence(self) -> str:
        count = len(self.compared)
        looked = f"{count} of {self.images:,}" if count < self.images else f"all {self.images:,}"
        if not self.matches:
            return f"{looked} images compared with known public sets, none recognised"
        told = [f"{match.matched} {_are(match)} {match.known.name}" for match in self.matches]
        told += [_short(finding) for finding in findings(self.matches) if finding.severity != "info"]
        return f"{looked} images compared with known public sets: {', '.join(told)}"


def cheap_checks(images: Images, sides: Sequence[str], groups: Groups, what: str = "sides of the splits") -> Checked:
    """Look at what is decoded already; a second at most, however many images there are.

    Args:
        images: N decoded images.
        sides: The part that each belongs to, N of them; ``unused`` counts for none.
        groups: Which of them are one picture.
        what: What the parts are called.
    """
    rows = images.table.rows
    chosen = _spread([row.label for row in rows])
    matches = recognise_thumbnails(images.thumbnails[images.positions[chosen]], [rows[i].label for i in chosen])
    return Checked(
        what,
        images=len(rows),
        with_patient=sum(bool(row.patient_id) for row in rows),
        looked_for=groups.looked_for,
        leakage=find_leakage(images.table, sides, groups.numbers),
        compared=tuple(chosen),
        matches=tuple(matches),
    )


def _number(count: int, name: str) -> str:
    return f"{count or 'no'} {name}{'s' if count > 1 else ''}"


def _are(match: Match) -> str:
    return "is from" if match.matched == 1 else "are from"


def _short(finding: Finding) -> str:
    if isinstance(finding.evidence, ImpossibleLabel):
        return f"WARNING: '{finding.evidence.label}' cannot be COVID-19"
    return "WARNING: labels come from different sets"


def _spread(labels: Sequence[str]) -> list[int]:
    """Up to `LOOKED_AT` positions, as many of each label, evenly spaced."""
    members = defaultdict(list)
    for position, label in enumerate(labels):
        members[label].append(position)
    each = max(1, LOOKED_AT // len(members))
    chosen = []
    for of in members.values():
        places = np.unique(np.linspace(0, len(of) - 1, min(each, len(of))).round().astype(int))
        chosen += [of[place] for place in places]
    return sorted(chosen)
