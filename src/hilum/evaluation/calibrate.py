"""A run's temperatures: fitted once on its calibration patients, and kept in the run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hilum.data.cache import Images
from hilum.evaluation.metrics import log_loss
from hilum.evaluation.own_images import own_images
from hilum.evaluation.predictions import predict
from hilum.evaluation.temperature import fit_temperatures, for_temperature, scale
from hilum.progress import Progress
from hilum.training.run import Run, read_json
from hilum.training.series import write_json

FILE = "calibration.json"
SCHEME = 1  # raise it when the same images would give other temperatures
AS_IS = "probabilities are as the network gives them"


@dataclass(frozen=True)
class Calibration:
    """Temperatures by decision, or None and why there are none."""

    temperatures: dict[str, float] | None
    note: str = ""


def calibrate(
    run: Run, root: Path | None = None, *, images: Images | None = None, progress: Progress | None = None
) -> Calibration:
    """The temperatures of a run, from ``calibration.json`` or fitted now.

    Args:
        run: A finished run.
        root: Where the run's own data lie now, if they have moved.
        images: The run's own data with the run's splits, where they are open already.
        progress: Told about long work.
    """
    progress = progress or Progress()
    weights = run.environment["weights_sha256"]
    kept = read_json(run.path / FILE)
    if kept.get("weights_sha256") == weights and kept.get("scheme") == SCHEME:
        return Calibration(kept["temperatures"])
    table = images.table if images else run.table(root)
    if not any(row.split == "calibration" for row in table.rows):
        return Calibration(None, f"{AS_IS}: the run has no calibration images")
    images, why = own_images(run, table, images, progress)
    if images is None:
        return Calibration(None, f"{AS_IS}: {why}")
    images = images.select(i for i, row in enumerate(images.table.rows) if row.split == "calibration")
    images = images.select(np.flatnonzero(for_temperature(images.table.patients())).tolist())
    if not len(images.table):
        return Calibration(None, f"{AS_IS}: no calibration image is left to fit to")
    labels, architecture = run.labels, run.recipe.architecture
    truth = np.array([labels.index(row.label) for row in images.table.rows], dtype=np.int64)
    plain = predict(run, images, labels, progress=progress)
    fitted = fit_temperatures(truth, plain, labels, architecture)
    if not fitted:
        reason = f"{len(truth)} calibration images, too few or too few of them misjudged to fit a temperature to"
        return Calibration(None, f"{AS_IS}: {reason}")
    facts = {
        "scheme": SCHEME,
        "temperatures": fitted,
        "n_images": len(truth),
        "n_patients": len(set(images.table.patients())) if images.table.patients_known else None,
        "log_loss_before": log_loss(truth, plain),
        "log_loss_after": log_loss(truth, scale(plain, fitted, labels, architecture)),
        "weights_sha256": weights,
    }
    try:
        write_json(run.path / FILE, facts)
    except OSError as error:
        progress.line(f"{run.path / FILE}: cannot be written ({error.strerror}); it will be fitted again next time")
    return Calibration(fitted)
