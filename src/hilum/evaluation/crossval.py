"""Cross-validation: every patient is tested once, by a network that has not seen them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydantic import Field, JsonValue, field_serializer
from scipy.special import stdtrit

from hilum import __version__
from hilum.auditing.findings import KnownIssues
from hilum.auditing.near_duplicates.groups import Groups, find_groups
from hilum.auditing.preflight import Checked, cheap_checks
from hilum.data.cache import Images, open_images
from hilum.data.dataset import Dataset
from hilum.data.label_names import check_one_finding
from hilum.data.labels import order_labels
from hilum.data.options import ReadOptions
from hilum.data.patients import in_words
from hilum.data.readers.read import read_table
from hilum.data.splits import UNUSED, assign_splits, independent_groups
from hilum.documents import Document
from hilum.errors import RunError, UsageError
from hilum.evaluation.evaluate import Evaluation, evaluate
from hilum.evaluation.folds import Fold, assign_folds, by_patient
from hilum.evaluation.performance import measure
from hilum.evaluation.predictions import FILE, Predictions
from hilum.evaluation.schema import DataFacts, FileFacts, Metrics, Unreadable
from hilum.evaluation.source_comparison import FoldResults, SourceComparison, compare_sources
from hilum.evaluation.source_folds import Division, divide_by_source, ordinary_folds, source_values
from hilum.files import as_bytes, saving_together
from hilum.progress import Progress
from hilum.stats.records import Record
from hilum.text import plural
from hilum.training.multirun import WholeRecipe, begin_series, identity, series, train_member
from hilum.training.prepare import look, say
from hilum.training.recipe import Recipe
from hilum.training.run import resolve_positive_label
from hilum.training.train import check_training, roles_of, settled

WHAT, FEWEST_FOLDS, ORDINARY = "cross-validation", 2, "ordinary"
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
    """Every choice of a cross-validation; `data` is the identity of the dataset.

    Attributes:
        by: Column of the sources, each of which is a fold; empty in ordinary folds.
        as_large_as: Column of the sources whose sizes ordinary folds have.
    """

    folds: int
    by: str = ""
    as_large_as: str = ""
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
        sources: The model at sources that it never saw; None of ordinary folds.
        files: Hash of ``predictions.csv``.
    """

    hilum: str = ""
    notes: list[str] = Field(default_factory=list)
    audit: KnownIssues
    pooled: Metrics
    per_fold: list[Metrics]
    spread: dict[str, Spread]
    sources: SourceComparison | None = None
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
    by: str = "",
    reference: bool = True,
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
        by: Column whose values are tested in turns instead, each by a network that saw none of its images:
            ``source``, ``dataset`` (of joined datasets), or any other (`hilum.evaluation.source_folds`).
        reference: With `by`, train ordinary folds of the same sizes, too, to measure the drop against.
        seed: Of the division into folds.
        resume: Go on with the cross-validation in `out`.
        read: How to read `data`.
        progress: Told about long work.

    Returns:
        What ``crossval.json`` in `out` holds.

    Raises:
        SplitError: A label has fewer patients than it takes, or no source can be left out.
        UsageError: There are too few folds, or there is no column `by`.
        RunError: `out` is in the way, another process works in it, or there is nothing to continue.
        RecipeError: `resume` finds another cross-validation.
        DataError: The data cannot be used.
        DivergenceError: The loss of a fold is no longer a finite number.
    """
    from hilum.training.encoder_head import has_encoder
    from hilum.training.loop import check_network

    progress = progress or Progress()
    recipe = settled(recipe or Recipe(), progress=progress)
    wanted = recipe.splits
    val = "none" if has_encoder(recipe) and wanted.val == "none" else "hold_out"
    splits = recipe.splits.model_copy(update={"val": val, "calibration": "none", "test": "auto"})
    recipe = recipe.model_copy(update={"splits": splits})
    if folds < FEWEST_FOLDS:
        msg = f"{folds} folds: give at least {FEWEST_FOLDS}."
        raise UsageError(msg, code="too-few-folds")
    table = data if isinstance(data, Dataset) else read_table(data, read, progress)
    check_one_finding(table)
    if table.findings:
        msg = (
            f"{table.root}: has several findings per image; cross-validation stratifies folds by one label per image. "
            "Train several seeds with hilum train, and compare them with hilum compare."
        )
        raise UsageError(msg, code="crossval-of-findings")
    check_network(recipe, table.labels)
    notes = list(table.notes)
    needed = sorted({recipe.positive_label, recipe.healthy} - {"auto", "none"})
    if by:
        table = _of_known_source(table, by, notes)
        divide_by_source(table, source_values(table, by), independent_groups(table), needed=needed)  # before any pixel
    notes += [f"the dataset's own splits ({', '.join(table.splits)}) are pooled"] if table.splits else []
    if {wanted.val, wanted.test, wanted.calibration} - {"auto", "hold_out", "none"}:
        notes.append("the recipe's splits are replaced: folds are the test sets, validation is held out")
    images = open_images(table, recipe.preprocessing, progress=progress)
    groups = find_groups(images, splits.duplicates, progress)
    together = independent_groups(images.table, groups.numbers)
    division: Division | None = None
    if by:
        division = divide_by_source(images.table, source_values(images.table, by), together, needed=needed)
        chosen = division.folds
        notes += division.notes
    else:
        chosen = by_patient(images.table, assign_folds(images.table, folds, seed, groups.numbers))
    if not table.patients_known:
        told = in_words(table.with_patient, len(table))
        unit = "by patient where known" if table.with_patient else "by image"
        notes.append(f"WARNING: {told}: folds are divided {unit}; results are optimistic")
    notes += groups.notes(images.table)
    for note in notes:
        progress.line(f"note: {note}")
    checked = _check(images, chosen, groups)
    notes.append(checked.sentence())
    progress.line(notes[-1])
    findings = look(images, checked)
    say(findings, progress)

    hashed = {row.path: row for row in images.table.rows}
    table = replace(table, rows=tuple(hashed.get(row.path, row) for row in table.rows), notes=())
    again = ordinary_folds(images.table, division, together, seed) if division and reference else ()
    for fold in (*chosen, *again):  # mistakes are found before a folder is made
        divided = fold.divide(images.table)
        labels = check_training(
            divided.with_splits(assign_splits(divided, recipe.splits, groups.numbers).names), recipe
        )
    progress.line(roles_of(recipe, labels))
    about = _Series(table, images, notes, findings, recipe, seed)
    result, tested = _in_turns(about, chosen, out, progress, resume=resume, by=by)
    if division:
        ordinary = None
        if again:
            (out / ORDINARY).mkdir(exist_ok=True)
            trained, ordinary = _in_turns(about, again, out / ORDINARY, progress, resume=resume, as_large_as=by)
            _write(out / ORDINARY, trained, ordinary)
        found = compare_sources(by, division, tested, ordinary, result.pooled.positive_label)
        result = result.model_copy(update={"sources": found})
    return _write(out, result, tested)


@dataclass(frozen=True)
class _Series:
    """What all folds share: the whole table, its readable images, and what is known of them."""

    table: Dataset
    images: Images
    notes: list[str]
    findings: KnownIssues
    recipe: Recipe
    seed: int


def _of_known_source(table: Dataset, by: str, notes: list[str]) -> Dataset:
    values = source_values(table, by)
    unknown = values.count("")
    if not unknown:
        return table
    notes.append(f"{plural(unknown, 'image')} without a value of '{by}' are left out")
    return table.take(i for i, value in enumerate(values) if value)


def _check(images: Images, folds: Sequence[Fold], groups: Groups) -> Checked:
    """The quick checks, and the first fold whose training and test share a patient or a picture, if there is one."""
    found = None
    for fold in folds:
        sides = [row.split or UNUSED for row in fold.divide(images.table).rows]
        found = cheap_checks(images, sides, groups, "folds")
        if found.leakage:
            break
    assert found is not None  # there are at least two folds
    return found


def _in_turns(
    about: _Series, folds: Sequence[Fold], out: Path, progress: Progress, *, resume: bool, **division: str
) -> tuple[CrossValidation, FoldResults]:
    """Train and test fold by fold, and measure all together; `division` says how folds were made."""
    recipe, count = about.recipe, len(folds)
    given = {name: value for name, value in division.items() if value}
    plan = CrossValidationPlan(
        folds=count, seed=about.seed, recipe=recipe, data=identity(about.images.table)
    ).model_copy(update=given)
    begin_series(out, plan, WHAT, resume=resume)
    evaluations, n_train = [], []
    with progress.task("Folds", count) as advance:
        for number, fold in enumerate(folds, 1):
            folder = out / f"fold-{number}"
            progress.line(f"{folder.name}: {len(fold.tested)} images {f'of {fold.name} ' * bool(fold.name)}are tested")
            run = train_member(fold.divide(about.table), folder, recipe, progress)
            evaluation = evaluate(run, fold.divide(about.table), progress=progress)
            assert isinstance(evaluation, Evaluation)  # several findings were refused
            evaluations.append(evaluation)
            n_train.append(sum(row.split == "train" for row in run.rows))
            advance(1)
    parts = [evaluation.predictions for evaluation in evaluations]
    pooled = pool(parts)
    numbers = np.repeat(np.arange(count), [len(part.paths) for part in parts])
    metrics = [evaluation.metrics for evaluation in evaluations]
    facts: dict[str, str | DataFacts | list[Unreadable]] = {
        "name": "pooled",
        "split": "all",
        "shared": SHARED,
        "data": DataFacts(root=str(about.table.root.resolve()), digest=about.images.digest, notes=about.notes),
        "unreadable": [Unreadable(path=item.path, message=item.message) for item in about.images.unreadable],
    }
    summarised = {
        "accuracy": [fold.accuracy for fold in metrics],
        "balanced_accuracy": [fold.balanced_accuracy for fold in metrics],
    }
    positive_label = resolve_positive_label(recipe, pooled.labels)
    result = CrossValidation(
        **plan.given(),
        hilum=__version__,
        notes=about.notes,
        audit=about.findings,
        pooled=measure(pooled, positive_label=positive_label, folds=numbers).model_copy(update=facts),
        # how often a fold was looked at depends on how often the series was resumed, and nothing is chosen by it
        per_fold=metrics,
        spread={
            name: spread_over_folds([value for one in measures if (value := one.value) is not None])
            for name, measures in summarised.items()
        },
        files={FILE: FileFacts.of(pooled.to_csv(), len(pooled.paths))},
    )
    return result, FoldResults(pooled, numbers, metrics, n_train)


def _write(out: Path, result: CrossValidation, tested: FoldResults) -> CrossValidation:
    with saving_together(out) as save:
        save(FILE, tested.predictions.to_csv())
        save("crossval.json", as_bytes(result.to_json()))
    return result


def pool(parts: Sequence[Predictions]) -> Predictions:
    """The predictions of all folds as one; a label that a fold did not learn has the probability 0 there.

    Raises:
        RunError: An image was tested twice.
    """
    paths = Counter(path for part in parts for path in part.paths)
    twice = next((path for path, count in paths.items() if count > 1), None)
    if twice:
        msg = f"{twice}: tested in two folds of different divisions. Start the cross-validation again."
        raise RunError(msg, code="tested-twice")
    labels = max((part.labels for part in parts), key=len)
    if any(not set(part.labels) <= set(labels) for part in parts):
        labels = order_labels(label for part in parts for label in part.labels)
    places = [np.array([labels.index(label) for label in part.labels]) for part in parts]
    spread = [np.zeros((len(part.paths), len(labels))) for part in parts]
    for probabilities, place, part in zip(spread, places, parts, strict=True):
        probabilities[:, place] = part.probabilities
    return Predictions(
        labels=labels,
        paths=tuple(path for part in parts for path in part.paths),
        patients=tuple(patient for part in parts for patient in part.patients),
        truth=np.concatenate([place[part.truth] for place, part in zip(places, parts, strict=True)]),
        probabilities=np.concatenate(spread),
    )


def spread_over_folds(values: Sequence[float]) -> Spread:
    """Mean and spread of a measure over the folds of one cross-validation, with an interval.

    Folds share training images, so that their standard error promises too much. The corrected resampled t interval
    adds the ratio of test to training images (Nadeau and Bengio 2003, *Machine Learning*).

    Args:
        values: The measure by fold, K of them.

    Returns:
        With the 95 % interval; without, of a single fold.
    """
    if len(values) < FEWEST_FOLDS:
        return Spread(mean=float(np.mean(values)), sd=0.0)
    count, mean, sd = len(values), float(np.mean(values)), float(np.std(values, ddof=1))
    half = float(stdtrit(count - 1, 0.975)) * sd * np.sqrt(1 / count + 1 / (count - 1))
    return Spread(mean=mean, sd=sd, low=mean - half, high=mean + half)
