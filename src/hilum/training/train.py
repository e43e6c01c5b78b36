"""From a dataset and a recipe to a run: the whole training, or the rest of one that was interrupted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hilum.auditing.findings import KnownIssues, UnreadableFile, dataset_key
from hilum.data.cache import Images, open_images
from hilum.data.catalogue.entries import citation
from hilum.data.dataset import Dataset
from hilum.data.label_names import check_one_finding
from hilum.data.multilabel import finding_values
from hilum.data.options import ReadOptions
from hilum.data.process_pool import Pool
from hilum.data.ray_pool import pool_of
from hilum.data.readers.read import read_table
from hilum.data.splits import assign_splits
from hilum.errors import RecipeError, RunError, UsageError
from hilum.progress import Progress
from hilum.ray_engine import check_engine
from hilum.training.devices import Devices, check_devices, find_place
from hilum.training.environment import Environment, TrainingData, describe_machine
from hilum.training.lock import contents, occupied
from hilum.training.loggers import check_loggers
from hilum.training.prepare import prepare
from hilum.training.recipe import Recipe, without_init
from hilum.training.run import (
    ENCODER_FILE,
    ENVIRONMENT,
    HISTORY_FILE,
    RECIPE,
    SPLIT,
    UNREADABLE,
    Run,
    check_place,
    open_run,
    read_json,
    resolve_healthy,
    resolve_positive_label,
)
from hilum.training.trainable import check_shares, check_training, roles_of

if TYPE_CHECKING:
    from hilum.training.ranks import Ranks


def train(
    data: Path | Dataset,
    out: Path,
    recipe: Recipe | None = None,
    *,
    resume: bool = False,
    read: ReadOptions | None = None,
    check: bool = True,
    loggers: Sequence[str] = (),
    devices: Devices | None = None,
    engine: str = "local",
    address: str = "",
    progress: Progress | None = None,
) -> Run:
    """Train a classifier.

    Args:
        data: A dataset, as `hilum.data.readers.read.read_table` takes it, or a table of one.
        out: The run folder to make, or with `resume` to continue.
        recipe: Every choice; with `resume` it may be left out, and otherwise has to be the run's own.
        resume: Continue after the last validation, or begin anew where there was none yet (where it ended before its
            recipe was written, `recipe` is needed again); the weights in the end are
            those of a training that was never interrupted (on the same machine, with the same number of threads).
        read: How to read `data`; with `resume`, by default as the run did.
        check: Say first what the cheap checks of the audit find; a series does that once for all its runs.
        loggers: Experiment loggers that write to the run's folder ``logs``: ``tensorboard``, ``mlflow``, ``wandb``;
            with `resume`, by default those with which the run began.
        devices: On how many devices and nodes; with `resume` on others than before, if wanted.
        engine: Who reads and decodes the images before the training: ``local``, this machine, or ``ray``.
        address: Of a Ray cluster; by default one is started here.
        progress: Told about remarks, bars and losses.

    Returns:
        The finished run.

    Raises:
        RunError: `out` is in the way, another process works in it, there is nothing to continue, or the data have
            changed since.
        RecipeError: The recipe to continue with is another one, or names a positive label that does not exist.
        DataError: The data cannot be used, or labels list several findings.
        DivergenceError: The loss is no longer a finite number.
        EngineError: The cluster does not answer, or does not see the data, or its processes end.
        ExtraError: The package of a logger is not installed, or Ray is not.
        UsageError: There is no logger or no engine of that name, or there are fewer devices.
    """
    progress = progress or Progress()
    check_engine(engine, address)
    check_loggers(loggers)
    asked = devices or Devices()
    check_devices(asked)
    place = find_place(asked)
    recipe = settled(recipe, loggers, progress) if recipe else None
    given: dict[str, Any] = {"recipe": recipe, "resume": resume, "read": read, "check": check, "loggers": loggers}
    given |= {"engine": engine, "address": address}
    first = partial(_train_here, data, out, **given, progress=progress)
    if place and place.world == 1:
        return first()
    if recipe and recipe.network.architecture == "encoder":
        msg = f"{out}: a frozen encoder has one fit, on one device. Omit --devices and --nodes."
        raise UsageError(msg, code="devices-of-encoder")
    if recipe:
        check_shares(recipe, place.world if place else asked.world)
    from hilum.training.launch import launch, take_part

    if place:
        return take_part(place, asked, data, out, first)
    launch(train, asked, out, {"data": data, "out": out, **given, "devices": asked}, progress)
    return Run(out)


def _train_here(
    data: Path | Dataset,
    out: Path,
    ranks: Ranks | None = None,
    *,
    recipe: Recipe | None,
    resume: bool,
    read: ReadOptions | None,
    check: bool,
    loggers: Sequence[str],
    engine: str,
    address: str,
    progress: Progress,
) -> Run:
    """`train` in the process that writes the run."""
    with occupied(out, "train", lambda: _check_begun(out, recipe) if resume else check_free(out)):
        begun = not (recipe and _interrupted_at_once(out))
        return _train(
            data,
            out,
            recipe,
            ranks,
            resume=resume and begun,
            read=read,
            check=check,
            loggers=loggers,
            engine=engine,
            address=address,
            progress=progress,
        )


def _train(
    data: Path | Dataset,
    out: Path,
    recipe: Recipe | None,
    ranks: Ranks | None,
    *,
    resume: bool,
    read: ReadOptions | None,
    check: bool,
    loggers: Sequence[str],
    engine: str,
    address: str,
    progress: Progress,
) -> Run:
    """`train` in a folder that no other process enters."""
    run = Run(out)
    if not resume:
        _begin(run, recipe or Recipe(), data, read, loggers)
    elif not (out / ENVIRONMENT).exists():  # begun by a version before, and killed at once
        _begin(run, run.recipe, data, read, loggers)
    elif run.finished:
        progress.line(f"{out}: this training is already complete.")
        return run
    recipe, read = run.recipe, read or run.read_options
    loggers = loggers or run.environment.loggers
    check_loggers(loggers)
    checked = without_init(recipe) if resume and run.last.exists() else recipe  # first weights are not needed then
    world = ranks.place.world if ranks else 1
    # Until its splits are decided, a run's folder says how it was begun, and nothing else: it is begun anew then.
    decided = resume and run.environment.data.digest
    from hilum.training.initialisation import begin_with

    try:
        table = data if isinstance(data, Dataset) else read_table(data, read, progress)
        check_one_finding(table)
        findings: KnownIssues | None = None
        pool = pool_of(engine, address, table)
        if decided:
            images, notes = _as_begun(run, table, pool, progress)
        else:
            planned = assign_splits(table, recipe.splits)  # mistakes that need no pixel are found before any is decoded
            check_training(table.with_splits(planned.names), checked)
            check_shares(checked, world, table.with_splits(planned.names))
            images, table, notes, findings = prepare(table, recipe, progress, check=check, pool=pool)
        labels = check_training(images.table, checked)
        check_shares(checked, world, images.table)
        initial = begin_with(run, checked, labels, progress, findings=bool(table.findings))
        if decided:  # of another version, perhaps, which put the labels in another order
            labels, positive_label, healthy = run.labels, run.positive_label, run.healthy
        else:
            positive_label = resolve_positive_label(recipe, labels)
            healthy = () if table.findings else resolve_healthy(recipe, labels, positive_label)
            if check:
                progress.line(roles_of(recipe, labels, findings=bool(table.findings)))
            run.write_table(table)
    except Exception:
        if not resume:  # a mistake to correct, and the same command again
            for name in (SPLIT, RECIPE, ENVIRONMENT):
                (out / name).unlink(missing_ok=True)
        raise
    from hilum.training.encoder_head import fit_head, has_encoder
    from hilum.training.loop import fit, precision_of

    given = table.given or table.root
    begun = Environment(
        **describe_machine(precision_of(recipe.training)).given(),
        started=run.environment.started,
        labels=list(labels),
        positive_label=positive_label,
        healthy=list(healthy),
        audit=run.environment.audit if decided else findings,
        data=TrainingData(
            data_argument=str(given.resolve()),
            read=table.options,
            root=str(table.root.resolve()),
            digest=images.digest,
            key=dataset_key(images.table.rows),
            n_images=len(table),
            patients_known=table.patients_known,
            with_patient=table.with_patient,
            unreadable=[UnreadableFile(path=item.path, message=item.message) for item in images.unreadable],
            notes=[*notes, *citation(table.layout, table.options)],
        ).model_copy(update=_joined(table)),
    )
    begun = begun.model_copy(
        update=({"resumed": _now()} if resume else {})
        | ({"loggers": list(loggers)} if loggers else {})
        | ({"task": "findings"} if table.findings else {})
        | ({"initial": initial} if initial else {})
        | (ranks.described() if ranks else {})
    )
    run.write_environment(begun.model_copy(update={"files": run.hashes(RECIPE, SPLIT)}))
    if has_encoder(recipe):
        outcome = fit_head(run, images, labels, progress=progress)
        files = run.hashes(RECIPE, SPLIT, HISTORY_FILE, ENCODER_FILE)
    else:
        outcome = fit(run, images, labels, resume=resume, loggers=loggers, progress=progress, ranks=ranks)
        files = run.hashes(RECIPE, SPLIT, HISTORY_FILE)
    run.write_environment(begun.model_copy(update={**outcome.given(), "files": files}))
    return run


def settled(recipe: Recipe, loggers: Sequence[str] = (), progress: Progress | None = None) -> Recipe:
    """A recipe with what follows from the file of its encoder, if it has one.

    Raises:
        RecipeError: It has values that an encoder would ignore, or is that of an ensemble of trained runs.
        UsageError: Loggers follow steps, of which there are none.
        ModelFileError: The encoder cannot be used.
    """
    if recipe.members:
        msg = f"recipe '{recipe.name}': of an ensemble of trained runs. Train each of its members, then hilum ensemble."
        raise RecipeError(msg, code="ensemble-of-runs")
    if recipe.network.architecture != "encoder" and not recipe.encoder.file:
        return recipe
    from hilum.training.encoder_head import settle_encoder  # PyTorch and ONNX

    if loggers:
        msg = f"--logger {loggers[0]}: follows a training step by step; a frozen encoder has one fit. Omit it."
        raise UsageError(msg, code="logger-of-encoder")
    return settle_encoder(recipe, progress)


def _as_begun(run: Run, table: Dataset, pool: Pool, progress: Progress) -> tuple[Images, list[str]]:
    """The images of a training that was begun, perhaps by another version, with the splits and remarks that it has.

    Raises:
        RunError: Files, their contents or their labels are others.
    """
    images = open_images(table, run.recipe.preprocessing, pool=pool, progress=progress)
    begun = run.environment.data
    rows = run.rows
    same = (
        begun.digest == images.digest
        and table.findings == run.findings
        and [(row.path, row.label) for row in rows] == [(row.path, row.label) for row in table.rows]
        and np.array_equal(finding_values(run.table()), finding_values(table), equal_nan=True)
        and {i for i, row in enumerate(rows) if row.split != UNREADABLE} == set(images.positions.tolist())
    )
    if not same:
        msg = f"{table.given or table.root}: not the images and labels of {run.path}. "
        raise RunError(msg + "Give the same data, or start again.", code="other-images", path=run.path)
    splits = [rows[position].split for position in images.positions]
    return replace(images, table=images.table.with_splits(splits)), begun.notes


def check_free(out: Path, *, resumable: bool = True) -> None:
    """Find what is in the way of a new run.

    Args:
        out: Its folder.
        resumable: Whether the command that makes it has ``--resume``.

    Raises:
        RunError: Something is.
    """
    check_place(out)
    if not contents(out) or _only_begun(out):
        return
    what = (
        f"already holds a run. {'Continue it with --resume, delete it' if resumable else 'Delete it'}, or choose"
        if (out / RECIPE).exists()
        else "is not empty. Choose"
    )
    msg = f"{out}: {what} another --out."
    raise RunError(msg, code="in-the-way", path=out)


def _only_begun(out: Path) -> bool:
    """Whether a process was killed between the two files with which a run begins."""
    return contents(out) <= {ENVIRONMENT} and read_json(out / ENVIRONMENT).keys() - {"loggers"} == {"started", "data"}


def _interrupted_at_once(out: Path) -> bool:
    """Whether a folder was made for a run, and nothing tells yet how it was begun."""
    return out.is_dir() and (not contents(out) or _only_begun(out))


def _begin(run: Run, recipe: Recipe, data: Path | Dataset, read: ReadOptions | None, loggers: Sequence[str]) -> None:
    """Write down all that is given before any work, so that a training goes on whenever it was interrupted."""
    if isinstance(data, Dataset):
        given, read, joined = data.given or data.root, data.options, _joined(data)
    else:
        given, read, joined = data, read or ReadOptions(), {}
    about = TrainingData(data_argument=str(given.resolve()), read=read).model_copy(update=joined)
    begun = Environment(started=_now(), data=about)
    run.write_environment(begun.model_copy(update={"loggers": list(loggers)} if loggers else {}))
    run.write_recipe(recipe)


def _joined(table: Dataset) -> dict[str, list[str]]:
    """What was given, where it was several datasets: a field that other runs do not have."""
    return {"joined": [str(path.resolve()) for path in table.joined]} if table.joined else {}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _check_begun(out: Path, recipe: Recipe | None) -> None:
    """Find whether there is a run to continue, and by this recipe."""
    if _interrupted_at_once(out):
        if recipe:
            return
        msg = f"{out}: no training to continue. Omit --resume, and give --recipe and --set."
        raise RunError(msg, code="nothing-to-continue", path=out)
    run = open_run(out)
    if recipe and recipe != run.recipe:
        ours, theirs = run.recipe.model_dump(), recipe.model_dump()
        differing = ", ".join(key for key in ours | theirs if ours.get(key) != theirs.get(key))
        msg = f"{out}: was started with another recipe (differs in: {differing}). Omit --recipe and --set."
        raise RecipeError(msg, code="other-choices", path=out)
