"""Coefficients of a logistic regression with intervals that count patients.

The variance is the jackknife's, one step from the fit: what leaving each patient out does to the coefficients (CR3:
Bell and McCaffrey 2002, *Survey Methodology*). It tends to the sandwich variance of Liang and Zeger (1986,
*Biometrika*), which is too small where patients are few. The quantile is Student's t of the patients who stand behind
the rarer outcome.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit, stdtrit

from hilum.intervals.shares import CONFIDENCE, Bools, Estimate, Floats, Patients, evenly, undefined

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
