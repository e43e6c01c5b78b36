"""Another shifted validation for recipes: normals of one series of numbers train, those of the other are judged.

    python studies/recipe_series.py DATA OUT SERIES [key=value ...]

The healthy children of *seed-cxr*'s ``train`` come in two series, ``IM-...`` and ``NORMAL2-IM-...``. SERIES (``IM`` or
``NORMAL2``) is held out whole, beside 15 % of the patients with pneumonia by lot; key=value change the default recipe,
or with ``encoder.file=NAME`` that of encoders. No test image is opened.
It prints recalls, AUROCs, the accuracy at the test set's shares of labels, and how well normals are told from infected
and covid from the rest of these, whatever the weights.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from hilum.data.dataset import Dataset
from hilum.data.readers.read import read_table
from hilum.evaluation.evaluate import evaluate
from hilum.progress import progress_for_terminal
from hilum.training.recipe import load_recipe
from hilum.training.train import train

TEST_SHARES = np.array([0.38, 0.23, 0.39])
HELD_OUT = 0.15
FOUND = 0.97
NO_TEST = ["splits.val=val", "splits.calibration=none", "splits.test=none"]


def divided(data: Path, series: str) -> Dataset:
    """The training images; ``val`` is the held-out series and some patients with pneumonia."""
    whole = read_table(data)
    table = whole.take(i for i, row in enumerate(whole.rows) if row.split == "train")
    ill = sorted({row.patient_id for row in table.rows if row.label != "normal"})
    chosen = set(np.array(ill)[np.random.default_rng(3).random(len(ill)) < HELD_OUT])
    chosen |= {row.patient_id for row in table.rows if row.patient_id.split("-")[0] == series}
    return table.with_splits(["val" if row.patient_id in chosen else "train" for row in table.rows])


def recipe_of(settings: list[str]) -> str:
    """The recipe that settings change: that of encoders where they name one."""
    return "encoder" if any(setting.startswith("encoder.file=") for setting in settings) else "compact"


def main(data: Path, out: Path, series: str, settings: list[str]) -> None:
    recipe = load_recipe(recipe_of(settings), [*NO_TEST, *settings])
    run = train(divided(data, series), out, recipe, progress=progress_for_terminal())
    found = evaluate(run, split="val", out=out / "val").predictions
    right = found.predicted == found.truth
    recall = np.array([right[found.truth == k].mean() for k in range(3)])
    auroc = [roc_auc_score(found.truth == k, found.probabilities[:, k]) for k in range(3)]
    print("recall", recall.round(3), "AUROC", np.round(auroc, 4))
    print(f"accuracy at the test set's shares of labels: {TEST_SHARES @ recall:.3f}")
    ill, normal = found.truth > 0, found.probabilities[:, 0]
    cleared = (normal[~ill] > np.quantile(normal[ill], FOUND)).mean()
    print(f"normals cleared where {FOUND:.0%} of the infected are found: {cleared:.3f}")
    covid = found.probabilities[ill, 1] / found.probabilities[ill, 1:].sum(axis=1)
    print(f"AUROC of covid among the infected: {roc_auc_score(found.truth[ill] == 1, covid):.4f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4:])
