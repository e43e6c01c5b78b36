"""From the run's own test patients to those of another place: how much of what was promised is left there."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.errors import RunError
from hilum.evaluation.extremes import widen_area, widen_difference, widen_share
from hilum.evaluation.intervals import cluster_weights, expanded_tail, widen_mean
from hilum.evaluation.metrics import measures
from hilum.evaluation.predictions import Predictions, read_predictions
from hilum.training.run import Run, read_json

Floats = NDArray[np.float64]
INTERNAL = "test"


def internal_predictions(run: Run) -> Predictions | None:
    """What the run said of its own test images; None where that was not evaluated with these weights."""
    folder = run.path / "evaluation" / INTERNAL
    if read_json(folder / "metrics.json").get("weights_sha256") != run.environment["weights_sha256"]:
        return None
    try:
        return read_predictions(folder / "predictions.csv")
    except RunError:
        return None


def drop(
    internal: Predictions, external: Predictions, *, resamples: int = 2000, confidence: float = 0.95
) -> dict[str, Any]:
    """Measures of two groups of patients beside each other, and external minus internal.

    Args:
        internal: Of the run's own test images.
        external: Of other people, with the same labels.
        resamples: Of the bootstrap; the groups are resampled independently of each other.
        confidence: Of the intervals.

    Returns:
        ``accuracy`` and ``balanced_accuracy``, and ``recall`` and ``auroc`` by label: each ``internal``, ``external``
        and ``difference`` with ``value``, ``low``, ``high``, None where undefined.
    """
    plain = [_flat(of, np.ones((1, len(of.truth)))) for of in (internal, external)]
    drawn = []
    for seed, of in enumerate((internal, external)):
        parts = [_flat(of, weights) for weights in cluster_weights(of.clusters, resamples, seed)]
        drawn.append({key: np.concatenate([part[key] for part in parts]) for key in parts[0]})
    tail = expanded_tail(min(len(set(of.clusters)) for of in (internal, external)), confidence)
    tails = [tail, 1 - tail]
    found: dict[str, Any] = {"recall": {}, "auroc": {}}
    for key in plain[0]:
        ours, theirs = plain[0][key][0], plain[1][key][0]
        entry = {
            "internal": _interval(ours, drawn[0][key], tails),
            "external": _interval(theirs, drawn[1][key], tails),
            "difference": _interval(theirs - ours, drawn[1][key] - drawn[0][key], tails),
        }
        name, _, label = key.partition(":")
        if label:
            found[name][label] = entry
        else:
            found[name] = entry
    for which, of in (("internal", internal), ("external", external)):
        _widen(found, which, of, confidence)
    recalls = found["recall"].values()
    for entry in (found["accuracy"], found["balanced_accuracy"], *recalls, *found["auroc"].values()):
        widen_difference(entry["difference"], entry["internal"], entry["external"])
    return found


def _widen(found: dict[str, Any], which: str, of: Predictions, confidence: float) -> None:
    clusters = np.asarray(of.clusters, dtype=object)
    widen_share(found["accuracy"][which], len(set(clusters)), confidence)
    for k, label in enumerate(of.labels):
        ill, others = (len(set(clusters[here])) for here in (of.truth == k, of.truth != k))
        widen_share(found["recall"][label][which], ill, confidence)
        widen_area(found["auroc"][label][which], ill, others, confidence)
    occurring = [found["recall"][label][which] for k, label in enumerate(of.labels) if (of.truth == k).any()]
    widen_mean(found["balanced_accuracy"][which], occurring)


def drop_sentence(found: dict[str, Any]) -> str:
    """The drop of accuracy in one sentence."""
    entry = found["balanced_accuracy"]
    if entry["difference"]["value"] is None:
        entry, what = found["accuracy"], "accuracy"
    else:
        what = "balanced accuracy"
    inside, outside, apart = (entry[name] for name in ("internal", "external", "difference"))
    return (
        f"external validation: {what} {100 * inside['value']:.1f} % on the run's own test patients, "
        f"{100 * outside['value']:.1f} % here: {100 * apart['value']:+.1f} points "
        f"({100 * apart['low']:+.1f} to {100 * apart['high']:+.1f})"
    )


def _flat(predictions: Predictions, weights: Floats) -> dict[str, Any]:
    found = measures(predictions.truth, predictions.probabilities, weights, predictions.labels)
    flat: dict[str, Any] = {name: found[name] for name in ("accuracy", "balanced_accuracy")}
    for name in ("recall", "auroc"):
        flat |= {f"{name}:{label}": values for label, values in dict(found[name]).items()}
    return flat


def _interval(value: float, samples: Floats, tails: list[float]) -> dict[str, float | None]:
    samples = samples[np.isfinite(samples)]
    if not np.isfinite(value) or not len(samples):
        return {"value": None, "low": None, "high": None}
    low, high = np.quantile(samples, tails)
    return {"value": float(value), "low": float(low), "high": float(high)}
