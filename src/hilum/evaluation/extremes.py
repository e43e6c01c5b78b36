"""Intervals of measures that no resample moves: all right, all wrong, or perfectly ranked.

A bootstrap of a measure of exactly 0 or 1 has no width, on three patients as on three thousand. The bounds here err on
the careful side.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hilum.evaluation.intervals import exact_interval

Entry = dict[str, Any]


def extreme(entry: Entry) -> bool:
    """Whether a measure is exactly 0 or 1."""
    return entry["value"] in (0.0, 1.0)


def widen_share(entry: Entry, patients: int, confidence: float = 0.95) -> None:
    """Give a proportion of 0 or 1 its exact interval, in place.

    Args:
        entry: With ``value``, ``low``, ``high``.
        patients: On whom it was seen.
        confidence: Of the interval.
    """
    if extreme(entry):
        entry |= exact_interval(entry["value"], patients, confidence)


def widen_area(entry: Entry, with_it: int, without: int, confidence: float = 0.95) -> None:
    """Give an AUROC of 0 or 1 an exact interval, in place.

    Of m patients with the label and n without, min(m, n) pairs can be formed that share nobody; each is ranked rightly
    with the AUROC as its chance, and all of them were.

    Args:
        entry: With ``value``, ``low``, ``high``.
        with_it: Patients with the label.
        without: Patients without it.
        confidence: Of the interval.
    """
    if extreme(entry):
        entry |= exact_interval(entry["value"], min(with_it, without), confidence)


def widen_precision_area(entry: Entry, area: Entry, share: float) -> None:
    """Give an AUPRC of 1 the lowest that is possible with the lowest AUROC that is, in place.

    With recall u, false positive rate F(u) and c negatives a positive, the AUPRC is the mean of u / (u + c F(u)), and
    one minus the AUROC is the mean of F. Of all F with a given mean, the one of F(u) = (sqrt(u v) - u) / c up to v, and
    0 beyond, makes the AUPRC smallest (Lagrange).

    Args:
        entry: With ``value``, ``low``, ``high``.
        area: The AUROC with its exact interval.
        share: Of the images that have the label, which is taken as it is; above 0.
    """
    if entry["value"] == 1:
        loss = (1 - share) / share * (1 - area["low"])
        low = 1 - np.sqrt(6 * loss) / 3 if 6 * loss <= 1 else (4 / 9) / (loss + 0.5)
        entry |= {"low": float(low), "high": 1.0}


def widen_f1(entry: Entry, patients: int, confidence: float = 0.95) -> None:
    """Give an F1 of 0 or 1 an exact interval, in place.

    F1 = 2 J / (1 + J), where J is the share of true positives among all who have the label or are called so.

    Args:
        entry: With ``value``, ``low``, ``high``.
        patients: Who have the label, or are called so.
        confidence: Of the interval.
    """
    if extreme(entry):
        limits = exact_interval(entry["value"], patients, confidence)
        entry |= {bound: 2 * share / (1 + share) for bound, share in limits.items()}


def widen_difference(difference: Entry, first: Entry, second: Entry) -> None:
    """Let the uncertainty of a measure of 0 or 1 into the interval of a difference, second minus first, in place.

    By the limits of both alone (MOVER: Zou and Donner 2008, *Stat. Med.*; Newcombe 1998), which is too wide where both
    are measured on the same patients; never narrower than it was.

    Args:
        difference: With ``value``, ``low``, ``high``.
        first: With its widened interval.
        second: With its widened interval.
    """
    if difference["value"] is None or not (extreme(first) or extreme(second)):
        return
    down = np.hypot(second["value"] - second["low"], first["high"] - first["value"])
    up = np.hypot(second["high"] - second["value"], first["value"] - first["low"])
    difference["low"] = max(-1.0, min(difference["low"], float(difference["value"] - down)))
    difference["high"] = min(1.0, max(difference["high"], float(difference["value"] + up)))
