"""Certificates as a test needs them: everything that it does not name is made up."""

from hilum.evaluation.certificate_check import with_checksum
from hilum.evaluation.triage_schema import Certificate

UPPER = {"prevalence": None, "confidence": 0.975, "n_patients": 20, "raised": False}


def certificate(**named):
    made_up = {
        "group": "covid",
        "members": ["covid"],
        "threshold": 0.2,
        "false_negative_rate": 0.05,
        "confidence": 0.95,
        "n_patients": 20,
        "false_negatives": 0,
        "reference": {"group": [0.5], "others": [0.1]},
        "model": {},
        "data": {"name": "calibration", "split": "calibration", "own": True, "digest": "0"},
    }
    if named.get("upper"):
        named["upper"] = UPPER | named["upper"]
    return Certificate.model_validate(made_up | named)


def changed(of, **named):
    """A certificate with other facts, and the checksum of these."""
    return with_checksum(Certificate.model_validate(of.as_json() | named))
