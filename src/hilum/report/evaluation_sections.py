"""What the page shows of an evaluation: its matrix, decisions, predictive values, subgroups, shortcuts, and images."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hilum.evaluation.accesses import FILE as ACCESS
from hilum.evaluation.accesses import access_sentence, joint_sentence, read_access
from hilum.evaluation.predictions import Predictions, read_predictions
from hilum.evaluation.schema import AgainstRest, Drop, Lead, Metrics, Shortcuts, Subgroup, Unreadable
from hilum.evaluation.shortcut_baselines import lead_rows
from hilum.evaluation.triage import COUNTED
from hilum.report import evaluation_figures as drawn
from hilum.report import figures, results
from hilum.report.evaluation_console import alarms_of, decision_lines, decision_sentences
from hilum.report.evaluation_figures import DecisionCurve, ReliancePart, decision_curve_of, reliance_section
from hilum.report.gallery import Prediction, choose, picture_uri, rows_of
from hilum.stats.intervals import share
from hilum.stats.records import Coefficient, Interval, LabelCalibration
from hilum.stats.verdicts import detectable_sentence
from hilum.text import Matrix, fraction, measured, p_equals, percent, percent_range, result_matrix
from hilum.training.environment import Environment

HEADS = {"flag": "Flagged", "read": "To be read", "abstain": "Abstained on", "clear": "Cleared"}


@dataclass(frozen=True)
class TriageTable:
    """Patients by label and decision: rows of label, patients, and count with share and range by decision."""

    resampling_unit: str
    heads: list[str]
    rows: list[tuple[str, int, list[tuple[int, str]]]]


@dataclass(frozen=True)
class CalibrationCell:
    """A slope or intercept with its range, and what it means."""

    value: str
    range: str
    direction: str


@dataclass(frozen=True)
class CalibrationRow:
    """Calibration of a label, the verdict, and how many patients would decide it."""

    label: str
    slope: CalibrationCell
    in_the_large: CalibrationCell
    verdict: str
    needed: str


@dataclass(frozen=True)
class SubgroupRow:
    """A part of the patients, and its measures with their ranges."""

    value: str
    images: int
    patients: int
    measures: list[tuple[str, str]]


@dataclass(frozen=True)
class LeadRow:
    """A shortcut baseline, its AUROC and the model's lead over it, each with its range."""

    name: str
    kind: str
    learner: str
    verdict: str
    auroc: tuple[str, str]
    lead: tuple[str, str]


@dataclass(frozen=True)
class LabelLead:
    """The model's AUROC of a label, the verdict, and its leads over the nearest and all baselines."""

    label: str
    model: tuple[str, str]
    verdict: str
    nearest: list[LeadRow]
    baselines: list[LeadRow]


def triage_table(metrics: Metrics) -> TriageTable | None:
    """Patients by label and decision; None where no certificate was checked.

    Args:
        metrics: What ``metrics.json`` holds.
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
    return TriageTable(held.resampling_unit, [HEADS[name] for name in used], rows)


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
        calibration: One row a label.
        calibration_note: Why no temperature is applied.
        risk: Risk against coverage.
        predictive: One row a prevalence: prevalence, positive and negative predictive value, each with its range.
        predictive_label: Whose.
        subgroups: Rows by column.
        leads: The model's leads over the shortcut baselines.
        reliance: What `hilum.report.evaluation_figures` makes of the reliance on shortcuts.
        drop: Measures on the run's own test patients, here, and the difference, each with its range.
        plain: One row a label: recall, precision and specificity as counts with Wilson's intervals.
        detectable: What so few patients could show, in one sentence.
    """

    decisions: list[tuple[str, bool]]
    decision_curve: DecisionCurve | None
    triage: TriageTable | None
    curves: str
    reliability: str
    brier: str
    calibration: list[CalibrationRow]
    calibration_note: str
    risk: str
    predictive: list[tuple[str, tuple[str, str], tuple[str, str]]]
    predictive_label: str
    subgroups: dict[str, list[SubgroupRow]]
    leads: list[LabelLead]
    reliance: ReliancePart | None
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
        calibration=[_calibration_row(label, entry) for label, entry in metrics.calibration_by_label.items()],
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


def _calibration_row(label: str, entry: LabelCalibration) -> CalibrationRow:
    needed = [one.patients_to_decide for one in (entry.slope, entry.in_the_large) if one.verdict == "not shown"]
    known = [number for number in needed if number is not None]
    decided = entry.verdict != "not shown" or not known or len(known) < len(needed)
    return CalibrationRow(
        label,
        slope=_coefficient(entry.slope),
        in_the_large=_coefficient(entry.in_the_large, sign=True),
        verdict=entry.verdict,
        needed="" if decided else f"about {max(known):,} patients would decide",
    )


def _coefficient(entry: Coefficient, *, sign: bool = False) -> CalibrationCell:
    return CalibrationCell(*measured(entry, as_percent=False, sign=sign, digits=2), entry.direction)


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


