"""A small run folder, made from predictions that the tests choose."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hilum.evaluation.performance import measure
from hilum.evaluation.predictions import Predictions
from hilum.training.plan import NetworkChoice
from hilum.training.recipe import Recipe
from hilum.training.run import HISTORY

SEED_LABELS = ("normal", "infected/covid", "infected/non-covid")
# The original report's Fig. 6, turned to rows truth, columns predicted.
SEED_CONFUSION = ((5, 3, 0), (0, 8, 1), (0, 4, 4))


def write_run(
    run: Path,
    labels: Sequence[str] = SEED_LABELS,
    confusion: Sequence[Sequence[int]] | None = SEED_CONFUSION,
    *,
    patients: bool = True,
    positive_label: str | None = "infected/covid",
    n_train: int = 7,
    **environment: Any,
) -> Path:
    """A finished run with `n_train` training images a label, one fewer for each further label.

    Test images are drawn as grey ramps below ``data`` beside the run. Patients have two images each.
    """
    run.mkdir(parents=True)
    data = run.parent / "data"
    split = [
        (f"train/{k}/{i}.png", label, f"t{k}-{i // 2}" if patients else "", "train")
        for k, label in enumerate(labels)
        for i in range(n_train - k % n_train)
    ]
    split += [(f"val/{k}.png", label, f"v{k}" if patients else "", "val") for k, label in enumerate(labels)]
    test = []
    for i, row in enumerate(confusion or ()):
        for j, count in enumerate(row):
            test += [(f"test/{i}-{j}-{n}.png", i, j) for n in range(count)]
    split += [(path, labels[i], f"x{n // 2}" if patients else "", "test") for n, (path, i, _) in enumerate(test)]
    with (run / "split.csv").open("w", newline="", encoding="utf-8") as file:
        columns = ("path", "label", "patient_id", "split", "sha256")  # as of hilum 0.2
        csv.writer(file).writerows([columns, *((*row, "") for row in split)])
    steps = [(e, 10 * e, 1 / e, 1.2 / e, 1 - 0.5 / e, 0.01, 2.0 * e) for e in range(1, 6)]
    with (run / "history.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([HISTORY, *((*step, 1) for step in steps)])
    recipe = Recipe(name="small", network=NetworkChoice(architecture="compact"))
    (run / "recipe.toml").write_text(recipe.to_toml(), encoding="utf-8")
    about = {
        "hilum": "0.1.0",
        "started": "2026-10-03T14:05:11+00:00",
        "seconds": 272.0,
        "weights_sha256": "9f" * 32,
        "best": {"epoch": 4, "step": 40, "val_loss": 0.3, "val_accuracy": 0.875},
        "data": {
            "root": str(data),
            "digest": "3b" * 32,
            "n_images": len(split),
            "patients_known": patients,
            "unreadable": [],
            "notes": [],
        },
    }
    about["data"] |= environment.pop("data", {})
    (run / "environment.json").write_text(json.dumps(about | environment), encoding="utf-8")
    if confusion is None:
        return run

    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.ones(len(labels)), size=len(test))
    for row, (path, _, j) in zip(probabilities, test, strict=True):
        top = int(row.argmax())
        row[top], row[j] = row[j], row[top]
        (data / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.tile(np.arange(0, 240, 4, dtype=np.uint8), (48, 1))).save(data / path)
    predictions = Predictions(
        labels=tuple(labels),
        paths=tuple(path for path, _, _ in test),
        patients=tuple(row[2] for row in split[-len(test) :]),
        truth=np.array([i for _, i, _ in test], dtype=np.int64),
        probabilities=probabilities,
    )
    folder = run / "evaluation" / "test"
    folder.mkdir(parents=True)
    predictions.write(folder / "predictions.csv")
    metrics = {
        "name": "test",
        "split": "test",
        **measure(predictions, positive_label=positive_label).as_json(),
        "data": {"root": str(data), "digest": "3b" * 32, "notes": []},
        "unreadable": [],
        "weights_sha256": "9f" * 32,
    }
    (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    return run


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """`write_run` into a fresh folder."""
    return lambda *arguments, **more: write_run(tmp_path / "runs" / "first", *arguments, **more)
