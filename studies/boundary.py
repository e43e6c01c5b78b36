"""Where the boundary between labels comes from, and what each origin does to runs that differ in their seed.

    python studies/boundary.py RUN [RUN ...] --trial FOLDER [FOLDER ...]

Each RUN was evaluated on its test images (``hilum evaluate``, once); nothing here is kept, or chosen by them. FOLDER is
the output of ``recipe_series.py`` or ``recipe_conflict.py`` with the same recipe: factors of the labels are chosen on
its held-out images, by accuracy and by balanced accuracy, as ``hilum prior --choose`` does. Beside them stand the
shares of the test labels, stated (``--prevalence``) and estimated without labels on the test images themselves (Saerens
et al. 2002; transductive). The last row is chosen by the test labels, and is what no honest origin can pass.
It prints means over the runs: accuracy, balanced accuracy, recalls and AUROCs, which factors leave nearly as they are.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from hilum.data.dataset import owner
from hilum.evaluation.predictions import Predictions, read_predictions
from hilum.stats.label_shift import MEASURES, choose_offsets, estimate_shares, log_ratio
from hilum.stats.prior_shift import shifted

Floats = NDArray[np.float64]


def measures(found: Predictions, offsets: Floats) -> Floats:
    """Accuracy, balanced accuracy, recalls, AUROCs."""
    truth, moved = found.truth, shifted(found.probabilities, offsets)
    right = moved.argmax(axis=1) == truth
    recalls = [right[truth == k].mean() for k in range(moved.shape[1])]
    areas = [roc_auc_score(truth == k, moved[:, k]) for k in range(moved.shape[1])]
    return np.array([right.mean(), np.mean(recalls), *recalls, *areas])


def origins(run: Predictions, trials: list[Predictions]) -> dict[str, Floats]:
    """Logarithms of factors by where they come from."""
    truth, count = run.truth, run.probabilities.shape[1]
    equal = np.full(count, 1 / count)  # to which a loss with equal weights belongs
    shares = np.bincount(truth, minlength=count) / len(truth)
    estimated = estimate_shares(
        run.probabilities, equal, [owner(*who) for who in zip(run.patients, run.paths, strict=True)]
    )
    found = {"none": np.zeros(count), "stated shares": log_ratio(shares, equal)}
    found["estimated shares"] = log_ratio(np.maximum(estimated, 1e-4), equal)
    for number, trial in enumerate(trials):
        for measure in MEASURES:
            found[f"trial {number + 1}, {measure}"] = choose_offsets(trial.truth, trial.probabilities, measure)
    found["test labels"] = choose_offsets(truth, run.probabilities, "accuracy")
    return found


def main(runs: list[Path], folders: list[Path]) -> None:
    evaluated = [read_predictions(run / "evaluation" / "test" / "predictions.csv") for run in runs]
    trials = [read_predictions(folder / "val" / "predictions.csv") for folder in folders]
    labels = evaluated[0].labels
    print(f"{'factors from':28} accuracy balanced recall of {', '.join(labels)}; AUROC of the same; factors")
    by_run = [origins(one, trials) for one in evaluated]
    for name in by_run[0]:
        rows = np.array([measures(one, found[name]) for one, found in zip(evaluated, by_run, strict=True)])
        factors = np.exp(np.mean([found[name] - found[name].max() for found in by_run], axis=0))
        shown = " ".join(f"{100 * value:5.1f}" for value in rows.mean(axis=0)[:-3])
        areas = " ".join(f"{value:.3f}" for value in rows.mean(axis=0)[-3:])
        print(f"{name:28} {shown}; {areas}; {' '.join(f'{factor:.2f}' for factor in factors)}")
        if name == "none":
            print("  by run: " + "; ".join(f"{100 * row[0]:.1f} {row[-3]:.3f}" for row in rows))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--trial", nargs="+", type=Path, default=[])
    given = parser.parse_args()
    main(given.runs, given.trial)
