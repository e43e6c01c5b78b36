"""How a certificate holds on patients that were evaluated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hilum.data.operating_point import CLEAR, OperatingPoint, triage_images
from hilum.errors import CertificateError
from hilum.evaluation.certified_patients import compare_with, flagged_by_label, scores_by_patient
from hilum.evaluation.outcomes import claim_at_most, count_outcomes, sensitivities, shares_to_read
from hilum.evaluation.overlap import SEEN_AS, digest_of
from hilum.evaluation.parts import Part
from hilum.evaluation.predictions import Predictions
from hilum.evaluation.sealed import read_certificate
from hilum.evaluation.upper_threshold import upper_claim
from hilum.evaluation.verdicts import REFUTED, Verdict, at_most, weakest
from hilum.intervals.shares import CONFIDENCE
from hilum.training.run import Run


def certificate_in_force(run: Run, temperatures: Mapping[str, float] | None, notes: list[str]) -> dict[str, Any] | None:
    """The run's certificate, unless it is void; `notes` then says why."""
    try:
        facts = read_certificate(run)
    except CertificateError as error:
        notes.append(f"WARNING: {error}")
        return None
    if facts and facts["model"]["temperatures"] != (dict(temperatures) if temperatures else None):
        notes.append(
            f"WARNING: the certificate was made with other temperatures, and is void: hilum certify {run.path} again"
        )
        return None
    return facts


def no_witness(certificate: Mapping[str, Any], part: Part) -> str:
    """Why patients cannot say how a certificate holds: they chose it, or the run has seen them; empty if they can.

    Args:
        certificate: What ``certificate.json`` holds.
        part: The images that are evaluated.
    """
    made = certificate["data"]
    same = made["own"] and part.own and made["split"] == part.split
    if same or made["digest"] == digest_of(part.images.table):
        return "the certificate's threshold was chosen on these very patients, who cannot say how it holds"
    if part.own and part.split in SEEN_AS:
        return f"the run was {SEEN_AS[part.split]} these patients, who cannot say how its certificate holds"
    return ""


def holding(
    certificate: Mapping[str, Any], predictions: Predictions, reasons: Sequence[str] | None = None
) -> dict[str, Any]:
    """Count by patient what becomes of those who did not choose the thresholds, and judge what is guaranteed.

    What is guaranteed is that at most so many of those who have the disease are *cleared*: below the threshold, and
    not abstained on. Abstention alone must not make a bad threshold look good: ``below`` judges the threshold as if
    nothing were abstained on.

    Args:
        certificate: What ``certificate.json`` holds.
        predictions: Of other patients, calibrated as the certificate's were.
        reasons: Why each image is abstained on, empty where it is not; by default nothing is.

    Returns:
        ``patients`` with the disease, their ``outcomes`` by decision, the share of them who are cleared with its exact
        95 % interval, ``bound``, ``verdict`` and ``patients_to_decide`` (see `claim_at_most`); ``below``, the same of
        the threshold alone; ``sensitivity`` with referrals counted as found, as missed and excluded; ``flagged``,
        ``others`` and ``read`` by label; ``upper``, the verdict on the upper side (None where there is none); and
        ``exchangeability`` with the certificate's patients.
    """
    point = OperatingPoint.of(certificate)
    scores, others = scores_by_patient(predictions, point.members)
    bound = certificate["miss_rate"]
    decisions = triage_images(point, predictions.probabilities, predictions.labels, reasons, together=True)
    outcomes, by_label = count_outcomes(decisions, predictions, point.members)
    claim = claim_at_most(outcomes[CLEAR], len(scores), bound)
    missed = int((scores < point.threshold).sum())
    return {
        "group": point.group,
        "threshold": point.threshold,
        "patients": len(scores),
        "unit": "patients" if all(predictions.patients) else "images",
        "outcomes": outcomes,
        "cleared": claim.pop("count"),
        **{key: value for key, value in claim.items() if key != "total"},
        "missed": missed,
        "below": claim_at_most(missed, len(scores), bound),
        "sensitivity": sensitivities(outcomes),
        "others": by_label,
        "read": shares_to_read({point.group: outcomes, **by_label}),
        "flagged": flagged_by_label(others, point.flag_from, CONFIDENCE),
        "upper": upper_claim(certificate["upper"], scores, others) if certificate.get("upper") else None,
        "exchangeability": compare_with(certificate, predictions) if len(scores) or others else None,
        "seal": certificate["seal"],
    }


def verdict_of(held: Mapping[str, Any]) -> Verdict:
    """Whether the certificate is shown to hold, refuted, or neither, also as versions before counted it.

    Refuted is also what abstention alone hides: a threshold below which significantly more lie than the bound allows.
    Of two sides the weaker verdict counts.

    Args:
        held: What `holding` returns.
    """
    found = [at_most(held["low"], held["high"], held["bound"])]
    if (below := held.get("below")) and below["verdict"] == REFUTED:
        found.append(REFUTED)
    if upper := held.get("upper"):
        found.append(upper["verdict"])
    return weakest(found)
