"""Plain proportions: Wilson's interval, predictive values elsewhere, and what so few images could show at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, binomtest

from hilum.evaluation.extremes import extreme, widen_share
from hilum.evaluation.intervals import bootstrap
from hilum.evaluation.metrics import divide

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
PREVALENCES = (0.01, 0.05, 0.10, 0.20, 0.50)
DISCORDANCE = 0.10


def wilson(count: int, total: int, confidence: float = 0.95) -> dict[str, Any]:
    """A proportion with Wilson's score interval (Wilson 1927, *J. Am. Stat. Assoc.*), which counts all as independent.

    Args:
        count: How many.
        total: Out of how many; 0 gives None.
        confidence: Of the interval.
    """
    if not total:
        return {"count": 0, "total": 0, "value": None, "low": None, "high": None}
    limits = binomtest(count, total).proportion_ci(confidence, method="wilson")
    return {
        "count": count,
        "total": total,
        "value": count / total,
        "low": float(limits.low),
        "high": float(limits.high),
    }


def wilson_of(confusion: Sequence[Sequence[int]], labels: Sequence[str], confidence: float = 0.95) -> dict[str, Any]:
    """Wilson's intervals of accuracy, and of recall, precision and specificity by label.

    Args:
        confusion: Counts (K, K), rows truth.
        labels: K names.
        confidence: Of the intervals.
    """
    table = np.asarray(confusion)
    right, total = np.diag(table), int(table.sum())
    truths, answers = table.sum(axis=1), table.sum(axis=0)
    found: dict[str, Any] = {"accuracy": wilson(int(right.sum()), total, confidence)}
    for name, counts, totals in (
        ("recall", right, truths),
        ("precision", right, answers),
        ("specificity", total - truths - answers + right, total - truths),
    ):
        found[name] = {
            label: wilson(int(count), int(out_of), confidence)
            for label, count, out_of in zip(labels, counts, totals, strict=True)
        }
    return found


def predictive_values(
    positive: Bools,
    flagged: Bools,
    clusters: Sequence[str],
    *,
    prevalences: Sequence[float] = PREVALENCES,
    resamples: int = 2000,
) -> dict[str, Any]:
    """What a flag, and no flag, would mean where the disease is more or less frequent than in these data.

    Bayes' theorem with recall and specificity of these data; it takes those for constant, which they are not if other
    patients are ill in other ways.

    Args:
        positive: Who has the disease, shape (N,).
        flagged: Who is flagged, shape (N,).
        clusters: The patient of each image.
        prevalences: Each between 0 and 1.
        resamples: Of the bootstrap over patients.

    Returns:
        ``recall`` and ``specificity``, and ``at``: for each prevalence ``ppv`` (of the flagged, the share who have it)
        and ``npv`` (of the others, the share who do not), all with intervals.
    """

    def measure(weights: Floats) -> dict[str, Any]:
        recall = divide(weights @ (positive & flagged), weights @ positive)
        specificity = divide(weights @ (~positive & ~flagged), weights @ ~positive)
        found: dict[str, Any] = {"recall": recall, "specificity": specificity}
        for p in prevalences:
            found[f"{p:g}"] = _values_at(p, recall, specificity)
        return found

    measured = bootstrap(measure, clusters, resamples=resamples)
    if any(extreme(measured[name]) for name in ("recall", "specificity")):
        _widen(measured, bootstrap(measure, clusters, resamples=resamples, confidence=0.975), positive, clusters)
    at = [{"prevalence": p, **measured.pop(f"{p:g}")} for p in prevalences]
    return {**measured, "at": at}


def _widen(measured: dict[str, Any], wider: dict[str, Any], positive: Bools, clusters: Sequence[str]) -> None:
    """Where recall or specificity is 0 or 1, take predictive values at the limits of both.

    Both rise with recall and with specificity, so that limits which hold each with 97.5 % hold them with 95 %.
    """
    names = np.asarray(clusters, dtype=object)
    limits = {}
    for name, counted in (("recall", positive), ("specificity", ~positive)):
        patients = len(set(names[counted]))
        widen_share(measured[name], patients)
        widen_share(wider[name], patients, 0.975)
        limits[name] = wider[name]
    for key, found in measured.items():
        if key in limits:
            continue
        for bound in ("low", "high"):
            values = _values_at(float(key), *(np.array([limits[name][bound]]) for name in ("recall", "specificity")))
            for name, value in values.items():
                if found[name]["value"] is not None:
                    found[name][bound] = float(value[0]) if np.isfinite(value[0]) else float(bound == "high")


def _values_at(prevalence: float, recall: Floats, specificity: Floats) -> dict[str, Floats]:
    """Bayes' theorem."""
    true, false = prevalence * recall, (1 - prevalence) * (1 - specificity)
    missed, cleared = prevalence * (1 - recall), (1 - prevalence) * specificity
    return {"ppv": divide(true, true + false), "npv": divide(cleared, cleared + missed)}


def smallest_significant(count: int, discordance: float = DISCORDANCE) -> float | None:
    """The smallest difference of accuracy that McNemar's exact test would call significant on so many images.

    Args:
        count: Images, or patients.
        discordance: On which share of them two classifiers differ.

    Returns:
        As a share; None where nothing could be significant.
    """
    differing = int(discordance * count)
    one_way = np.arange(differing + 1)
    p = np.minimum(1, 2 * binom.cdf(np.minimum(one_way, differing - one_way), differing, 0.5))
    significant = np.abs(differing - 2 * one_way)[p < 0.05]
    return float(significant.min() / count) if len(significant) else None
