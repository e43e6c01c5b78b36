"""Do other patients' images look like the calibration patients' to the network itself?

A classifier is trained to tell the two samples apart by the network's last features, one image a patient; if it can, on
patients that it was not trained on, they differ (classifier two-sample test: Lopez-Paz and Oquab 2017, *ICLR*; Kim et
al. 2021, *Ann. Statist.*). Both samples are compared label by label, so that another mix of labels is no shift.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from hilum.data.cache import Images
from hilum.data.rows import one_image_each, owner
from hilum.evaluation.own_images import own_images
from hilum.evaluation.predictions import Predictions, predict_with_features
from hilum.intervals.areas import aurocs
from hilum.opening import read_whole
from hilum.progress import Progress
from hilum.saving import save_bytes
from hilum.training.run import Run

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
FILE = "calibration_features.safetensors"
PERMUTATIONS = 999
FOLDS = 5
FEWEST = 5  # patients of a label in each sample
MOST = 1000  # patients of each sample
RIDGE = 10.0  # of 0.1, 1 and 10 the one that sees a subgroup of 10 % most often (docs/study/shift_power.py)


def feature_shift(
    run: Run,
    predictions: Predictions,
    features: NDArray[np.floating[Any]],
    root: Path | None = None,
    *,
    images: Images | None = None,
    progress: Progress | None = None,
) -> dict[str, Any] | None:
    """Compare other patients' features with those of the run's calibration patients.

    Args:
        run: A finished run.
        predictions: Of N images of other patients.
        features: The network's last features of them, of shape (N, D).
        root: Where the run's own data lie now, if they have moved.
        images: The run's own data with the run's splits, where they are open already.
        progress: Told about long work.

    Returns:
        ``p_features`` and ``auroc_features`` (how well the samples are told apart, 0.5 if not at all), with the
        numbers of patients; None where the run has no calibration images, or too few patients are there.
    """
    reference = _reference(run, root, images, progress or Progress())
    if reference is None:
        return None
    known, truth = reference
    chosen = sample(predictions.paths, predictions.clusters)
    both = np.concatenate([known, features[chosen].astype(np.float16).astype(np.float64)])  # as those are kept
    strata = np.concatenate([truth, predictions.truth[chosen]])
    second = np.repeat([False, True], [len(known), len(chosen)])
    result = two_sample(both, second, strata)
    if result is None:
        return None
    p_value, area = result
    return {
        "p_features": p_value,
        "auroc_features": area,
        "n_features": [len(known), len(chosen)],
    }


def two_sample(
    features: Floats, second: NDArray[np.bool_], strata: Ints, *, permutations: int = PERMUTATIONS, seed: int = 0
) -> tuple[float, float] | None:
    """A permutation test of whether two samples can be told apart by their features, within strata.

    The classifier is a ridge regression whose scores are taken out of fold; samples are permuted within strata, so
    that the p-value is exact.

    Args:
        features: Of shape (N, D), one row a patient.
        second: Which of the samples each belongs to, of shape (N,).
        strata: Label of each, of shape (N,).
        permutations: Number of permutations.
        seed: Seed of folds and permutations.

    Returns:
        The p-value, and the mean AUROC within strata; None without a stratum of five patients in each sample.
    """
    counts = {k: (int(second[strata == k].sum()), int((strata == k).sum())) for k in np.unique(strata)}
    used = [k for k, (mine, size) in counts.items() if mine >= FEWEST and size - mine >= FEWEST]
    if not used:
        return None
    kept = np.isin(strata, used)
    features, second, strata = features[kept], second[kept], strata[kept]
    generator = np.random.default_rng(seed)
    centred, fold = features.astype(np.float64), np.empty(len(second), np.int64)
    targets = np.empty((permutations + 1, len(second)))
    for k in used:
        here = np.flatnonzero(strata == k)
        centred[here] -= centred[here].mean(axis=0)
        fold[here] = generator.permutation(np.arange(len(here)) % FOLDS)
        mine = second[here] - second[here].mean()
        targets[0, here] = mine
        targets[1:, here] = generator.permuted(np.tile(mine, (permutations, 1)), axis=1)
    spread = centred.std(axis=0)
    varied = spread > 1e-12
    if not varied.any():
        return 1.0, 0.5
    centred = centred[:, varied] / spread[varied]
    inner = centred @ centred.T / centred.shape[1]
    scores = np.empty_like(targets)
    for held_out in range(FOLDS):
        test, train = np.flatnonzero(fold == held_out), np.flatnonzero(fold != held_out)
        ridge = inner[np.ix_(train, train)] + RIDGE * np.eye(len(train))
        scores[:, test] = (inner[np.ix_(test, train)] @ np.linalg.solve(ridge, targets[:, train].T)).T
    length = np.sqrt((scores**2).sum(axis=1))
    statistic = (scores * targets).sum(axis=1) / np.where(length > 0, length, 1)
    p_value = float((statistic >= statistic[0] - 1e-12).sum() / (permutations + 1))
    areas = [float(aurocs(scores[:1, strata == k], second[None, strata == k])[0]) for k in used]
    return p_value, float(np.average(areas, weights=[(strata == k).sum() for k in used]))


def sample(paths: Sequence[str], clusters: Sequence[str]) -> Ints:
    """One image of each patient; of at most 1,000 patients, chosen by a hash of their names.

    Args:
        paths: Of the N images.
        clusters: The patient of each, N names.
    """
    chosen = sorted(one_image_each(paths, clusters), key=lambda i: _hash(clusters[i]))
    return np.array(sorted(chosen[:MOST]), np.int64)


def _reference(run: Run, root: Path | None, images: Images | None, progress: Progress) -> tuple[Floats, Ints] | None:
    """Features and labels of calibration patients: from the run, or made now and kept there."""
    weights = run.environment["weights_sha256"]
    file = run.path / FILE
    try:
        kept = load(read_whole(file))
        if bytes(kept["weights"]).decode() == weights:
            return kept["features"].astype(np.float64), kept["truth"].astype(np.int64)
    except (OSError, KeyError, ValueError, SafetensorError):
        pass
    images, _ = own_images(run, images.table if images else run.table(root), images, progress)
    if images is None:
        return None
    images = images.select(i for i, row in enumerate(images.table.rows) if row.split == "calibration")
    rows = list(images.table.rows)
    if not rows:
        return None
    truth = np.array([run.labels.index(row.label) for row in rows], np.int64)
    paths = [row.path for row in rows]
    chosen = sample(paths, [owner(row.patient_id, row.path) for row in rows])
    features = predict_with_features(run, images.select(chosen.tolist()), run.labels, progress=progress)[1]
    short = features.astype(np.float16)
    arrays: dict[str, NDArray[Any]] = {
        "features": short,
        "truth": truth[chosen],
        "weights": np.frombuffer(weights.encode(), np.uint8),
    }
    try:
        save_bytes(file, save(arrays))
    except OSError as error:
        progress.line(f"{file}: cannot be written ({error}); it will be made again next time")
    return short.astype(np.float64), truth[chosen]


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()
