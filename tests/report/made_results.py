"""Results as the stages write them, measured on predictions that the tests choose."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from hilum.evaluation.crossval_schema import spread_over_folds
from hilum.evaluation.differences import measure_pair
from hilum.evaluation.fold_results import SHARED, pool
from hilum.evaluation.performance import measure
from hilum.evaluation.predictions import Predictions
from hilum.training.recipe import Recipe
from hilum.training.run import Run

MEASURES = ("val_loss", "val_accuracy", "val_false_negatives")
LABELS = ("normal", "infected/covid", "infected/non-covid")


def predictions(
    labels: Sequence[str] = LABELS,
    n: int = 60,
    *,
    right: float = 0.8,
    seed: int = 0,
    patients: bool = True,
    tag: str = "",
) -> Predictions:
    """Of `n` images, two a patient; about a share `right` of them answered rightly; one truth for every seed."""
    generator = np.random.default_rng(seed)
    truth = np.arange(n) % len(labels)
    answer = np.where(generator.random(n) < right, truth, (truth + 1) % len(labels))
    probabilities = generator.dirichlet(np.ones(len(labels)), size=n)
    for row, top in zip(probabilities, answer, strict=True):
        highest = int(row.argmax())
        row[highest], row[top] = row[top], row[highest]
    return Predictions(
        labels=tuple(labels),
        paths=tuple(f"{tag}{i}.png" for i in range(n)),
        patients=tuple(
            f"{tag}p{i // (2 * len(labels)) * len(labels) + i % len(labels)}" if patients else "" for i in range(n)
        ),
        truth=truth.astype(np.int64),
        probabilities=probabilities,
    )


def comparison(
    first: Predictions, second: Predictions, names: Sequence[str] = ("flat", "cascade"), **more: Any
) -> dict[str, Any]:
    """What ``comparison.json`` holds."""
    runs = [
        {
            "name": name,
            "path": f"runs/{name}",
            "split": "test",
            "recipe": "small",
            "hierarchy": name,
            "network": "compact",
            "seed": 0,
            "weights_sha256": f"{k}f" * 32,
        }
        for k, name in enumerate(names)
    ]
    positive_label = next((label for label in first.labels if label == "infected/covid"), None)
    return {"runs": runs, "positive_label": positive_label, "notes": [], **measure_pair(first, second).as_json()} | more


def crossval(
    parts: Sequence[Predictions], *, positive_label: str | None = "infected/covid", **more: Any
) -> dict[str, Any]:
    """What ``crossval.json`` holds."""
    per_fold = [
        {**measure(part, positive_label=positive_label).as_json(), "weights_sha256": "9f" * 32} for part in parts
    ]
    data = {"root": "data/xrays", "digest": "3b" * 32, "notes": []}
    pooled = measure(pool(parts), positive_label=positive_label).as_json()
    return {
        "folds": len(parts),
        "seed": 0,
        "recipe": Recipe(name="small").model_dump(mode="json"),
        "data": "3b" * 32,
        "notes": [],
        "audit": {"audited": True, "written": "", "findings": []},
        "pooled": {"name": "pooled", "split": "all", **pooled, "shared": SHARED, "data": data, "unreadable": []},
        "per_fold": per_fold,
        "spread": {
            name: spread_over_folds(values).as_json()
            for name in ("accuracy", "balanced_accuracy")
            for values in ([fold[name]["value"] for fold in per_fold],)
        },
    } | more


def sweep(
    folder: Path,
    swept: dict[str, list[Any]],
    *,
    diverged: Sequence[int] = (),
    waiting: Sequence[int] = (),
    positive_label: str = "none",
) -> dict[str, Any]:
    """What ``sweep.json`` holds, with the folders of its trials; trials are better the later they come."""
    trials = []
    for k, values in enumerate(product(*swept.values())):
        settings = dict(zip(swept, values, strict=True))
        trial: dict[str, Any] = {"name": f"{k + 1}-trial", "settings": settings, "status": "waiting", "message": ""}
        trial |= {"best": {}, "seconds": None}
        trials.append(trial)
        if k in waiting:
            continue
        run = Run(folder / "trials" / trial["name"])
        run.path.mkdir(parents=True)
        (run.path / "recipe.toml").write_text(Recipe(positive_label=positive_label).to_toml(), encoding="utf-8")
        (run.path / "split.csv").write_text(
            "path,label,patient_id,split,sha256\n" + "".join(f"{n}.png,{n},,train,\n" for n in LABELS), encoding="utf-8"
        )
        loss = float("nan") if k in diverged else 1.0
        rows = [
            {
                "epoch": e,
                "step": 10 * e,
                "train_loss": loss,
                "val_loss": loss * (2 - k / 100) / e,
                "val_accuracy": e / 10,
            }
            | {"lr": 0.1, "seconds": 1.0, "val_false_negatives": 9 - e}
            for e in range(1, 6)
        ]
        run.write_history(rows)
        if k in diverged:
            trial |= {"status": "diverged", "message": f"/somewhere/{trial['name']}: the loss is no longer a number"}
            continue
        best = {key: rows[-1][key] for key in ("epoch", "step", *MEASURES)}
        trial |= {"status": "finished", "seconds": 12.0, "best": best}
    groups: list[dict[str, Any]] = []
    for trial in trials:
        settings = {key: value for key, value in trial["settings"].items() if key != "training.seed"}
        known = [group for group in groups if group["settings"] == settings]
        if not known:
            groups.append({"settings": settings, "trials": [], "mean": {}})
        (known or groups[-1:])[0]["trials"].append(trial["name"])
    by_name = {trial["name"]: trial for trial in trials}
    for group in groups:
        members = [by_name[name] for name in group["trials"]]
        if all(trial["status"] == "finished" for trial in members):
            group["mean"] = {key: float(np.mean([trial["best"][key] for trial in members])) for key in MEASURES}
    groups.sort(key=lambda group: group["mean"].get("val_loss", np.inf))
    return {
        "data": "3b" * 32,
        "notes": [],
        "recipe": Recipe(name="small").model_dump(mode="json"),
        "monitor": "loss",
        "swept": swept,
        "trials": trials,
        "groups": groups,
        "choice": groups[0]["settings"] if groups[0]["mean"] else None,
    }
