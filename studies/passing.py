"""How often the checklist passes a model that must not pass, or one that may: calibration and subgroups.

``python studies/passing.py`` fills the table "passing" of evaluation.md.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit
from scipy.stats import norm

from document import fill
from hilum.evaluation.predictions import Predictions
from hilum.evaluation.subgroups import measure_subgroups, subgroup_verdict
from hilum.stats.calibration import calibration_errors
from hilum.stats.calibration_slope import calibration_by_label, calibration_verdict
from hilum.stats.intervals import Patients

RUNS = 150
ALIKE = 0.6  # correlation of a patient's images
LABELS = ("healthy", "ill")


def calibrated(patients: int, slope: float, seed: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Truth, probabilities that are `slope` times too extreme, and the patients, of one to three images each."""
    generator = np.random.default_rng(seed)
    member = np.repeat(np.arange(patients), generator.integers(1, 4, patients))

    def correlated() -> np.ndarray:
        shared, own = generator.normal(size=patients)[member], generator.normal(size=len(member))
        return np.sqrt(ALIKE) * shared + np.sqrt(1 - ALIKE) * own

    true = 1.8 * correlated() - 0.5
    stated = expit(slope * true)
    truth = (norm.cdf(correlated()) < expit(true)).astype(np.int64)
    return truth, np.stack([1 - stated, stated], axis=1), [str(i) for i in member]


def calibration(patients: int, slope: float) -> dict[str, float]:
    """Shares of runs in which each verdict comes."""
    counts = dict.fromkeys(("shown", "not shown", "refuted"), 0)
    for seed in range(RUNS):
        truth, probabilities, clusters = calibrated(patients, slope, seed)
        by_label = calibration_by_label(truth, probabilities, LABELS, Patients(clusters))
        error = calibration_errors(truth, probabilities, clusters)[0]
        counts[calibration_verdict(by_label, error)] += 1
    return {name: count / RUNS for name, count in counts.items()}


def subgroups(patients: int, lower: float) -> dict[str, float]:
    """The same of two subgroups of so many ill patients each, of whom one is found less often."""
    counts = dict.fromkeys(("shown", "not shown", "refuted"), 0)
    for seed in range(RUNS):
        generator = np.random.default_rng(seed)
        group = np.repeat([0, 1], patients)
        hit = generator.random(2 * patients) < np.where(group == 0, 0.95, 0.95 - lower)
        stated = np.where(hit, 0.9, 0.1)
        names = tuple(map(str, range(2 * patients)))
        truth = np.ones(2 * patients, np.int64)
        made = Predictions(LABELS, names, names, truth, np.stack([1 - stated, stated], axis=1))
        counts[subgroup_verdict(measure_subgroups(made, {"site": [f"s{k}" for k in group]}, "ill"))] += 1
    return {name: count / RUNS for name, count in counts.items()}


def rows() -> list[str]:
    """The table."""
    made = ["| model | patients | PASS | UNKNOWN | FAIL |", "|---|---|---|---|---|"]
    for slope, what in ((1.0, "calibrated"), (1.5, "1.5 times overconfident"), (2.0, "twice overconfident")):
        made += [_row(what, patients, calibration(patients, slope)) for patients in (20, 50, 100, 400, 1000)]
    for lower, what in ((0.0, "equal subgroups"), (0.2, "one subgroup's recall 20 points lower")):
        of_two = {patients: subgroups(patients, lower) for patients in (20, 50, 100, 400)}
        made += [_row(what, f"2 x {patients}", shares) for patients, shares in of_two.items()]
    return made


def _row(what: str, patients: object, shares: dict[str, float]) -> str:
    cells = (f"{100 * shares[name]:.0f} %" for name in ("shown", "not shown", "refuted"))
    return f"| {what} | {patients} | {' | '.join(cells)} |"


if __name__ == "__main__":
    fill("explanation/evaluation.md", {"passing": "\n".join(rows())})
