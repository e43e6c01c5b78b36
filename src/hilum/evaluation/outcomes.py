"""What becomes of patients: flagged, to be read, abstained on or cleared, each of them counted once.

A patient's decision is made of those about his images (`hilum.data.operating_point.triage_groups`), so that
thresholds and abstention are counted together: who is abstained on is referred to a person, and not cleared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.data.operating_point import (
    ABSTAIN,
    CLEAR,
    DECISIONS,
    FLAG,
    READ,
    OperatingPoint,
    triage_groups,
    triage_images,
)
from hilum.evaluation.cohort import Cohort
from hilum.evaluation.predictions import Predictions
from hilum.evaluation.verdicts import at_most, patients_to_decide
from hilum.intervals.shares import CONFIDENCE, exact_interval

Floats = NDArray[np.float64]
COUNTED = (FLAG, READ, ABSTAIN, CLEAR)


def by_patient(values: Floats, predictions: Predictions, members: Sequence[str]) -> tuple[Floats, dict[str, Floats]]:
    """The largest value of each patient: of those with the disease over images that show it; of others over all.

    Args:
        values: One an image, of shape (N,).
        predictions: Of the N images.
        members: The labels of the group.

    Returns:
        Of the patients with the disease, and of the others by label (a patient with several labels counts under the
        first of them); both in the alphabetical order of the patients.
    """
    labels, truth = predictions.labels, predictions.truth
    cohort = Cohort(predictions.clusters, np.isin(truth, [labels.index(label) for label in members]))
    highest = cohort.highest(values)
    first = np.full(len(highest), len(labels))
    np.minimum.at(first, cohort.images.member, truth)
    of_label = {label: ~cohort.ill & (first == k) for k, label in enumerate(labels)}
    return highest[cohort.ill], {label: highest[chosen] for label, chosen in of_label.items() if chosen.any()}


@dataclass(frozen=True)
class Decisions:
    """Triage decisions of N images: of each by itself, and of its patient.

    Attributes:
        images: About each image by itself, N words.
        patients: About the patient of each image, over all of the patient's images, N words.
    """

    images: tuple[str, ...]
    patients: tuple[str, ...]


def decide(predictions: Predictions, certificate: Mapping[str, Any] | None, reasons: Sequence[str]) -> Decisions:
    """Decide about images one by one, and about patients.

    Args:
        predictions: Of N images.
        certificate: In force; None where there is none, and nothing is flagged or cleared.
        reasons: Why to abstain, N texts, empty where there is no reason to.
    """
    point = OperatingPoint.of(certificate) if certificate else None
    images, members = (
        triage_images(point, predictions.probabilities, predictions.labels, reasons, together=together)
        for together in (False, True)
    )
    of_patient = triage_groups(members, predictions.clusters)
    return Decisions(images, tuple(of_patient[name] for name in predictions.clusters))


def to_read(decisions: Sequence[str]) -> NDArray[np.bool_]:
    """Which images lie between the thresholds, shape (N,)."""
    return np.array([decision == READ for decision in decisions], dtype=bool)


def count_outcomes(
    decisions: Iterable[str], predictions: Predictions, members: Sequence[str]
) -> tuple[dict[str, int], dict[str, dict[str, int]]]:
    """How many patients are flagged, to be read, abstained on and cleared.

    Args:
        decisions: Of the N images, with the thresholds of a patient.
        predictions: Of the N images.
        members: The labels of the group.

    Returns:
        Of the patients with the disease, and of the others by label.
    """
    ranks = np.array([DECISIONS.index(decision) for decision in decisions], dtype=np.float64)
    ill, others = by_patient(ranks, predictions, members)
    return _counts(ill), {label: _counts(found) for label, found in others.items()}


def _counts(ranks: Floats) -> dict[str, int]:
    return {decision: int((ranks == DECISIONS.index(decision)).sum()) for decision in COUNTED}


def share(count: int, total: int, confidence: float = CONFIDENCE) -> dict[str, float | None]:
    """A share of patients who count once each: ``value``, ``low`` and ``high``; None of nobody."""
    if not total:
        return {"value": None, "low": None, "high": None}
    return {"value": count / total, **exact_interval(count / total, total, confidence)}


def shares_to_read(counts: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """The share of patients between the thresholds, with its exact interval, by label.

    Args:
        counts: Patients by label and decision.
    """
    return {label: {"count": of[READ], **share(of[READ], sum(of.values()))} for label, of in counts.items()}


def claim_at_most(count: int, total: int, bound: float) -> dict[str, Any]:
    """A share, and the verdict on the claim that it is at most `bound`.

    Args:
        count: Patients who are counted.
        total: Patients, each counted once.
        bound: Largest share that the claim allows.

    Returns:
        ``count``, ``total``, ``value``, ``low``, ``high``, ``bound``, ``verdict`` and ``patients_to_decide`` (None
        where it is decided, or where no number would decide it).
    """
    found = share(count, total)
    verdict = at_most(found["low"], found["high"], bound)
    needed = patients_to_decide(count / total, bound) if total and verdict == "not shown" else None
    return {
        "count": count,
        "total": total,
        **found,
        "bound": bound,
        "verdict": verdict,
        "patients_to_decide": needed,
    }


def sensitivities(counts: Mapping[str, int]) -> dict[str, Any]:
    """Sensitivity with referrals counted as found, as missed, and excluded.

    Args:
        counts: Of the patients with the disease, by decision; whoever is to be read or abstained on is referred.

    Returns:
        ``referred_as_found``, ``referred_as_missed`` and ``referred_excluded``, each with its exact interval.
    """
    everybody, decided = sum(counts.values()), counts[FLAG] + counts[CLEAR]
    return {
        "referred_as_found": share(everybody - counts[CLEAR], everybody),
        "referred_as_missed": share(counts[FLAG], everybody),
        "referred_excluded": share(counts[FLAG], decided),
    }
