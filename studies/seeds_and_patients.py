"""The gains of reproduction.md with intervals over seeds and patients: ``python studies/seeds_and_patients.py``.

The study's networks are of an earlier recipe and were not kept; docs/results/reproduction.json has their gains by seed
and the interval over patients of the mean. Both are put together as `hilum.stats.hypothesis_tests.over_seeds` does.
"""

from __future__ import annotations

import json
import math

import numpy as np
from scipy.special import ndtri, stdtrit

from document import DOCS

CLAIMS = 7  # with an interval on that page: Bonferroni's correction


def gain(by_seed: list[float], over_patients: dict[str, float]) -> str:
    """``+1.2 (-0.8 to +3.2), corrected (-2.0 to +4.4)``, in points."""
    shown, *ends = _limits(by_seed, over_patients, 0.975)
    corrected = _limits(by_seed, over_patients, 1 - 0.025 / CLAIMS)[2:]
    text = "{}: mean {:+.1f} ({:+.1f} to {:+.1f}), corrected ({:+.1f} to {:+.1f})"
    return text.format(shown, *(100 * end for end in (*ends, *corrected)))


def _limits(by_seed: list[float], over_patients: dict[str, float], tail: float) -> tuple[str, float, float, float]:
    """The values, their mean, and its limits; the patients' distances are widened as those of a normal variable."""
    values = np.array(by_seed)
    half = stdtrit(len(values) - 1, tail) * values.std(ddof=1) / math.sqrt(len(values))
    wider = ndtri(tail) / ndtri(0.975)
    mean, low, high = (over_patients[end] for end in ("value", "low", "high"))
    assert abs(mean - values.mean()) < 1e-4
    shown = ", ".join(f"{100 * value:+.1f}" for value in values)
    return shown, mean, mean - math.hypot(wider * (mean - low), half), mean + math.hypot(wider * (high - mean), half)


def main() -> None:
    facts = json.loads((DOCS / "results" / "reproduction.json").read_text())
    flat, cascade = facts["hierarchy"]["flat"], facts["hierarchy"]["cascade"]
    accuracy = np.subtract(cascade["seeds"], flat["seeds"]).tolist()
    print("cascade, accuracy:", gain(accuracy, cascade["difference"]["accuracy"]))
    none = facts["augmentation"]["none"]
    for name, found in facts["augmentation"].items():
        if name != "none":
            by_seed = np.subtract(found["seeds"], none["seeds"]).tolist()
            print(f"{name}, accuracy:", gain(by_seed, found["difference"]["accuracy"]))
    found, before = facts["false_negatives"]["false_negatives"], facts["false_negatives"]["accuracy"]
    print(
        "misses, accuracy:",
        gain(np.subtract(found["seeds"], before["seeds"]).tolist(), found["difference"]["accuracy"]),
    )
    recall = found["difference"]["recall infected/covid"]  # two of the three seeds kept the same checkpoint
    print("misses, recall infected/covid:", gain([0.0, 0.0, 3 * recall["value"]], recall))
    rates = [trial["best"]["val_accuracy"] for trial in facts["rates"]["trials"]]
    settings = [trial["settings"]["training.lr"] for trial in facts["rates"]["trials"]]
    by_rate = {rate: [a for a, s in zip(rates, settings, strict=True) if s == rate] for rate in dict.fromkeys(settings)}
    values = np.subtract(by_rate[settings[0]], by_rate[settings[2]])
    half = stdtrit(1, 0.975) * values.std(ddof=1) / math.sqrt(2)
    print(
        f"rate {settings[0]} against {settings[2]}, over seeds alone: {100 * values.mean():+.1f} "
        f"({100 * (values.mean() - half):+.1f} to {100 * (values.mean() + half):+.1f})"
    )


if __name__ == "__main__":
    main()
