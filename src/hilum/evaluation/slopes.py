"""Calibration slope and calibration-in-the-large of each label, against the rest.

The outcome is regressed on the logit of the stated probability (Cox 1958, *Biometrika*; Van Calster et al. 2019, *BMC
Med.*). A slope below 1 says that probabilities are too extreme (overconfident), above 1 too moderate. The intercept at
slope 1, calibration-in-the-large, says by which log-odds they are too low on the whole; below 0 they are too high.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from hilum.evaluation.verdicts import NOT_SHOWN, REFUTED, SHOWN, Verdict, at_least, at_most, scaled_to_decide, weakest
from hilum.intervals.logistic import logistic_estimates
from hilum.intervals.shares import Estimate, Patients
from hilum.text import interval_text

Floats = NDArray[np.float64]
SMALLEST = 1e-9  # of a stated probability: its logit is finite
FACTOR = 1.25  # by which slope and odds may be off for probabilities to count as calibrated
BOUNDS = {"slope": (1 / FACTOR, FACTOR), "in_the_large": (-math.log(FACTOR), math.log(FACTOR))}
NEUTRAL = {"slope": 1.0, "in_the_large": 0.0}
WORDS = {"slope": ("overconfident", "underconfident"), "in_the_large": ("too high", "too low")}


def calibration_by_label(
    truth: NDArray[np.int64], probabilities: Floats, labels: Sequence[str], patients: Patients
) -> dict[str, dict[str, Any]]:
    """Slope and calibration-in-the-large of each label.

    Args:
        truth: Index of each image's label, shape (N,).
        probabilities: Of shape (N, K).
        labels: K names.
        patients: Of the N images.

    Returns:
        By label ``slope`` and ``in_the_large``: each with its 95 % interval, ``direction`` in words (empty where the
        interval holds the value of a calibrated model), ``verdict`` on the claim that it is within a factor of 1.25 of
        that value, and ``patients_to_decide``, about how many would decide; and the label's ``verdict``.
    """
    found = {}
    for k, label in enumerate(labels):
        stated = logit(np.clip(probabilities[:, k], SMALLEST, 1 - SMALLEST))
        ones = np.ones((len(stated), 1))
        has = truth == k
        slope = logistic_estimates(has, np.column_stack([ones, stated]), patients)[1]
        large = logistic_estimates(has, ones, patients, offset=stated)[0]
        entry: dict[str, Any] = {"slope": _judged("slope", slope, patients.number)}
        entry["in_the_large"] = _judged("in_the_large", large, patients.number)
        entry["verdict"] = weakest([entry[name]["verdict"] for name in BOUNDS])
        found[label] = entry
    return found


def _judged(name: str, estimate: Estimate, patients: int) -> dict[str, Any]:
    low, high = BOUNDS[name]
    limits = estimate.as_json()
    above, below = at_least(limits["low"], limits["high"], low), at_most(limits["low"], limits["high"], high)
    verdict = weakest([above, below])
    direction = ""
    if limits["low"] is not None:
        direction = WORDS[name][0] if estimate.high < NEUTRAL[name] else ""
        direction = WORDS[name][1] if estimate.low > NEUTRAL[name] else direction
    needed = None
    if verdict == NOT_SHOWN:
        nearer = min((low, high), key=lambda bound: abs(estimate.value - bound))
        needed = scaled_to_decide(limits["value"], limits["low"], limits["high"], nearer, patients)
    return {**limits, "direction": direction, "verdict": verdict, "patients_to_decide": needed}


def calibration_verdict(metrics: Mapping[str, Any]) -> Verdict:
    """Whether the probabilities are shown to be calibrated: every label's slope and odds, and the class-wise error.

    An error that 95 % of calibrated models stay below refutes calibration, unless every slope is shown to be right.

    Args:
        metrics: What ``metrics.json`` holds.
    """
    verdict = weakest([entry["verdict"] for entry in metrics.get("calibration_by_label", {}).values()])
    error = metrics["ece_class_wise"]
    if error["value"] <= error["noise_high"]:
        return verdict
    return NOT_SHOWN if verdict == SHOWN else REFUTED


def calibration_sentences(metrics: Mapping[str, Any]) -> list[str]:
    """Slope and calibration-in-the-large of each label, with the direction in words."""
    told = []
    for label, entry in metrics.get("calibration_by_label", {}).items():
        slope, large = entry["slope"], entry["in_the_large"]
        if slope["value"] is None:
            told.append(f"{label}: too few patients, or no errors, for a calibration slope")
            continue
        told.append(
            f"{label}: calibration slope {interval_text(slope, as_percent=False, digits=2)}{_said(slope)}; "
            + "in the large "
            + interval_text(large, as_percent=False, sign=True, digits=2)
            + _said(large, "probabilities ")
        )
    return told


def _said(entry: Mapping[str, Any], before: str = "") -> str:
    return f", {before}{entry['direction']}" if entry["direction"] else ""
