"""From a dataset and a recipe to a run: the whole training, or the rest of one that was interrupted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from hilum.auditing.findings import KnownIssues, UnreadableFile, dataset_key
from hilum.data.cache import Images, open_images
from hilum.data.catalogue.entries import citation
from hilum.data.dataset import Dataset
from hilum.data.label_names import check_one_finding
from hilum.data.labels import roles_sentence
from hilum.data.multilabel import finding_values
from hilum.data.options import ReadOptions
from hilum.data.readers.read import read_table
from hilum.data.splits import assign_splits
from hilum.errors import RecipeError, RunError, SplitError, UsageError
from hilum.progress import Progress
from hilum.text import printable
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


def train(
    data: Path | Dataset,
    out: Path,
    recipe: Recipe | None = None,
    *,
    resume: bool = False,
    read: ReadOptions | None = None,
    check: bool = True,
    loggers: Sequence[str] = (),
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
        progress: Told about remarks, bars and losses.

    Returns:
        The finished run.

    Raises:
        RunError: `out` is in the way, another process works in it, there is nothing to continue, or the data have
            changed since.
        RecipeError: The recipe to continue with is another one, or names a positive label that does not exist.
        DataError: The data cannot be used, or labels list several findings.
        DivergenceError: The loss is no longer a finite number.
        ExtraError: The package of a logger is not installed.
        UsageError: There is no logger of that name.
    """
    progress = progress or Progress()
    check_loggers(loggers)
    recipe = settled(recipe, loggers, progress) if recipe else None
    with occupied(out, "train", lambda: _check_begun(out, recipe) if resume else check_free(out)):
        begun = not (recipe and _interrupted_at_once(out))
        return _train(
            data, out, recipe, resume=resume and begun, read=read, check=check, loggers=loggers, progress=progress
        )


def _train(
    data: Path | Dataset,
    out: Path,
    recipe: Recipe | None,
    *,
    resume: bool,
    read: ReadOptions | None,
    check: bool,
    loggers: Sequence[str],
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
    # Until its splits are decided, a run's folder says how it was begun, and nothing else: it is begun anew then.
    decided = resume and run.environment.data.digest
    from hilum.training.initialisation import begin_with

    try:
        table = data if isinstance(data, Dataset) else read_table(data, read, progress)
        check_one_finding(table)
        findings: KnownIssues | None = None
        if decided:
            images, notes = _as_begun(run, table, progress)
        else:
            planned = assign_splits(table, recipe.splits)  # mistakes that need no pixel are found before any is decoded
            check_training(table.with_splits(planned.names), checked)
            images, table, notes, findings = prepare(table, recipe, progress, check=check)
        labels = check_training(images.table, checked)
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
            notes=[*notes, *citation(table.layout)],
        ).model_copy(update=_joined(table)),
    )
    begun = begun.model_copy(
        update=({"resumed": _now()} if resume else {})
        | ({"loggers": list(loggers)} if loggers else {})
        | ({"task": "findings"} if table.findings else {})
        | ({"initial": initial} if initial else {})
    )
    run.write_environment(begun.model_copy(update={"files": run.hashes(RECIPE, SPLIT)}))
    if has_encoder(recipe):
        outcome = fit_head(run, images, labels, progress=progress)
        files = run.hashes(RECIPE, SPLIT, HISTORY_FILE, ENCODER_FILE)
    else:
        outcome = fit(run, images, labels, resume=resume, loggers=loggers, progress=progress)
        files = run.hashes(RECIPE, SPLIT, HISTORY_FILE)
    run.write_environment(begun.model_copy(update={**outcome.given(), "files": files}))
    return run


def settled(recipe: Recipe, loggers: Sequence[str] = (), progress: Progress | None = None) -> Recipe:
    """A recipe with what follows from the file of its encoder, if it has one.

    Raises:
        RecipeError: It has values that an encoder would ignore.
        UsageError: Loggers follow steps, of which there are none.
        ModelFileError: The encoder cannot be used.
    """
    if recipe.network.architecture != "encoder" and not recipe.encoder.file:
        return recipe
    from hilum.training.encoder_head import settle_encoder  # PyTorch and ONNX

    if loggers:
        msg = f"--logger {loggers[0]}: follows a training step by step; a frozen encoder has one fit. Omit it."
        raise UsageError(msg, code="logger-of-encoder")
    return settle_encoder(recipe, progress)


def _as_begun(run: Run, table: Dataset, progress: Progress) -> tuple[Images, list[str]]:
    """The images of a training that was begun, perhaps by another version, with the splits and remarks that it has.

    Raises:
        RunError: Files, their contents or their labels are others.
    """
    images = open_images(table, run.recipe.preprocessing, progress=progress)
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


