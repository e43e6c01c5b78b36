"""How often hilum's own statistics keep what they promise, where the truth is known.

    python studies/evaluation_simulations.py    # writes the simulations' tables of simulations.md; minutes

The slow tests (`tests/evaluation/test_simulations.py`) run the same functions and hold them to their bounds.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from hilum.auditing.checks.shortcuts import judge
from hilum.decision.ood import conformal_p
from hilum.evaluation.certificate import certified_threshold
from hilum.evaluation.triage import Cohort
from hilum.stats.calibration import ece_null_mean, expected_calibration_error
from hilum.stats.exchangeability import exchangeable_p
from hilum.stats.hypothesis_tests import sign_flip_if_exchangeable, studentised_bootstrap
from hilum.stats.intervals import exact_interval
from hilum.stats.verdicts import wilson

DELTA, RUNS = 0.05, 2000
CORRELATION, FRAMES = 0.7, 3


def standard_error(share: float, runs: int) -> float:
    return float(np.sqrt(share * (1 - share) / runs))


def certificate(kind: str, patients: int, rate: float, runs: int = RUNS, seed: int = 0) -> float:
    """The share of calibrations whose true false-negative rate is above the certified one.

    ``continuous``: normal scores; ``tied``: rounded to one digit; ``clustered``: three frames a patient with
    correlation 0.7 within, of which the highest speaks; ``frames as patients``: the same, each counted as a patient.
    """
    generator = np.random.default_rng([seed, patients])
    broken = 0
    for _ in range(runs):
        if kind in ("clustered", "frames as patients"):
            own = np.sqrt(CORRELATION) * generator.normal(
                size=(-(-patients // FRAMES) if "frames" in kind else patients, 1)
            )
            frames = own + np.sqrt(1 - CORRELATION) * generator.normal(size=(len(own), FRAMES))
            names = [str(i) for i in np.repeat(np.arange(len(own)), FRAMES)]
            scores = (
                Cohort(names, np.full(len(names), True)).highest(frames.ravel())
                if kind == "clustered"
                else frames.ravel()
            )
        else:
            scores = generator.normal(size=patients)
            scores = np.round(scores, 1) if kind == "tied" else scores
        threshold = certified_threshold(scores, rate, 1 - DELTA)
        broken += _miss_rate(kind, threshold) > rate
    return broken / runs


def _miss_rate(kind: str, threshold: float) -> float:
    """The share of new patients (or frames) below a threshold."""
    if kind == "tied":
        return float(norm.cdf(threshold - 0.05))  # what rounds to less than the threshold
    if kind != "clustered":
        return float(norm.cdf(threshold))
    own, weights = np.polynomial.hermite_e.hermegauss(60)
    below = norm.cdf((threshold - np.sqrt(CORRELATION) * own) / np.sqrt(1 - CORRELATION)) ** FRAMES
    return float((below * weights).sum() / weights.sum())


def proportion_coverage(kind: str, share: float, count: int) -> float:
    """The exact chance that an interval of a plain proportion holds it."""
    from scipy.stats import binom

    covered = 0.0
    for found in range(count + 1):
        limits = wilson(found, count).as_json() if kind == "Wilson" else exact_interval(found / count, count)
        covered += float(binom.pmf(found, count, share)) * (limits["low"] <= share <= limits["high"])
    return covered


def calibration_error(count: int, draws: int = 200, seed: int = 0) -> tuple[float, float]:
    """The calibration error that perfectly calibrated probabilities show, and what the noise floor foretells of it."""
    generator = np.random.default_rng([seed, count])
    probabilities = np.clip(generator.dirichlet([0.5, 0.5, 0.5], size=count), 1e-9, 1)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    errors = []
    for _ in range(draws):
        drawn = (generator.random((count, 1)) > probabilities.cumsum(axis=1)).sum(axis=1).clip(0, 2)
        errors.append(expected_calibration_error(np.eye(3)[drawn], probabilities))
    return float(np.mean(errors)), ece_null_mean(probabilities, seed=seed + 1)


def false_abstentions(level: float, calibration: int, runs: int = RUNS, seed: int = 0) -> float:
    """The share of patients like the calibration's whose doubled smaller p-value is at most the level."""
    generator = np.random.default_rng([seed, 9])
    wrong = 0
    for _ in range(runs):
        layout, features = generator.gamma(2, size=(2, calibration)), generator.gamma(3, size=(2, 10))
        known = np.sort(layout[0]), np.sort(generator.gamma(3, size=calibration))
        p = np.minimum(conformal_p(generator.gamma(2, size=10), known[0]), conformal_p(features[0], known[1]))
        wrong += (np.minimum(1, 2 * p) <= level).mean()
    return wrong / runs


def false_shifts(patients: int, runs: int = 1000, seed: int = 0) -> float:
    """How often the test of exchangeability is significant at 5 % where nothing has shifted."""
    generator = np.random.default_rng([seed, 10])
    draws = (generator.beta(2, 1, size=(2, patients)).round(2) for _ in range(runs))
    return float(np.mean([exchangeable_p(*draw, permutations=199, seed=i) <= 0.05 for i, draw in enumerate(draws)]))


