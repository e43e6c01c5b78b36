"""Whom the run has seen: images and patients that cannot serve about it any more."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np

from hilum.auditing.near_duplicates.groups import Thumbnails, find_known
from hilum.data.cache import Images, thumbnails_of
from hilum.data.dataset import Dataset, owner
from hilum.evaluation.prior_step import overlap_of
from hilum.progress import Progress
from hilum.stats.calibration import for_temperature
from hilum.training.run import Run

SHOWN = 3
SEEN_AS = {
    "train": "trained on",
    "val": "selected by (val)",
    "calibration": "calibrated on (temperature)",
}
ADJUSTED = "prior step"


@dataclass(frozen=True, slots=True)
class Seen:
    """One image that the run has seen, or whose patient it has seen.

    Attributes:
        path: Of the image.
        twin: The run's image with the same content, of the same picture, or of the same patient.
        role: What that one served for.
        same: ``file``, ``picture`` or ``patient``.
    """

    path: str
    twin: str
    role: str
    same: str

    def sentence(self) -> str:
        """Such as ``a.png is the same file as train/x.png, which the run was trained on``."""
        if self.role == ADJUSTED:
            return f"{self.path}, or its patient, was used to set the run's prior step"
        if self.path == self.twin:
            return f"{self.path} was {SEEN_AS[self.role]}"
        verb = "shows" if self.same == "patient" else "is"
        return f"{self.path} {verb} the same {self.same} as {self.twin}, which the run was {SEEN_AS[self.role]}"


def find_seen(run: Run, table: Dataset, *, temperature: bool) -> list[Seen]:
    """Images whose content or patient the run was trained on, chosen by, or, if so said, calibrated on.

    Args:
        run: A finished run.
        table: With the column ``sha256``.
        temperature: Whether a temperature was fitted, to the calibration patients that it may see.
    """
    rows = [row for row in run.rows if row.split in SEEN_AS]
    spent = [row for row in rows if row.split != "calibration"]
    if temperature:
        own = [row for row in rows if row.split == "calibration"]
        names = [owner(row.patient_id, row.path) for row in own]
        spent += [row for row, fitted in zip(own, for_temperature(names), strict=True) if fitted]
    by_file = {row.sha256: row for row in spent if row.sha256}
    by_patient = {row.patient_id: row for row in spent if row.patient_id}
    adjusted_on = overlap_of(run)
    found = []
    for row in table.rows:
        if adjusted_on and adjusted_on.holds(row.sha256, row.patient_id):
            found.append(Seen(row.path, row.path, ADJUSTED, "file"))
        elif twin := by_file.get(row.sha256):
            found.append(Seen(row.path, twin.path, twin.split, "file"))
        elif twin := by_patient.get(row.patient_id):
            found.append(Seen(row.path, twin.path, twin.split, "patient"))
    return found


def find_leaks(run: Run, images: Images, progress: Progress) -> tuple[dict[int, Seen], str]:
    """Images of other data that are near-duplicates of what the run was trained on or chosen by.

    Args:
        run: A finished run.
        images: Other data than the run's own, decoded for it.
        progress: Told while images are compared.

    Returns:
        What was found, by place among the images; and what has to be known about it: that the run's own images are no
        longer in the cache, or that so many could not be compared.
    """
    digest = run.environment.data.digest
    thumbnails = thumbnails_of(digest, run.preprocessing)
    splits = [sys.intern(row.split) for row in run.rows]
    if thumbnails is None or len(thumbnails) != len(splits):
        why = "the cache no longer holds these: run hilum evaluate RUN once to fill it"
        return {}, f"whether images are near-duplicates of the run's training images was not checked; {why}"
    spent = np.flatnonzero([split in ("train", "val") for split in splits])
    known = Thumbnails(thumbnails, spent, digest)
    found, groups = find_known(images, known, run.recipe.splits.duplicates, progress)
    twins = {int(spent[place]) for place in found.values()}
    rows = {i: row for i, row in enumerate(run.rows) if i in twins}
    seen = {}
    for i, place in found.items():
        twin = rows[int(spent[place])]
        seen[i] = Seen(images.table.rows[i].path, twin.path, twin.split, "picture")
    return seen, groups.note
