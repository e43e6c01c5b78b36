"""What stated probabilities come to: reliability diagrams with intervals, and the Brier score taken apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import isotonic_regression

from hilum.evaluation.calibration import outcomes_if_calibrated
from hilum.intervals.shares import Patients, proportion

Floats = NDArray[np.float64]
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
) -> dict[str, list[dict[str, Any]]]:
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
            share = proportion(has[part], np.full(len(part), True), patients.take(part)).as_json()
            about = {"n_images": len(part), "stated": float(stated.mean())}
            points.append({**about, "from": float(stated.min()), "to": float(stated.max()), **share})
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
) -> dict[str, Any]:
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
    by_label = {label: _parts(truth == k, probabilities[:, k]) for k, label in enumerate(labels)}
    total = {name: sum(parts[name] for parts in by_label.values()) for name in next(iter(by_label.values()))}
    floors = [
        sum(_parts(drawn == k, p)["miscalibration"] for k, p in enumerate(probabilities.T))
        for drawn in outcomes_if_calibrated(probabilities, clusters, draws=draws, seed=seed)
    ]
    return {**total, "noise_floor": float(np.mean(floors)), "by_label": by_label}


def _parts(has: NDArray[np.bool_], stated: Floats) -> dict[str, float]:
    order = np.argsort(stated, kind="stable")
    outcome, ordered = has[order].astype(float), stated[order]
    # Equal probabilities are one: they get their mean outcome, whatever their order.
    starts = np.flatnonzero(np.r_[True, np.diff(ordered) > 0])
    sizes = np.diff(np.append(starts, len(ordered)))
    means = np.add.reduceat(outcome, starts) / sizes
    refitted = np.repeat(isotonic_regression(means, sample_weight=sizes.astype(float)), sizes)
    recalibrated = float(((refitted - outcome) ** 2).mean())
    constant = float(outcome.var())
    return {
        "miscalibration": float(((ordered - outcome) ** 2).mean()) - recalibrated,
        "discrimination": constant - recalibrated,
        "uncertainty": constant,
    }
