"""From a run and a split to ``metrics.json`` and ``predictions.csv``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hilum.data.cache import open_images
from hilum.data.layouts import read_table
from hilum.data.table import Table
from hilum.errors import RunError, SplitError
from hilum.evaluation.calibration import expected_calibration_error, noise_floor
from hilum.evaluation.intervals import bootstrap
from hilum.evaluation.metrics import brier, confusion_counts, log_loss, measures
from hilum.evaluation.predictions import Predictions, predict
from hilum.progress import Progress
from hilum.training.run import UNREADABLE, Run

RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Evaluation:
    """Where an evaluation was written, and what it says."""

    folder: Path
    metrics: dict[str, Any]
    predictions: Predictions


def evaluate(
    run: Run,
    data: Path | None = None,
    *,
    split: str = "test",
    out: Path | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate a run.

    Args:
        run: A finished run.
        data: Another dataset with the same labels, whose own splits count; by default the run's own.
        split: Which part. A dataset without splits is evaluated whole.
        out: Where to write; by default ``evaluation/<split>`` in the run, or ``evaluation/<dataset>-<split>``.
        progress: Told about long work.

    Raises:
        RunError: The training is not finished, or its images are gone.
        SplitError: The split is empty, or holds labels that the run does not know.
    """
    progress = progress or Progress()
    labels = run.labels
    whole = read_table(data) if data else _own_table(run)
    chosen = whole if not whole.splits else None
    images = open_images(whole, run.recipe.preprocessing, progress=progress)
    notes = []
    if not data and images.digest != run.environment["data"]["digest"]:
        notes.append("WARNING: files have changed since the training")
    if chosen is None:
        part = images.select(i for i, row in enumerate(images.table.rows) if row.split == split)
        left_out = [item for item in images.unreadable if _split_of(whole, item.path) in (split, UNREADABLE)]
    else:
        part, left_out = images, list(images.unreadable)
    _check(part.table, labels, split, whole)
    for item in left_out[:10]:
        progress.line(f"left out: {item.message}")
    for note in notes:
        progress.line(note)

    index = {label: number for number, label in enumerate(labels)}
    predictions = Predictions(
        labels=labels,
        paths=tuple(row.path for row in part.table.rows),
        patients=tuple(row.patient_id for row in part.table.rows),
        truth=np.array([index[row.label] for row in part.table.rows], dtype=np.int64),
        probabilities=predict(run, part, labels, progress=progress),
    )
    dataset = (data.parent if data.is_file() else data).resolve().name if data else ""
    name = f"{dataset}-{split}" if data and chosen is None else dataset or split
    metrics = {
        "name": name,
        "split": split if chosen is None else "all",
        **measure(predictions, protected=run.protected),
        "data": {"root": str(whole.root.resolve()), "digest": images.digest, "notes": notes},
        "unreadable": [{"path": item.path, "message": item.message} for item in left_out],
        "weights_sha256": run.environment.get("weights_sha256"),
    }
    folder = out or run.path / "evaluation" / name
    folder.mkdir(parents=True, exist_ok=True)
    predictions.write(folder / "predictions.csv")
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    return Evaluation(folder, metrics, predictions)


def measure(predictions: Predictions, *, protected: str | None = None, resamples: int = RESAMPLES) -> dict[str, Any]:
    """All measures of some predictions, with intervals bootstrapped over patients.

    Args:
        predictions: Of N images, K labels.
        protected: The label that must not be missed.
        resamples: Of the bootstrap.

    Returns:
        What ``metrics.json`` holds, without the parts that say where it comes from.
    """
    truth, probabilities = predictions.truth, predictions.probabilities
    counts = confusion_counts(truth, predictions.predicted, len(predictions.labels), np.ones((1, len(truth))))
    known = all(predictions.patients)
    intervals = bootstrap(
        partial(_measures, truth, probabilities, predictions.labels),
        predictions.clusters,
        resamples=resamples,
        confidence=CONFIDENCE,
    )
    outcomes = np.eye(len(predictions.labels))[truth]
    return {
        "labels": list(predictions.labels),
        "protected": protected,
        "n_images": len(truth),
        "n_patients": len(set(predictions.patients)) if known else None,
        "unit": "patients" if known else "images",
        "confusion": counts[0].astype(int).tolist(),
        **intervals,
        "log_loss": log_loss(truth, probabilities),
        "brier": brier(truth, probabilities),
        "ece": {
            "value": expected_calibration_error(outcomes, probabilities),
            "noise_floor": noise_floor(probabilities),
        },
        "bootstrap": {"resamples": resamples, "confidence": CONFIDENCE, "seed": 0},
    }


def _measures(truth: Any, probabilities: Any, labels: Sequence[str], weights: Any) -> dict[str, Any]:
    return dict(measures(truth, probabilities, weights, labels))


def _own_table(run: Run) -> Table:
    table = run.table()
    if not table.root.exists():
        msg = (
            f"{table.root}: the images that {run.path} was trained on are gone. "
            "Say where they are now: hilum evaluate RUN DATA."
        )
        raise RunError(msg)
    return table


def _split_of(table: Table, path: str) -> str:
    return next(row.split for row in table.rows if row.path == path)


def _check(part: Table, labels: Sequence[str], split: str, whole: Table) -> None:
    if not len(part):
        there = ", ".join(name for name in whole.splits if name != UNREADABLE)
        msg = f"{whole.root}: no readable image in split '{split}'. Splits there: {there}. Choose one with --split."
        raise SplitError(msg)
    unknown = sorted({row.label for row in part.rows} - set(labels))
    if unknown:
        msg = (
            f"{whole.root}: {split} holds the label '{unknown[0]}', which the run does not know "
            f"(it knows {', '.join(labels)}). Rename the folders to the run's labels."
        )
        raise SplitError(msg)
