"""Figures of the study that several seeds and the same patients share: means over seeds, intervals over patients."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hilum.evaluation.intervals import bootstrap

from hilum.evaluation.metrics import decision_auroc, measures
from hilum.evaluation.predictions import Predictions, read_predictions

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
    """Mean measures of several seeds, and the difference to other ones on the same patients.

    The interval is over patients, for the mean of these very seeds; what another seed would do is told by the
    single values, which stand beside it.
    """
    one = seeds[0]
    assert all(other.paths == one.paths for other in (*seeds, *against))

    def mean(of: Sequence[Predictions], weights: Any) -> dict[str, Any]:
        found = [measures(p.truth, p.probabilities, weights, p.labels) for p in of]
        decisions = [decision_auroc(p.truth, p.probabilities, weights, p.labels) for p in of]
        infected = [d[""]["infected"] for d in decisions]
        which = [d["infected"][PROTECTED] for d in decisions]
        return {
            "accuracy": np.mean([f["accuracy"] for f in found], axis=0),
            "balanced_accuracy": np.mean([f["balanced_accuracy"] for f in found], axis=0),
            **{f"recall {k}": np.mean([f["recall"][k] for f in found], axis=0) for k in one.labels},
            "AUROC infected": np.mean(infected, axis=0),
            "AUROC covid among infected": np.mean(which, axis=0),
            "AUROC gap": np.mean(infected, axis=0) - np.mean(which, axis=0),
        }

    def both(weights: Any) -> dict[str, Any]:
        here = mean(seeds, weights)
        if not against:
            return {"mean": here}
        there = mean(against, weights)
        return {"mean": here, "difference": {name: here[name] - there[name] for name in here}}

    result = bootstrap(both, one.clusters)
    result["seeds"] = [float((p.predicted == p.truth).mean()) for p in seeds]
    result["images"], result["patients"] = len(one.paths), len(set(one.patients))
    return result


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
