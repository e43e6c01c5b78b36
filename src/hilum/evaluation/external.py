"""From the run's own test patients to those of another place: how much of what was promised is left there."""

from __future__ import annotations

from typing import Any

import numpy as np

from hilum.errors import RunError
from hilum.evaluation.metrics import measures
from hilum.evaluation.predictions import Predictions, read_predictions
from hilum.file_sets import settle
from hilum.intervals.combined import apart
from hilum.intervals.shares import CONFIDENCE, Estimate, Patients, as_json
from hilum.text import interval_text, percent
from hilum.training.run import Run, read_json

INTERNAL = "test"


def internal_predictions(run: Run) -> Predictions | None:
    """What the run said of its own test images; None where that was not evaluated with these weights."""
    folder = run.path / "evaluation" / INTERNAL
    settle(folder)
    if read_json(folder / "metrics.json").get("weights_sha256") != run.environment["weights_sha256"]:
        return None
    try:
        return read_predictions(folder / "predictions.csv")
    except RunError:
        return None


def drop(internal: Predictions, external: Predictions, *, confidence: float = CONFIDENCE) -> dict[str, Any]:
    """Measures of two groups of patients beside each other, and external minus internal.

    Both are measured on images of the labels that both have: a mean over three labels at home and one elsewhere would
    compare what cannot be compared, and so would an AUROC against another rest.

    Args:
        internal: Of the run's own test images.
        external: Of other people, with labels of the same names.
        confidence: Of the intervals.

    Returns:
        ``labels`` that both have, ``left_out`` (images of other labels, by side), and ``accuracy``,
        ``balanced_accuracy``, and ``recall`` and ``auroc`` by label: each ``internal``, ``external`` and ``difference``
        with ``value``, ``low``, ``high``, None where undefined.
    """
    sides = {"internal": internal, "external": external}
    common = np.intersect1d(internal.truth, external.truth)
    kept = {name: of.take(np.flatnonzero(np.isin(of.truth, common))) for name, of in sides.items()}
    found = {
        name: measures(of.truth, of.probabilities, of.labels, Patients(of.clusters), confidence=confidence)
        for name, of in kept.items()
    }
    names = ("accuracy", "balanced_accuracy", "recall", "auroc")
    return {
        "labels": [internal.labels[k] for k in common],
        "left_out": {name: len(of.truth) - len(kept[name].truth) for name, of in sides.items()},
        **{name: _beside(found["internal"][name], found["external"][name]) for name in names},
    }


def _beside(internal: Any, external: Any) -> dict[str, Any]:
    if isinstance(internal, Estimate):
        entries = {"internal": internal, "external": external, "difference": apart(internal, external)}
        return dict(as_json(entries))
    return {label: _beside(internal[label], external[label]) for label in internal}


def drop_sentence(found: dict[str, Any]) -> str:
    """The drop of accuracy in one sentence."""
    if not found["labels"]:
        return "external validation: no label of these images is one of the run's own test images"
    inside, outside, apart = (found["balanced_accuracy"][name] for name in ("internal", "external", "difference"))
    over = f" over the labels that both have ({', '.join(found['labels'])})" if any(found["left_out"].values()) else ""
    return (
        f"external validation: balanced accuracy{over} {percent(inside['value'])} on the run's own test patients, "
        f"{percent(outside['value'])} here: {interval_text(apart, sign=True)}"
    )
