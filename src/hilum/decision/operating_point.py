"""From probabilities to the triage decision, of an image and of a patient: the rule that a certificate speaks about.

Needs NumPy only, so that training, evaluation and service decide by one and the same code.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
FLAG, READ, CLEAR, ABSTAIN, UNDECIDED = "flag", "read", "clear", "abstain", "undecided"
TOLERANCE = 1e-3  # of the sum of a row; float32 and 8 bits lose less
ABOVE = 1e-6  # by which rounding may lift a probability over 1
NOBODY = 1.01  # no probability reaches it, and no upper threshold is larger
DECISIONS = (CLEAR, UNDECIDED, READ, ABSTAIN, FLAG)  # a patient or study has the last of those that its images have


@dataclass(frozen=True)
class OperatingPoint:
    """Thresholds on the summed probability of a group of labels.

    A score below `threshold` is cleared. A score from `upper_threshold` on is flagged, and what lies between the two
    is to be read. Without an upper threshold there is nothing between: what is not cleared is flagged.

    Attributes:
        group: What must not be missed: a label, or ``infected/*`` for all labels below a folder.
        members: The labels of the group.
        threshold: Lower threshold of the largest score of a patient's images, in [0, 1].
        upper_threshold: Upper threshold, at least `threshold`; above 1 where nobody is flagged; None where there is
            only one threshold.
        image_threshold: Lower threshold of an image that is decided about by itself, at most `threshold`; None where
            none was certified, and `threshold` serves for both.
    """

    group: str
    members: tuple[str, ...]
    threshold: float
    upper_threshold: float | None = None
    image_threshold: float | None = None

    def __post_init__(self) -> None:
        """Refuse thresholds that no probability can be compared with.

        Raises:
            ValueError: One is no number, out of its range, or below the one that it should not be below.
        """
        upper = self.threshold if self.upper_threshold is None else self.upper_threshold
        single = self.threshold if self.image_threshold is None else self.image_threshold
        for key, value, low, high in (
            ("threshold", self.threshold, 0.0, 1.0),
            ("upper_threshold", upper, self.threshold, NOBODY),
            ("image_threshold", single, 0.0, self.threshold),
        ):
            if not low <= value <= high:  # NaN is neither
                msg = f"'{key}' should be a number from {low:g} to {high:g}"
                raise ValueError(msg)

    def for_images(self) -> OperatingPoint:
        """The rule for images that are decided about one by one."""
        return self if self.image_threshold is None else replace(self, threshold=self.image_threshold)

    def deciding(self, *, together: bool) -> OperatingPoint:
        """The rule for images that are decided about together with others of their patient, or one by one."""
        return self if together else self.for_images()

    @property
    def thresholds(self) -> list[float]:
        """All that it has: the lower one, that of single images, and the upper one."""
        return [value for value in (self.threshold, self.image_threshold, self.upper_threshold) if value is not None]

    @property
    def flag_from(self) -> float:
        """Smallest score that is flagged."""
        return self.threshold if self.upper_threshold is None else self.upper_threshold

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


def are_probabilities(
    rows: NDArray[np.floating[Any]], tolerance: float = TOLERANCE, *, exclusive: bool = True
) -> NDArray[np.bool_]:
    """Which rows can be decided by: finite, in [0, 1], and of sum 1 where labels are exclusive.

    Args:
        rows: Of shape (N, K).
        tolerance: By how much the sum of a row may differ from 1.
        exclusive: Whether labels are; else they are findings, of which an image may have several.

    Returns:
        Of shape (N,).
    """
    # Every comparison with NaN is false; what is infinite is above 1.
    inside: NDArray[np.bool_] = np.asarray(np.all((rows >= 0) & (rows <= 1 + ABOVE), axis=1))
    if not exclusive:
        return inside
    total = np.where(inside[:, None], rows, 0).sum(axis=1, dtype=np.float64)
    found: NDArray[np.bool_] = np.asarray(inside & (np.abs(total - 1) <= tolerance))
    return found


def why_no_probabilities(row: NDArray[np.floating[Any]], *, exclusive: bool = True) -> str:
    """Why one row (K,) fails `are_probabilities`, in words; empty where it does not."""
    if are_probabilities(row[None], exclusive=exclusive)[0]:
        return ""
    if not np.isfinite(row).all():
        return "a probability is not a number"
    if row.min() < 0 or row.max() > 1 + ABOVE:
        return f"a probability of {float(row.min() if row.min() < 0 else row.max()):.3g}"
    return f"probabilities with the sum {float(row.sum(dtype=np.float64)):.3g}"


def triage(point: OperatingPoint | None, score: float, reason: str = "") -> str:
    """The triage decision about one image: the only place where one is made.

    Args:
        point: The thresholds; None where there are none, and so nothing may be flagged or cleared.
        score: Summed probability of the point's group.
        reason: Why to abstain; empty where there is no reason to.

    Returns:
        ``abstain`` where there is a reason to, else ``flag``, ``read`` or ``clear``; ``undecided`` without a point.
    """
    if reason:
        return ABSTAIN
    if point is None:
        return UNDECIDED
    return CLEAR if score < point.threshold else FLAG if score >= point.flag_from else READ


def triage_images(
    point: OperatingPoint | None,
    probabilities: NDArray[np.floating[Any]],
    labels: Sequence[str],
    reasons: Sequence[str] | None = None,
    *,
    together: bool,
) -> tuple[str, ...]:
    """The triage decisions about N images.

    Args:
        point: As `triage` takes it; of a patient.
        probabilities: Calibrated as the certificate's were, of shape (N, K).
        labels: K names, in the order of the columns.
        reasons: Why to abstain, N texts, empty where there is no reason to; by default nothing is abstained on.
        together: Whether patients or studies are decided about as a whole (`triage_groups`), else image by image.
    """
    given = reasons or [""] * len(probabilities)
    if point is None:
        return tuple(triage(None, 0.0, reason) for reason in given)
    rule = point.deciding(together=together)
    scores = rule.scores(probabilities.astype(np.float64, copy=False), labels)
    return tuple(triage(rule, float(score), reason) for score, reason in zip(scores, given, strict=True))


def triage_groups(decisions: Iterable[str], groups: Iterable[str]) -> dict[str, str]:
    """The decision about each patient or study, by name (see `triage_together`).

    Args:
        decisions: About N images, by `triage_images`, together.
        groups: The patient or study of each, N names.
    """
    members: dict[str, list[str]] = {}
    for name, decision in zip(groups, decisions, strict=True):
        members.setdefault(name, []).append(decision)
    return {name: triage_together(found) for name, found in members.items()}


def triage_together(decisions: Iterable[str], unreadable: int = 0) -> str:
    """The one decision about a patient or study, from the decisions about its images.

    One flagged image flags it. It is cleared only if every image was: an image that was abstained on refers it to a
    person, and one that could not be read, or lies between the thresholds, leaves it to be read.

    Args:
        decisions: By `triage`, of its readable images, with the thresholds of a patient.
        unreadable: Number of its images that could not be read.
    """
    found = max(decisions, key=DECISIONS.index, default=CLEAR)
    return READ if found == CLEAR and unreadable else found


def members_of(group: str, labels: Sequence[str]) -> tuple[str, ...]:
    """The labels that a group's name stands for; empty where it stands for none.

    Args:
        group: A label, or a folder with ``/*``, such as ``infected/*``.
        labels: The labels that there are.
    """
    if group.endswith("/*"):
        return tuple(label for label in labels if label.startswith(group[:-1]))
    return tuple(label for label in labels if label == group)
