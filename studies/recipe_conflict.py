"""A third validation for recipes: the training images whose layout and grey levels speak against their label.

    python studies/recipe_conflict.py DATA OUT [key=value ...]

A linear probe that sees 8x8 grey values and a histogram tells *seed-cxr*'s normals from the rest with AUROC 0.99, asked
out of fold. Held out are the patients whom it gets most wrong, 250 images of normals and 120 of each pneumonia, and
some others at random: a network that reads the layout does badly there. key=value change the default recipe, or with
``encoder.file=NAME`` that of encoders. No test
image is opened.
It prints recalls and AUROCs with their mean, that of `normal` also among images that the probe gets wrong or doubts.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hilum.data.dataset import Dataset
from hilum.data.images import read_picture, reduce
from hilum.data.readers.read import read_table
from hilum.evaluation.evaluate import evaluate
from hilum.progress import progress_for_terminal
from hilum.training.recipe import load_recipe
from hilum.training.train import train

MOST_WRONG = {"normal": 250, "infected/covid": 120, "infected/non-covid": 120}
AT_RANDOM = 0.07
DOUBT = {"normal": 1.7, "infected": 3.0}  # log-odds of the truth below which an image counts as one of conflict
NO_TEST = ["splits.val=val", "splits.calibration=none", "splits.test=none"]


def probe_scores(table: Dataset) -> NDArray[np.float64]:
    """Log-odds of `normal` by layout and grey levels, each image asked by a fit on other patients, shape (N,)."""
    seen = []
    for row in table.rows:
        pixels = read_picture(table.root / row.path).pixels
        histogram = np.bincount((pixels.ravel() * 31.999).astype(int), minlength=32) / pixels.size
        seen.append(np.concatenate([reduce(pixels, 32).reshape(8, 4, 8, 4).mean(axis=(1, 3)).ravel(), histogram**0.5]))
    normal = np.array([row.label == "normal" for row in table.rows])
    scores = np.zeros(len(table))
    for others, asked in GroupKFold(5).split(seen, normal, [row.patient_id for row in table.rows]):
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, class_weight="balanced"))
        probe.fit(np.array(seen)[others], normal[others])
        scores[asked] = probe.decision_function(np.array(seen)[asked])
    print(f"the probe: AUROC {roc_auc_score(normal, scores):.3f}")
    return scores


def held_out(table: Dataset, towards: NDArray[np.float64]) -> set[str]:
    """Patients to judge by: those whose images speak most against their label, and some at random.

    Args:
        table: Training images.
        towards: Log-odds of each image's own label.
    """
    images: dict[str, list[int]] = {}
    for i, row in enumerate(table.rows):
        images.setdefault(row.patient_id, []).append(i)
    generator = np.random.default_rng(3)
    chosen: set[str] = set()
    for label, wanted in MOST_WRONG.items():
        patients = sorted(patient for patient, own in images.items() if table.rows[own[0]].label == label)
        count = 0
        for patient in sorted(patients, key=lambda patient: towards[images[patient]].mean()):
            if count < wanted or generator.random() < AT_RANDOM:
                chosen.add(patient)
                count += len(images[patient])
    return chosen


def recipe_of(settings: list[str]) -> str:
    """The recipe that settings change: that of encoders where they name one."""
    return "encoder" if any(setting.startswith("encoder.file=") for setting in settings) else "compact"


def main(data: Path, out: Path, settings: list[str]) -> None:
    whole = read_table(data)
    table = whole.take(i for i, row in enumerate(whole.rows) if row.split == "train")
    scores = probe_scores(table)
    chosen = held_out(table, np.where([row.label == "normal" for row in table.rows], scores, -scores))
    table = table.with_splits(["val" if row.patient_id in chosen else "train" for row in table.rows])
    score_of = {row.path: score for row, score in zip(table.rows, scores, strict=True)}
    run = train(table, out, load_recipe(recipe_of(settings), [*NO_TEST, *settings]), progress=progress_for_terminal())
    found = evaluate(run, split="val", out=out / "val").predictions
    right, normal = found.predicted == found.truth, found.truth == 0
    print("recall", np.array([right[found.truth == k].mean() for k in range(3)]).round(3))
    areas = [roc_auc_score(found.truth == k, found.probabilities[:, k]) for k in range(3)]
    print("AUROC", np.round(areas, 3), f"mean {np.mean(areas):.3f}")
    score = np.array([score_of[path] for path in found.paths])
    against = np.where(normal, score < DOUBT["normal"], -score < DOUBT["infected"])
    for name, part in (("all", np.ones(len(right), bool)), ("in conflict", against)):
        p = found.probabilities[part, 0]
        print(
            f"normal, {name}: AUROC {roc_auc_score(normal[part], p):.4f} ({normal[part].sum()} of {part.sum()} images)"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
