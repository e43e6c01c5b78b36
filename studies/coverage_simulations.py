"""How often the intervals that `interval_coverage` does not ask for hold the truth, where that is known.

Images of patients with one to three of them, whose scores go together; a third of the patients are ill. What is true of
such patients is known in closed form, what hilum says of them comes out of the functions that the commands use.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
from scipy.stats import norm

from hilum.decision.ood import OODScores
from hilum.evaluation.certificate import certified_threshold
from hilum.evaluation.predictions import Predictions
from hilum.evaluation.subgroups import measure_subgroups
from hilum.evaluation.triage import flagged_by_label, measure_abstention
from hilum.stats.auc import curve_bands
from hilum.stats.calibration_slope import reliability
from hilum.stats.intervals import Patients
from hilum.stats.records import Interval

LABELS = ("healthy", "ill")
ILL, CUT, SHARE = 1.6, 0.8, 1 / 3  # by how much their scores are higher, the threshold, and how many they are
RIGHT = float(norm.cdf(CUT))  # recall, specificity and accuracy alike
ABSTAINED = 0.2


def patients_like(generator: np.random.Generator, patients: int, ill: float = ILL, tag: str = "") -> Predictions:
    """Probabilities of images of so many patients, whose scores correlate with 0.6 within a patient."""
    frames = generator.integers(1, 4, patients)
    has = generator.random(patients) < SHARE
    own = ill * has + np.sqrt(0.6) * generator.normal(size=patients)
    member = np.repeat(np.arange(patients), frames)
    scores = own[member] + np.sqrt(0.4) * generator.normal(size=len(member))
    p = 1 / (1 + np.exp(-(scores - CUT)))
    names = tuple(f"{tag}{i}" for i in member)
    paths = tuple(f"{tag}{i}.png" for i in range(len(member)))
    return Predictions(LABELS, paths, names, has[member].astype(np.int64), np.stack([1 - p, p], axis=1))


def bands(runs: int, patients: int = 150, seed: int = 0) -> dict[str, float]:
    """Pointwise coverage of the bands of both curves."""
    generator = np.random.default_rng([seed, 11])
    held: Counter[str] = Counter()
    places = {f"ROC at {x:.0%}": ("roc", x, norm.sf(norm.isf(x) - ILL)) for x in (0.05, 0.2, 0.5)}
    for r in (0.5, 0.9):
        true, false = SHARE * r, (1 - SHARE) * norm.sf(ILL + norm.isf(r))
        places[f"precision at recall {r:.0%}"] = ("pr", r, true / (true + false))
    for _ in range(runs):
        some = patients_like(generator, patients)
        found = curve_bands(some.probabilities, some.truth, LABELS, Patients(some.clusters), resamples=300)[LABELS[1]]
        for name, (kind, x, truth) in places.items():
            at = round(100 * x)
            curve = getattr(found, kind)
            held[name] += curve.low[at] <= truth <= curve.high[at]
    return {name: held[name] / runs for name in places}


def others(runs: int, patients: int = 150, seed: int = 0) -> dict[str, float]:
    """Coverage of subgroups, abstention, reliability and the certificate's cost."""
    generator = np.random.default_rng([seed, 12])
    held: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    for _ in range(runs):
        for name, entry, truth in _one_of_each(generator, patients):
            held[name] += _holds(entry, truth)
            asked[name] += 1
    return {name: held[name] / asked[name] for name in asked}


def _one_of_each(generator: np.random.Generator, patients: int) -> Iterator[tuple[str, Interval, float]]:
    some = patients_like(generator, patients)
    half = ["a" if int(name) % 2 else "b" for name in some.patients]
    part = measure_subgroups(some, {"half": half}, LABELS[1])["half"]["a"]
    yield "subgroup: recall", part.recall, RIGHT
    yield "subgroup: false alarms", part.false_alarms, 1 - RIGHT
    yield "subgroup: AUROC", part.auroc, float(norm.cdf(ILL / np.sqrt(2)))

    left = dict(zip(set(some.patients), generator.random(len(set(some.patients))) < ABSTAINED, strict=True))
    out = np.array([left[name] for name in some.patients])
    ood_scores = OODScores(np.where(out, 0.01, 0.5), np.zeros(len(out)), np.zeros(len(out)), out, out)
    found = measure_abstention(some, some.predicted == 1, [LABELS[1]], ood_scores)
    yield "share abstained on", found.abstained, ABSTAINED
    yield "recall, abstentions as missed", found.recall.recall_abstentions_negative, (1 - ABSTAINED) * RIGHT
    yield (
        "recall, abstentions as found",
        found.recall.recall_abstentions_positive,
        1 - (1 - ABSTAINED) * (1 - RIGHT),
    )

    alone = generator.dirichlet([0.6, 0.5], size=patients)
    drawn = (generator.random(patients) > alone[:, 0]).astype(np.int64)
    for point in reliability(drawn, alone, LABELS, Patients(np.arange(patients)))[LABELS[1]]:
        yield "share in a bin of the reliability diagram", point, point.stated

    threshold = certified_threshold(generator.normal(ILL, 1, 65), 0.1, 0.95)
    cost = flagged_by_label({"healthy": generator.normal(size=55)}, threshold, 0.95)["healthy"]
    yield "certificate: healthy patients flagged", cost, float(norm.sf(threshold))


def _holds(entry: Interval, truth: float) -> bool:
    return entry.low is not None and entry.low <= truth <= entry.high


def rows(runs: int = 500) -> list[str]:
    """The table of docs/explanation/simulations.md."""
    lines = ["| 95 % interval of | 150 patients |", "|---|---|"]
    return lines + [f"| {name} | {100 * share:.1f} % |" for name, share in (bands(runs) | others(runs)).items()]
