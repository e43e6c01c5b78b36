"""From two runs to ``comparison.json``: paired, on the same patients."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum import __version__
from hilum.data.labels import nested_decisions
from hilum.errors import RunError
from hilum.evaluation.differences import gains_over_seeds, paired_auroc, paired_differences
from hilum.evaluation.evaluate import evaluate
from hilum.evaluation.performance import down_the_tree, most_probable
from hilum.evaluation.predictions import Predictions, read_predictions
from hilum.evaluation.schema import Metrics
from hilum.files import save_json, settle
from hilum.outputs import COMPARISON, PAGE, check_folder
from hilum.progress import Progress
from hilum.stats.hypothesis_tests import mcnemar, patient_test
from hilum.stats.intervals import CONFIDENCE
from hilum.training.recipe import flatten
from hilum.training.run import Run, read_json

FILE = "comparison.json"
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Comparison:
    """Where a comparison was written, and what it says."""

    folder: Path
    facts: dict[str, Any]


def compare(
    first: Run,
    second: Run,
    *,
    split: str = "test",
    second_split: str | None = None,
    out: Path | None = None,
    more_seeds: Sequence[tuple[Run, Run]] = (),
    progress: Progress | None = None,
) -> Comparison:
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
        check_folder(out, {FILE: COMPARISON, FILE.replace("json", "html"): PAGE})
    splits = split, second_split or split
    read = [_evaluated(run, name, progress) for run, name in zip((first, second), splits, strict=True)]
    one, two = align(read[0][0], read[1][0], names=(str(first.path), str(second.path)))
    _check_contents(first, second, one.paths)
    same = bool(np.array_equal(one.probabilities, two.probabilities))
    names = _names(first, second)
    notes = [
        f"{name} was trained on or chosen by its split '{part}': its figures are optimistic"
        for name, part in zip(names, splits, strict=True)
        if part in ("train", "val")
    ]
    notes += [f"{name}: {note}" for name, (_, metrics) in zip(names, read, strict=True) for note in metrics.data.notes]
    if len({bool(metrics.calibration and metrics.calibration.temperatures) for _, metrics in read}) > 1:
        notes.append("only one of the two is calibrated by temperature, which changes what is read down the tree")
    facts = {
        "hilum": __version__,
        "runs": [
            {"name": name, **_about(run, part), "files": metrics.as_json().get("files")}
            for name, run, part, (_, metrics) in zip(names, (first, second), splits, read, strict=True)
        ],
        "recipe_differences": recipe_differences(first, second),
        "positive_label": first.positive_label if first.positive_label == second.positive_label else None,
        "notes": notes,
        **measure_pair(one, two, same=same),
        "over_seeds": None,
    }
    if more_seeds:
        _check_methods(first, second, more_seeds)
        others = [_pair(one, runs, splits, progress) for runs in more_seeds]
        facts["over_seeds"] = gains_over_seeds([(one, two), *others]) | {
            "runs": [[str(run.path) for run in runs] for runs in ((first, second), *more_seeds)]
        }
    folder = out or _folder(first, second, splits)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_json(folder / FILE, facts)
    except OSError as error:
        msg = f"{folder}: cannot be written ({error.strerror}). Choose another folder with --out."
        raise RunError(msg) from error
    return Comparison(folder, facts)


def measure_pair(first: Predictions, second: Predictions, *, same: bool = False) -> dict[str, Any]:
    """All that is paired, of predictions for the same images in the same order.

    Args:
        first: Of N images, K labels.
        second: Of the same ones.
        same: Both come from one and the same classifier.

    Returns:
        What ``comparison.json`` holds, without the parts that say where it comes from. ``rules`` has one entry for
        each way of reading the probabilities (`hilum.evaluation.performance`); ``rule_effect`` says for each run what
        reading down the tree changes, which is nothing to labels without nesting (then None).
    """
    labels, truth, clusters = first.labels, first.truth, first.clusters
    nested = bool(nested_decisions(labels))
    both = first.probabilities, second.probabilities
    flat = [most_probable(probabilities) for probabilities in both]
    tree = [down_the_tree(probabilities, labels) for probabilities in both] if nested else []

    def beside(one: Ints, two: Ints, *, same: bool = False) -> dict[str, Any]:
        right = one == truth, two == truth
        return {
            **paired_differences(truth, one, two, labels, clusters, same=same),
            "mcnemar": mcnemar(*right),
            "patients": patient_test(*right, clusters),
        }

    rules = {"most_probable": beside(*flat, same=same)}
    if nested:
        rules["down_the_tree"] = beside(*tree, same=same)
    known = all(first.patients)
    return {
        "labels": list(labels),
        "n_images": len(truth),
        "n_patients": len(set(first.patients)) if known else None,
        "with_patient": sum(map(bool, first.patients)),
        "resampling_unit": "patients" if known else "images",
        "images_by_label": {label: int((truth == k).sum()) for k, label in enumerate(labels)},
        "same_answers": bool((flat[0] == flat[1]).all()),
        "rules": rules,
        "rule_effect": [beside(flat[i], tree[i]) for i in range(2)] if nested else None,
        "auroc": paired_auroc(truth, *both, labels, clusters),
        "intervals": {"confidence": CONFIDENCE},
    }


def align(first: Predictions, second: Predictions, names: tuple[str, str]) -> tuple[Predictions, Predictions]:
    """The second predictions in the order of the first.

    Raises:
        RunError: Other images, other labels, or another truth; the message names the first difference.
    """
    if set(first.labels) != set(second.labels):
        msg = (
            f"{names[0]} knows {', '.join(first.labels)}; {names[1]} knows {', '.join(second.labels)}: "
            "only runs with the same labels can be compared."
        )
        raise RunError(msg, code="other-labels")
    index = {path: position for position, path in enumerate(second.paths)}
    missing = sorted(set(first.paths) ^ set(second.paths))
    if missing:
        holder = names[0] if missing[0] not in index else names[1]
        msg = (
            f"{names[0]} was evaluated on {len(first.paths)} images and {names[1]} on {len(second.paths)}; "
            f"{len(missing)} are not in both, such as {missing[0]} (only in {holder}). "
            "Compare runs on the same images: train them with the same splits, or say with --split and "
            "--split-b where the same ones are."
        )
        raise RunError(msg, code="other-images")
    order = [index[path] for path in first.paths]
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
        msg = f"{names[0]} and {names[1]} know other patients of the same images: evaluate both again on the same data."
        raise RunError(msg)
    for path, a, b in zip(first.paths, first.truth, moved.truth, strict=True):
        if a != b:
            msg = (
                f"{path}: the label is {first.labels[a]} in {names[0]} and {first.labels[b]} in {names[1]}. "
                "The dataset has changed between them: evaluate both again."
            )
            raise RunError(msg, code="label-changed")
    return first, moved


def _check_contents(first: Run, second: Run, paths: Sequence[str]) -> None:
    """A path is not an image: the files' hashes tell whether it was the same one."""
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
        progress.line(f"{run.path}: evaluating on {split}")
        metrics = evaluate(run, split=split, progress=progress).metrics
    return read_predictions(folder / "predictions.csv"), metrics  # as later comparisons will read them, rounded


