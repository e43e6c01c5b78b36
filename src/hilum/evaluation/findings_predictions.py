"""Predictions of several findings an image: each finding is a two-class problem over the images where it is known."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hilum.data.dataset import Dataset, owner
from hilum.data.frames import to_pandas
from hilum.data.multilabel import CELLS, UNKNOWN, VALUES, binary_labels, finding_values
from hilum.evaluation.predictions import Predictions, read_stated
from hilum.outputs import cell, from_cell

if TYPE_CHECKING:
    import pandas

TRUE, PROBABILITY = "true:", "p:"  # before a finding, in the name of a column


@dataclass(frozen=True)
class FindingsPredictions:
    """What was predicted, image by image and finding by finding.

    Attributes:
        findings: F names.
        paths: Of the N images.
        patients: Whose they are; empty where unknown.
        truth: Of shape (N, F): 1 present, 0 absent, NaN unknown, -1 uncertain.
        probabilities: Of shape (N, F), each in [0, 1]; rows sum to anything.
    """

    findings: tuple[str, ...]
    paths: tuple[str, ...]
    patients: tuple[str, ...]
    truth: NDArray[np.float32]
    probabilities: NDArray[np.float64]

    @classmethod
    def of(cls, table: Dataset, probabilities: NDArray[np.float64]) -> FindingsPredictions:
        """What was predicted of a table's images.

        Args:
            table: Of N images with F findings.
            probabilities: That each finding is present, of shape (N, F).
        """
        paths, patients = (tuple(getattr(row, name) for row in table.rows) for name in ("path", "patient_id"))
        return cls(table.findings, paths, patients, finding_values(table), probabilities)

    @property
    def clusters(self) -> list[str]:
        """The patient of each image, or the image itself where the patient is unknown."""
        return [owner(patient, path) for patient, path in zip(self.patients, self.paths, strict=True)]

    @property
    def known(self) -> NDArray[np.bool_]:
        """Whether an image is known to have a finding or not to have it, shape (N, F)."""
        return np.isin(self.truth, (0.0, 1.0))

    def rows_of(self, finding: str) -> NDArray[np.int64]:
        """Numbers of the images of which a finding is known."""
        return np.flatnonzero(self.known[:, self.findings.index(finding)])

    def of_finding(self, finding: str) -> Predictions:
        """One finding as a problem of two labels, ``no NAME`` and ``NAME``, over the images where it is known.

        Args:
            finding: Its name.
        """
        k, rows = self.findings.index(finding), self.rows_of(finding)
        positive = self.probabilities[rows, k]
        return Predictions(
            binary_labels(finding),
            tuple(self.paths[i] for i in rows),
            tuple(self.patients[i] for i in rows),
            self.truth[rows, k].astype(np.int64),
            np.stack([1 - positive, positive], axis=1),
        )

    def about_all(self, finding: str) -> Predictions:
        """The same over all images, for decisions; where the finding is unknown, the truth is said to be its absence.

        Args:
            finding: Its name.
        """
        k = self.findings.index(finding)
        positive = self.probabilities[:, k]
        truth = (self.truth[:, k] == 1).astype(np.int64)
        pairs = np.stack([1 - positive, positive], axis=1)
        return Predictions(binary_labels(finding), self.paths, self.patients, truth, pairs)

    def of_findings(self, findings: Sequence[str]) -> FindingsPredictions:
        """Only some of the findings, in this order."""
        columns = [self.findings.index(name) for name in findings]
        return FindingsPredictions(
            tuple(findings), self.paths, self.patients, self.truth[:, columns], self.probabilities[:, columns]
        )

    def to_pandas(self) -> pandas.DataFrame:
        """One row an image: path, patient_id, for each finding ``true:`` (1, 0, -1 or NaN) and ``p:`` and its name.

        Raises:
            ExtraError: pandas is not installed.
        """
        columns: dict[str, Sequence[Any]] = {"path": self.paths, "patient_id": self.patients}
        for before, values in ((TRUE, self.truth), (PROBABILITY, self.probabilities)):
            columns |= {f"{before}{name}": values[:, k].tolist() for k, name in enumerate(self.findings)}
        return to_pandas(columns)

    def to_csv(self) -> bytes:
        """What ``predictions.csv`` holds; names that are not valid UTF-8 survive the round trip."""
        file = io.StringIO(newline="")
        writer = csv.writer(file)
        names = [f"{before}{name}" for before in (TRUE, PROBABILITY) for name in self.findings]
        writer.writerow(["path", "patient_id", *names])
        for i, image in enumerate(self.paths):
            truth = (CELLS.get(float(value), UNKNOWN) for value in self.truth[i])
            writer.writerow([cell(image), cell(self.patients[i]), *truth, *(f"{p:.8f}" for p in self.probabilities[i])])
        return file.getvalue().encode("utf-8", "surrogateescape")


def read_findings_predictions(path: Path) -> FindingsPredictions:
    """Read ``predictions.csv`` of several findings.

    Raises:
        RunError: The file is missing, is not what `FindingsPredictions.to_csv` gives, or is not the one of which the
            results beside it speak.
    """
    return read_stated(path, _from_rows)


def _from_rows(header: Sequence[str], rows: Sequence[Mapping[str, str]]) -> FindingsPredictions:
    findings = tuple(name.removeprefix(TRUE) for name in header if name.startswith(TRUE))
    if not findings:
        msg = "no findings"
        raise ValueError(msg)
    truth = [[VALUES[row[f"{TRUE}{name}"]] for name in findings] for row in rows]
    stated = np.array([[float(row[f"{PROBABILITY}{name}"]) for name in findings] for row in rows])
    stated = stated.reshape(len(rows), -1)
    if not np.all((stated >= 0) & (stated <= 1)):
        msg = "a probability outside of 0 to 1"
        raise ValueError(msg)
    return FindingsPredictions(
        findings,
        tuple(from_cell(row["path"]) for row in rows),
        tuple(from_cell(row["patient_id"]) for row in rows),
        np.array(truth, np.float32).reshape(len(rows), -1),
        stated,
    )
