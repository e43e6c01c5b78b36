"""Folds in turns: each is trained and tested in a run of its own, and all are measured together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hilum import __version__
from hilum.auditing.findings import KnownIssues
from hilum.data.cache import Images
from hilum.data.dataset import Dataset
from hilum.data.labels import order_labels
from hilum.errors import RunError
from hilum.evaluation.crossval_schema import (
    CrossValidation,
    CrossValidationPlan,
    FindingsCrossValidation,
    Spread,
    spread_over_folds,
)
from hilum.evaluation.evaluate import Evaluation, evaluate
from hilum.evaluation.evaluate_findings import FindingsEvaluated
from hilum.evaluation.findings_performance import measure_findings, why_not_measured
from hilum.evaluation.findings_predictions import FindingsPredictions
from hilum.evaluation.folds import Fold
from hilum.evaluation.performance import measure
from hilum.evaluation.predictions import FILE, Predictions
from hilum.evaluation.schema import DataFacts, FileFacts, Unreadable
from hilum.evaluation.source_comparison import FindingFoldResults, FoldResults
from hilum.files import as_bytes, saving_together
from hilum.progress import Progress
from hilum.stats.records import Interval
from hilum.training.multirun import begin_series, finished, identity, train_member
from hilum.training.parallel import Member
from hilum.training.recipe import Recipe
from hilum.training.run import resolve_positive_label

WHAT = "cross-validation"
SHARED = (
    "Pooled intervals are conditional on the trained networks. Folds share training images, so no unbiased estimate of "
    "the variance over training sets exists (Bengio and Grandvalet 2004). AUROC and AUPRC compare "
    "scores within folds only."
)
RESULT = "crossval.json"


@dataclass(frozen=True)
class Series:
    """What all folds share: the whole table, its readable images, and what is known of them."""

    table: Dataset
    images: Images
    notes: list[str]
    findings: KnownIssues
    recipe: Recipe
    seed: int


Pooled = tuple[CrossValidation, FoldResults]
PooledFindings = tuple[FindingsCrossValidation, FindingFoldResults]


def begin_folds(
    about: Series, folds: Sequence[Fold], out: Path, *, resume: bool, **division: str
) -> CrossValidationPlan:
    """Put the plan of folds into a folder, or check that it is the one that is there; arguments as `in_turns`."""
    given = {name: value for name, value in division.items() if value}
    plan = CrossValidationPlan(
        folds=len(folds), seed=about.seed, recipe=about.recipe, data=identity(about.images.table)
    ).model_copy(update=given)
    begin_series(out, plan, WHAT, resume=resume)
    return plan


def members_of(about: Series, folds: Sequence[Fold], out: Path) -> list[Member]:
    """The runs of folds that are not finished; arguments as `in_turns`."""
    places = [(fold, fold_folder(out, number)) for number, fold in enumerate(folds, 1)]
    left = [(fold, folder) for fold, folder in places if not finished(folder)]
    return [Member(folder, fold.divide(about.table), about.recipe) for fold, folder in left]


def fold_folder(out: Path, number: int) -> Path:
    """Folder of the run of a fold; folds are counted from 1."""
    return out / f"fold-{number}"


def in_turns(
    about: Series, folds: Sequence[Fold], out: Path, progress: Progress, *, resume: bool, **division: str
) -> Pooled | PooledFindings:
    """Train and test fold by fold, and measure all together.

    Args:
        about: What all folds share.
        folds: Whom each tests.
        out: Folder of the runs.
        progress: Told about long work.
        resume: Whether finished folds in `out` are kept.
        division: How folds were made, as fields of the plan.
    """
    plan = begin_folds(about, folds, out, resume=resume, **division)
    evaluations, n_train = [], []
    with progress.task("Folds", len(folds)) as advance:
        for number, fold in enumerate(folds, 1):
            folder = fold_folder(out, number)
            progress.line(f"{folder.name}: {len(fold.tested)} images {f'of {fold.name} ' * bool(fold.name)}are tested")
            run = train_member(fold.divide(about.table), folder, about.recipe, progress)
            evaluations.append(evaluate(run, fold.divide(about.table), progress=progress))
            n_train.append(sum(row.split == "train" for row in run.rows))
            advance(1)
    if about.table.findings:
        return _findings_together(
            about, plan, [one for one in evaluations if isinstance(one, FindingsEvaluated)], n_train
        )
    return _together(about, plan, [one for one in evaluations if isinstance(one, Evaluation)], n_train)


def _together(
    about: Series, plan: CrossValidationPlan, evaluations: Sequence[Evaluation], n_train: Sequence[int]
) -> Pooled:
    parts = [evaluation.predictions for evaluation in evaluations]
    pooled, numbers = pool(parts), _numbers(parts)
    metrics = [evaluation.metrics for evaluation in evaluations]
    summarised = {
        "accuracy": [fold.accuracy for fold in metrics],
        "balanced_accuracy": [fold.balanced_accuracy for fold in metrics],
    }
    positive_label = resolve_positive_label(about.recipe, pooled.labels)
    facts: dict[str, str | DataFacts | list[Unreadable]] = {
        "name": "pooled",
        "split": "all",
        "shared": SHARED,
        "data": _data(about),
        "unreadable": _unreadable(about),
    }
    result = CrossValidation(
        **plan.given(),
        hilum=__version__,
        notes=about.notes,
        audit=about.findings,
        pooled=measure(pooled, positive_label=positive_label, folds=numbers).model_copy(update=facts),
        # how often a fold was looked at depends on how often the series was resumed, and nothing is chosen by it
        per_fold=metrics,
        spread=_spread(summarised),
        files={FILE: FileFacts.of(pooled.to_csv(), len(pooled.paths))},
    )
    return result, FoldResults(pooled, numbers, metrics, n_train)


def _findings_together(
    about: Series, plan: CrossValidationPlan, evaluations: Sequence[FindingsEvaluated], n_train: Sequence[int]
) -> PooledFindings:
    parts = [evaluation.predictions for evaluation in evaluations]
    pooled, numbers = pool_findings(parts, about.table.findings), _numbers(parts)
    metrics = [evaluation.metrics for evaluation in evaluations]
    left_out = why_not_measured(pooled)
    kept = pooled.of_findings([name for name in pooled.findings if name not in left_out])
    each = {
        name: measure(kept.of_finding(name), positive_label=name, folds=numbers[kept.rows_of(name)])
        for name in kept.findings
    }
    measured = measure_findings(
        kept,
        each,
        folds=numbers,
        name="pooled",
        split="all",
        not_measured=left_out,
        data=_data(about),
        unreadable=_unreadable(about),
    )
    summarised = {
        f"macro_{name}": [getattr(fold.macro, name) for fold in metrics] for name in ("auroc", "balanced_accuracy")
    }
    result = FindingsCrossValidation(
        **plan.given(),
        task="findings",
        hilum=__version__,
        notes=about.notes,
        audit=about.findings,
        shared=SHARED,
        pooled=measured,
        per_fold=metrics,
        spread=_spread(summarised),
        files={FILE: FileFacts.of(pooled.to_csv(), len(pooled.paths))},
    )
    return result, FindingFoldResults(pooled, numbers, metrics, n_train)


def _numbers(parts: Sequence[Predictions | FindingsPredictions]) -> NDArray[np.int64]:
    """The fold of each image of all parts together."""
    return np.repeat(np.arange(len(parts)), [len(part.paths) for part in parts])


def _data(about: Series) -> DataFacts:
    return DataFacts(root=str(about.table.root.resolve()), digest=about.images.digest, notes=about.notes)


def _unreadable(about: Series) -> list[Unreadable]:
    return [Unreadable(path=item.path, message=item.message) for item in about.images.unreadable]


def _spread(summarised: dict[str, list[Interval]]) -> dict[str, Spread]:
    known = {
        name: [value for one in measures if (value := one.value) is not None] for name, measures in summarised.items()
    }
    return {name: spread_over_folds(values) for name, values in known.items() if values}


def write_together(
    out: Path, result: CrossValidation | FindingsCrossValidation, predictions: Predictions | FindingsPredictions
) -> None:
    """Write ``predictions.csv`` and ``crossval.json`` of all folds."""
    with saving_together(out) as save:
        save(FILE, predictions.to_csv())
        save(RESULT, as_bytes(result.to_json()))


def pool(parts: Sequence[Predictions]) -> Predictions:
    """The predictions of all folds as one; a label that a fold did not learn has the probability 0 there.

    Raises:
        RunError: An image was tested twice.
    """
    _check_once(parts)
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


def pool_findings(parts: Sequence[FindingsPredictions], findings: Sequence[str]) -> FindingsPredictions:
    """The same of several findings; one that a fold did not learn is unknown there.

    Args:
        parts: Of each fold.
        findings: In their order, those of all folds.

    Raises:
        RunError: An image was tested twice.
    """
    _check_once(parts)
    truth, probabilities = [], []
    for part in parts:
        known: NDArray[np.float32] = np.full((len(part.paths), len(findings)), np.nan, np.float32)
        stated = np.zeros(known.shape)
        places = [findings.index(name) for name in part.findings]
        known[:, places], stated[:, places] = part.truth, part.probabilities
        truth.append(known)
        probabilities.append(stated)
    return FindingsPredictions(
        tuple(findings),
        tuple(path for part in parts for path in part.paths),
        tuple(patient for part in parts for patient in part.patients),
        np.concatenate(truth),
        np.concatenate(probabilities),
    )


def _check_once(parts: Sequence[Predictions | FindingsPredictions]) -> None:
    paths = Counter(path for part in parts for path in part.paths)
    twice = next((path for path, count in paths.items() if count > 1), None)
    if twice:
        msg = f"{twice}: tested in two folds of different divisions. Start the cross-validation again."
        raise RunError(msg, code="tested-twice")
