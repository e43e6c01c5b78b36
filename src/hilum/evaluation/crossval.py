"""Cross-validation: every patient is tested once, by a network that has not seen them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hilum.auditing.near_duplicates.groups import Groups, find_groups
from hilum.auditing.preflight import Checked, cheap_checks
from hilum.data.cache import Images, open_images
from hilum.data.dataset import Dataset
from hilum.data.label_names import check_one_finding
from hilum.data.options import ReadOptions
from hilum.data.patients import in_words
from hilum.data.ray_pool import pool_of
from hilum.data.readers.read import read_table
from hilum.data.splits import UNUSED, assign_splits, independent_groups
from hilum.data.stratification import one_sided
from hilum.errors import DivergenceError, SplitError, UsageError
from hilum.evaluation.crossval_schema import CrossValidation, FindingsCrossValidation
from hilum.evaluation.fold_results import (
    WHAT,
    Pooled,
    PooledFindings,
    Series,
    begin_folds,
    in_turns,
    members_of,
    write_together,
)
from hilum.evaluation.folds import Fold, assign_folds, by_patient
from hilum.evaluation.source_comparison import (
    FindingFoldResults,
    FoldResults,
    compare_findings_by_source,
    compare_sources,
)
from hilum.evaluation.source_folds import Division, divide_by_source, ordinary_folds, source_values
from hilum.progress import Progress
from hilum.ray_engine import one_connection
from hilum.text import plural
from hilum.training.multirun import series
from hilum.training.parallel import Engine, train_members
from hilum.training.prepare import look, say
from hilum.training.recipe import Recipe
from hilum.training.train import settled
from hilum.training.trainable import check_training, roles_of

FEWEST_FOLDS, ORDINARY, REPEATS = 2, "ordinary", 5


@series(WHAT)
@one_connection()
def crossval(
    data: Path | Dataset,
    out: Path,
    recipe: Recipe | None = None,
    *,
    folds: int = 5,
    by: str = "",
    reference: bool = True,
    repeats: int = REPEATS,
    seed: int = 0,
    resume: bool = False,
    engine: Engine | None = None,
    read: ReadOptions | None = None,
    progress: Progress | None = None,
) -> CrossValidation | FindingsCrossValidation:
    """Train and test in turns, grouped by patient and by picture, stratified by label, or by findings.

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
        repeats: How often these are divided and trained, each time by another random seed: with 2 or more, the interval
            of the drop counts the chance of trainings, too.
        seed: Of the division into folds.
        resume: Go on with the cross-validation in `out`.
        engine: Where images are decoded and folds trained; by default in this process, one after the other. They are
            evaluated here in any case, and the results are the same with the same number of threads.
        read: How to read `data`.
        progress: Told about long work.

    Returns:
        What ``crossval.json`` in `out` holds.

    Raises:
        SplitError: A label has fewer patients than it takes, or no source can be left out.
        UsageError: There are too few folds or repeats, or there is no column `by`.
        RunError: `out` is in the way, another process works in it, or there is nothing to continue.
        RecipeError: `resume` finds another cross-validation.
        DataError: The data cannot be used.
        DivergenceError: The loss of a fold is no longer a finite number.
        EngineError: The cluster does not answer, or does not see the folder or the data.
    """
    from hilum.training.encoder_head import has_encoder
    from hilum.training.loop import check_network

    progress, engine = progress or Progress(), engine or Engine()
    engine.check()
    recipe = settled(recipe or Recipe(), progress=progress)
    wanted = recipe.splits
    val = "none" if has_encoder(recipe) and wanted.val == "none" else "hold_out"
    splits = recipe.splits.model_copy(update={"val": val, "calibration": "none", "test": "auto"})
    recipe = recipe.model_copy(update={"splits": splits})
    if folds < FEWEST_FOLDS:
        msg = f"{folds} folds: give at least {FEWEST_FOLDS}."
        raise UsageError(msg, code="too-few-folds")
    if repeats < 1:
        msg = f"{repeats} repeats: give at least 1, or --no-reference."
        raise UsageError(msg, code="too-few-repeats")
    table = data if isinstance(data, Dataset) else read_table(data, read, progress)
    check_one_finding(table)
    check_network(recipe, table.findings or table.labels, findings=bool(table.findings))
    notes = list(table.notes)
    needed = sorted({recipe.positive_label, recipe.healthy} - {"auto", "none"})
    if by:
        table = _of_known_source(table, by, notes)
        divide_by_source(table, source_values(table, by), independent_groups(table), needed=needed)  # before any pixel
    notes += [f"the dataset's own splits ({', '.join(table.splits)}) are pooled"] if table.splits else []
    if {wanted.val, wanted.test, wanted.calibration} - {"auto", "hold_out", "none"}:
        notes.append("the recipe's splits are replaced: folds are the test sets, validation is held out")
    pool = pool_of(engine.name, engine.address, table)
    images = open_images(table, recipe.preprocessing, pool=pool, progress=progress)
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
    seeds = range(seed, seed + repeats) if division and reference else ()
    again = [ordinary_folds(images.table, division, together, of) for of in seeds] if division else []
    for fold in (*chosen, *(fold for folds_of in again for fold in folds_of)):  # mistakes are found before any folder
        divided = fold.divide(images.table)
        _check_tested(divided)
        labels = check_training(
            divided.with_splits(assign_splits(divided, recipe.splits, groups.numbers).names), recipe
        )
    progress.line(roles_of(recipe, table.findings or labels, findings=bool(table.findings)))
    about = Series(table, images, notes, findings, recipe, seed)
    others = []
    for number, (of, folds_of) in enumerate(zip(seeds, again, strict=True) if division else (), 1):
        training = recipe.training.model_copy(update={"seed": recipe.training.seed + number - 1})
        other = replace(about, seed=of, recipe=recipe.model_copy(update={"training": training}))
        others.append((other, folds_of, out / (ORDINARY if number == 1 else f"{ORDINARY}-{number}")))
    if engine.parallel:
        begin_folds(about, chosen, out, resume=resume, by=by)
        for other, folds_of, folder in others:
            folder.mkdir(exist_ok=True)
            begin_folds(other, folds_of, folder, resume=resume, as_large_as=by)
        _train_side_by_side([(about, chosen, out), *others], engine, progress)
        resume = True  # what was just begun
    found = in_turns(about, chosen, out, progress, resume=resume, by=by)
    if division:
        repeated = []
        for other, folds_of, folder in others:
            folder.mkdir(exist_ok=True)
            one = in_turns(other, folds_of, folder, progress, resume=resume, as_large_as=by)
            write_together(folder, one[0], one[1].predictions)
            repeated.append(one)
        found = _compared(by, division, found, repeated)
    result, tested = found
    write_together(out, result, tested.predictions)
    return result


def _train_side_by_side(
    parts: Sequence[tuple[Series, Sequence[Fold], Path]], engine: Engine, progress: Progress
) -> None:
    """Train the folds of all parts, several at a time; they are evaluated in turns afterwards.

    Raises:
        DivergenceError: The loss of a fold is no longer a finite number.
    """
    members = [member for about, folds, out in parts for member in members_of(about, folds, out)]
    out = parts[0][2]
    with progress.task("Training folds", len(members)) as advance:
        for number, message in train_members(out, members, engine, progress):
            if message:
                raise DivergenceError(message, path=members[number].folder)
            progress.line(f"{members[number].folder.relative_to(out)}: trained")
            advance(1)


def _compared(
    by: str,
    division: Division,
    found: Pooled | PooledFindings,
    repeated: Sequence[Pooled | PooledFindings],
) -> Pooled | PooledFindings:
    """The same with what was found of the sources."""
    result, tested = found
    others = [of for _, of in repeated]
    if isinstance(result, FindingsCrossValidation) and isinstance(tested, FindingFoldResults):
        of_findings = [of for of in others if isinstance(of, FindingFoldResults)]
        by_finding = compare_findings_by_source(by, division, tested, of_findings)
        return result.model_copy(update={"sources": by_finding}), tested
    assert isinstance(result, CrossValidation)
    assert isinstance(tested, FoldResults)
    of_labels = [of for of in others if isinstance(of, FoldResults)]
    sources = compare_sources(by, division, tested, of_labels, result.pooled.positive_label)
    return result.model_copy(update={"sources": sources}), tested


def _check_tested(divided: Dataset) -> None:
    """Find a fold that tests no finding, before any is trained."""
    sides = [row.split for row in divided.rows]
    if divided.findings and len(one_sided(divided, sides).get("test", {})) == len(divided.findings):
        msg = (
            f"{divided.root}: a fold would test no finding, since none is known to be present in some of its images "
            "and absent in others. Use fewer --folds, or add images."
        )
        raise SplitError(msg, code="one-sided-findings", path=divided.root)


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