def _subgroup(value: str, found: Subgroup) -> SubgroupRow:
    shares = map(measured, (found.accuracy, found.recall, found.false_alarms))
    measures = [*shares, measured(found.auroc, as_percent=False), _rest(found.against_rest)]
    return SubgroupRow(value, found.n_images, found.n_patients, measures)


def _rest(entry: AgainstRest | None) -> tuple[str, str]:
    if not entry or entry.value is None:
        return "–", ""
    value, limits = _points(entry)
    return value, f"{limits}, {p_equals(entry.p if entry.p_holm is None else entry.p_holm)}"


def _leads(gate: Shortcuts | None) -> list[LabelLead]:
    if not gate:
        return []
    nearest = [(label, _lead(entry)) for label, _, entry, _ in lead_rows(gate)]
    return [
        LabelLead(
            label,
            model=measured(found.model, as_percent=False),
            verdict=found.verdict,
            nearest=[row for of, row in nearest if of == label],
            baselines=[_lead(entry) for entry in found.baselines],
        )
        for label, found in gate.labels.items()
    ]


def _lead(entry: Lead) -> LeadRow:
    auroc = measured(entry.auroc, as_percent=False)
    lead = measured(entry.difference, as_percent=False, sign=True)
    return LeadRow(entry.name, entry.kind, entry.learner, entry.verdict, auroc, lead)


def _brier(metrics: Metrics) -> str:
    parts = metrics.brier_parts
    if not parts:
        return ""
    return (
        f"Brier score {fraction(metrics.brier)} = miscalibration {fraction(parts.miscalibration)} (a calibrated "
        f"classifier has {fraction(parts.ece_null_mean)}) − discrimination "
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


def slug(name: str) -> str:
    """A name that may stand in an element's id."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", name)


@dataclass(frozen=True)
class GalleryEntry:
    """An image of the gallery; `uri` is None where the file is gone."""

    of: Prediction
    uri: str | None


@dataclass(frozen=True)
class Evaluation:
    """One folder below ``evaluation/``, ready to be shown."""

    name: str
    metrics: Metrics
    verdict: str
    access: str
    matrix: Matrix
    confusions: str
    per_label: list[results.LabelRow]  # rows of `hilum.report.results.per_label`
    heads: list[str]
    decisions: list[str]
    dots: str
    scores: list[results.Score]
    gallery: list[GalleryEntry]
    gallery_how: str
    notes: list[str]
    unreadable: list[Unreadable]
    worth: Worth
    errors_shown: int


def evaluation_of(folder: Path, metrics: Metrics, colours: Mapping[str, str], environment: Environment) -> Evaluation:
    """Everything that the page shows of an evaluation.

    Args:
        folder: Below the run's ``evaluation``.
        metrics: What its ``metrics.json`` holds.
        colours: Colour by label.
        environment: The run's.
    """
    root = Path(metrics.data.root or environment.data.root or ".")
    notes = [sentence] if (sentence := joint_sentence(access := read_access(folder))) else []
    if (metrics.weights_sha256 or "") != environment.weights_sha256:
        notes.append("The run holds other weights than were evaluated here: run `hilum evaluate` again.")
    found = of_predictions(folder.name, metrics, read_predictions(folder / "predictions.csv"), colours, root, notes)
    return replace(found, access=access_sentence(access)) if (folder / ACCESS).exists() else found


def of_predictions(
    name: str,
    metrics: Metrics,
    predictions: Predictions,
    colours: Mapping[str, str],
    root: Path,
    notes: Sequence[str] = (),
    *,
    gallery: bool = True,
) -> Evaluation:
    """Everything that a page shows of predictions and their measures.

    Args:
        name: What the page calls the evaluation.
        metrics: What was measured.
        predictions: Of what.
        colours: Colour by label.
        root: The folder that the paths of the images are relative to.
        notes: Remarks besides those of the measures.
        gallery: Whether images are shown.
    """
    labels = metrics.labels
    choice = choose(rows_of(predictions), labels)
    return Evaluation(
        name=name,
        metrics=metrics,
        verdict=results.verdict(metrics),
        access="",
        matrix=result_matrix(metrics.labels, metrics.confusion),
        confusions=results.confusions(metrics),
        per_label=results.per_label(metrics),
        heads=list(map(results.heading, results.COLUMNS)),
        decisions=decision_sentences(metrics),
        dots=figures.measure_dots(results.dots_of(metrics), {k: colours[k] for k in labels}, f"dots-{slug(name)}"),
        scores=results.probability_scores(metrics),
        gallery=[GalleryEntry(entry, picture_uri(root / entry.path)) for entry in choice.predictions if gallery],
        gallery_how=choice.how,
        notes=[*metrics.data.notes, *metrics.notes, *notes],
        unreadable=metrics.unreadable,
        worth=worth_of(metrics, colours, slug(name)),
        errors_shown=sum(not entry.right for entry in choice.predictions),
    )
