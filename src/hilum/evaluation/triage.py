"""What becomes of patients: flagged, to be read, abstained on or cleared, each of them counted once.

A patient's decision is made of those about his images (`hilum.decision.operating_point.triage_groups`), so that
thresholds and abstention are counted together: who is abstained on is referred to a person, and not cleared.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.decision.ood import FAR, UNFAMILIAR, OODScores
from hilum.decision.operating_point import (
    ABSTAIN,
    CLEAR,
    DECISIONS,
    FLAG,
    READ,
    OperatingPoint,
    triage_groups,
    triage_images,
)
from hilum.evaluation.ood_reference import abstained_by_patient
from hilum.evaluation.predictions import Predictions
from hilum.evaluation.triage_schema import (
    AbstainedImages,
    AbstainedPatients,
    AbstentionRecall,
    CountedShare,
    Flagged,
    RiskCoverage,
    Sensitivities,
)
from hilum.outputs import cell
from hilum.stats.intervals import Estimate, Patients, exact_interval, proportion, share
from hilum.stats.records import Claim, Interval, Intervals
from hilum.stats.verdicts import at_most, patients_to_decide

Floats = NDArray[np.float64]
COUNTED = (FLAG, READ, ABSTAIN, CLEAR)
Bools = NDArray[np.bool_]
Rates = tuple[Estimate, Estimate]


class Cohort:
    """Who of some patients has the disease, and one value a patient from those of the images.

    Attributes:
        ill: Whether each of the P patients has an image that shows the disease.
        persons: The P patients, each counted once.
    """

    def __init__(self, clusters: Sequence[str], inside: Bools) -> None:
        """Sort the patients.

        Args:
            clusters: The patient of each image, N names.
            inside: Whether each image shows the disease, of shape (N,).
        """
        self.images = Patients(clusters)
        self.ill = self.images.sums(inside) > 0
        self.persons = Patients(np.arange(self.images.number))
        self._counted = inside | ~self.ill[self.images.member]

    def highest(self, values: NDArray[Any]) -> Floats:
        """Largest value of each patient's images, of shape (P,); of the ill, of those that show the disease."""
        found = np.full(self.images.number, -np.inf)
        np.maximum.at(found, self.images.member[self._counted], values[self._counted].astype(np.float64))
        return found

    def rates(self, flagged: Bools) -> Rates:
        """Sensitivity and false-positive rate of patients of whom some are `flagged`, of shape (P,)."""
        return proportion(flagged, self.ill, self.persons), proportion(flagged, ~self.ill, self.persons)


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


def scores_by_patient(predictions: Predictions, members: Sequence[str]) -> tuple[Floats, dict[str, Floats]]:
    """One score a patient (see `by_patient`).

    Args:
        predictions: Of N images.
        members: The labels of the group.
    """
    scores = OperatingPoint("", tuple(members), 0.0).scores(predictions.probabilities, predictions.labels)
    return by_patient(scores, predictions, members)


@dataclass(frozen=True)
class Decisions:
    """Triage decisions of N images: of each by itself, and of its patient.

    Attributes:
        images: About each image by itself, N words.
        patients: About the patient of each image, over all of the patient's images, N words.
    """

    images: tuple[str, ...]
    patients: tuple[str, ...]

    @property
    def to_read(self) -> NDArray[np.bool_]:
        """Which images lie between the thresholds, shape (N,)."""
        return np.array([decision == READ for decision in self.images], dtype=bool)


def decide(predictions: Predictions, point: OperatingPoint | None, reasons: Sequence[str]) -> Decisions:
    """Decide about images one by one, and about patients.

    Args:
        predictions: Of N images.
        point: In force; None where there is none, and nothing is flagged or cleared.
        reasons: Why to abstain, N texts, empty where there is no reason to.
    """
    images, members = (
        triage_images(point, predictions.probabilities, predictions.labels, reasons, together=together)
        for together in (False, True)
    )
    of_patient = triage_groups(members, predictions.clusters)
    return Decisions(images, tuple(of_patient[name] for name in predictions.clusters))


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


