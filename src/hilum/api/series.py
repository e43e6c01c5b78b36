"""`hilum.cross_validate` and `hilum.sweep`: several trainings, to measure or to choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hilum.api.datasets import Data, table_of
from hilum.api.evaluations import Evaluation
from hilum.api.findings_evaluations import FindingsEvaluation
from hilum.api.printed import Result, Writable
from hilum.api.python_wording import public, told
from hilum.api.runs import Run, open_run
from hilum.api.trainings import recipe_of
from hilum.evaluation import crossval, crossval_schema
from hilum.evaluation.findings_predictions import FindingsPredictions, read_findings_predictions
from hilum.evaluation.predictions import FILE, Predictions, read_predictions
from hilum.evaluation.source_comparison import FindingsBySource, SourceComparison
from hilum.report.findings_crossval import write_shown_crossval
from hilum.report.sweep_page import write_sweep_page
from hilum.training import sweep as sweeps
from hilum.training.parallel import Engine
from hilum.training.plan import Monitor
from hilum.training.recipe import Recipe

if TYPE_CHECKING:
    from rich.console import RenderableType


class CrossValidation(Result):
    """Every patient, or every source, tested once, by a training that had not seen them.

    Attributes:
        result: Everything that ``crossval.json`` holds, typed.
        folder: Folder of the series; each fold is a run in it, and ``crossval.html`` is its report.
    """

    def __init__(
        self, result: crossval_schema.CrossValidation | crossval_schema.FindingsCrossValidation, folder: Path
    ) -> None:
        self.result = result
        self.folder = folder

    @property
    def pooled(self) -> Evaluation | FindingsEvaluation:
        """The measures of all folds' predictions together."""
        file = self.folder / FILE
        if isinstance(self.result, crossval_schema.FindingsCrossValidation):
            return FindingsEvaluation(self.result.pooled, read_findings_predictions(file), self.folder)
        return Evaluation(self.result.pooled, read_predictions(file), self.folder)

    @property
    def sources(self) -> SourceComparison | FindingsBySource | None:
        """The model at sources that it never saw, and the drop against ordinary folds; None unless `by` was given."""
        return self.result.sources

    @property
    def predictions(self) -> Predictions | FindingsPredictions:
        """The prediction for every image, by the fold that had not seen it."""
        return self.pooled.predictions

    @property
    def runs(self) -> list[Run]:
        """The run of each fold."""
        return [open_run(self.folder / f"fold-{number}") for number in range(1, len(self.result.per_fold) + 1)]

    def _document(self) -> Writable:
        return self.result

    def _table(self) -> RenderableType:
        from hilum.report.findings_crossval import shown_crossval

        return shown_crossval(self.result)

    def __repr__(self) -> str:
        return f"<hilum.CrossValidation {self.folder}: {len(self.result.per_fold)} folds>"


class Sweep(Result):
    """Trainings with several values of some recipe keys, and the choice between them by validation.

    Attributes:
        result: Everything that ``sweep.json`` holds, typed.
        folder: Folder of the series; each trial is a run in it, and ``sweep.html`` is its report.
    """

    def __init__(self, result: sweeps.Sweep, folder: Path) -> None:
        self.result = result
        self.folder = folder

    @property
    def best(self) -> Run | None:
        """The first run of the chosen settings; None if no training finished."""
        chosen = self.result.choice is not None
        return open_run(self.folder / "trials" / self.result.groups[0].trials[0]) if chosen else None

    def _document(self) -> Writable:
        return self.result

    def _table(self) -> RenderableType:
        from hilum.report.sweep_page import sweep_table

        return sweep_table(self.result, self.folder)

    def __repr__(self) -> str:
        return f"<hilum.Sweep {self.folder}: {len(self.result.trials)} trials, choice {self.result.choice}>"


