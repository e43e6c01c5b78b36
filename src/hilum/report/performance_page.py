"""What an evaluation says beyond its matrix: decisions, predictive values, subgroups, shortcuts, and what is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hilum.evaluation.schema import AgainstRest, Drop, Lead, Metrics, Shortcuts, Subgroup
from hilum.evaluation.shortcut_baselines import lead_rows
from hilum.evaluation.triage import COUNTED
from hilum.report import evaluation_figures as drawn
from hilum.report.evaluation_console import alarms_of, decision_lines
from hilum.report.evaluation_figures import DecisionCurve, decision_curve_of, reliance_section
from hilum.stats.intervals import share
from hilum.stats.records import Interval
from hilum.stats.verdicts import detectable_sentence
from hilum.text import fraction, measured, p_equals, percent, percent_range

HEADS = {"flag": "Flagged", "read": "To be read", "abstain": "Abstained on", "clear": "Cleared"}


def triage_table(metrics: Metrics) -> dict[str, Any] | None:
    """Patients by label and decision.

    Args:
        metrics: What ``metrics.json`` holds.

    Returns:
        ``unit``, ``heads`` and ``rows`` of label, patients, and count with share and range by decision; None where no
        certificate was checked.
    """
    held = metrics.operating_point
    if not held:
        return None
    found = {held.group: held.outcomes, **held.others}
    there = {name for counts in found.values() for name in COUNTED if counts[name]}
    used = [name for name in COUNTED if name in ("flag", "clear") or name in there]
    rows = []
    for label, counts in found.items():
        total = sum(counts.values())
        shares = [(counts[name], share(counts[name], total)) for name in used]
        rows.append((label, total, [(count, f"{percent(of.value)} ({percent_range(of)})") for count, of in shares]))
    return {"resampling_unit": held.resampling_unit, "heads": [HEADS[name] for name in used], "rows": rows}


@dataclass(frozen=True)
class Worth:
    """Ready to be shown; each part is empty where the evaluation lacks it.

    Attributes:
        decisions: Certificate, abstention, drop and shortcuts in sentences, and whether each is an alarm.
        decision_curve: Net benefit over threshold probabilities and prevalences.
        triage: What becomes of patients, by label; None without a certificate that could be checked.
        curves: ROC and precision-recall curves.
        reliability: Reliability diagrams.
        brier: The Brier score taken apart, in one sentence.
        calibration: One row a label: slope and calibration-in-the-large, what they mean, and the verdict.
        calibration_note: Why no temperature is applied.
        risk: Risk against coverage.
        predictive: One row a prevalence: prevalence, positive and negative predictive value, each with its range.
        predictive_label: Whose.
        subgroups: By column: rows of value, images, patients, and measures with their ranges.
        leads: The model's leads over the shortcut baselines: by label its AUROC, the verdict, and rows of name, kind,
            learner, AUROC, lead and verdict, the nearest and all.
        reliance: What `hilum.report.evaluation_figures` makes of the reliance on shortcuts.
        drop: Measures on the run's own test patients, here, and the difference, each with its range.
        plain: One row a label: recall, precision and specificity as counts with Wilson's intervals.
        detectable: What so few patients could show, in one sentence.
    """

    decisions: list[tuple[str, bool]]
    decision_curve: DecisionCurve | None
    triage: dict[str, Any] | None
    curves: str
    reliability: str
    brier: str
    calibration: list[dict[str, Any]]
    calibration_note: str
    risk: str
    predictive: list[tuple[str, tuple[str, str], tuple[str, str]]]
    predictive_label: str
    subgroups: dict[str, list[dict[str, Any]]]
    leads: list[dict[str, Any]]
    reliance: dict[str, Any]
    drop: list[tuple[str, list[tuple[str, str]]]]
    plain: list[tuple[str, list[tuple[str, str]]]]
    detectable: str


def worth_of(metrics: Metrics, colours: Mapping[str, str], name: str) -> Worth:
    """Everything that the page shows of it.

    Args:
        metrics: What ``metrics.json`` holds, also of older versions that lack some of it.
        colours: Colour by label.
        name: Unique on the page.
    """
    values = metrics.predictive_values
    abstained = metrics.abstention
    alarms = tuple(alarms_of(metrics))
    return Worth(
        decisions=[(line, line.endswith(alarms)) for line in decision_lines(metrics)],
        decision_curve=decision_curve_of(metrics.decision_curve, name),
        triage=triage_table(metrics),
        curves=drawn.curves(metrics.curves, colours, f"curves-{name}") if metrics.curves else "",
        reliability=drawn.reliability_diagrams(metrics.reliability, colours, f"reliability-{name}")
        if metrics.reliability
        else "",
        brier=_brier(metrics),
        calibration=_calibration(metrics),
        calibration_note=metrics.calibration.note if metrics.calibration else "",
        risk=drawn.risk_against_coverage(abstained.risk_coverage, f"risk-{name}") if abstained else "",
        predictive=[(percent(at.prevalence), measured(at.ppv), measured(at.npv)) for at in values.at] if values else [],
        predictive_label=values.label if values else "",
        subgroups={
            column: [_subgroup(value, found) for value, found in parts.items()]
            for column, parts in metrics.subgroups.items()
        },
        leads=_leads(metrics.shortcuts),
        reliance=reliance_section(metrics.reliance, colours, f"reliance-{name}"),
        drop=_drop(metrics.performance_drop),
        plain=_plain(metrics),
        detectable=_detectable(metrics),
    )


def _calibration(metrics: Metrics) -> list[dict[str, Any]]:
    rows = []
    for label, entry in metrics.calibration_by_label.items():
        row: dict[str, Any] = {"label": label, "verdict": entry.verdict}
        both = {"slope": entry.slope, "in_the_large": entry.in_the_large}
        for name, one in both.items():
            value, limits = measured(one, as_percent=False, sign=name == "in_the_large", digits=2)
            row[name] = {"value": value, "range": limits, "direction": one.direction}
        needed = [one.patients_to_decide for one in both.values() if one.verdict == "not shown"]
        known = [number for number in needed if number is not None]
        decided = entry.verdict != "not shown" or not known or len(known) < len(needed)
        row["needed"] = "" if decided else f"about {max(known):,} patients would decide"
        rows.append(row)
    return rows


def _drop(found: Drop | None) -> list[tuple[str, list[tuple[str, str]]]]:
    if not found:
        return []
    entries = [("Accuracy", found.accuracy), ("Balanced accuracy", found.balanced_accuracy)]
    entries += [(f"Sensitivity (recall) of {label}", entry) for label, entry in found.recall.items()]
    rows = [
        (name, [measured(entry.internal), measured(entry.external), _points(entry.difference)])
        for name, entry in entries
    ]
    for label, entry in found.auroc.items():
        sides = [measured(side, as_percent=False) for side in (entry.internal, entry.external)]
        rows.append((f"AUROC of {label}", [*sides, measured(entry.difference, as_percent=False, sign=True)]))
    return rows


def _plain(metrics: Metrics) -> list[tuple[str, list[tuple[str, str]]]]:
    found = metrics.wilson
    if not found:
        return []
    return [
        (
            label,
            [
                (f"{part[label].count:,} of {part[label].total:,}", percent_range(part[label]))
                for part in (found.recall, found.precision, found.specificity)
            ],
        )
        for label in metrics.labels
    ]


def _points(entry: Interval) -> tuple[str, str]:
    value, limits = measured(entry, sign=True)
    return (value, limits) if entry.value is None else (f"{value} points", limits)


def _subgroup(value: str, found: Subgroup) -> dict[str, Any]:
    return {
        "value": value,
        "images": found.n_images,
        "patients": found.n_patients,
        "measures": [
            *map(measured, (found.accuracy, found.recall, found.false_alarms)),
            measured(found.auroc, as_percent=False),
            _rest(found.against_rest),
        ],
    }


def _rest(entry: AgainstRest | None) -> tuple[str, str]:
    if not entry or entry.value is None:
        return "–", ""
    value, limits = _points(entry)
    return value, f"{limits}, {p_equals(entry.p if entry.p_holm is None else entry.p_holm)}"


def _leads(gate: Shortcuts | None) -> list[dict[str, Any]]:
    if not gate:
        return []
    nearest = [(label, _lead(entry)) for label, _, entry, _ in lead_rows(gate)]
    return [
        {
            "label": label,
            "model": measured(found.model, as_percent=False),
            "verdict": found.verdict,
            "nearest": [row for of, row in nearest if of == label],
            "baselines": [_lead(entry) for entry in found.baselines],
        }
        for label, found in gate.labels.items()
    ]


def _lead(entry: Lead) -> dict[str, Any]:
    return {
        **{name: getattr(entry, name) for name in ("name", "kind", "learner", "verdict")},
        "auroc": measured(entry.auroc, as_percent=False),
        "lead": measured(entry.difference, as_percent=False, sign=True),
    }


def _brier(metrics: Metrics) -> str:
    parts = metrics.brier_parts
    if not parts:
        return ""
    return (
        f"Brier score {fraction(metrics.brier)} = miscalibration {fraction(parts.miscalibration)} (a perfectly "
        f"calibrated classifier would show {fraction(parts.ece_null_mean)}) − discrimination "
        f"{fraction(parts.discrimination)} + uncertainty {fraction(parts.uncertainty)}."
    )


def _detectable(metrics: Metrics) -> str:
    found = metrics.detectable
    if not found:
        return ""
    wilson = metrics.wilson and metrics.wilson.accuracy
    plain = (
        f" Wilson’s interval of the accuracy, as if images were independent: {percent_range(wilson)}." if wilson else ""
    )
    sentence = detectable_sentence(found)
    return f"{sentence[:1].upper()}{sentence[1:]}.{plain}"
