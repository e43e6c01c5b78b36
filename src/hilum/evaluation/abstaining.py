"""What abstaining does to an evaluation: who is flagged, cleared or handed on, and what is left of the errors."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.cells import cell
from hilum.data.familiarity import FAR, UNFAMILIAR, Judgement
from hilum.evaluation.ood import by_patient
from hilum.evaluation.outcomes import Decisions
from hilum.evaluation.predictions import Predictions
from hilum.intervals.shares import Patients, as_json, proportion

COVERAGES = np.linspace(0.05, 1, 20)


def measure_abstention(
    predictions: Predictions,
    flagged: NDArray[np.bool_],
    members: Sequence[str],
    judgement: Judgement,
    between: NDArray[np.bool_] | None = None,
) -> dict[str, Any]:
    """Shares of abstentions by reason and label, recall counting them both ways, and the risk-coverage curve.

    Args:
        predictions: Of N images.
        flagged: By the operating point, or by the most probable label, shape (N,).
        members: The labels that are to be flagged.
        judgement: How familiar the images are.
        between: Which lie between two thresholds, and are read by a person as those abstained on are, shape (N,).

    Returns:
        ``abstained`` (by reason, with interval), ``by_patient`` (see there), ``by_label``, ``recall`` of the group:
        ``as_missed`` (an abstention finds nobody), ``as_found`` (whoever then looks finds everybody), ``of_decided``
        (of those that were decided about); and ``risk_coverage``.
    """
    reasons = judgement.reasons
    abstained = np.array([bool(reason) for reason in reasons])
    inside = np.isin(predictions.truth, [predictions.labels.index(label) for label in members])
    far = np.array([reason == FAR for reason in reasons])

    referred = abstained if between is None else abstained | between
    patients, everything = Patients(predictions.clusters), np.full(len(reasons), True)
    asked = {
        "abstained": (abstained, everything),
        "far": (far, everything),
        "unfamiliar": (abstained & ~far, everything),
        "as_missed": (flagged & ~abstained, inside),
        "as_found": (flagged | referred, inside),
        "of_decided": (flagged, inside & ~referred),
    }
    found = as_json({name: proportion(hits, counted, patients) for name, (hits, counted) in asked.items()})
    return {
        "abstained": found["abstained"],
        "reasons": {FAR: found["far"], UNFAMILIAR: found["unfamiliar"]},
        "by_patient": by_patient(predictions.clusters, predictions.paths, abstained),
        "by_label": {
            label: {
                "images": int((predictions.truth == k).sum()),
                "abstained": int(abstained[predictions.truth == k].sum()),
            }
            for k, label in enumerate(predictions.labels)
        },
        "recall": {name: found[name] for name in ("as_missed", "as_found", "of_decided")},
        "risk_coverage": risk_coverage(predictions, judgement),
    }


def risk_coverage(predictions: Predictions, judgement: Judgement) -> dict[str, Any]:
    """How often the rest is wrong if the least sure, or the least familiar, images are left to humans.

    Args:
        predictions: Of N images.
        judgement: How familiar they are.

    Returns:
        ``coverage`` (shares that are decided about), and the error rate of these by ``confidence`` (the highest
        probability) and by ``familiarity``; and each one's area, the mean over all coverages (0 is best).
    """
    wrong = (predictions.predicted != predictions.truth).astype(float)
    # Among equal p-values the feature distance decides; a conformal p-value is coarse.
    orders = {
        "confidence": np.argsort(-predictions.probabilities.max(axis=1), kind="stable"),
        "familiarity": np.lexsort((judgement.features, -judgement.p_value)),
    }
    kept = np.maximum(1, np.rint(COVERAGES * len(wrong)).astype(int))
    found: dict[str, Any] = {"coverage": COVERAGES.round(4).tolist()}
    for name, order in orders.items():
        risk = np.cumsum(wrong[order]) / np.arange(1, len(wrong) + 1)
        found[name] = risk[kept - 1].round(5).tolist()
        found[f"{name}_area"] = float(risk.mean())
    return found


def decisions_csv(predictions: Predictions, decisions: Decisions, judgement: Judgement | None) -> bytes:
    """What ``decisions.csv`` holds: the triage decision about each image, about its patient, and why to abstain."""
    reasons = judgement.reasons if judgement else [""] * len(predictions.paths)
    familiar = [f"{p:.6f}" for p in judgement.p_value] if judgement else [""] * len(predictions.paths)
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(["path", "patient_id", "label", "decision", "reason", "p_familiar", "patient_decision"])
    for i, decision in enumerate(decisions.images):
        label = predictions.labels[predictions.truth[i]]
        row = [predictions.paths[i], predictions.patients[i], label, decision, reasons[i], familiar[i]]
        writer.writerow([cell(text) for text in (*row, decisions.patients[i])])
    return file.getvalue().encode("utf-8", "surrogateescape")
