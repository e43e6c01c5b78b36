"""From probabilities to the triage decision: the rule that a certificate speaks about.

Needs NumPy only, so that training, evaluation and service decide by one and the same code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
FLAG, CLEAR, ABSTAIN, UNDECIDED = "flag", "clear", "abstain", "undecided"


@dataclass(frozen=True)
class OperatingPoint:
    """Flag an image when its labels of a group are together at least this probable.

    Attributes:
        group: What must not be missed: a label, or ``infected/*`` for all labels below a folder.
        members: The labels of the group.
        threshold: Of their summed probability, 0 to 1.
    """

    group: str
    members: tuple[str, ...]
    threshold: float

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> OperatingPoint:
        """Out of what ``certificate.json`` holds."""
        return cls(facts["group"], tuple(facts["members"]), float(facts["threshold"]))

    def scores(self, probabilities: Floats, labels: Sequence[str]) -> Floats:
        """The summed probability of the group, of shape (N,).

        Args:
            probabilities: Calibrated as the certificate's were, of shape (N, K).
            labels: K names, in the order of the columns.

        Raises:
            ValueError: A label of the group is not among them.
        """
        columns = [list(labels).index(label) for label in self.members]
        total: Floats = probabilities[:, columns].sum(axis=1)
        return total

    def flags(self, probabilities: Floats, labels: Sequence[str]) -> NDArray[np.bool_]:
        """Which images are flagged, of shape (N,); of a patient's images one is enough."""
        flagged: NDArray[np.bool_] = self.scores(probabilities, labels) >= self.threshold
        return flagged


def triage(flagged: bool | None, reason: str = "") -> str:
    """The triage decision about one image.

    Args:
        flagged: By the operating point; None where there is none, and so nothing may be flagged or cleared.
        reason: Why to abstain; empty where there is no reason to.

    Returns:
        ``abstain`` where there is a reason to, else ``flag``, ``clear`` or ``undecided``.
    """
    return ABSTAIN if reason else UNDECIDED if flagged is None else FLAG if flagged else CLEAR


def members_of(group: str, labels: Sequence[str]) -> tuple[str, ...]:
    """The labels that a group's name stands for; empty where it stands for none.

    Args:
        group: A label, or a folder with ``/*``, such as ``infected/*``.
        labels: The labels that there are.
    """
    if group.endswith("/*"):
        return tuple(label for label in labels if label.startswith(group[:-1]))
    return tuple(label for label in labels if label == group)


def highest_by_patient(scores: Floats, patients: Sequence[str]) -> tuple[list[str], Floats]:
    """One score a patient: the largest of all images, since one flagged image flags the patient.

    Args:
        scores: Of shape (N,).
        patients: The patient of each image, N names.

    Returns:
        The P patients in alphabetical order, and their scores, of shape (P,).
    """
    names, member = np.unique(np.asarray(patients, dtype=object), return_inverse=True)
    highest = np.full(len(names), -np.inf)
    np.maximum.at(highest, member, scores)
    return [str(name) for name in names], highest
