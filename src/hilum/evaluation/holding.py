"""How a certificate holds on patients that were evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hilum.errors import CertificateError
from hilum.evaluation.certified_patients import compare_with, flagged_by_label, scores_by_patient
from hilum.evaluation.overlap import SEEN_AS, digest_of
from hilum.evaluation.parts import Part
from hilum.evaluation.predictions import Predictions
from hilum.evaluation.sealed import read_certificate
from hilum.intervals.shares import exact_interval
from hilum.training.run import Run

CONFIDENCE = 0.95


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


def holding(certificate: Mapping[str, Any], predictions: Predictions) -> dict[str, Any]:
    """Count misses and false alarms at the certified threshold, on patients who did not choose it.

    Args:
        certificate: What ``certificate.json`` holds.
        predictions: Of other patients, calibrated as the certificate's were.

    Returns:
        ``patients`` with the disease, ``missed``, their share with its exact 95 % interval, ``bound``, ``verdict``:
        ``within`` the bound, ``above`` it, or ``broken`` (even the interval's lower end is above it; None without
        patients); ``flagged`` by label; and ``exchangeability`` with the certificate's patients.
    """
    scores, others = scores_by_patient(predictions, certificate["members"])
    threshold, bound = certificate["threshold"], certificate["miss_rate"]
    missed = int((scores < threshold).sum())
    found: dict[str, Any] = {
        "group": certificate["group"],
        "threshold": threshold,
        "bound": bound,
        "patients": len(scores),
        "missed": missed,
        "unit": "patients" if all(predictions.patients) else "images",
        "value": None,
        "low": None,
        "high": None,
        "verdict": None,
    }
    if len(scores):
        share = missed / len(scores)
        limits = exact_interval(share, len(scores), CONFIDENCE)
        verdict = "within" if share <= bound else "broken" if limits["low"] > bound else "above"
        found |= {"value": share, **limits, "verdict": verdict}
    return {
        **found,
        "flagged": flagged_by_label(others, threshold, CONFIDENCE),
        "exchangeability": compare_with(certificate, predictions) if len(scores) or others else None,
        "seal": certificate["seal"],
    }
