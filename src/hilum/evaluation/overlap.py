"""Whom the run has seen: images and patients that cannot testify about it any more."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from hilum.data.rows import owner
from hilum.data.table import Table
from hilum.evaluation.temperature import for_temperature
from hilum.training.run import Run

SHOWN = 3
SEEN_AS = {
    "train": "trained on",
    "val": "chosen by (val)",
    "calibration": "calibrated on (temperature)",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """One image that the run has seen, or whose patient it has seen.

    Attributes:
        path: Of the image.
        twin: The run's image with the same content, or of the same patient.
        role: What that one served for.
        same: ``file`` or ``patient``.
    """

    path: str
    twin: str
    role: str
    same: str

    def sentence(self) -> str:
        """Such as ``a.png is the same file as train/x.png, which the run was trained on``."""
        if self.path == self.twin:
            return f"{self.path} was {SEEN_AS[self.role]}"
        verb = "is" if self.same == "file" else "shows"
        return f"{self.path} {verb} the same {self.same} as {self.twin}, which the run was {SEEN_AS[self.role]}"


def find_seen(run: Run, table: Table, *, temperature: bool) -> list[Seen]:
    """Images whose content or patient the run was trained on, chosen by, or, if so said, calibrated on.

    Args:
        run: A finished run.
        table: With the column ``sha256``.
        temperature: Whether a temperature was fitted, to the calibration patients that it may see.
    """
    rows = [row for row in run.each_split_row() if row.split in SEEN_AS]
    spent = [row for row in rows if row.split != "calibration"]
    if temperature:
        own = [row for row in rows if row.split == "calibration"]
        names = [owner(row.patient_id, row.path) for row in own]
        spent += [row for row, fitted in zip(own, for_temperature(names), strict=True) if fitted]
    by_file = {row.sha256: row for row in spent if row.sha256}
    by_patient = {row.patient_id: row for row in spent if row.patient_id}
    found = []
    for row in table.rows:
        if twin := by_file.get(row.sha256):
            found.append(Seen(row.path, twin.path, twin.split, "file"))
        elif twin := by_patient.get(row.patient_id):
            found.append(Seen(row.path, twin.path, twin.split, "patient"))
    return found


def digest_of(table: Table) -> str:
    """SHA-256 of who is in a table: files, patients and labels, in no order."""
    lines = sorted(f"{row.sha256} {row.patient_id} {row.label}" for row in table.rows)
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()