def false_shortcuts(patients: int, higher: float = 0.0, runs: int = 200, seed: int = 0) -> float:
    """The share of the audit's 95 % intervals that do not hold the AUROC of a probe.

    The probe sees eight numbers of an image, of which the first is higher by so much where the label is. Where none is,
    its AUROC is 0.5; else it is taken to be the mean over the runs.
    """
    generator = np.random.default_rng([seed, patients])
    found = []
    for run in range(runs):
        groups = np.repeat(np.arange(patients), generator.integers(1, 4, patients))
        has = generator.integers(0, 2, patients)
        own = generator.normal(size=(patients, 8)) + higher * np.eye(8)[0] * has[:, None]
        seen = own[groups] + 0.5 * generator.normal(size=(len(groups), 8))
        found.append(judge([seen], has[groups], [1], groups, permutations=39, seed=run)[0][:3])
    area, low, high = np.array(found).T
    truth = area.mean() if higher else 0.5
    return float(((truth < low) | (truth > high)).mean())


def equal_accuracy(patients: int, runs: int = 500) -> tuple[float, float]:
    """How often two tests reject, at 5 %, that two equally accurate classifiers are.

    One of them gains patients of one image and loses rare patients of twenty.

    Returns:
        The shares of the studentised bootstrap and of the sign-flip test.
    """
    generator, rejected = np.random.default_rng([patients, 12]), np.zeros(2)
    for _ in range(runs):
        large = generator.random(patients) < 0.05
        lost = np.where(generator.random(patients) < 0.4, -20.0, 0.0)
        won = np.where(generator.random(patients) < 0.05 * 20 * 0.4 / 0.95, 1.0, 0.0)
        gained, many = np.where(large, lost, won), np.where(large, 20.0, 1.0)
        tests = studentised_bootstrap(gained, many, resamples=999), sign_flip_if_exchangeable(gained, many)
        rejected += [test.p_value < 0.05 for test in tests]
    return rejected[0] / runs, rejected[1] / runs


def tables() -> dict[str, str]:
    """The tables of docs/explanation/simulations.md, by their marks."""
    made = {"certificate": _certificates(), "proportions": _proportions(), "floor": _floors(), "levels": _levels()}
    return {name: "\n".join(rows) for name, rows in made.items()}


def _certificates() -> list[str]:
    rows = ["| scores | patients | false-negative rate | broken in 2,000 runs | allowed |", "|---|---|---|---|---|"]
    most = f"{100 * DELTA:.0f} % + {100 * 3 * standard_error(DELTA, RUNS):.1f}"
    for kind in ("continuous", "tied", "clustered", "frames as patients"):
        for patients, rate in ((59, 0.05), (125, 0.05), (181, 0.05), (66, 0.10)):
            share = certificate(kind, patients, rate)
            allowed = "(the mistake)" if kind == "frames as patients" else most
            rows.append(f"| {kind} | {patients} | {100 * rate:.0f} % | {100 * share:.1f} % | {allowed} |")
    return rows


def _proportions() -> list[str]:
    rows = ["| 95 % interval | of | holds it |", "|---|---|---|"]
    for kind in ("Wilson", "Clopper-Pearson"):
        held = [proportion_coverage(kind, share, 117) for share in np.linspace(0.02, 0.98, 193)]
        span = f"{100 * min(held):.1f} to {100 * max(held):.1f} %, mean {100 * np.mean(held):.1f} %"
        rows.append(f"| {kind} | a proportion of 117, 2 to 98 % | {span} |")
    return rows


def _floors() -> list[str]:
    rows = ["| images | error of perfectly calibrated probabilities | noise floor |", "|---|---|---|"]
    for count in (139, 615, 2000):
        shown, foretold = calibration_error(count)
        rows.append(f"| {count} | {shown:.4f} | {foretold:.4f} |")
    return rows


def _levels() -> list[str]:
    rows = ["| test | patients | stated | wrong |", "|---|---|---|---|"]
    rows += [f"| abstention | {n} | 5 % | {100 * false_abstentions(0.05, n):.1f} % |" for n in (100, 365)]
    rows += [f"| shift | {n} | 5 % | {100 * false_shifts(n):.1f} % |" for n in (59, 117)]
    for higher, what in ((0.0, "useless"), (1.0, "useful")):
        name = f"AUROC of a {what} probe outside the audit's interval"
        rows += [f"| {name} | {n} | 5 % | {100 * false_shortcuts(n, higher):.1f} % |" for n in (60, 200)]
    for n in (30, 100, 400):
        shares = zip(("studentised bootstrap", "sign-flip test"), equal_accuracy(n), strict=True)
        name = "equal accuracy, 1 or 20 images a patient"
        rows += [f"| {name}: {test} | {n} | 5 % | {100 * share:.1f} % |" for test, share in shares]
    return rows


if __name__ == "__main__":
    import coverage_simulations  # only here: the tests load this file from elsewhere
    from document import fill

    fill("explanation/simulations.md", tables() | {"coverage": "\n".join(coverage_simulations.rows())})
