"""Where the boundary between labels comes from, and what each origin does to runs that differ in their seed.

    python studies/boundary.py RUN [RUN ...] --trial FOLDER [FOLDER ...]

Each RUN was evaluated on its test images (``hilum evaluate``, once); nothing here is kept, or chosen by them. FOLDER is
the output of ``recipe_series.py`` or ``recipe_conflict.py`` with the same recipe: factors of the labels are chosen on
its held-out images, by accuracy and by balanced accuracy, as ``hilum prior --choose`` does. Beside them stand the
shares of the test labels, stated (``--prevalence``) and estimated without labels on the test images themselves (Saerens
et al. 2002; transductive). The last row is chosen by the test labels, and is what no honest origin can pass.
It prints for each run, and as means over the runs with intervals over seeds and patients, and gains against no factors:
accuracy, balanced accuracy, recalls, accuracy with two labels (normal, which is the first, against all others together,
by the likeliest of all labels), and AUROCs, which factors leave nearly as they are.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hilum.evaluation.predictions import Predictions, read_predictions
from hilum.stats.hypothesis_tests import over_seeds
from hilum.stats.intervals import Estimate, Patients, combined, proportion
from hilum.stats.label_shift import MEASURES, choose_offsets, estimate_shares, log_ratio
from hilum.stats.metrics import measures
from hilum.stats.prior_shift import shifted

Floats = NDArray[np.float64]
NORMAL = 0


def measured(run: Predictions, offsets: Floats) -> list[Estimate]:
    """Accuracy, balanced accuracy, recalls, accuracy with two labels, AUROCs."""
    truth, moved, patients = run.truth, shifted(run.probabilities, offsets), Patients(run.clusters)
    found = measures(truth, moved, run.labels, patients)
    right = (moved.argmax(axis=1) == NORMAL) == (truth == NORMAL)
    return [
        found["accuracy"],
        found["balanced_accuracy"],
        *found["recall"].values(),
        proportion(right, np.ones_like(right), patients),
        *found["auroc"].values(),
    ]


def origins(run: Predictions, trials: list[Predictions]) -> dict[str, Floats]:
    """Logarithms of factors by where they come from."""
    truth, count = run.truth, run.probabilities.shape[1]
    equal = np.full(count, 1 / count)  # to which a loss with equal weights belongs
    shares = np.bincount(truth, minlength=count) / len(truth)
    estimated = estimate_shares(run.probabilities, equal, run.clusters)
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
    names = ["accuracy", "balanced", *(f"recall {k}" for k in labels), "two labels", *(f"AUROC {k}" for k in labels)]
    by_run = [origins(one, trials) for one in evaluated]
    before = [measured(one, found["none"]) for one, found in zip(evaluated, by_run, strict=True)]
    for number, row in enumerate(before):
        print(f"run {number + 1}:", "; ".join(f"{k} {shown(each)}" for k, each in zip(names, row, strict=True)))
    for origin in by_run[0]:
        factors = np.exp(np.mean([found[origin] - found[origin].max() for found in by_run], axis=0))
        print(f"{origin}: factors {' '.join(f'{factor:.2f}' for factor in factors)}")
        after = [measured(one, found[origin]) for one, found in zip(evaluated, by_run, strict=True)]
        for k, name in enumerate(names):
            mean = over_seeds([row[k] for row in after])
            gain = over_seeds([combined([(1, a[k]), (-1, b[k])]) for a, b in zip(after, before, strict=True)])
            print(f"  {name:28} {shown(mean)}", "" if origin == "none" else f"gain {shown(gain)}")


def shown(found: Estimate) -> str:
    """In hundredths: ``88.4 (84.8 to 91.3)``."""
    return f"{100 * found.value:.1f} ({100 * found.low:.1f} to {100 * found.high:.1f})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--trial", nargs="+", type=Path, default=[])
    given = parser.parse_args()
    main(given.runs, given.trial)
