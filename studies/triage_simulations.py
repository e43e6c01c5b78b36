"""How often both guarantees of a two-sided triage hold together, and what one by patient is worth for one image.

    python studies/triage_simulations.py    # writes two tables of docs/explanation/evaluation.md; minutes

The slow tests (`tests/evaluation/test_upper_threshold.py`) run the same functions and hold them to their bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from hilum.errors import CertificateError
from hilum.evaluation.certificate import UpperSide, certified_threshold, certify_upper, split_confidence

DELTA, RUNS, ALPHA = 0.05, 2000, 0.05
CORRELATION, FRAMES, APART = 0.7, 3, 2.5
SIDES = {
    "specificity": UpperSide("specificity", 0.95, None, ("normal",)),
    "ppv": UpperSide("ppv", 0.5, 0.20, ("normal",)),
}
POPULATION = 400_000


@dataclass(frozen=True)
class Found:
    """Shares of certificates that broke a guarantee, or were made at all, and of the ill who are left to be read."""

    broken: float
    lower: float
    upper: float
    made: float
    read: float
    runs: int


def standard_error(share: float, runs: int) -> float:
    return float(np.sqrt(share * (1 - share) / runs))


def draw(kind: str, count: int, shift: float, generator: np.random.Generator) -> NDArray[np.float64]:
    """One score a patient, as a probability: normal ones, rounded ones, or the highest of three images."""
    if kind == "clustered":
        own = np.sqrt(CORRELATION) * generator.normal(size=(count, 1))
        scores = (own + np.sqrt(1 - CORRELATION) * generator.normal(size=(count, FRAMES))).max(axis=1)
    else:
        scores = generator.normal(size=count)
    found = norm.cdf((scores + shift - APART / 2) / 1.5)
    return np.round(found, 1) if kind == "tied" else found


def two_sided(kind: str, side: str, ill: int = 150, healthy: int = 200, runs: int = RUNS, seed: int = 0) -> Found:
    """Certify so many times, and look in a large population whether both guarantees hold."""
    generator = np.random.default_rng([seed, ill, healthy])
    asked, sure = SIDES[side], split_confidence(1 - DELTA, two_sided=True)
    everybody = [np.sort(draw(kind, POPULATION, shift, generator)) for shift in (APART, 0.0)]
    below, above, between, made = [], [], [], 0
    for _ in range(runs):
        with_it, without = (draw(kind, count, shift, generator) for count, shift in ((ill, APART), (healthy, 0.0)))
        lower = certified_threshold(with_it, ALPHA, sure)
        assert lower is not None
        try:
            upper = certify_upper(with_it, {"normal": without}, asked, sure, lower).threshold
        except CertificateError:  # nothing is promised, and so nothing is broken
            continue
        made += 1
        missed = np.searchsorted(everybody[0], lower) / POPULATION
        found, alarms = (1 - np.searchsorted(scores, upper) / POPULATION for scores in everybody)
        if asked.prevalence is None:
            above.append(1 - alarms < asked.bound)
        else:
            flagged = asked.prevalence * found + (1 - asked.prevalence) * alarms
            above.append(flagged > 0 and asked.prevalence * found / flagged < asked.bound)
        below.append(missed > ALPHA)
        between.append(1 - missed - found)
    either = np.array(below) | np.array(above)
    return Found(
        float(either.sum() / runs),
        float(np.sum(below) / runs),
        float(np.sum(above) / runs),
        made / runs,
        float(np.mean(between)),
        runs,
    )


def one_image(
    images: Sequence[int], correlation: float = CORRELATION, patients: int = 147, runs: int = RUNS, seed: int = 0
) -> dict[str, float]:
    """The share of certificates that are broken for patients, and for one image of a patient by either threshold.

    ``mean`` and ``mean own`` are the false-negative rates of such an image by the patients' threshold and by its own.
    """
    generator = np.random.default_rng([seed, patients, *images])
    most = max(images)

    def drawn(count: int) -> NDArray[np.float64]:
        own = np.sqrt(correlation) * generator.normal(size=(count, 1))
        scores = own + np.sqrt(1 - correlation) * generator.normal(size=(count, most))
        sizes = generator.choice(images, size=(count, 1))
        return np.where(np.arange(most) < sizes, scores, -np.inf)

    everybody = drawn(POPULATION // 2)
    highest, one = np.sort(everybody.max(axis=1)), np.sort(everybody[:, 0])
    rates = []
    for _ in range(runs):
        scores = drawn(patients)
        together, own = (certified_threshold(found, ALPHA, 1 - DELTA) for found in (scores.max(axis=1), scores[:, 0]))
        rates.append(
            (
                np.searchsorted(highest, together) / len(highest),
                np.searchsorted(one, together) / len(one),
                np.searchsorted(one, own) / len(one),
            )
        )
    table = np.array(rates)
    patient, theirs, single = (table > ALPHA).mean(axis=0)
    return {
        "patient": patient,
        "theirs": theirs,
        "mean": table[:, 1].mean(),
        "own threshold": single,
        "mean own": table[:, 2].mean(),
    }


def tables() -> dict[str, str]:
    """The tables of docs/explanation/evaluation.md, by their marks."""
    rows = [
        "| scores | upper side | lower broken | upper broken | either broken | allowed | certified | ill to be read |",
        "|---|---|---|---|---|---|---|---|",
    ]
    most = f"{100 * DELTA:.0f} % + {100 * 3 * standard_error(DELTA, RUNS):.1f}"
    words = {"specificity": "specificity 95 %", "ppv": "PPV 50 % at 20 %"}
    for side, name in words.items():
        for kind in ("continuous", "tied", "clustered"):
            found = two_sided(kind, side)
            shown = [f"{100 * share:.1f} %" for share in (found.lower, found.upper, found.broken)]
            last = [f"{100 * found.made:.1f} %", f"{100 * found.read:.0f} %"]
            rows.append(f"| {kind} | {name} | {' | '.join([*shown, most, *last])} |")
    units = [
        "| images a patient | correlation | patients: broken | one image, patients' threshold: missed, broken "
        "| one image, its own threshold: missed, broken |",
        "|---|---|---|---|---|",
    ]
    for images in ((1, 2, 3), (10,)):
        for correlation in (0.5, 0.7, 0.9):
            found = one_image(images, correlation)
            cells = [
                f"{100 * found['patient']:.1f} %",
                f"{100 * found['mean']:.1f} %, {100 * found['theirs']:.1f} %",
                f"{100 * found['mean own']:.1f} %, {100 * found['own threshold']:.1f} %",
            ]
            name = "1 to 3" if len(images) > 1 else str(images[0])
            units.append(f"| {name} | {correlation} | {' | '.join(cells)} |")
    return {"two-sided": "\n".join(rows), "resampling_unit": "\n".join(units)}


if __name__ == "__main__":
    from document import fill

    fill("explanation/evaluation.md", tables())
