"""What patients certify: the threshold, what it costs the others, and how it compares with other patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.data.operating_point import OperatingPoint, highest_by_patient
from hilum.errors import CertificateError
from hilum.evaluation.certificate import allowed_rank, certified_threshold, patients_needed, round_down
from hilum.evaluation.exchangeability import compare_scores
from hilum.evaluation.predictions import Predictions
from hilum.intervals.shares import exact_interval

Floats = NDArray[np.float64]


def certificate_of(
    predictions: Predictions, group: str, members: Sequence[str], *, miss_rate: float, confidence: float
) -> dict[str, Any]:
    """The threshold that certain patients certify, and what it costs the others.

    Args:
        predictions: Of images of patients that nothing was fitted to.
        group: What must not be missed.
        members: Its labels.
        miss_rate: The bound.
        confidence: How sure it has to be.

    Returns:
        The part of ``certificate.json`` that does not say where it comes from.

    Raises:
        CertificateError: Scores are no numbers, or patients are too few.
    """
    if not np.isfinite(predictions.probabilities).all():
        bad = predictions.paths[int(np.flatnonzero(~np.isfinite(predictions.probabilities).all(axis=1))[0])]
        msg = f"{bad}: the network's answer is not a number. Nothing can be certified by it: train anew."
        raise CertificateError(msg)
    scores, others = scores_by_patient(predictions, members)
    rank = allowed_rank(len(scores), miss_rate, confidence)
    exact = certified_threshold(scores, miss_rate, confidence)
    if exact is None:
        raise CertificateError(too_few(len(scores), group, miss_rate, confidence, "calibration patients"))
    threshold = round_down(exact)
    missed = int((scores < threshold).sum())
    return {
        "group": group,
        "members": list(members),
        "miss_rate": miss_rate,
        "confidence": confidence,
        "threshold": threshold,
        "rank": rank,
        "n_patients": len(scores),
        "missed_here": missed,
        "unit": "patients" if all(predictions.patients) else "images",
        "flagged": flagged_by_label(others, threshold, confidence),
        "reference": {
            "group": sorted(map(float, scores)),
            "others": sorted(float(value) for values in others.values() for value in values),
        },
    }


def scores_by_patient(predictions: Predictions, members: Sequence[str]) -> tuple[Floats, dict[str, Floats]]:
    """One score a patient: of those who have the disease by their images that show it; of the others by all.

    Args:
        predictions: Of N images.
        members: The labels of the group.

    Returns:
        The scores of the patients with the disease, and those of the others by label (a patient with several labels
        counts under the first of them).
    """
    labels, truth = predictions.labels, predictions.truth
    scores = OperatingPoint("", tuple(members), 0.0).scores(predictions.probabilities, labels)
    clusters = np.array(predictions.clusters, dtype=object)
    inside = np.isin(truth, [labels.index(label) for label in members])
    ill = set(clusters[inside])
    _, with_it = highest_by_patient(scores[inside], clusters[inside].tolist())
    outside = np.array([name not in ill for name in clusters], dtype=bool)
    names, highest = highest_by_patient(scores[outside], clusters[outside].tolist())
    first: dict[str, int] = {}
    for name, label in zip(clusters[outside], truth[outside], strict=True):
        first[name] = min(first.get(name, int(label)), int(label))
    by_label: dict[str, Floats] = {}
    for k, label in enumerate(labels):
        chosen = np.array([first[name] == k for name in names], dtype=bool)
        if chosen.any():
            by_label[label] = highest[chosen]
    return with_it, by_label


def compare_with(reference: Mapping[str, Any], predictions: Predictions) -> dict[str, Any]:
    """Whether other patients look as if they came from where a certificate was made.

    Args:
        reference: A certificate.
        predictions: Of other patients, by the same model.

    Returns:
        As `hilum.evaluation.exchangeability.compare_scores` has it.
    """
    group, others = scores_by_patient(predictions, reference["members"])
    beside = np.concatenate(list(others.values())) if others else np.zeros(0)
    before = (np.array(reference["reference"][side]) for side in ("group", "others"))
    return compare_scores(*zip(before, (group, beside), strict=True))


def flagged_by_label(others: Mapping[str, Floats], threshold: float, confidence: float) -> dict[str, Any]:
    """How many patients without the disease are flagged, by label, each with its exact interval.

    No score of theirs chose the threshold, so that the interval is the plain one of a proportion.

    Args:
        others: One score a patient, by label.
        threshold: From which on they are flagged.
        confidence: Of the interval.
    """
    found = {}
    for label, scores in others.items():
        count = int((scores >= threshold).sum())
        share = count / len(scores)
        limits = exact_interval(share, len(scores), confidence)
        found[label] = {"patients": len(scores), "flagged": count, "value": share, **limits}
    return found


def too_few(count: int, group: str, miss_rate: float, confidence: float, where: str) -> str:
    """The refusal in words: how many there are, how many are missing, and what so few can certify."""
    needed = patients_needed(miss_rate, confidence)
    have = f"{count} patient{'' if count == 1 else 's'}" if count else "not one patient"
    most = 1 - (1 - confidence) ** (1 / count) if count else 1.0
    able = f" With {count}, at best {100 * most:.1f} % can be certified." if count else ""
    return (
        f"{where}: {have} with {group} whom the run has not seen; to certify a miss rate of {100 * miss_rate:g} % with "
        f"{100 * confidence:g} % confidence takes {needed}: {needed - count} {'is' if needed - count == 1 else 'are'} "
        f"missing.{able}"
    )
