"""Labels that a model which had not seen the image finds unlikely: images to look at again.

Confident learning (Northcutt et al. 2021, *JAIR*), as the library cleanlab does it: an image is suspect if another
label is more probable than images that truly have that label usually are, and so many are named as the noise of the
labels, estimated from the same probabilities, makes likely. A model is often wrong: what is named is to be looked at,
not to be changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hilum.auditing.findings import Finding, FindingEvidence, LabelIssues, Severity, UnlikelyLabel
from hilum.data.dataset import Dataset
from hilum.data.multilabel import binary_labels, finding_values
from hilum.extras import require

MANY = 0.01  # share of the judged images from which suspects are a warning
EXAMPLES = 5


@dataclass(frozen=True)
class OutOfSample:
    """What a model says of images that it was not trained on.

    Attributes:
        labels: K names.
        positions: The rows of the table that it judged, shape (M,).
        probabilities: Of shape (M, K); each row sums to one, but for findings.
        source: What said so, such as the run's folder.
        how: How these images were kept from it, as the end of a sentence.
        remark: What would have been better; empty if nothing.
    """

    labels: tuple[str, ...]
    positions: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    source: str
    how: str
    remark: str = ""


@dataclass(frozen=True, slots=True)
class LabelIssue:
    """An image whose label is unlikely.

    Attributes:
        position: In the table.
        label: As it is filed.
        likely: What the model says instead.
        own: Probability of the label it is filed under.
        other: Probability of `likely`.
    """

    position: int
    label: str
    likely: str
    own: float
    other: float


@dataclass(frozen=True)
class LabelErrors:
    """Suspects, the least probable label first, and who judged how many images."""

    label_issues: tuple[LabelIssue, ...]
    judged: int
    opinion: OutOfSample

    def reported(self, table: Dataset) -> LabelIssues:
        """For ``audit.json``."""
        found = [
            UnlikelyLabel(
                path=table.rows[s.position].path,
                label=s.label,
                likely=s.likely,
                p_label=round(s.own, 4),
                p_likely=round(s.other, 4),
            )
            for s in self.label_issues
        ]
        return LabelIssues(run=self.opinion.source, how=self.opinion.how, judged=self.judged, label_issues=found)


def require_cleanlab() -> None:
    """Find before any work whether cleanlab is there.

    Raises:
        ExtraError: It is not.
    """
    require("labels", "the search for label errors")


def find_label_errors(table: Dataset, opinion: OutOfSample) -> LabelErrors:
    """Find the images whose label is unlikely.

    Args:
        table: The dataset, as it is labelled now.
        opinion: Of images whose labels the model knows; other positions must not be in it.

    Raises:
        ExtraError: cleanlab is not installed.
    """
    require_cleanlab()
    if table.findings:
        return _by_finding(table, opinion)
    index = {label: number for number, label in enumerate(opinion.labels)}
    given = np.array([index[table.rows[i].label] for i in opinion.positions], np.int64)
    found = _issues(given, opinion.probabilities, opinion.labels, opinion.positions)
    return LabelErrors(tuple(found), len(given), opinion)


def _by_finding(table: Dataset, opinion: OutOfSample) -> LabelErrors:
    """Each finding as a problem of two labels, on the images where it is known."""
    found: list[LabelIssue] = []
    for column, name in enumerate(opinion.labels):
        value = finding_values(replace(table, findings=(name,)))[opinion.positions, 0]
        known = np.isin(value, (0, 1))
        present = opinion.probabilities[known, column]
        two = np.stack([1 - present, present], axis=1)
        found += _issues(value[known].astype(np.int64), two, binary_labels(name), opinion.positions[known])
    return LabelErrors(tuple(sorted(found, key=lambda one: one.own)), len(opinion.positions), opinion)


def _issues(
    given: NDArray[np.int64], stated: NDArray[np.float64], labels: Sequence[str], positions: NDArray[np.int64]
) -> list[LabelIssue]:
    """The images whose label is unlikely, of M with labels (M,) and probabilities (M, K)."""
    from cleanlab.filter import find_label_issues

    present = np.unique(given)  # cleanlab takes labels from 0 on, each of which occurs
    if len(present) < 2:
        return []
    probabilities = stated[:, present]
    probabilities = probabilities / probabilities.sum(axis=1, keepdims=True)
    worst = find_label_issues(
        np.searchsorted(present, given), probabilities, return_indices_ranked_by="self_confidence", n_jobs=1
    )
    found = []
    for k in map(int, worst):
        likely = int(stated[k].argmax())
        if likely != given[k]:
            own, other = (float(stated[k, label]) for label in (given[k], likely))
            found.append(LabelIssue(int(positions[k]), labels[given[k]], labels[likely], own, other))
    return found


class LabelsJudged(FindingEvidence):
    """How many labels were judged, how many may be wrong, and their images, each as a list of one path."""

    judged: int
    label_issues: int = 0
    examples: list[list[str]] = []


def findings(errors: LabelErrors, table: Dataset) -> list[Finding]:
    """Say what was found: a warning where 1 % of the judged images or more are suspect, else good to know.

    Never an error: the model may be wrong where the label is right.

    Args:
        errors: As found.
        table: The scan's table.
    """
    source, judged = errors.opinion.source, errors.judged
    told = f"{judged} of {len(table)} images were scored by {source}, {errors.opinion.how}."
    if not errors.label_issues:
        message = f"No label issue was found: {told}"
        return [Finding("labels", "info", message, errors.opinion.remark, LabelsJudged(judged=judged))]
    number = len(errors.label_issues)
    severity: Severity = "warning" if number >= MANY * judged else "info"
    ways = Counter((s.label, s.likely) for s in errors.label_issues)
    listed = ", ".join(f"{count} '{label}' that look like '{likely}'" for (label, likely), count in ways.most_common())
    return [
        Finding(
            "labels",
            severity,
            f"{number} label{'s' if number > 1 else ''} may be wrong: {listed}. {told} The most suspicious: "
            f"{_examples(errors.label_issues, table)}.",
            " ".join(
                [
                    "Review these images in this order. The model may be wrong instead of the label.",
                    errors.opinion.remark,
                ]
            ).strip(),
            LabelsJudged(
                judged=judged,
                label_issues=number,
                examples=[[table.rows[s.position].path] for s in errors.label_issues],
            ),
        )
    ]


def _examples(label_issues: Sequence[LabelIssue], table: Dataset) -> str:
    return ", ".join(table.rows[s.position].path for s in label_issues[:EXAMPLES])