def _about(run: Run, split: str) -> dict[str, Any]:
    recipe = run.recipe
    return {
        "path": str(run.path),
        "split": split,
        "recipe": recipe.name,
        "hierarchy": recipe.hierarchy,
        "network": recipe.network.architecture,
        "seed": recipe.training.seed,
        "weights_sha256": run.environment.weights_sha256,
    }


def _pair(
    like: Predictions, runs: tuple[Run, Run], splits: tuple[str, str], progress: Progress
) -> tuple[Predictions, Predictions]:
    """Predictions of another pair, in the order of those of the first one."""
    name, found = "the first run", []
    for run, split in zip(runs, splits, strict=True):
        predictions, _ = _evaluated(run, split, progress)
        found.append(align(like, predictions, names=(name, str(run.path)))[1])
    return found[0], found[1]


def _check_methods(first: Run, second: Run, more: Sequence[tuple[Run, Run]]) -> None:
    """Seeds of one method differ in ``training.seed``, and each network counts once."""
    runs = {run.environment.weights_sha256: run for run in (first, second)}
    for pair in more:
        for like, run in zip((first, second), pair, strict=True):
            others = [str(row["key"]) for row in recipe_differences(like, run) if row["key"] != "training.seed"]
            if others:
                msg = (
                    f"{run.path}: is no other seed of {like.path}: the recipes differ in {', '.join(others)}. Give "
                    "runs that differ in training.seed only."
                )
                raise RunError(msg, code="other-recipe", path=run.path)
            weights = run.environment.weights_sha256
            if weights in runs:
                msg = f"{run.path}: has the same weights as {runs[weights].path}. Give each network once."
                raise RunError(msg, code="same-weights", path=run.path)
            runs[weights] = run


def recipe_differences(first: Run, second: Run) -> list[dict[str, str | None]]:
    """Every recipe key in which two runs differ.

    Returns:
        ``key`` as ``hilum train --set`` spells it, and the values of the ``first`` and ``second`` run as JSON; None
        where a recipe has no such key.
    """
    one, two = (dict(flatten(run.recipe.model_dump(mode="json"))) for run in (first, second))
    return [
        {"key": key, "first": one.get(key), "second": two.get(key)}
        for key in dict.fromkeys([*one, *two])
        if one.get(key) != two.get(key)
    ]


def _names(first: Run, second: Run) -> tuple[str, str]:
    """Names that tell the runs apart: the folder's, and as much of the path before it as that takes."""
    if first.name != second.name:
        return first.name, second.name
    ways = [run.path.resolve().parts for run in (first, second)]
    depth = next((n for n in range(2, min(map(len, ways))) if ways[0][-n:] != ways[1][-n:]), 1)
    return "/".join(ways[0][-depth:]), "/".join(ways[1][-depth:])


def _folder(first: Run, second: Run, splits: tuple[str, str]) -> Path:
    """Named after the first run and the split, and after its path where another run's comparison lies there."""
    name = _names(first, second)[0].replace("/", "-")
    for part in dict.fromkeys(splits):
        name += "" if part == "test" else f"-{part}"
    folder = second.path / "comparison" / name
    runs = read_json(folder / FILE).get("runs")
    if runs and Path(runs[0]["path"]).resolve() != first.path.resolve():
        mark = hashlib.sha256(str(first.path.resolve()).encode(errors="surrogateescape")).hexdigest()[:8]
        folder = folder.with_name(f"{name}-{mark}")
    return folder
