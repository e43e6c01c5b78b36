"""A run's temperatures: fitted once on its calibration patients, and kept in the run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hilum.data.cache import open_images
from hilum.errors import RunError
from hilum.evaluation.metrics import log_loss
from hilum.evaluation.predictions import predict
from hilum.evaluation.temperature import fit_temperatures, for_temperature, scale
from hilum.progress import Progress
from hilum.training.run import Run

FILE = "calibration.json"
FEWEST = 20  # images; with fewer a temperature says more about them than about the network


@dataclass(frozen=True)
class Calibration:
    """Temperatures by decision, or None and why there are none."""

    temperatures: dict[str, float] | None
    note: str = ""


def calibrate(run: Run, root: Path | None = None, *, progress: Progress | None = None) -> Calibration:
    """The temperatures of a run, from ``calibration.json`` or fitted now.

    Args:
        run: A finished run.
        root: Where the run's own data lie now, if they have moved.
        progress: Told about long work.
    """
    progress = progress or Progress()
    weights = run.environment["weights_sha256"]
    try:
        kept: dict[str, Any] = json.loads((run.path / FILE).read_text(encoding="utf-8"))
        if kept["weights_sha256"] == weights:
            return Calibration(kept["temperatures"])
    except (OSError, ValueError, KeyError):
        pass
    table = run.table(root)
    if not any(row.split == "calibration" for row in table.rows):
        return Calibration(None, "probabilities are as the network gives them: the run has no calibration images")
    if not table.root.exists():
        return Calibration(None, f"probabilities are as the network gives them: {table.root} is gone")
    images = open_images(table, run.recipe.preprocessing, progress=progress)
    images = images.select(i for i, row in enumerate(images.table.rows) if row.split == "calibration")
    images = images.select(np.flatnonzero(for_temperature(images.table.patients())).tolist())
    if len(images.table) < FEWEST:
        return Calibration(None, f"probabilities are as the network gives them: {len(images.table)} images to fit to")
    labels, architecture = run.labels, run.recipe.architecture
    truth = np.array([labels.index(row.label) for row in images.table.rows], dtype=np.int64)
    plain = predict(run, images, labels, progress=progress)
    temperatures = fit_temperatures(truth, plain, labels, architecture)
    facts = {
        "temperatures": temperatures,
        "n_images": len(truth),
        "n_patients": len(set(images.table.patients())) if images.table.patients_known else None,
        "log_loss_before": log_loss(truth, plain),
        "log_loss_after": log_loss(truth, scale(plain, temperatures, labels, architecture)),
        "weights_sha256": weights,
    }
    try:
        (run.path / FILE).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        msg = f"{run.path / FILE}: cannot be written ({error.strerror}). Free the disk or copy the run."
        raise RunError(msg) from error
    return Calibration(temperatures)