@public
def cross_validate(
    data: Data,
    out: str | PathLike[str],
    recipe: str | PathLike[str] | Recipe = "compact",
    *,
    folds: int = 5,
    by: str = "",
    reference: bool = True,
    repeats: int = 5,
    seed: int = 0,
    resume: bool = False,
    engine: str = "local",
    address: str = "",
    cpus_per_trial: int = 1,
    progress: bool = True,
    **settings: Any,
) -> CrossValidation:
    """Train and test in turns, so that every patient, or every source, is tested once.

    Args:
        data: Folder, CSV table, data frame of pandas or polars, or `Dataset`; or a list of them, which are joined.
        out: New folder; each fold is a run in it.
        recipe: Name of a recipe, TOML file, or `Recipe`.
        folds: Number of folds, at least 2.
        by: Column whose values are tested in turns instead of `folds`, each by a training that saw none of its images:
            ``source``, ``dataset`` (of joined datasets), or another column.
        reference: Whether to train ordinary folds, too, with `by`: the drop is measured against them.
        repeats: With how many random seeds to train these; with 2 or more, the drop's interval counts their chance.
        seed: Seed of the division into folds.
        resume: Whether to go on with a series that was interrupted.
        engine: ``local``, one run after the other, or ``ray``, several at a time. Results are the same with the same
            number of threads.
        address: ``HOST:PORT`` of the head of a cluster of Ray, whose nodes share a file system that holds the data and
            `out`; empty for this machine alone.
        cpus_per_trial: Number of CPUs and threads of each run; with ``ray`` only.
        progress: Whether long work shows its progress on standard error.
        settings: Recipe keys with other values, as `train` takes them.

    Raises:
        RunError: `out` holds something else, or there is nothing to resume.
        RecipeError: There is no such recipe or key, or a value is impossible.
        DataError: The data cannot be used.
        EngineError: The cluster does not answer, or does not see the data or `out`.
        UsageError: There is no column `by`.
    """
    teller, folder = told(progress), Path(out)
    result = crossval.crossval(
        table_of(data, teller),
        folder,
        recipe_of(recipe, settings),
        folds=folds,
        by=by,
        reference=reference,
        repeats=repeats,
        seed=seed,
        resume=resume,
        engine=Engine(engine, address, cpus_per_trial),
        progress=teller,
    )
    write_shown_crossval(folder, result)
    return CrossValidation(result, folder)


@public
def sweep(
    data: Data,
    grid: Mapping[str, Sequence[Any]],
    out: str | PathLike[str],
    recipe: str | PathLike[str] = "compact",
    *,
    monitor: Monitor | None = None,
    resume: bool = False,
    engine: str = "local",
    address: str = "",
    cpus_per_trial: int = 1,
    early_stopping: bool = False,
    progress: bool = True,
) -> Sweep:
    """Train with every combination of some recipe keys' values, and choose by validation. Test images select nothing.

    Args:
        data: Folder, CSV table, data frame of pandas or polars, or `Dataset`.
        grid: Values by recipe key, such as ``{"lr": [1e-3, 1e-2], "seed": [0, 1]}``; seeds are repetitions.
        out: New folder; each trial is a run in it.
        recipe: Name of a recipe, or TOML file.
        monitor: ``loss``, ``accuracy``, ``false_negatives`` or ``auroc`` on validation; by default the recipe's.
        resume: Whether to go on with a series that was interrupted.
        engine: ``local``, one run after the other, or ``ray``, several at a time. Results are the same with the same
            number of threads.
        address: ``HOST:PORT`` of the head of a cluster of Ray, whose nodes share a file system that holds the data and
            `out`; empty for this machine alone.
        cpus_per_trial: Number of CPUs and threads of each run; with ``ray`` only.
        early_stopping: Whether to stop trials that fall behind on validation; with ``ray`` only.
        progress: Whether long work shows its progress on standard error.

    Raises:
        RunError: `out` holds something else, or there is nothing to resume.
        RecipeError: There is no such recipe or key, or a value is impossible.
        DataError: The data cannot be used.
        EngineError: The cluster does not answer, or does not see the data or `out`.
    """
    teller, folder = told(progress), Path(out)
    named = {"training.seed" if key == "seed" else key.replace("__", "."): values for key, values in grid.items()}
    settings = [f"{key}={','.join(map(_as_toml, values))}" for key, values in named.items()]
    chosen = recipe if isinstance(recipe, str) else Path(recipe)
    result = sweeps.sweep(
        table_of(data, teller),
        folder,
        settings,
        recipe=chosen,
        monitor=monitor,
        resume=resume,
        engine=Engine(engine, address, cpus_per_trial),
        early_stopping=early_stopping,
        progress=teller,
    )
    write_sweep_page(folder, result)
    return Sweep(result, folder)


def _as_toml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value).replace("'", '"')
