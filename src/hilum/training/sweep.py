"""A sweep: every combination of several values of recipe keys, trained, and compared by validation."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
import math
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, JsonValue, PlainSerializer

from hilum import __version__
from hilum.auditing.near_duplicates.groups import find_groups
from hilum.auditing.preflight import cheap_checks
from hilum.data.cache import Images, hashed, open_images
from hilum.data.dataset import Dataset
from hilum.data.label_names import check_one_finding
from hilum.data.options import ReadOptions
from hilum.data.ray_pool import pool_of
from hilum.data.readers.read import read_table
from hilum.data.splits import assign_splits
from hilum.documents import Document
from hilum.errors import DivergenceError, RecipeError, RunError, UsageError
from hilum.files import save_bytes, save_json
from hilum.progress import Progress
from hilum.ray_engine import one_connection
from hilum.stats.records import Record
from hilum.training.multirun import WholeRecipe, begin_series, identity, series, train_member
from hilum.training.parallel import Engine, Member, train_members
from hilum.training.plan import Monitor, rank
from hilum.training.prepare import look, say
from hilum.training.recipe import Recipe, load_recipe, parse_value
from hilum.training.run import read_json
from hilum.training.sweep_grid import parse_grid, trial_names
from hilum.training.train import settled
from hilum.training.trainable import check_training, roles_of

WHAT = "sweep"
TABLE = "sweep.csv"
SEED_KEYS, SELECT_KEY = ("training.seed", "splits.seed"), "training.monitor"
OF_FINDINGS = "val_auroc"  # measured only where an image may have several
MEASURES = ("val_loss", "val_accuracy", "val_false_negatives", OF_FINDINGS)


class MeanValidation(Record):
    """Means over seeds of the validation of the kept checkpoints."""

    val_loss: float
    val_accuracy: float
    val_false_negatives: float
    val_auroc: float | None = None


class Validation(Record):
    """The validation of the kept checkpoint: a line of ``history.csv``."""

    epoch: int | float
    step: int | float
    val_loss: float
    val_accuracy: float
    val_false_negatives: int | float
    val_auroc: float | None = None


NoneIsEmpty = BeforeValidator(lambda found: found or None), PlainSerializer(lambda found: dict(found or {}))


class Trial(Record):
    """One training of a sweep.

    Attributes:
        name: Of its folder below ``trials``.
        settings: What it changes in the recipe, by full key.
        message: Why it ended, if it did not finish.
        best: None where it did not finish.
        seconds: Of training.
    """

    name: str
    settings: dict[str, JsonValue]
    status: Literal["waiting", "finished", "diverged", "stopped"]
    message: str
    best: Annotated[Validation | None, *NoneIsEmpty]
    seconds: float | None


class Group(Record):
    """Trials that differ in nothing but the seed; a choice is made between groups.

    Attributes:
        settings: What they have in common.
        trials: Their names.
        mean: Means over the seeds; None where not all of them finished.
    """

    settings: dict[str, JsonValue]
    trials: list[str]
    mean: Annotated[MeanValidation | None, *NoneIsEmpty]


class SweepPlan(Record, Document):
    """Every choice of a sweep.

    Attributes:
        data: Identity of the dataset.
        recipe: What the trials have in common.
        monitor: What checkpoints are kept by, and settings chosen by.
        swept: Values by recipe key.
        early_stopping: Whether trials that fall behind are stopped; absent where none is.
    """

    data: str
    recipe: WholeRecipe
    monitor: Monitor
    swept: dict[str, list[JsonValue]]
    notes: list[str]
    early_stopping: bool = False


class Sweep(SweepPlan):
    """A sweep: ``sweep.json``.

    Attributes:
        trials: In the order in which they run.
        groups: The best first.
        choice: Settings of the best group; None if none finished.
        files: SHA-256 of ``sweep.csv``.
    """

    hilum: str = ""
    trials: list[Trial]
    groups: list[Group]
    choice: dict[str, JsonValue] | None
    files: dict[str, str] = Field(default_factory=dict)

    def members(self, group: Group) -> list[Trial]:
        """The trials of a group."""
        return [trial for trial in self.trials if trial.name in group.trials]

    def chose(self, group: Group) -> bool:
        """Whether a group is the choice."""
        return group.mean is not None and group.settings == self.choice


@series(WHAT)
@one_connection()
def sweep(
    data: Path | Dataset,
    out: Path,
    settings: Sequence[str],
    *,
    recipe: str | Path = "compact",
    monitor: Monitor | None = None,
    resume: bool = False,
    engine: Engine | None = None,
    early_stopping: bool = False,
    read: ReadOptions | None = None,
    progress: Progress | None = None,
) -> Sweep:
    """Train one run for every combination of the swept values, and choose by validation.

    Trials that differ in ``training.seed`` or ``splits.seed`` only count as repetitions: the choice is between the
    means of the others. Nothing is evaluated on test images; they choose nothing.

    Args:
        data: A dataset, or where one is.
        out: A new folder: ``sweep.json``, ``sweep.csv``, and ``trials`` with a run each. With `resume` an earlier one,
            whose finished trials are kept and whose interrupted one goes on.
        settings: As in `parse_grid`.
        recipe: What the trials have in common.
        monitor: What to keep checkpoints by and to choose by; by default the recipe's own.
        resume: Go on with the sweep in `out`.
        engine: Where images are decoded and trials trained; by default in this process, one after the other. The
            results are the same with the same number of threads.
        early_stopping: Stop trials that fall behind on validation (`hilum.training.early_stopping`); with Ray only.
        read: How to read `data`.
        progress: Told about long work.

    Returns:
        What ``sweep.json`` in `out` holds. A trial whose loss is no longer a number is ``diverged`` and does not stop
        the others.

    Raises:
        RecipeError: A key or a value is impossible (found before anything is trained), or `resume` finds another sweep.
        RunError: `out` is in the way, or another process works in it.
        DataError: The data cannot be used.
        EngineError: The cluster does not answer, or does not see the folder or the data.
    """
    from hilum.training.loop import check_network

    progress, engine = progress or Progress(), engine or Engine()
    engine.check()
    if early_stopping and not engine.parallel:
        msg = "--early-stopping compares trials that run side by side: add --engine ray, or leave it out."
        raise UsageError(msg, code="ignored-option")
    fixed, swept = parse_grid(settings)
    if monitor and SELECT_KEY not in swept:
        fixed.append(f"{SELECT_KEY}={monitor}")
    combinations = [dict(zip(swept, values, strict=True)) for values in itertools.product(*swept.values())]
    recipes = [
        settled(load_recipe(recipe, [*fixed, *(f"{k}={v}" for k, v in chosen.items())]), progress=progress)
        for chosen in combinations
    ]
    criterion = monitor or _criterion(recipes)
    table = data if isinstance(data, Dataset) else read_table(data, read, progress)
    check_one_finding(table)
    for of_trial in recipes:
        check_network(of_trial, table.findings or table.labels, findings=bool(table.findings))
    images = _decoded(table, recipes, engine, progress)
    groups = {how: find_groups(images, how, progress) for how in {one.splits.duplicates for one in recipes}}
    first = groups[recipes[0].splits.duplicates]
    for note in first.notes(images.table):
        progress.line(f"note: {note}")
    checked = cheap_checks(images, assign_splits(images.table, recipes[0].splits, first.numbers).names, first)
    progress.line(checked.sentence())
    say(look(images, checked), progress)
    for of_trial in recipes:  # mistakes are found before a folder is made
        splits = assign_splits(images.table, of_trial.splits, groups[of_trial.splits.duplicates].numbers)
        labels = check_training(images.table.with_splits(splits.names), of_trial)
    if not {"positive_label", "healthy"} & swept.keys():
        progress.line(roles_of(recipes[0], labels, findings=bool(table.findings)))
    plan = SweepPlan(
        data=identity(images.table),
        recipe=load_recipe(recipe, fixed),
        monitor=criterion,
        swept={key: [parse_value(value) for value in values] for key, values in swept.items()},
        notes=_incomparable(swept, criterion),
    ).model_copy(update={"early_stopping": True} if early_stopping else {})
    begin_series(out, plan, WHAT, resume=resume)
    ended = _ended(out)
    trials = []
    for name, chosen in zip(trial_names(combinations), combinations, strict=True):
        trial = Trial(
            name=name,
            settings={key: parse_value(value) for key, value in chosen.items()},
            # what diverged would do so again: everything random is fixed
            status=ended[name].status if name in ended else "waiting",
            message=ended[name].message if name in ended else "",
            best=None,
            seconds=None,
        )
        trials.append(_finished(out / "trials" / name, trial))
    result = _write(out, plan, trials)
    if early_stopping:
        from hilum.training.early_stopping import train_with_stopping

        members = [Member(out / "trials" / t.name, table, of) for t, of in zip(trials, recipes, strict=True)]
        over = [trial.status != "waiting" for trial in trials]
        for place, status, message in train_with_stopping(out, members, over, engine, criterion, progress):
            trials[place] = _after(out / "trials", trials[place], status, message)
            result = _write(out, plan, trials)
        return result
    with progress.task("Trials", len(trials)) as advance:
        if engine.parallel:
            places = [place for place, trial in enumerate(trials) if trial.status == "waiting"]
            members = [Member(out / "trials" / trials[place].name, table, recipes[place]) for place in places]
            for number, message in train_members(out, members, engine, progress):
                place = places[number]
                status = "diverged" if message else "finished"
                trials[place] = _after(out / "trials", trials[place], status, message)
                result = _write(out, plan, trials)
                progress.line(f"trial {trials[place].name}: {trials[place].status}")
                advance(1)
            return result
        for place, of_trial in enumerate(recipes):
            if trials[place].status == "waiting":
                progress.line(f"trial {trials[place].name}")
                trials[place] = _run_trial(table, out / "trials", of_trial, trials[place], progress)
                result = _write(out, plan, trials)
            advance(1)
    return result


def _decoded(table: Dataset, recipes: Sequence[Recipe], engine: Engine, progress: Progress) -> Images:
    """The images as the first recipe takes them; a cluster decodes them as all others do, too, before any trial."""
    first = recipes[0].preprocessing
    if not engine.parallel:
        return open_images(table, first, progress=progress)
    pool = partial(pool_of, engine.name, engine.address, table)
    known = hashed(table, pool=pool(), progress=progress)
    others = {one.preprocessing.digest_of_bytes(): one.preprocessing for one in recipes}
    del others[first.digest_of_bytes()]
    for preprocessing in others.values():
        open_images(known, preprocessing, pool=pool(), progress=progress)
    return open_images(known, first, pool=pool(), progress=progress)


def _run_trial(data: Dataset, trials: Path, recipe: Recipe, trial: Trial, progress: Progress) -> Trial:
    folder = trials / trial.name
    try:
        train_member(data, folder, recipe, progress)
    except DivergenceError as error:
        progress.line(f"trial {trial.name}: {error}")
        return _after(trials, trial, "diverged", str(error))
    return _finished(folder, trial)


def _after(trials: Path, trial: Trial, status: str, message: str) -> Trial:
    """The trial once its training has ended so."""
    folder = trials / trial.name
    if status == "finished":
        return _finished(folder, trial)
    told = message.removeprefix(f"{folder.resolve()}: ").removeprefix(f"{folder}: ")
    return trial.model_copy(update={"status": status, "message": told})


def _finished(folder: Path, trial: Trial) -> Trial:
    """The trial with what its run says, if that finished; else as it is."""
    if "weights_sha256" not in (facts := read_json(folder / "environment.json")):
        return trial
    kept = {"best": Validation.model_validate(facts["best"]), "seconds": facts["seconds"]}
    return trial.model_copy(update={"status": "finished", **kept})


def _ended(out: Path) -> dict[str, Trial]:
    """What an earlier go found to diverge, or stopped, by name."""
    try:
        earlier = Sweep.read(out / "sweep.json", "hilum sweep")
    except RunError:
        return {}
    return {trial.name: trial for trial in earlier.trials if trial.status in ("diverged", "stopped")}


def _incomparable(swept: Iterable[str], monitor: Monitor) -> list[str]:
    """Remarks where trials are not judged by the same images."""
    notes = [
        f"{key} changes the validation images: the trials are not comparable"
        for key in swept
        if key.startswith("splits.") and key not in SEED_KEYS
    ]
    if "positive_label" in swept and monitor == "false_negatives":
        notes.append("positive_label changes the false negatives: the trials are not comparable")
    return notes


def _write(out: Path, plan: SweepPlan, trials: Sequence[Trial]) -> Sweep:
    groups = _groups(trials, plan.monitor)
    table = _table(plan, trials)
    result = Sweep(
        **plan.given(),
        hilum=__version__,
        trials=list(trials),
        groups=groups,
        choice=groups[0].settings if groups and groups[0].mean else None,
        files={TABLE: hashlib.sha256(table).hexdigest()},
    )
    save_bytes(out / TABLE, table)
    save_json(out / "sweep.json", result.to_json())
    return result


def _table(plan: SweepPlan, trials: Sequence[Trial]) -> bytes:
    """What ``sweep.csv`` holds."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    found = [trial.best for trial in trials if trial.best]
    measures = [name for name in MEASURES if name != OF_FINDINGS or any(best.val_auroc is not None for best in found)]
    columns = ("epoch", "step", *measures)
    writer.writerow(["trial", *plan.swept, "status", *columns, "seconds"])
    for trial in trials:
        values = [json.dumps(v) if isinstance(v, dict | list) else v for v in trial.settings.values()]
        numbers = [getattr(trial.best, name, "") for name in columns]
        writer.writerow([trial.name, *values, trial.status, *numbers, trial.seconds or ""])
    return file.getvalue().encode()


