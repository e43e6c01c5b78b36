"""From two runs to ``comparison.json``: paired, on the same patients."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field

from hilum import __version__
from hilum.documents import Document
from hilum.errors import RunError
from hilum.evaluation.differences import OverSeeds, PairedMeasures, gains_over_seeds, measure_pair
from hilum.evaluation.external_predictions import ExternalPredictions, roles_in
from hilum.evaluation.predictions import Predictions, read_predictions
from hilum.evaluation.recipe_differences import RecipeDifference, check_methods, recipe_differences
from hilum.evaluation.schema import FileFacts, Metrics
from hilum.files import save_json, settle
from hilum.outputs import COMPARISON, PAGE, check_folder
from hilum.progress import Progress
from hilum.stats.records import Record
from hilum.training.run import Run, read_json

BY_ROW = "no column names the images: row N of one table is matched to row N of the other; add a column `path`"
FILE, PAGE_FILE = "comparison.json", "comparison.html"


class ComparedRun(Record):
    """One of two compared runs, or of two tables of predictions, of which only name and path are known.

    Attributes:
        name: Name that tells it from the other one.
        split: Split on whose images it is compared.
        recipe: Name of the recipe.
        network: Architecture of the network.
        seed: Random seed of the training; None of an ensemble of runs.
        seeds: Those of its members.
        files: Hashes of the evaluation's tables.
    """

    name: str
    path: str
    split: str = "all"
    recipe: str = ""
    hierarchy: str = ""
    network: str = ""
    seed: int | None = None
    seeds: list[int] = Field(default_factory=list)
    weights_sha256: str | None = None
    files: dict[str, FileFacts] | None = None

    @property
    def seeds_shown(self) -> str:
        """The seed, or those of all members; empty where none is known."""
        return ", ".join(map(str, self.seeds or ([] if self.seed is None else [self.seed])))


def one_classifier(first: ComparedRun, second: ComparedRun) -> bool:
    """Whether two runs hold the same weights."""
    return first.weights_sha256 is not None and first.weights_sha256 == second.weights_sha256


class _Compared(Record, Document):
    """Which runs are compared."""

    hilum: str = ""
    runs: tuple[ComparedRun, ComparedRun]
    recipe_differences: list[RecipeDifference] | None = None
    positive_label: str | None
    notes: list[str] = Field(default_factory=list)


class Comparison(PairedMeasures, _Compared):
    """Two runs on the same patients: ``comparison.json``.

    Attributes:
        recipe_differences: Recipe keys in which they differ; None in comparisons of earlier versions.
        positive_label: Positive label of both; None where they differ.
        over_seeds: Gain of the second method from several pairs of runs; None of one pair.
    """

    over_seeds: OverSeeds | None = None

    @property
    def one_classifier(self) -> bool:
        """Whether both runs hold the same weights."""
        return one_classifier(*self.runs)


@dataclass(frozen=True)
class Compared:
    """A comparison, and the folder it was written to."""

    folder: Path
    comparison: Comparison


def compare(
    first: Run,
    second: Run,
    *,
    split: str = "test",
    second_split: str | None = None,
    out: Path | None = None,
    more_seeds: Sequence[tuple[Run, Run]] = (),
    progress: Progress | None = None,
) -> Compared:
    """Compare two runs on the same patients; what is not evaluated yet is evaluated now.

    Both are also read down the label tree, so that network and decision rule can be distinguished: a flat network
    read so, P(infected) = 1 - P(normal), differs from a cascade in the network alone.

    Args:
        first: A finished run.
        second: Another; differences are second minus first.
        split: On which of their splits.
        second_split: The second run's name for the same images, where it is another.
        out: Where to write; by default ``comparison/<first>`` in the second run.
        more_seeds: Further pairs, which differ from the first one in their seeds only: then the gain has an interval
            over seeds and patients, which says something of the methods.
        progress: Told about long work.

    Raises:
        RunError: They were evaluated on different images, or know different labels; or `more_seeds` are other methods.
        UsageError: `out` holds files of other kinds.
    """
    progress = progress or Progress()
    if out:
        check_free(out)
    splits = split, second_split or split
    read = [_evaluated(run, name, progress) for run, name in zip((first, second), splits, strict=True)]
    one, two = align(read[0][0], read[1][0], names=(str(first.path), str(second.path)))
    check_contents(first, second, one.paths)
    same = bool(np.array_equal(one.probabilities, two.probabilities))
    names = names_of(first, second)
    notes = notes_about(names, splits, [metrics.data.notes for _, metrics in read])
    if len({bool(metrics.calibration and metrics.calibration.temperatures) for _, metrics in read}) > 1:
        notes.append("only one of the two is calibrated by temperature, which changes its top-down decoding")
    over_seeds = None
    if more_seeds:
        check_methods(first, second, more_seeds)
        gains = gains_over_seeds([(one, two), *(_pair(one, runs, splits, progress) for runs in more_seeds)])
        folders = [(str(a.path), str(b.path)) for a, b in ((first, second), *more_seeds)]
        over_seeds = gains.model_copy(update={"runs": folders})
    comparison = Comparison(
        hilum=__version__,
        runs=(
            about(first, names[0], splits[0], read[0][1].files),
            about(second, names[1], splits[1], read[1][1].files),
        ),
        recipe_differences=recipe_differences(first, second),
        positive_label=first.positive_label if first.positive_label == second.positive_label else None,
        notes=notes,
        **measure_pair(one, two, same=same).given(),
        over_seeds=over_seeds,
    )
    folder = out or folder_of(first, second, splits)
    write_comparison(comparison, folder)
    return Compared(folder, comparison)


def compare_external(
    first: ExternalPredictions, second: ExternalPredictions, *, positive_label: str | None = None
) -> Comparison:
    """Compare two models by their predictions for the same images.

    Args:
        first: Of N images.
        second: Of the same images, in any order; differences are second minus first.
        positive_label: Label that must not be missed; None to recognise it by its name, ``none`` for none.

    Raises:
        RunError: They are about other images or other labels, or know other patients.
        UsageError: There is no such label.
    """
    names = first.name, second.name
    if names[0] == names[1]:
        names = f"{names[0]} (first)", f"{names[1]} (second)"
    one, two = align(first.predictions, second.predictions, names)
    return Comparison(
        hilum=__version__,
        runs=(
            ComparedRun(name=names[0], path=str(first.root / first.name)),
            ComparedRun(name=names[1], path=str(second.root / second.name)),
        ),
        positive_label=roles_in(one.labels, positive_label)[0],
        notes=[
            *(f"{name}: {note}" for name, given in zip(names, (first, second), strict=True) for note in given.notes),
            *([] if first.named and second.named else [BY_ROW]),
        ],
        **measure_pair(one, two, same=bool(np.array_equal(one.probabilities, two.probabilities))).given(),
    )


def notes_about(names: Sequence[str], splits: Sequence[str], noted: Sequence[Sequence[str]]) -> list[str]:
    """What a reader has to know of both: images that a run has learnt from, and the notes of its evaluation."""
    return [
        *(
            f"{name} was trained or selected on its split '{part}': its results are optimistic"
            for name, part in zip(names, splits, strict=True)
            if part in ("train", "val")
        ),
        *(f"{name}: {note}" for name, notes in zip(names, noted, strict=True) for note in notes),
    ]


def check_free(folder: Path) -> None:
    """Refuse a folder whose files are of other kinds.

    Raises:
        UsageError: It holds such a file.
    """
    check_folder(folder, {FILE: COMPARISON, PAGE_FILE: PAGE})


def write_comparison(comparison: Document, folder: Path) -> None:
    """Write ``comparison.json``.

    Raises:
        RunError: It cannot be written.
        UsageError: The folder holds files of other kinds.
    """
    check_free(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_json(folder / FILE, comparison.to_json())
    except OSError as error:
        msg = f"{folder}: cannot be written ({error.strerror}). Choose another folder with --out."
        raise RunError(msg) from error


def order_of(first: Sequence[str], second: Sequence[str], names: tuple[str, str]) -> list[int]:
    """Where each image of the first stands in the second.

    Raises:
        RunError: They are about other images.
    """
    index = {path: position for position, path in enumerate(second)}
    missing = sorted(set(first) ^ set(second))
    if missing:
        holder = names[0] if missing[0] not in index else names[1]
        msg = (
            f"{names[0]} was evaluated on {len(first)} images and {names[1]} on {len(second)}; "
            f"{len(missing)} are not in both, such as {missing[0]} (only in {holder}). "
            "Compare runs on the same images: train them with the same splits, or name their splits with --split and "
            "--split-b."
        )
        raise RunError(msg, code="other-images")
    return [index[path] for path in first]


def align(first: Predictions, second: Predictions, names: tuple[str, str]) -> tuple[Predictions, Predictions]:
    """The second predictions in the order of the first.

    Raises:
        RunError: Other images, other labels, or another truth; the message names the first difference.
    """
    if set(first.labels) != set(second.labels):
        msg = (
            f"{names[0]} has the labels {', '.join(first.labels)}; {names[1]} has {', '.join(second.labels)}. Compare "
            f"runs with the same labels."
        )
        raise RunError(msg, code="other-labels")
    order = order_of(first.paths, second.paths, names)
    columns = [second.labels.index(label) for label in first.labels]
    rank = np.argsort(columns)
    moved = Predictions(
        labels=first.labels,
        paths=first.paths,
        patients=tuple(second.patients[i] for i in order),
        truth=rank[second.truth[order]] if len(order) else second.truth,
        probabilities=second.probabilities[order][:, columns],
    )
    if first.patients != moved.patients:
        msg = (
            f"{names[0]} and {names[1]} have different patients for the same images. Evaluate both again on "
            "the same data."
        )
        raise RunError(msg)
    for path, a, b in zip(first.paths, first.truth, moved.truth, strict=True):
        if a != b:
            msg = (
                f"{path}: the label is {first.labels[a]} in {names[0]} and {first.labels[b]} in {names[1]}. "
                "The dataset changed between them. Evaluate both again."
            )
            raise RunError(msg, code="label-changed")
    return first, moved


def check_contents(first: Run, second: Run, paths: Sequence[str]) -> None:
    """Refuse images that are other files in the two runs: a path is not an image.

    Raises:
        RunError: The hashes of a file differ.
    """
    hashes = [{row.path: row.sha256 for row in run.rows} for run in (first, second)]
    for path in paths:
        one, two = (of_run.get(path, "") for of_run in hashes)
        if one and two and one != two:
            msg = (
                f"{path}: not the same file in {first.path} and in {second.path} (SHA-256 {one[:12]} and {two[:12]}). "
                "Compare runs on the same images."
            )
            raise RunError(msg, code="other-files")


def _evaluated(run: Run, split: str, progress: Progress) -> tuple[Predictions, Metrics]:
    """What the run says of a split, and its metrics; evaluated unless that was done with these weights and files."""
    folder = run.path / "evaluation" / split
    settle(folder)
    try:
        metrics: Metrics | None = Metrics.from_json(read_json(folder / "metrics.json"))
    except ValueError:
        metrics = None
    current = (
        metrics
        and run.finished
        and metrics.weights_sha256 == run.environment.weights_sha256
        and metrics.data.digest == run.environment.data.digest
        and metrics.calibration
    )
    if not metrics or not current:
        from hilum.evaluation.evaluate import evaluate

        progress.line(f"{run.path}: evaluating on {split}")
        made = evaluate(run, split=split, progress=progress).metrics
        assert isinstance(made, Metrics)  # runs of several findings have a comparison of their own
        metrics = made
    return read_predictions(folder / "predictions.csv"), metrics  # as later comparisons will read them, rounded


def about(run: Run, name: str, split: str, files: Mapping[str, FileFacts] | None) -> ComparedRun:
    """What a comparison says of a run."""
    recipe = run.recipe
    return ComparedRun(
        name=name,
        path=str(run.path),
        split=split,
        recipe=recipe.name,
        hierarchy=recipe.hierarchy,
        network=recipe.network.architecture,
        seed=None if recipe.members else recipe.training.seed,
        **({"seeds": [member.training.seed for member in recipe.members]} if recipe.members else {}),
        weights_sha256=run.environment.weights_sha256,
        files=dict(files) if files else None,
    )


def _pair(
    like: Predictions, runs: tuple[Run, Run], splits: tuple[str, str], progress: Progress
) -> tuple[Predictions, Predictions]:
    """Predictions of another pair, in the order of those of the first one."""
    name, found = "the first run", []
    for run, split in zip(runs, splits, strict=True):
        predictions, _ = _evaluated(run, split, progress)
        found.append(align(like, predictions, names=(name, str(run.path)))[1])
    return found[0], found[1]


def names_of(first: Run, second: Run) -> tuple[str, str]:
    """Names that tell the runs apart: the folder's, and as much of the path before it as that takes."""
    if first.name != second.name:
        return first.name, second.name
    ways = [run.path.resolve().parts for run in (first, second)]
    depth = next((n for n in range(2, min(map(len, ways))) if ways[0][-n:] != ways[1][-n:]), 1)
    return "/".join(ways[0][-depth:]), "/".join(ways[1][-depth:])


def folder_of(first: Run, second: Run, splits: tuple[str, str]) -> Path:
    """Named after the first run and the split, and after its path where another run's comparison lies there."""
    name = names_of(first, second)[0].replace("/", "-")
    for part in dict.fromkeys(splits):
        name += "" if part == "test" else f"-{part}"
    folder = second.path / "comparison" / name
    try:  # of labels or of findings
        earlier = ComparedRun.model_validate(read_json(folder / FILE)["runs"][0])
    except (KeyError, IndexError, TypeError, ValueError):  # none, or a damaged one, which may be written over
        return folder
    if Path(earlier.path).resolve() == first.path.resolve():
        return folder
    mark = hashlib.sha256(str(first.path.resolve()).encode(errors="surrogateescape")).hexdigest()[:8]
    return folder.with_name(f"{name}-{mark}")
