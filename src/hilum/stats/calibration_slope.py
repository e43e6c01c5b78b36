"""Calibration slope, calibration-in-the-large and reliability diagrams, with intervals that count patients."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, stdtrit
from sklearn.isotonic import isotonic_regression

from hilum.stats.calibration import outcomes_if_calibrated
from hilum.stats.intervals import CONFIDENCE, Bools, Estimate, Patients, evenly, proportion, undefined
from hilum.stats.records import (
    AllBrierParts,
    Bin,
    BrierParts,
    CalibrationError,
    Coefficient,
    LabelCalibration,
    Verdict,
)
from hilum.stats.verdicts import NOT_SHOWN, REFUTED, SHOWN, at_least, at_most, scaled_to_decide, weakest
from hilum.text import interval_text

METHOD = "jackknife-t"
STEPS, CLOSE = 60, 1e-10
MOST = 50.0  # a coefficient beyond which the outcomes are taken for separable, so that there is no fit
FEWEST = 3.0  # patients behind the rarer outcome, below which a variance says nothing


def logistic_estimates(
    outcome: Bools, columns: Floats, patients: Patients, *, offset: Floats | None = None, confidence: float = CONFIDENCE
) -> list[Estimate]:
    """Fit ``logit P(outcome) = offset + columns @ coefficients`` by maximum likelihood.

    Args:
        outcome: Of shape (N,).
        columns: Of shape (N, C); an intercept is a column of ones.
        patients: Of the N images.
        offset: Of shape (N,); 0 by default.
        confidence: Confidence level of the intervals, in (0, 1).

    Returns:
        C estimates; undefined where no fit exists (one outcome only, outcomes that the columns separate) or fewer than
        three patients stand behind the rarer outcome.
    """
    none = [undefined(patients)] * columns.shape[1]
    rarer = min(evenly(patients.sums(outcome)), evenly(patients.sums(~outcome)))
    base = np.zeros(len(outcome)) if offset is None else offset
    beta = np.zeros(columns.shape[1])
    if rarer < FEWEST:
        return none
    for _ in range(STEPS):
        fitted = expit(base + columns @ beta)
        hessian = columns.T @ (columns * (fitted * (1 - fitted))[:, None])
        if np.linalg.cond(hessian) > 1 / np.finfo(np.float64).eps:
            return none
        step = np.linalg.solve(hessian, columns.T @ (outcome - fitted))
        length = float(np.abs(step).max())
        beta = beta + step * min(1.0, 4.0 / max(length, 1e-300))
        if np.abs(beta).max() > MOST:
            return none
        if length < CLOSE:
            break
    else:
        return none
    moved = _left_out(columns, outcome - fitted, fitted * (1 - fitted), hessian, patients)
    if moved is None:
        return none
    spread = np.sqrt((moved**2).sum(axis=0) * (patients.number - 1) / patients.number)
    reach = float(stdtrit(rarer - 1, (1 + confidence) / 2))
    return [
        Estimate(float(value), float(value - reach * wide), float(value + reach * wide), METHOD, rarer, moved[:, c])
        for c, (value, wide) in enumerate(zip(beta, spread, strict=True))
    ]


def _left_out(columns: Floats, residual: Floats, weight: Floats, hessian: Floats, patients: Patients) -> Floats | None:
    """By how much each patient moves the coefficients, of shape (P, C): one Newton step without the patient."""
    size = columns.shape[1]
    scores = np.stack([patients.sums(columns[:, c] * residual) for c in range(size)], axis=1)
    own = np.empty((patients.number, size, size))
    for a in range(size):
        for b in range(size):
            own[:, a, b] = patients.sums(columns[:, a] * columns[:, b] * weight)
    rest = hessian[None] - own
    if np.linalg.cond(rest).max() > 1 / np.finfo(np.float64).eps:  # without one patient there is no fit
        return None
    return np.asarray(np.linalg.solve(rest, scores[:, :, None])[:, :, 0], dtype=np.float64)


Floats = NDArray[np.float64]
SMALLEST = 1e-9  # of a stated probability: its logit is finite
FACTOR = 1.25  # by which slope and odds may be off for probabilities to count as calibrated
BOUNDS = {"slope": (1 / FACTOR, FACTOR), "in_the_large": (-math.log(FACTOR), math.log(FACTOR))}
NEUTRAL = {"slope": 1.0, "in_the_large": 0.0}
WORDS = {"slope": ("overconfident", "underconfident"), "in_the_large": ("too high", "too low")}


def calibration_by_label(
    truth: NDArray[np.int64], probabilities: Floats, labels: Sequence[str], patients: Patients
) -> dict[str, LabelCalibration]:
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
        judged = _judged("slope", slope, patients.number), _judged("in_the_large", large, patients.number)
        verdict = weakest([one.verdict for one in judged])
        found[label] = LabelCalibration(slope=judged[0], in_the_large=judged[1], verdict=verdict)
    return found


def _judged(name: str, estimate: Estimate, patients: int) -> Coefficient:
    low, high = BOUNDS[name]
    limits = estimate.interval()
    above, below = at_least(limits.low, limits.high, low), at_most(limits.low, limits.high, high)
    verdict = weakest([above, below])
    direction = ""
    if limits.low is not None:
        direction = WORDS[name][0] if estimate.high < NEUTRAL[name] else ""
        direction = WORDS[name][1] if estimate.low > NEUTRAL[name] else direction
    needed = None
    if verdict == NOT_SHOWN:
        nearer = min((low, high), key=lambda bound: abs(estimate.value - bound))
        needed = scaled_to_decide(limits.value, limits.low, limits.high, nearer, patients)
    return Coefficient(**dict(limits), direction=direction, verdict=verdict, patients_to_decide=needed)


def calibration_verdict(found: Mapping[str, LabelCalibration], error: CalibrationError) -> Verdict:
    """Whether the probabilities are shown to be calibrated: every label's slope and odds, and the class-wise error.

    An error that 95 % of calibrated models stay below refutes calibration, unless every slope is shown to be right.

    Args:
        found: Calibration of each label.
        error: The class-wise calibration error.
    """
    verdict = weakest([entry.verdict for entry in found.values()])
    if error.ece_null_q95 is None or error.value <= error.ece_null_q95:
        return verdict
    return NOT_SHOWN if verdict == SHOWN else REFUTED


def calibration_sentences(found: Mapping[str, LabelCalibration]) -> list[str]:
    """Slope and calibration-in-the-large of each label, with the direction in words."""
    told = []
    for label, entry in found.items():
        slope, large = entry.slope, entry.in_the_large
        if slope.value is None:
            told.append(f"{label}: too few patients, or no errors, for a calibration slope")
            continue
        told.append(
            f"{label}: calibration slope {interval_text(slope, as_percent=False, digits=2)}{_said(slope)}; "
            + "in the large "
            + interval_text(large, as_percent=False, sign=True, digits=2)
            + _said(large, "probabilities ")
        )
    return told


def _said(entry: Coefficient, before: str = "") -> str:
    return f", {before}{entry.direction}" if entry.direction else ""


Ints = NDArray[np.int64]
BINS = 10
DRAWS = 100


def reliability(
    truth: Ints,
    probabilities: Floats,
    labels: Sequence[str],
    patients: Patients,
    *,
    bins: int = BINS,
) -> dict[str, list[Bin]]:
    """The diagram's points: bins of equal numbers of images, each with the share that has the label.

    Args:
        truth: Index of each image's label, shape (N,).
        probabilities: Of shape (N, K).
        labels: K names.
        patients: Of the N images.
        bins: How many; fewer where images are few.

    Returns:
        By label, from the lowest probabilities up: ``n_images``, ``stated`` (the mean probability), ``from`` and ``to``
        (its range), and ``value``, ``low``, ``high`` of the share that has the label.
    """
    found = {}
    for k, label in enumerate(labels):
        order = np.argsort(probabilities[:, k], kind="stable")
        parts = [part for part in np.array_split(order, min(bins, max(1, len(order) // 5))) if len(part)]
        has = truth == k

        points = []
        for part in parts:
            stated = probabilities[part, k]
            share = proportion(has[part], np.full(len(part), True), patients.take(part)).interval()
            about = {"n_images": len(part), "stated": float(stated.mean())}
            ends = {"from": float(stated.min()), "to": float(stated.max())}
            points.append(Bin.model_validate({**about, **ends, **dict(share)}))
        found[label] = points
    return found


def brier_parts(
    truth: Ints,
    probabilities: Floats,
    labels: Sequence[str],
    clusters: Sequence[str] | None = None,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> AllBrierParts:
    """The Brier score as miscalibration - discrimination + uncertainty, without any choice of bins.

    Recalibrated by isotonic regression, the probabilities of a label would score less by the miscalibration; the
    label's mean frequency scores the uncertainty; discrimination is what the recalibrated ones gain on that (CORP:
    Dimitriadis, Gneiting and Jordan 2021, *PNAS*). Parts of all labels are summed, as in the score itself.

    Args:
        truth: Index of each image's label, shape (N,).
        probabilities: Of shape (N, K).
        labels: K names.
        clusters: The patient of each image, for the noise floor; by default each its own.
        draws: How often outcomes are drawn from the probabilities themselves.
        seed: Of the draws.

    Returns:
        ``miscalibration`` with its ``noise_floor`` (what a perfectly calibrated model would show), ``discrimination``,
        ``uncertainty``, and ``by_label`` with the same without floors.
    """
    parts_of = [_parts(stated) for stated in probabilities.T]
    by_label = {label: parts_of[k](truth == k) for k, label in enumerate(labels)}
    floors = [
        sum(parts(drawn == k).miscalibration for k, parts in enumerate(parts_of))
        for drawn in outcomes_if_calibrated(probabilities, clusters, draws=draws, seed=seed)
    ]
    return AllBrierParts(
        miscalibration=sum(parts.miscalibration for parts in by_label.values()),
        discrimination=sum(parts.discrimination for parts in by_label.values()),
        uncertainty=sum(parts.uncertainty for parts in by_label.values()),
        ece_null_mean=float(np.mean(floors)),
        by_label=by_label,
    )


def _parts(stated: Floats) -> Callable[[NDArray[np.bool_]], BrierParts]:
    """The parts of one label's score for many outcomes: its probabilities are sorted once."""
    order = np.argsort(stated, kind="stable")
    ordered = stated[order]
    # Equal probabilities are one: they get their mean outcome, whatever their order.
    starts = np.flatnonzero(np.r_[True, np.diff(ordered) > 0])
    sizes = np.diff(np.append(starts, len(ordered)))
    weights = sizes.astype(float)

    def parts(has: NDArray[np.bool_]) -> BrierParts:
        outcome = has[order].astype(float)
        means = np.add.reduceat(outcome, starts) / sizes if len(starts) < len(outcome) else outcome
        refitted = np.repeat(isotonic_regression(means, sample_weight=weights), sizes)
        recalibrated = float(((refitted - outcome) ** 2).mean())
        constant = float(outcome.var())
        return BrierParts(
            miscalibration=float(((ordered - outcome) ** 2).mean()) - recalibrated,
            discrimination=constant - recalibrated,
            uncertainty=constant,
        )

    return parts