def _groups(trials: Sequence[Trial], monitor: Monitor) -> list[Group]:
    """Repetitions together, the best first; groups with an unfinished or diverged trial come last."""
    members: dict[str, list[Trial]] = {}
    for trial in trials:
        settings = {key: value for key, value in trial.settings.items() if key not in SEED_KEYS}
        members.setdefault(json.dumps(settings), []).append(trial)
    groups = [
        Group(settings=json.loads(key), trials=[trial.name for trial in found], mean=_mean(found))
        for key, found in members.items()
    ]
    return sorted(groups, key=lambda group: (not group.mean, rank(dict(group.mean), monitor) if group.mean else ()))


def _mean(trials: Sequence[Trial]) -> MeanValidation | None:
    found = [trial.best for trial in trials if trial.best]
    if len(found) < len(trials):
        return None
    values = {name: [getattr(best, name) for best in found] for name in MEASURES}
    means = {name: math.fsum(of) / len(of) for name, of in values.items() if None not in of}
    return MeanValidation.model_validate(means)


def _criterion(recipes: Sequence[Recipe]) -> Monitor:
    found = {recipe.training.monitor for recipe in recipes}
    if len(found) > 1:
        msg = "the trials keep checkpoints by different metrics. Name one with --monitor."
        raise RecipeError(msg)
    return found.pop()
