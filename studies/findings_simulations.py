"""Several findings of the same patients: how often guarantees break together, and what intervals of means cover.

    python studies/findings_simulations.py    # prints the tables of docs/explanation/evaluation.md; two minutes

Patients have six findings that go together, and so do the scores. What is true is known in closed form. Thresholds and
intervals come out of the functions that the commands use; ``tests/evaluation/test_findings_simulations.py`` runs both.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from hilum.evaluation.certificate import certified_threshold
from hilum.stats.auc import auroc_estimate
from hilum.stats.intervals import Patients
from hilum.stats.metrics import mean_of
from hilum.stats.verdicts import each_confidence

FREQUENCIES = (0.35, 0.30, 0.28, 0.25, 0.22, 0.20)
RATE, CONFIDENCE = 0.05, 0.95
CORRELATIONS = (0.0, 0.5, 0.9)
Floats = NDArray[np.float64]


def standard_error(share: float, runs: int) -> float:
    """Of a share of so many runs."""
    return float(np.sqrt(share * (1 - share) / runs))


def correlated(generator: np.random.Generator, rows: int, columns: int, correlation: float) -> Floats:
    """Standard normal numbers (rows, columns), of which any two of a row have the correlation."""
    common, own = generator.normal(size=(rows, 1)), generator.normal(size=(rows, columns))
    found: Floats = np.sqrt(correlation) * common + np.sqrt(1 - correlation) * own
    return found


def family(
    correlation: float, *, corrected: bool = True, patients: int = 600, runs: int = 2000, seed: int = 0
) -> float:
    """The share of runs in which the guarantee of at least one of six findings is broken.

    Scores of those who have a finding are uniform, so that the false-negative rate at a threshold is the threshold.

    Args:
        correlation: Of the findings of a patient, and of the scores.
        corrected: Whether the findings share the error probability.
        patients: How many certify.
        runs: How many times.
        seed: Of the draws.
    """
    generator = np.random.default_rng(seed)
    count = len(FREQUENCIES)
    level = each_confidence(CONFIDENCE, count) if corrected else CONFIDENCE
    broken = 0
    for _ in range(runs):
        has = ndtr(correlated(generator, patients, count, correlation)) < FREQUENCIES
        scores = ndtr(correlated(generator, patients, count, correlation))
        thresholds = (certified_threshold(scores[has[:, k], k], RATE, level) for k in range(count))
        broken += any(threshold is not None and threshold > RATE for threshold in thresholds)
    return broken / runs


def coverage(
    correlation: float, *, patients: int = 150, images: int = 2, runs: int = 400, seed: int = 0
) -> dict[str, float]:
    """How often the intervals of macro and micro AUROC hold the true one, which is the same here.

    Args:
        correlation: Of the findings of a patient, and of the scores of a patient's images and findings.
        patients: How many.
        images: Of each patient.
        runs: How many times.
        seed: Of the draws.
    """
    generator = np.random.default_rng(seed)
    count, apart = len(FREQUENCIES), 1.2
    truth = float(ndtr(apart / np.sqrt(2)))
    member = np.repeat(np.arange(patients), images)
    whose, held = Patients(member), {"macro": 0, "micro": 0}
    for _ in range(runs):
        has = (ndtr(correlated(generator, patients, count, correlation)) < FREQUENCIES)[member]
        shared = correlated(generator, patients, count, correlation)[member]
        scores = apart * has + np.sqrt(0.5) * shared + np.sqrt(0.5) * generator.normal(size=has.shape)
        known = generator.random(has.shape) > 0.1
        each = [
            auroc_estimate(scores[known[:, k], k], has[known[:, k], k], whose.take(known[:, k])) for k in range(count)
        ]
        rows, columns = np.nonzero(known)
        pooled = auroc_estimate(scores[rows, columns], has[rows, columns], whose.take(rows))
        for name, one in (("macro", mean_of(each, whose)), ("micro", pooled)):
            held[name] += one.low <= truth <= one.high
    return {name: number / runs for name, number in held.items()}


def main() -> None:
    """Print both tables as Markdown."""
    print("| correlation | six findings, corrected | uncorrected |\n|---|---|---|")
    for correlation in CORRELATIONS:
        shares = [f"{100 * family(correlation, corrected=corrected):.1f} %" for corrected in (True, False)]
        print(f"| {correlation:g} | {' | '.join(shares)} |")
    print("\n| correlation | macro AUROC | micro AUROC |\n|---|---|---|")
    for correlation in CORRELATIONS:
        shares = [f"{100 * share:.1f} %" for share in coverage(correlation, runs=1000).values()]
        print(f"| {correlation:g} | {' | '.join(shares)} |")


if __name__ == "__main__":
    main()
