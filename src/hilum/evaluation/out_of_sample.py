"""What a run, or all folds of a cross-validation, say of images that they were not trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from hilum.audit.labels import Opinion
from hilum.data.cache import open_images
from hilum.data.table import Table
from hilum.errors import RunError
from hilum.evaluation.predictions import predict, read_predictions
from hilum.file_sets import settle
from hilum.progress import Progress
from hilum.training.run import Run, open_run

CROSSVAL = "crossval.json"
BETTER = (
    "A single run judges only what it was not trained on; after hilum crossval every image is judged: give its folder "
    "to --run."
)


def opinion_of(folder: Path, progress: Progress | None = None) -> Callable[[Table], Opinion]:
    """Open what is to judge a dataset; the work is done when the result is called.

    Args:
        folder: A run, or a cross-validation.
        progress: Told as images are judged.

    Returns:
        A function of a table whose rows have their SHA-256. It raises `RunError` where not one image can be judged.

    Raises:
        RunError: There is no finished run or cross-validation.
    """
    progress = progress or Progress()
    settle(folder)
    if (folder / CROSSVAL).is_file():
        return lambda table: _of_folds(folder, table)
    if (folder / "plan.json").is_file() and list(folder.glob("fold-*")):
        msg = f"{folder}: this cross-validation is not finished. Go on with hilum crossval --resume."
        raise RunError(msg)
    run = open_run(folder)
    if not run.finished:
        msg = f"{folder}: the training is not finished. Go on with: hilum train DATA --out {folder} --resume"
        raise RunError(msg)
    return lambda table: _of_run(run, table, progress)


def _of_run(run: Run, table: Table, progress: Progress) -> Opinion:
    """Judge whatever the run was not trained on, by content; patients that it was trained on are passed over, too."""
    trained = [row for row in run.rows if row.split == "train"]
    contents = {row.sha256 for row in trained}
    patients = {row.patient_id for row in trained if row.patient_id}
    unseen = [
        i
        for i, row in enumerate(table.rows)
        if row.sha256 not in contents and row.patient_id not in patients and row.label in run.labels
    ]
    if not unseen:
        msg = (
            f"{run.path}: was trained on every image of {table.root} whose label it knows, so that it cannot judge "
            "any. Give it the folder of a cross-validation (hilum crossval), or other data."
        )
        raise RunError(msg)
    images = open_images(replace(table, notes=()), run.recipe.preprocessing, progress=progress)
    place = {row.path: i for i, row in enumerate(images.table.rows)}
    unseen = [i for i in unseen if table.rows[i].path in place]
    chosen = images.select(place[table.rows[i].path] for i in unseen)
    probabilities = predict(run, chosen, run.labels, progress=progress)
    how = "which was not trained on them"
    return Opinion(run.labels, np.array(unseen, np.int64), probabilities, str(run.path), how, BETTER)


def _of_folds(folder: Path, table: Table) -> Opinion:
    """What the fold that had not seen an image said of it, by content: files may have moved or got other labels."""
    predictions = read_predictions(folder / "predictions.csv")
    content = {row.path: row.sha256 for row in open_run(folder / "fold-1").rows}
    row_of = {content.get(path, ""): number for number, path in enumerate(predictions.paths)}
    known = [
        (i, row_of[row.sha256])
        for i, row in enumerate(table.rows)
        if row.sha256 and row.sha256 in row_of and row.label in predictions.labels
    ]
    if not known:
        msg = f"{folder}: not one image of {table.root} is in this cross-validation. Give --run one of these data."
        raise RunError(msg)
    positions, rows = np.array(known, np.int64).T
    how = "each by the fold that had not seen it"
    return Opinion(predictions.labels, positions, predictions.probabilities[rows], str(folder), how)