def shares_to_read(counts: Mapping[str, Mapping[str, int]]) -> dict[str, CountedShare]:
    """The share of patients between the thresholds, with its exact interval, by label.

    Args:
        counts: Patients by label and decision.
    """
    return {
        label: CountedShare(count=of[READ], **share(of[READ], sum(of.values())).given()) for label, of in counts.items()
    }


def claim_at_most(count: int, total: int, bound: float) -> Claim:
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
    verdict = at_most(found.low, found.high, bound)
    needed = patients_to_decide(count / total, bound) if total and verdict == "not shown" else None
    return Claim(count=count, total=total, **found.given(), bound=bound, verdict=verdict, patients_to_decide=needed)


def sensitivities(counts: Mapping[str, int]) -> Sensitivities:
    """Sensitivity with referrals counted as found, as missed, and excluded.

    Args:
        counts: Of the patients with the disease, by decision; whoever is to be read or abstained on is referred.

    Returns:
        ``referred_as_found``, ``referred_as_missed`` and ``referred_excluded``, each with its exact interval.
    """
    everybody, decided = sum(counts.values()), counts[FLAG] + counts[CLEAR]
    return Sensitivities(
        recall_abstentions_positive=share(everybody - counts[CLEAR], everybody),
        recall_abstentions_negative=share(counts[FLAG], everybody),
        selective_recall=share(counts[FLAG], decided),
    )


def flagged_by_label(others: Mapping[str, Floats], threshold: float, confidence: float) -> dict[str, Flagged]:
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
        found[label] = Flagged(patients=len(scores), flagged=count, value=share, **limits)
    return found


def flags(
    predictions: Predictions, point: OperatingPoint | None, positive_label: str | None, healthy: Sequence[str]
) -> tuple[tuple[str, ...], NDArray[np.bool_]]:
    """What must not be missed, and which images are called so.

    By the operating point; without one the positive label, or whatever is not healthy where there is none, and the
    images of which it is the most probable label. The latter is no triage decision: that takes an operating point.
    Where no label is known to be healthy either, there are no members.
    """
    labels = predictions.labels
    if point:
        decisions = triage_images(point, predictions.probabilities, labels, together=False)
        return point.members, np.array([decision == FLAG for decision in decisions], dtype=bool)
    members = tuple(
        label for label in labels if (label == positive_label if positive_label else healthy and label not in healthy)
    )
    return members, np.isin(predictions.predicted, [labels.index(label) for label in members])


COVERAGES = np.linspace(0.05, 1, 20)


@dataclass(frozen=True)
class AbstentionMeasures:
    """What abstention does to some predictions.

    Attributes:
        abstained: Share of the images.
        reasons: Shares by reason.
        by_patient: Patients whom it concerns.
        by_label: Images of each label, and those abstained on.
        recall: Of the group, with abstentions counted in three ways.
        risk_coverage: Error rate of the images decided about, by coverage.
    """

    abstained: Interval
    reasons: Intervals
    by_patient: AbstainedPatients
    by_label: dict[str, AbstainedImages]
    recall: AbstentionRecall
    risk_coverage: RiskCoverage


