"""Cross-validation: every patient is tested once, by a network that has not seen them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, JsonValue, field_serializer
from scipy.special import stdtrit
from sklearn.model_selection import StratifiedGroupKFold

from hilum import __version__
from hilum.auditing.findings import KnownIssues
from hilum.auditing.near_duplicates.groups import find_groups
from hilum.auditing.preflight import cheap_checks
from hilum.data.cache import open_images
from hilum.data.dataset import Dataset
from hilum.data.label_names import check_one_finding
from hilum.data.options import ReadOptions
from hilum.data.patients import in_words
from hilum.data.readers.read import read_table
from hilum.data.splits import assign_splits, independent_groups
from hilum.documents import Document
from hilum.errors import RunError, SplitError, UsageError
from hilum.evaluation.evaluate import Evaluation, evaluate
from hilum.evaluation.performance import measure
from hilum.evaluation.predictions import FILE, Predictions
from hilum.evaluation.schema import DataFacts, FileFacts, Metrics, Unreadable
from hilum.files import as_bytes, saving_together
from hilum.progress import Progress
from hilum.stats.records import Record
from hilum.training.multirun import WholeRecipe, begin_series, identity, series, train_member
from hilum.training.prepare import look, say
from hilum.training.recipe import Recipe
from hilum.training.train import check_training, roles_of

WHAT, FEWEST_FOLDS = "cross-validation", 2
SHARED = (
    "Pooled intervals are conditional on the trained networks. Folds share training images, so no unbiased estimate of "
    "the variance over training sets exists (Bengio and Grandvalet 2004). AUROC and AUPRC compare "
    "scores within folds only."
)


class Spread(Record):
    """Mean and standard deviation of a measure over folds, with an interval; earlier versions have none."""

    mean: float
    sd: float
    low: float | None = None
    high: float | None = None


class CrossValidationPlan(Record, Document):
    """Every choice of a cross-validation; `data` is the identity of the dataset."""

    folds: int
    seed: int
    recipe: WholeRecipe
    data: str


class CrossValidation(CrossValidationPlan):
    """A cross-validation: ``crossval.json``.

    Attributes:
        audit: What is known to be wrong with the data.
        pooled: Metrics of the predictions of all folds together.
        per_fold: Metrics of each fold.
        spread: Spread over the folds, by measure.
        files: Hash of ``predictions.csv``.
    """

    hilum: str = ""
    notes: list[str] = Field(default_factory=list)
    audit: KnownIssues
    pooled: Metrics
    per_fold: list[Metrics]
    spread: dict[str, Spread]
    files: dict[str, FileFacts] = Field(default_factory=dict)

    @field_serializer("pooled")
    def _document(self, metrics: Metrics) -> dict[str, JsonValue]:
        return metrics.to_json()

    @field_serializer("per_fold")
    def _documents(self, folds: list[Metrics]) -> list[dict[str, JsonValue]]:
        return [metrics.to_json() for metrics in folds]


@series(WHAT)
def crossval(
    data: Path | Dataset,
    out: Path,
    recipe: Recipe | None = None,
    *,
    folds: int = 5,
    seed: int = 0,
    resume: bool = False,
    read: ReadOptions | None = None,
    progress: Progress | None = None,
) -> CrossValidation:
    """Train and test in turns, grouped by patient and by picture, stratified by label.

    Splits that the dataset brings are put together. In every fold a validation part is held out from the training
    part; the fold's test images choose nothing.

    Args:
        data: A dataset, or where one is.
        out: A new folder, with a run a fold; with `resume` an earlier one, whose finished folds are kept.
        recipe: Of every fold's training; its splits are replaced.
        folds: How many, at least 2.
        seed: Of the division into folds.
        resume: Go on with the cross-validation in `out`.
        read: How to read `data`.
        progress: Told about long work.

    Returns:
        What ``crossval.json`` in `out` holds.

    Raises:
        SplitError: A label has fewer patients than it takes.
        RunError: `out` is in the way, another process works in it, or there is nothing to continue.
        RecipeError: `resume` finds another cross-validation.
        DataError: The data cannot be used.
        DivergenceError: The loss of a fold is no longer a finite number.
    """
    from hilum.training.loop import check_network

    progress = progress or Progress()
    recipe = recipe or Recipe()
    wanted = recipe.splits
    splits = recipe.splits.model_copy(update={"val": "hold_out", "calibration": "none", "test": "auto"})
    recipe = recipe.model_copy(update={"splits": splits})
    if folds < FEWEST_FOLDS:
        msg = f"{folds} folds: give at least {FEWEST_FOLDS}."
        raise UsageError(msg, code="too-few-folds")
    table = data if isinstance(data, Dataset) else read_table(data, read, progress)
    check_one_finding(table)
    if table.findings:
        msg = (
            f"{table.root}: has several findings an image, and folds are divided by one label an image. Train several "
            "seeds with hilum train, and compare them with hilum compare."
        )
        raise UsageError(msg, code="crossval-of-findings")
    check_network(recipe, table.labels)
    notes = list(table.notes)
    notes += [f"the dataset's own splits ({', '.join(table.splits)}) are pooled"] if table.splits else []
    if {wanted.val, wanted.test, wanted.calibration} - {"auto", "hold_out", "none"}:
        notes.append("the recipe's splits are replaced: folds are the test sets, validation is held out")
    images = open_images(table, recipe.preprocessing, progress=progress)
    groups = find_groups(images, splits.duplicates, progress)
    number = assign_folds(images.table, folds, seed, groups.numbers)
    if not table.patients_known:
        told = in_words(table.with_patient, len(table))
        by = "by patient where known" if table.with_patient else "by image"
        notes.append(f"WARNING: {told}: folds are divided {by}; results are optimistic")
    notes += groups.notes(images.table)
    for note in notes:
        progress.line(f"note: {note}")
    checked = cheap_checks(images, [str(fold) for fold in number], groups, "folds")
    notes.append(checked.sentence())
    progress.line(notes[-1])
    findings = look(images, checked)
    say(findings, progress)

    hashed = {row.path: row for row in images.table.rows}
    table = replace(table, rows=tuple(hashed.get(row.path, row) for row in table.rows), notes=())
    tested: list[set[str]] = [set() for _ in range(folds)]
    for row, fold_of_row in zip(images.table.rows, number, strict=True):
        tested[fold_of_row].add(row.path)
    for paths in tested:  # mistakes are found before a folder is made
        divided = _divide(images.table, paths)
        labels = check_training(
            divided.with_splits(assign_splits(divided, recipe.splits, groups.numbers).names), recipe
        )
    progress.line(roles_of(recipe, labels))
    plan = CrossValidationPlan(folds=folds, seed=seed, recipe=recipe, data=identity(images.table))
    begin_series(out, plan, WHAT, resume=resume)
    evaluations = []
    with progress.task("Folds", folds) as advance:
        for fold in range(folds):
            evaluations.append(_fold(_divide(table, tested[fold]), out / f"fold-{fold + 1}", recipe, progress))
            advance(1)
    tested_by = [evaluation.predictions for evaluation in evaluations]
    pooled = pool(tested_by)
    number_of = np.repeat(np.arange(folds), [len(part.paths) for part in tested_by])
    metrics = [evaluation.metrics for evaluation in evaluations]
    about: dict[str, str | DataFacts | list[Unreadable]] = {
        "name": "pooled",
        "split": "all",
        "shared": SHARED,
        "data": DataFacts(root=str(table.root.resolve()), digest=images.digest, notes=notes),
        "unreadable": [Unreadable(path=item.path, message=item.message) for item in images.unreadable],
    }
    summarised = {
        "accuracy": [fold.accuracy for fold in metrics],
        "balanced_accuracy": [fold.balanced_accuracy for fold in metrics],
    }
    pooled_csv = pooled.to_csv()
    result = CrossValidation(
        **plan.given(),
        hilum=__version__,
        notes=notes,
        audit=findings,
        pooled=measure(pooled, positive_label=metrics[0].positive_label, folds=number_of).model_copy(update=about),
        # how often a fold was looked at depends on how often the series was resumed, and nothing is chosen by it
        per_fold=metrics,
        spread={
            name: spread_over_folds([value for one in measures if (value := one.value) is not None])
            for name, measures in summarised.items()
        },
        files={FILE: FileFacts.of(pooled_csv, len(pooled.paths))},
    )
    with saving_together(out) as save:
        save(FILE, pooled_csv)
        save("crossval.json", as_bytes(result.to_json()))
    return result


def assign_folds(
    table: Dataset, folds: int, seed: int = 0, duplicates: Sequence[int] | None = None
) -> NDArray[np.int64]:
    """The fold of every image.

    Args:
        table: Rows with ``patient_id`` and ``sha256`` where they are known.
        folds: How many.
        seed: Of the division.
        duplicates: One number an image, equal for duplicates (`hilum.auditing.near_duplicates.groups.find_groups`), if
            they are known.

    Returns:
        Of shape (N,), from 0 to `folds` - 1; images of one patient, or of one picture, share a fold.

    Raises:
        SplitError: A label has fewer patients than folds, or than training, validation and test take.
    """
    groups = independent_groups(table, duplicates)
    labels = [row.label for row in table.rows]
    known = table.with_patient
    unit = (
        "patients" if known == len(table) else "patients and images without" if known else "images (patients unknown)"
    )
    least = next(n for n in range(folds, folds + 3) if n - -(-n // folds) >= 2)  # validation and training take two
    for label in table.labels:
        found = len({group for group, name in zip(groups, labels, strict=True) if name == label})
        if found < least:
            remedy = (
                f"Use --folds {found}, or add images." if 3 <= found < folds else "Add images, or exclude the label."
            )
            msg = f"{table.root}: '{label}' has {found} {unit}; {folds} folds take at least {least}. {remedy}"
            raise SplitError(msg, code="too-few-patients")
    divider = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    number = np.empty(len(table), dtype=np.int64)
    for fold, (_, test) in enumerate(divider.split(np.zeros(len(table)), labels, groups)):
        number[test] = fold
    for fold in range(folds):
        lacking = sorted(set(labels) - {labels[i] for i in np.flatnonzero(number == fold)})
        if lacking:
            msg = f"{table.root}: fold {fold + 1} of {folds} got no image of '{lacking[0]}'. Use fewer --folds."
            raise SplitError(msg)
    return number


def pool(parts: Sequence[Predictions]) -> Predictions:
    """The predictions of all folds as one.

    Raises:
        RunError: An image was tested twice.
    """
    paths = Counter(path for part in parts for path in part.paths)
    twice = next((path for path, count in paths.items() if count > 1), None)
    if twice:
        msg = f"{twice}: tested in two folds of different divisions. Start the cross-validation again."
        raise RunError(msg, code="tested-twice")
    return Predictions(
        labels=parts[0].labels,
        paths=tuple(path for part in parts for path in part.paths),
        patients=tuple(patient for part in parts for patient in part.patients),
        truth=np.concatenate([part.truth for part in parts]),
        probabilities=np.concatenate([part.probabilities for part in parts]),
    )


def _divide(table: Dataset, tested: set[str]) -> Dataset:
    return table.with_splits(["test" if row.path in tested else "train" for row in table.rows])


def _fold(table: Dataset, folder: Path, recipe: Recipe, progress: Progress) -> Evaluation:
    progress.line(f"{folder.name}: {sum(row.split == 'test' for row in table.rows)} images are tested")
    run = train_member(table, folder, recipe, progress)
    evaluation = evaluate(run, table, progress=progress)
    assert isinstance(evaluation, Evaluation)  # several findings were refused
    return evaluation


def spread_over_folds(values: Sequence[float]) -> Spread:
    """Mean and spread of a measure over the folds of one cross-validation, with an interval.

    Folds share training images, so that their standard error promises too much. The corrected resampled t interval
    adds the ratio of test to training images (Nadeau and Bengio 2003, *Machine Learning*).

    Args:
        values: The measure by fold, K of them, at least 2.

    Returns:
        With the 95 % interval.
    """
    count, mean, sd = len(values), float(np.mean(values)), float(np.std(values, ddof=1))
    half = float(stdtrit(count - 1, 0.975)) * sd * np.sqrt(1 / count + 1 / (count - 1))
    return Spread(mean=mean, sd=sd, low=mean - half, high=mean + half)
