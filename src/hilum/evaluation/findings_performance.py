"""Measures of several findings an image: of each finding by what measures labels, and their macro and micro means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.evaluation.findings_predictions import FindingsPredictions
from hilum.evaluation.findings_schema import FindingCounts, FindingMeans, FindingMeasures, FindingsMetrics, MeanInterval
from hilum.evaluation.schema import Confidence, Metrics
from hilum.stats.intervals import CONFIDENCE, Estimate, Patients
from hilum.stats.metrics import BY_LABEL, OneLabel, mean_of

KEYS = {measure.key: measure for measure in BY_LABEL}
NAMES = {"sensitivity": "recall", "specificity": "specificity", "ppv": "precision", "npv": "npv", "f1": "f1"}
NAMES |= {"auroc": "auroc", "auprc": "auprc"}
HALF = 0.5  # the threshold where none is certified: the more probable of a finding and its absence
Measured = dict[str, Estimate]


def why_not_measured(predictions: FindingsPredictions) -> dict[str, str]:
    """Findings that have no image on one of the two sides, and which side that is.

    Args:
        predictions: Of N images, F findings.
    """
    found = {}
    for k, name in enumerate(predictions.findings):
        values = predictions.truth[:, k]
        missing = [said for said, value in (("present", 1), ("absent", 0)) if not (values == value).any()]
        if missing:
            found[name] = f"no image where it is known to be {' or '.join(missing)}"
    return found


def measure_findings(
    predictions: FindingsPredictions,
    metrics: Mapping[str, Metrics],
    thresholds: Mapping[str, float] | None = None,
    *,
    folds: NDArray[np.int64] | None = None,
    **more: Any,
) -> FindingsMetrics:
    """Measures by finding at its threshold, and their macro and micro means, with intervals that count patients.

    A finding's interval counts the patients of whom it is known. The macro mean is put together from the findings'
    measures with the correlations that the same patients cause (`hilum.stats.intervals.combined`); the micro mean is
    the measure of all known pairs, of which a patient keeps all.

    Args:
        predictions: Of N images, F findings, each with images on both sides.
        metrics: Of each finding as two labels.
        thresholds: Certified thresholds by finding; 0.5 where there is none.
        folds: Fold of each image, shape (N,), of a cross-validation: areas then compare scores within folds.
        more: Further fields of the result.
    """
    named = all(predictions.patients)
    found, macro, micro = _measure_each(predictions, metrics, thresholds or {}, folds)
    return FindingsMetrics(
        task="findings",
        n_images=len(predictions.paths),
        n_patients=len(set(predictions.patients)) if named else None,
        with_patient=sum(map(bool, predictions.patients)),
        resampling_unit="patients" if named else "images",
        intervals=Confidence(confidence=CONFIDENCE),
        findings=found,
        macro=macro,
        micro=micro,
        **more,
    )


def _measure_each(
    predictions: FindingsPredictions,
    metrics: Mapping[str, Metrics],
    thresholds: Mapping[str, float],
    folds: NDArray[np.int64] | None,
) -> tuple[dict[str, FindingMeasures], FindingMeans, FindingMeans]:
    """Measures by finding, macro and micro."""
    patients, known, truth = Patients(predictions.clusters), predictions.known, predictions.truth == 1
    called = np.zeros(truth.shape, dtype=bool)
    each: dict[str, Measured] = {}
    found: dict[str, FindingMeasures] = {}
    for k, name in enumerate(predictions.findings):
        score, certified = predictions.probabilities[:, k], thresholds.get(name)
        called[:, k] = score > HALF if certified is None else score >= certified
        rows = np.flatnonzero(known[:, k])
        of = None if folds is None else folds[rows]
        one = OneLabel(truth[rows, k], called[rows, k], score[rows], patients.take(rows), folds=of)
        each[name] = _measured(one)
        found[name] = FindingMeasures(
            counts=_counts(predictions, k),
            threshold=HALF if certified is None else certified,
            certified=certified is not None,
            **{key: estimate.interval() for key, estimate in each[name].items() if key != "balanced_accuracy"},
            ece=metrics[name].ece_class_wise,
            metrics=metrics[name],
        )
    macro = {key: _mean([one[key] for one in each.values()], patients) for key in next(iter(each.values()))}
    rows, columns = np.nonzero(known)
    pairs = OneLabel(
        truth[rows, columns],
        called[rows, columns],
        predictions.probabilities[rows, columns],
        patients.take(rows),
        folds=None if folds is None else folds[rows],
    )
    micro = {
        key: MeanInterval(**dict(estimate.interval()), findings=len(each)) for key, estimate in _measured(pairs).items()
    }
    return found, FindingMeans(**macro), FindingMeans(**micro)


def _measured(one: OneLabel) -> Measured:
    """Every measure of a finding, or of all pairs."""
    everything: NDArray[np.bool_] = np.full(len(one.has), fill_value=True)
    found: dict[str, Any] = {name: KEYS[key].of(one) for name, key in NAMES.items()}
    sides = [found["sensitivity"], found["specificity"]]
    return {
        "accuracy": one.share(one.has == one.called, everything),
        "balanced_accuracy": mean_of(sides, one.patients),
        **found,
    }


def _mean(estimates: list[Estimate], patients: Patients) -> MeanInterval:
    defined = [one for one in estimates if np.isfinite(one.value)]
    return MeanInterval(**dict(mean_of(defined, patients).interval()), findings=len(defined))


def _counts(predictions: FindingsPredictions, k: int) -> FindingCounts:
    values, clusters = predictions.truth[:, k], predictions.clusters
    present = values == 1
    return FindingCounts(
        present=int(present.sum()),
        absent=int((values == 0).sum()),
        uncertain=int((values == -1).sum()),
        unknown=int(np.isnan(values).sum()),
        patients=len({clusters[i] for i in np.flatnonzero(present)}),
    )