def measure_abstention(
    predictions: Predictions,
    flagged: NDArray[np.bool_],
    members: Sequence[str],
    ood_scores: OODScores,
    between: NDArray[np.bool_] | None = None,
) -> AbstentionMeasures:
    """Shares of abstentions by reason and label, recall counting them both ways, and the risk-coverage curve.

    Args:
        predictions: Of N images.
        flagged: By the operating point, or by the most probable label, shape (N,).
        members: The labels that are to be flagged.
        ood_scores: How familiar the images are.
        between: Which lie between two thresholds, and are read by a person as those abstained on are, shape (N,).
    """
    reasons = ood_scores.reasons
    abstained = np.array([bool(reason) for reason in reasons])
    inside = np.isin(predictions.truth, [predictions.labels.index(label) for label in members])
    far = np.array([reason == FAR for reason in reasons])

    referred = abstained if between is None else abstained | between
    patients, everything = Patients(predictions.clusters), np.full(len(reasons), True)
    asked = {
        "abstained": (abstained, everything),
        "far": (far, everything),
        "unfamiliar": (abstained & ~far, everything),
        "recall_abstentions_negative": (flagged & ~abstained, inside),
        "recall_abstentions_positive": (flagged | referred, inside),
        "selective_recall": (flagged, inside & ~referred),
    }
    found = {name: proportion(hits, counted, patients).interval() for name, (hits, counted) in asked.items()}
    return AbstentionMeasures(
        abstained=found["abstained"],
        reasons={FAR: found["far"], UNFAMILIAR: found["unfamiliar"]},
        by_patient=abstained_by_patient(predictions.clusters, predictions.paths, abstained),
        by_label={
            label: AbstainedImages(images=int(of.sum()), abstained=int(abstained[of].sum()))
            for label, of in ((name, predictions.truth == k) for k, name in enumerate(predictions.labels))
        },
        recall=AbstentionRecall(
            recall_abstentions_negative=found["recall_abstentions_negative"],
            recall_abstentions_positive=found["recall_abstentions_positive"],
            selective_recall=found["selective_recall"],
        ),
        risk_coverage=risk_coverage(predictions, ood_scores),
    )


def risk_coverage(predictions: Predictions, ood_scores: OODScores) -> RiskCoverage:
    """How often the rest is wrong if the least sure, or the least familiar, images are left to humans.

    Args:
        predictions: Of N images.
        ood_scores: How familiar they are.

    Returns:
        ``coverage`` (shares that are decided about), and the error rate of these by ``confidence`` (the highest
        probability) and by ``familiarity``; and each one's area, the mean over all coverages (0 is best).
    """
    wrong = (predictions.predicted != predictions.truth).astype(float)
    # Among equal p-values the feature distance decides; a conformal p-value is coarse.
    orders = {
        "confidence": np.argsort(-predictions.probabilities.max(axis=1), kind="stable"),
        "in_distribution": np.lexsort((ood_scores.features, -ood_scores.p_value)),
    }
    kept = np.maximum(1, np.rint(COVERAGES * len(wrong)).astype(int))
    risks = {name: np.cumsum(wrong[order]) / np.arange(1, len(wrong) + 1) for name, order in orders.items()}
    confident, familiar = risks["confidence"], risks["in_distribution"]
    return RiskCoverage(
        coverage=COVERAGES.round(4).tolist(),
        confidence=confident[kept - 1].round(5).tolist(),
        confidence_area=float(confident.mean()),
        in_distribution=familiar[kept - 1].round(5).tolist(),
        in_distribution_area=float(familiar.mean()),
    )


def decisions_csv(predictions: Predictions, decisions: Decisions, ood_scores: OODScores | None) -> bytes:
    """What ``decisions.csv`` holds: the triage decision about each image, about its patient, and why to abstain."""
    reasons = ood_scores.reasons if ood_scores else [""] * len(predictions.paths)
    familiar = [f"{p:.6f}" for p in ood_scores.p_value] if ood_scores else [""] * len(predictions.paths)
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(["path", "patient_id", "label", "decision", "reason", "p_in_distribution", "patient_decision"])
    for i, decision in enumerate(decisions.images):
        label = predictions.labels[predictions.truth[i]]
        row = [predictions.paths[i], predictions.patients[i], label, decision, reasons[i], familiar[i]]
        writer.writerow([cell(text) for text in (*row, decisions.patients[i])])
    return file.getvalue().encode("utf-8", "surrogateescape")
