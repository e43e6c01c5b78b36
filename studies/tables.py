"""Figures of the study that several seeds and the same patients share, with intervals over both."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hilum.evaluation.predictions import Predictions, read_predictions
from hilum.stats.hypothesis_tests import over_seeds as estimates_over_seeds
from hilum.stats.intervals import Estimate, Patients, combined
from hilum.stats.metrics import decision_auroc, measures

PROTECTED = "infected/covid"


def load(run: Path, evaluation: str = "test") -> Predictions:
    """The predictions of one evaluation of a run, in the order of their paths, so that seeds can be averaged."""
    read = read_predictions(run / "evaluation" / evaluation / "predictions.csv")
    order = np.argsort(read.paths)
    return Predictions(
        read.labels,
        tuple(read.paths[i] for i in order),
        tuple(read.patients[i] for i in order),
        read.truth[order],
        read.probabilities[order],
    )


def trials(sweep: Path) -> dict[str, list[Path]]:
    """The runs of a sweep by what they have in common, seeds together, in the order in which they were tried."""
    result = json.loads((sweep / "sweep.json").read_text())
    names = {trial["name"]: number for number, trial in enumerate(result["trials"])}
    groups = sorted(result["groups"], key=lambda group: names[group["trials"][0]])
    return {json.dumps(group["settings"]): [sweep / "trials" / name for name in group["trials"]] for group in groups}


def over_seeds(seeds: Sequence[Predictions], against: Sequence[Predictions] = ()) -> dict[str, Any]:
    """Mean measures of several seeds, and the gain over other ones, seed by seed, on the same patients.

    Intervals are over seeds and patients: they speak of the method, not of these networks. Of one seed, the interval is
    over patients only.
    """
    one = seeds[0]
    assert all(other.paths == one.paths for other in (*seeds, *against))
    patients = Patients(one.clusters)
    here, there = ([_measured(of, patients) for of in side] for side in (seeds, against))
    means = {name: _mean([found[name] for found in here]) for name in here[0]}
    result: dict[str, Any] = {"mean": {name: _bounded(name, mean).as_json() for name, mean in means.items()}}
    if against:
        pairs = list(zip(here, there, strict=True))
        gains = {name: [combined([(1.0, new[name]), (-1.0, old[name])]) for new, old in pairs] for name in here[0]}
        result["difference"] = {name: _mean(found).as_json() for name, found in gains.items()}
        result["gains"] = {name: [gain.value for gain in found] for name, found in gains.items()}
    result["seeds"] = [float((p.predicted == p.truth).mean()) for p in seeds]
    result["images"], result["patients"] = len(one.paths), len(set(one.patients))
    return result


def _mean(found: Sequence[Estimate]) -> Estimate:
    return estimates_over_seeds(found) if len(found) > 1 else found[0]


def _bounded(name: str, mean: Estimate) -> Estimate:
    """Without what no share and no area can be: a gap of two areas may be below zero."""
    if name.endswith("gap") or mean.low is None or mean.high is None:
        return mean
    return replace(mean, low=max(mean.low, 0.0), high=min(mean.high, 1.0))


def _measured(of: Predictions, patients: Patients) -> dict[str, Estimate]:
    found = measures(of.truth, of.probabilities, of.labels, patients)
    decisions = decision_auroc(of.truth, of.probabilities, of.labels, patients)
    infected, which = decisions[""]["infected"], decisions["infected"][PROTECTED]
    return {
        "accuracy": found["accuracy"],
        "balanced_accuracy": found["balanced_accuracy"],
        **{f"recall {label}": found["recall"][label] for label in of.labels},
        "AUROC infected": infected,
        "AUROC covid among infected": which,
        "AUROC gap": combined([(1.0, infected), (-1.0, which)]),
    }


def percent(entry: dict[str, float], *, sign: str = "") -> str:
    """``84.6 (80.7 to 87.9)``."""
    return "{} ({} to {})".format(*(f"{100 * entry[k]:{sign}.1f}" for k in ("value", "low", "high")))


def area(entry: dict[str, float], *, sign: str = "") -> str:
    """``0.912 (0.880 to 0.941)``."""
    return "{} ({} to {})".format(*(f"{entry[k]:{sign}.3f}" for k in ("value", "low", "high")))


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, numbers to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