def check_free(out: Path) -> None:
    """Find what is in the way of a new run.

    Raises:
        RunError: Something is.
    """
    check_place(out)
    if not contents(out) or _only_begun(out):
        return
    what = (
        "already holds a run. Continue it with --resume, delete it, or choose"
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


def check_training(table: Dataset, recipe: Recipe) -> tuple[str, ...]:
    """Find what would prevent a training, before anything is made for it.

    Args:
        table: Readable rows with the splits that the recipe gives them.
        recipe: Every choice.

    Returns:
        The labels that will be learnt.

    Raises:
        SplitError: ``train`` has fewer than two labels, a finding cannot be learnt, or there is nothing to choose by.
        RecipeError: The positive or the healthy label does not exist, or the network cannot be built for these labels.
    """
    from hilum.training.loop import check_before

    if table.findings:
        check_findings(table, recipe)
        check_before(recipe, table, table.findings)
        return table.findings
    labels = table.take(i for i, row in enumerate(table.rows) if row.split == "train").labels
    if len(labels) < 2:
        msg = f"{table.root}: train holds only {', '.join(labels) or 'nothing'}. Add images of another label to it."
        raise SplitError(msg)
    positive_label = resolve_positive_label(recipe, labels)
    resolve_healthy(recipe, labels, positive_label)
    if positive_label is None and recipe.training.monitor == "false_negatives":
        msg = f'{table.root}: monitor = "false_negatives" needs a positive label. Name one (--set positive=LABEL).'
        raise RecipeError(msg, code="no-positive-label")
    if recipe.training.monitor == "auroc":
        msg = f'{table.root}: monitor = "auroc" is for several findings an image. Take loss (--set monitor=loss).'
        raise RecipeError(msg, code="no-findings")
    check_before(recipe, table, labels)
    return labels


def check_findings(table: Dataset, recipe: Recipe) -> None:
    """Find what of a recipe does not work with several findings an image, and findings that cannot be learnt.

    Args:
        table: Readable rows with findings and splits.
        recipe: Every choice.

    Raises:
        SplitError: A finding is nowhere present, or nowhere absent, in train; or in val, where it is to choose.
        RecipeError: Labels are nested, or the positive finding does not exist.
    """
    from hilum.training.findings_loss import targets_of

    if recipe.hierarchy == "cascade":
        msg = (
            f"{table.root}: an image may have several findings ({_listed(table.findings)}), and a cascade "
            "decides between exclusive labels. Take one classifier for all (--set hierarchy=flat)."
        )
        raise RecipeError(msg, code="cascade-of-findings")
    plan = recipe.training
    positive = resolve_positive_label(recipe, table.findings)
    if positive is None and plan.monitor == "false_negatives":
        msg = f'{table.root}: monitor = "false_negatives" needs a positive finding: --set positive_label=FINDING.'
        raise RecipeError(msg, code="no-positive-label")
    values = targets_of(finding_values(table), plan.uncertain)
    splits = np.array([row.split for row in table.rows])
    known = {split: values[splits == split] for split in ("train", "val")}
    for number, name in enumerate(table.findings):
        here = known["train"][:, number]
        missing = [what for what, there in (("present", here > 0), ("absent", here < 1)) if not there.any()]
        if missing:
            msg = (
                f"{table.root}: no image of train has the finding '{printable(name)}' "
                f"{' and none '.join(missing)}. Add such images, or leave it out: --finding-columns with the others."
            )
            raise SplitError(msg, code="one-sided-finding", path=table.root)
    both = (known["val"] == 1).any(axis=0) & (known["val"] == 0).any(axis=0)
    if plan.monitor == "auroc" and not both.any():
        msg = (
            f'{table.root}: monitor = "auroc" needs a finding that is present on some images of val and absent on '
            "others. Take loss (--set monitor=loss), or add images to val."
        )
        raise SplitError(msg, code="one-sided-finding", path=table.root)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(printable, names))


def roles_of(recipe: Recipe, labels: Sequence[str], *, findings: bool = False) -> str:
    """Which of the labels is positive and which is healthy, or how to say it, in one line."""
    positive_label = resolve_positive_label(recipe, labels)
    if findings:
        positive = f"; positive: {printable(positive_label)} (must not be missed)" if positive_label else ""
        return f"{len(labels)} findings, of which an image may have several: {_listed(labels)}{positive}"
    healthy = resolve_healthy(recipe, labels, positive_label)
    return roles_sentence(labels, positive_label, healthy, chosen=recipe.positive_label == "none")
