"""From two runs to ``comparison.json``: paired, on the same patients."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum import __version__
from hilum.data.taxonomy import branches
from hilum.errors import RunError
from hilum.evaluation.decision import down_the_tree, most_probable
from hilum.evaluation.evaluate import evaluate
from hilum.evaluation.paired import mcnemar, paired_auroc, paired_differences, sign_flip
from hilum.evaluation.predictions import Predictions, read_predictions
from hilum.progress import Progress
from hilum.training.run import Run

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
    progress: Progress | None = None,
) -> Comparison:
    """Compare two runs on the same patients; what is not evaluated yet is evaluated now.

    Both are also read down the label tree, so that the network and the decision rule are told apart: a flat network
    read so, P(infected) = 1 - P(normal), differs from a cascade in the network alone.

    Args:
        first: A finished run.
        second: Another; differences are second minus first.
        split: On which of their splits.
        second_split: The second run's name for the same images, where it is another.
        out: Where to write; by default ``comparison/<first>`` in the second run.
        progress: Told about long work.

    Raises:
        RunError: They were evaluated on different images, or know different labels.
    """
    progress = progress or Progress()
    splits = split, second_split or split
    read = [_predictions(run, name, progress) for run, name in zip((first, second), splits, strict=True)]
    one, two = align(read[0], read[1], names=(str(first.path), str(second.path)))
    _check_contents(first, second, one.paths)
    same = bool(np.array_equal(one.probabilities, two.probabilities))
    notes = [
        f"{run.path.name} was trained on or chosen by its split '{name}': its figures are optimistic"
        for run, name in zip((first, second), splits, strict=True)
        if name in ("train", "val")
    ]
    facts = {
        "hilum": __version__,
        "runs": [
            {"name": name, **_about(run, part)}
            for name, run, part in zip(_names(first, second), (first, second), splits, strict=True)
        ],
        "protected": first.protected if first.protected == second.protected else None,
        "notes": notes,
        **measure_pair(one, two, same=same),
    }
    folder = out or second.path / "comparison" / _names(first, second)[0].replace("/", "-")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "comparison.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        msg = f"{folder}: cannot be written ({error.strerror}). Choose another folder with --out."
        raise RunError(msg) from error
    return Comparison(folder, facts)


def measure_pair(
    first: Predictions, second: Predictions, *, same: bool = False, resamples: int = 2000
) -> dict[str, Any]:
    """All that is paired, of predictions for the same images in the same order.

    Args:
        first: Of N images, K labels.
        second: Of the same ones.
        same: Both come from one and the same classifier.
        resamples: Of the bootstrap over patients.

    Returns:
        What ``comparison.json`` holds, without the parts that say where it comes from. ``rules`` has one entry for
        each way of reading the probabilities (`hilum.evaluation.decision`); ``rule_effect`` says for each run what
        reading down the tree changes, which is nothing to labels without nesting (then None).
    """
    labels, truth, clusters = first.labels, first.truth, first.clusters
    nested = len(branches(labels)) > 1
    both = first.probabilities, second.probabilities
    flat = [most_probable(probabilities) for probabilities in both]
    tree = [down_the_tree(probabilities, labels) for probabilities in both]

    def beside(one: Ints, two: Ints, *, same: bool = False) -> dict[str, Any]:
        right = one == truth, two == truth
        return {
            **paired_differences(truth, one, two, labels, clusters, same=same, resamples=resamples),
            "mcnemar": mcnemar(*right),
            "patients": sign_flip(*right, clusters),
        }

    rules = {"most_probable": beside(*flat, same=same)}
    if nested:
        rules["down_the_tree"] = beside(*tree, same=same)
    known = all(first.patients)
    return {
        "labels": list(labels),
        "n_images": len(truth),
        "n_patients": len(set(first.patients)) if known else None,
        "unit": "patients" if known else "images",
        "images_by_label": {label: int((truth == k).sum()) for k, label in enumerate(labels)},
        "same_answers": bool((flat[0] == flat[1]).all()),
        "rules": rules,
        "rule_effect": [beside(flat[i], tree[i]) for i in range(2)] if nested else None,
        "auroc": paired_auroc(truth, *both, labels, clusters, resamples=resamples),
        "bootstrap": {"resamples": resamples, "confidence": 0.95, "seed": 0},
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
        raise RunError(msg)
    index = {path: position for position, path in enumerate(second.paths)}
    missing = sorted(set(first.paths) ^ set(second.paths))
    if missing:
        holder = names[0] if missing[0] not in index else names[1]
        msg = (
            f"{names[0]} was evaluated on {len(first.paths)} images and {names[1]} on {len(second.paths)}; "
            f"{len(missing)} are not in both, such as {missing[0]} (only in {holder}). "
            "Compare runs on the same images: train them with the same splits, or say with --split and "
            "--second-split where the same ones are."
        )
        raise RunError(msg)
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
    for path, a, b in zip(first.paths, first.truth, moved.truth, strict=True):
        if a != b:
            msg = (
                f"{path}: the label is {first.labels[a]} in {names[0]} and {first.labels[b]} in {names[1]}. "
                "The dataset has changed between them: evaluate both again."
            )
            raise RunError(msg)
    return first, moved


def _check_contents(first: Run, second: Run, paths: Sequence[str]) -> None:
    """A path is not an image: the files' hashes tell whether it was the same one."""
    hashes = [{row.path: row.sha256 for row in run.split()} for run in (first, second)]
    for path in paths:
        one, two = (of_run.get(path, "") for of_run in hashes)
        if one and two and one != two:
            msg = (
                f"{path}: not the same file in {first.path} and in {second.path} (SHA-256 {one[:12]} and {two[:12]}). "
                "Compare runs on the same images."
            )
            raise RunError(msg)


def _predictions(run: Run, split: str, progress: Progress) -> Predictions:
    """What the run's weights of now say; evaluated if it was not, or if its weights are others since."""
    folder = run.path / "evaluation" / split
    try:
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        metrics = {}
    if run.finished and metrics.get("weights_sha256") == run.environment["weights_sha256"]:
        return read_predictions(folder / "predictions.csv")
    progress.line(f"{run.path}: evaluating on {split}")
    evaluate(run, split=split, progress=progress)
    return read_predictions(folder / "predictions.csv")  # as later comparisons will read them, rounded


def _about(run: Run, split: str) -> dict[str, Any]:
    recipe = run.recipe
    return {
        "path": str(run.path),
        "split": split,
        "recipe": recipe.name,
        "architecture": recipe.architecture,
        "network": recipe.network.name,
        "seed": recipe.training.seed,
        "weights_sha256": run.environment["weights_sha256"],
    }


def _names(first: Run, second: Run) -> tuple[str, str]:
    """Names that tell the runs apart: the folder's, and as much of the path before it as that takes."""
    if first.name != second.name:
        return first.name, second.name
    ways = [run.path.resolve().parts for run in (first, second)]
    depth = next((n for n in range(2, min(map(len, ways))) if ways[0][-n:] != ways[1][-n:]), 1)
    return "/".join(ways[0][-depth:]), "/".join(ways[1][-depth:])
