"""Does the model outperform the shortcut baselines, on every label and not on the easiest one alone?

The claim is that the model's AUROC leads that of every baseline for every label. It is shown where the lower limit of
each single lead lies above zero, so that no correction for their number is needed (intersection-union test: Berger
1982, *Technometrics*). It is refuted where one lead of many lies below zero, which does need one (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.audit.shortcuts import FEWEST
from hilum.evaluation.predictions import Predictions
from hilum.evaluation.verdicts import NOT_SHOWN, REFUTED, SHOWN, Verdict, at_least, weakest
from hilum.intervals.areas import auroc_estimate
from hilum.intervals.combined import combined
from hilum.intervals.shares import CONFIDENCE, Estimate, Patients
from hilum.text import fraction, interval_text

STACKED = "all probes together"
LEAD = 1e-9  # smallest lead that counts: two equal classifiers differ by an interval of zero length at zero
NAMED = 3  # baselines that a sentence names beside the nearest; tables have them all
OUTDATED = (
    "this evaluation is of an earlier version, which judged one label alone and each probe by one weak learner: run "
    "`hilum evaluate` again"
)


@dataclass(frozen=True)
class Baseline:
    """A classifier that sees shortcuts only.

    Attributes:
        name: Name of the probe, or `STACKED`.
        kind: ``container``, ``pixels``, or ``stacked``.
        learner: What was fitted to its features, such as ``extra trees``.
        scores: Score of each label on the test images, shape (N, K).
    """

    name: str
    kind: str
    learner: str
    scores: NDArray[np.floating]


def compare_with_baselines(predictions: Predictions, baselines: Sequence[Baseline]) -> dict[str, Any]:
    """Compare the AUROC of every label against the rest with that of every baseline, paired by patient.

    Args:
        predictions: Predictions of N images, K labels.
        baselines: Baselines; several learners may share a name.

    Returns:
        ``verdict`` on the claim that the model outperforms every baseline on every label (None, with ``note``, where
        nothing can be judged); ``labels``: for each label with enough patients on both sides its ``verdict``,
        ``model``, and ``baselines`` (``name``, ``kind``, ``learner``, ``auroc``, ``difference``: model minus baseline,
        ``verdict``), the highest AUROC first, each by the learner that leaves the model the smallest lead;
        ``not_judged``: labels with too few patients.
    """
    patients = Patients(predictions.clusters)
    found: dict[str, Any] = {}
    sides = {k: predictions.truth == k for k in range(len(predictions.labels))}
    judged = [k for k, has in sides.items() if min((patients.sums(side) > 0).sum() for side in (has, ~has)) >= FEWEST]
    not_judged = [label for k, label in enumerate(predictions.labels) if k not in judged]
    strict = 1 - (1 - CONFIDENCE) / max(1, len(judged) * len(baselines))
    for k in judged:
        label, positive = predictions.labels[k], sides[k]
        model = auroc_estimate(predictions.probabilities[:, k], positive, patients)
        hardest: dict[str, dict[str, Any]] = {}
        for baseline in baselines:
            area = auroc_estimate(baseline.scores[:, k], positive, patients)
            lead = combined([(1.0, model), (-1.0, area)])
            verdict = at_least(lead.low, lead.high, LEAD)
            if verdict == REFUTED:  # one of many looks lower by chance, and an equal one is not lower
                scores = predictions.probabilities[:, k], baseline.scores[:, k]
                verdict = REFUTED if _lead(*scores, positive, patients, strict).high < 0 else NOT_SHOWN
            entry: dict[str, Any] = {"name": baseline.name, "kind": baseline.kind, "learner": baseline.learner}
            entry |= {"auroc": area.as_json(), "difference": lead.as_json()}
            if before := hardest.get(baseline.name):
                verdict = weakest([verdict, before["verdict"]])
                entry = entry if lead.low < before["difference"]["low"] else before
            hardest[baseline.name] = {**entry, "verdict": verdict}
        beside = sorted(hardest.values(), key=lambda entry: -entry["auroc"]["value"])
        verdict = weakest([entry["verdict"] for entry in beside])
        found[label] = {"verdict": verdict, "model": model.as_json(), "baselines": beside}
    if not found or not baselines:
        return not_compared(f"fewer than {FEWEST} patients with, or without, each label", not_judged)
    verdict = weakest([entry["verdict"] for entry in found.values()])
    return {"verdict": verdict, "labels": found, "not_judged": not_judged, "note": ""}


def _lead(
    model: NDArray[np.floating],
    baseline: NDArray[np.floating],
    positive: NDArray[np.bool_],
    patients: Patients,
    confidence: float,
) -> Estimate:
    areas = (auroc_estimate(scores, positive, patients, confidence=confidence) for scores in (model, baseline))
    return combined(list(zip((1.0, -1.0), areas, strict=True)))


def not_compared(note: str, not_judged: Sequence[str] = ()) -> dict[str, Any]:
    """A comparison that could not be made, and why."""
    return {"verdict": None, "labels": {}, "not_judged": list(not_judged), "note": note}


def read_gate(metrics: Mapping[str, Any]) -> dict[str, Any] | None:
    """The comparison in ``metrics.json``; None where there is none.

    Comparisons of earlier versions claimed more than they had shown: they come without a verdict, and say so.
    """
    gate: dict[str, Any] | None = metrics.get("shortcuts")
    if not gate:
        return None
    return gate if "verdict" in gate else not_compared(OUTDATED)


def gate_sentence(gate: Mapping[str, Any]) -> str:
    """Whether the model outperforms the shortcut baselines, and if not, for which labels and which baselines."""
    verdict: Verdict | None = gate["verdict"]
    if verdict is None:
        return f"shortcut baselines: no verdict: {gate['note']}"
    nearest = {label: min(found["baselines"], key=_low) for label, found in gate["labels"].items()}
    rest = _rest(gate)
    if verdict == SHOWN:
        label = min(nearest, key=lambda label: _low(nearest[label]))
        return (
            "outperforms every shortcut baseline on every label; the smallest lead: "
            f"{_beside(gate, label, nearest[label])}{rest}"
        )
    heading = "WORSE THAN A SHORTCUT" if verdict == REFUTED else "NOT SHOWN TO BEAT A SHORTCUT"
    told = []
    for label, found in gate["labels"].items():
        if found["verdict"] == SHOWN:
            continue
        unbeaten = [entry for entry in sorted(found["baselines"], key=_low) if entry["verdict"] != SHOWN]
        others = [_quoted(entry["name"]) for entry in unbeaten[1:]]
        more = f" and {len(others) - NAMED} others" if len(others) > NAMED else ""
        also = f"; nor shown to beat {', '.join(others[:NAMED])}{more}" if others else ""
        told.append(_beside(gate, label, unbeaten[0]) + also)
    shown = [label for label, found in gate["labels"].items() if found["verdict"] == SHOWN]
    beaten = f". Shown for {', '.join(shown)} only" if shown else ""
    return f"{heading}: {'. '.join(told)}{beaten}{rest}"


def lead_rows(gate: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any], Verdict]]:
    """Rows of the table of leads: label, what was found for it, a baseline, and the verdict against that baseline.

    For each label the baseline that leaves the smallest lead among single probes, then all probes together.
    """
    for label, found in gate["labels"].items():
        single = [entry for entry in found["baselines"] if entry["kind"] != "stacked"]
        together = [entry for entry in found["baselines"] if entry["kind"] == "stacked"]
        for entry in [*sorted(single, key=_low)[:1], *together]:
            yield label, found, entry, entry["verdict"]


def _beside(gate: Mapping[str, Any], label: str, entry: Mapping[str, Any]) -> str:
    model, area = gate["labels"][label]["model"], entry["auroc"]
    return (
        f"AUROC of {label} {fraction(model['value'])}, against {fraction(area['value'])} by {_quoted(entry['name'])} "
        f"({entry['learner']}): difference {interval_text(entry['difference'], as_percent=False, sign=True)}"
    )


def _rest(gate: Mapping[str, Any]) -> str:
    few = f"; not judged, with fewer than {FEWEST} patients on a side: {', '.join(gate['not_judged'])}"
    told = few if gate["not_judged"] else ""
    if gate.get("n_scored", 0) < gate.get("n_images", 0):
        told += f"; on {gate['n_scored']:,} of {gate['n_images']:,} images, whole patients drawn by lot"
    return told


def _low(entry: Mapping[str, Any]) -> float:
    low = entry["difference"]["low"]
    return float("-inf") if low is None else float(low)


def _quoted(name: str) -> str:
    return name if name == STACKED else f"'{name}'"
