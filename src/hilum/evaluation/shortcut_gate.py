"""Shortcut baselines: classifiers that see what the audit's probes see, on the same test patients as the model.

A probe sees file sizes, formats, dimensions, grey-level histograms, frames or 64 pixels, never the lungs in detail. Its
features are fitted to the images that the model was trained on, and score the images that the model is tested on: each
probe's alone, and those of all probes together, by linear models, kernels, trees and boosting. Where
training or test images are more than 5000, about 5000 of them are taken, drawn by lot as whole patients, so that time
and memory are bounded. A model that does not outperform all baselines has not been shown to have learnt more than they
show.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.audit.features import THUMBNAIL, Probe, probes
from hilum.audit.probing import fit_boosting, fit_linear, fit_scores, fit_trees
from hilum.audit.survey import survey
from hilum.data.rows import owner, pack
from hilum.data.sampling import Lot
from hilum.data.table import Row, Table
from hilum.errors import HilumError
from hilum.evaluation.predictions import Predictions
from hilum.evaluation.shortcut_verdict import STACKED, Baseline, compare_with_baselines, not_compared
from hilum.progress import Progress

Floats = NDArray[np.float64]
Scores = NDArray[np.floating]
MOST = 5000  # images, about, to fit baselines to, and as many to score: each is opened, and its thumbnail held
SMALL = 1e-4  # added to probabilities before their logarithm is taken
TREES, SHARE = 150, 0.1  # on seed-cxr as strong as 400 trees with twice the share, in a quarter of the time


@dataclass(frozen=True)
class Evidence:
    """What baselines are fitted to, and what they score.

    Attributes:
        predictions: The model's, of the images to score, M of them.
        probes: The probes, with features of shape (N, F) of all images.
        train: Rows of the training images among the N.
        scored: Rows of the images to score, shape (M,).
        truth: Index of each training image's label.
    """

    predictions: Predictions
    probes: tuple[Probe, ...]
    train: NDArray[np.int64]
    scored: NDArray[np.int64]
    truth: NDArray[np.int64]


def shortcut_gate(
    predictions: Predictions, tested: Table, trained: Table, *, progress: Progress | None = None
) -> tuple[dict[str, Any], Scores | None]:
    """Compare a run's predictions with shortcut baselines that were fitted to its training images.

    Args:
        predictions: Of images of `tested`.
        tested: Images of the run's own data, or other people's under the run's labels, with their further columns.
        trained: The run's own data with its splits; probes see only columns that both tables have.
        progress: Told about long work.

    Returns:
        As `compare_with_baselines` has it, and ``n_fitted`` and ``n_scored``, the numbers of images that baselines were
        fitted to and scored, and ``n_images``, of which the latter were drawn; with ``note`` and without a verdict
        where nothing could be compared. And the scores of the 8x8 thumbnail, of shape (N, K), for the decision curve;
        None where not every image was scored.
    """
    found = gather_evidence(predictions, tested, trained, progress=progress)
    if isinstance(found, str):
        return not_compared(found), None
    numbers = {"n_fitted": len(found.train), "n_scored": len(found.scored), "n_images": len(predictions.paths)}
    fitted = list(baselines(found))
    small = next((one.scores for one in fitted if one.name == THUMBNAIL), None)
    everything = len(found.scored) == len(predictions.paths)
    return compare_with_baselines(found.predictions, fitted) | numbers, small if everything else None


def gather_evidence(
    predictions: Predictions, tested: Table, trained: Table, *, progress: Progress | None = None
) -> Evidence | str:
    """Look at training and test images with every probe; arguments as of `shortcut_gate`.

    Returns:
        The features, or why there are none.
    """
    whose = [(predictions.labels[k], c) for k, c in zip(predictions.truth, predictions.clusters, strict=True)]
    lot = Lot.of(whose, MOST)
    predictions = predictions.take(np.flatnonzero([lot.holds(*image) for image in whose]))
    try:
        seen = survey(_fitted_and_asked(predictions, tested, trained), progress=progress)
    except HilumError as error:
        return str(error)
    place = {row.path: i for i, row in enumerate(seen.table.rows) if row.split == "asked"}
    train = np.array([i for i, row in enumerate(seen.table.rows) if row.split == "train"], np.int64)
    paths = [_whole(tested.root, path) for path in predictions.paths]
    if not len(train):
        return f"the run's training images are not in {trained.root} any more, so that no probe can be fitted"
    if not all(path in place for path in paths):
        return "files have gone or changed since the prediction"
    scored = np.array([place[path] for path in paths], np.int64)
    truth = np.array([predictions.labels.index(seen.table.rows[int(i)].label) for i in train], np.int64)
    return Evidence(predictions, probes(seen)[0], train, scored, truth)


def _fitted_and_asked(predictions: Predictions, tested: Table, trained: Table) -> Table:
    """Training images of a run, and those of the predictions, in one table, under whole paths."""
    lot = Lot.of(
        ((row.label, owner(row.patient_id, row.path)) for row in trained.rows if row.split == "train"),
        MOST,
    )
    drawn = (
        row for row in trained.rows if row.split == "train" and lot.holds(row.label, owner(row.patient_id, row.path))
    )
    columns = [{name for row in table.rows for name in row.extra} for table in (trained, tested)]
    both = columns[0] & columns[1]

    def placed(root: Path, split: str, row: Row) -> Row:
        extra = {name: value for name, value in row.extra.items() if name in both}
        return replace(row, path=_whole(root, row.path), split=split, extra=extra)

    wanted = set(predictions.paths)
    fitted = (placed(trained.root, "train", row) for row in drawn)
    asked = (placed(tested.root, "asked", row) for row in tested.rows if row.path in wanted)
    return Table(tested.root, pack(chain(fitted, asked)))


def baselines(evidence: Evidence) -> Iterator[Baseline]:
    """Fit every baseline to the training images and score the test images.

    Args:
        evidence: What to fit to, and what to score.

    Yields:
        For each probe two learners, whose AUROC either may be the higher; for all probes together four, and the mean of
        three of them, since a classifier that averages them sees no more.
    """
    train, scored, truth = evidence.train, evidence.scored, evidence.truth
    n_labels = len(evidence.predictions.labels)
    targets = np.eye(n_labels)[truth]

    def ridge(features: Floats) -> NDArray[np.float32]:
        return fit_scores(features[train], targets, features[scored])

    def trees(features: Floats) -> Floats:
        return fit_trees(features[train], truth, features[scored], n_labels, trees=TREES, share=SHARE)

    for probe in evidence.probes:
        yield Baseline(probe.name, probe.kind, "kernel ridge", ridge(probe.features))
        yield Baseline(probe.name, probe.kind, "extra trees", trees(probe.features))
    if len(evidence.probes) > 1:
        features = np.hstack([probe.features for probe in evidence.probes])
        fitted: dict[str, NDArray[np.floating]] = {
            "kernel ridge": ridge(features),
            "extra trees": trees(features),
            "linear ridge": fit_linear(features[train], targets, features[scored]),
            "gradient boosting": np.log(fit_boosting(features[train], truth, features[scored], n_labels) + SMALL),
        }
        strongest = [_standard(fitted[name]) for name in ("extra trees", "linear ridge", "gradient boosting")]
        fitted["mean of three learners"] = np.sum(strongest, axis=0)
        for learner, scores in fitted.items():
            yield Baseline(STACKED, "stacked", learner, scores)


def _standard(scores: NDArray[np.floating]) -> Floats:
    spread = scores.std(axis=0)
    return np.asarray((scores - scores.mean(axis=0)) / np.where(spread > 0, spread, 1), np.float64)


def _whole(root: Path, path: str) -> str:
    return str((root / path).absolute())  # two roots become one, which a relative path would be joined to
