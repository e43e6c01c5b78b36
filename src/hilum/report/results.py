"""What ``metrics.json`` says, in words and in the original report's result matrix."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from hilum.evaluation.schema import Metrics
from hilum.report.prior_text import prior_sentence
from hilum.stats.calibration import applied
from hilum.stats.metrics import BY_LABEL, ByLabel
from hilum.stats.records import CalibrationError, Intervals
from hilum.text import fraction, interval_text, measured, percent, plural, result_matrix
from hilum.training.environment import BestCheckpoint
from hilum.training.run import Run

COLUMNS = BY_LABEL
REMEDY = "Train longer (training.epochs), or change the learning rate (training.lr)"


def not_learnt(run: Run) -> str:
    """A warning where a kept checkpoint is no better on validation than the constant prediction; else empty.

    The constant prediction is the most frequent label, with the labels' frequencies as probabilities; of findings,
    any, whose mean AUROC is one half.
    """
    best = run.environment.best
    if best and run.findings:
        by_chance = best.val_auroc is not None and best.val_auroc <= 0.5
        return (
            f"NOT LEARNT: mean validation AUROC {best.val_auroc:.3f} is no better than chance. {REMEDY}"
            if by_chance
            else ""
        )
    return _no_better(best, Counter(row.label for row in run.rows if row.split == "val")) if best else ""


def _no_better(best: BestCheckpoint, validation: Counter[str]) -> str:
    total = validation.total()
    if not total:
        return ""
    label, most = validation.most_common(1)[0]
    log_loss = -sum(count / total * math.log(count / total) for count in validation.values() if count)
    if best.val_accuracy > most / total or best.val_loss < log_loss:
        return ""
    return (
        f"NOT LEARNT: validation accuracy {percent(best.val_accuracy)} and loss {best.val_loss:.3f} are no better than "
        f"always predicting '{label}' ({percent(most / total)}, loss {log_loss:.3f}). {REMEDY}"
    )


def images_of(metrics: Metrics) -> str:
    """``615 test images``, or ``615 images of NAME`` where a whole dataset was evaluated."""
    if metrics.split == "all":
        return f"{plural(metrics.n_images, 'image')} of {metrics.name}"
    return plural(metrics.n_images, f"{metrics.split} image")


def verdict(metrics: Metrics) -> str:
    """The evaluation in one sentence: its accuracy, and the sensitivity for what matters, with false negatives."""
    matrix = result_matrix(metrics.labels, metrics.confusion)
    rows = {row.label: row for row in matrix.rows if row.total}
    label = metrics.positive_label or ""
    what = f"sensitivity for {label}"
    if label not in rows:
        label = min(rows, key=lambda name: metrics.recall[name].value or 0.0)
        what = f"lowest sensitivity: {label}"
    total = rows[label].total
    missed = total - rows[label].cells[matrix.labels.index(label)].count
    return (
        f"Accuracy {interval_text(metrics.accuracy)} on {images_of(metrics)}; {what} "
        f"{interval_text(metrics.recall[label])}, false negatives: {missed:,} of {plural(total, 'image')}."
    )


def confusions(metrics: Metrics, most: int = 6) -> str:
    """Which label was taken for which, the most frequent first, as the seed counts its false cases."""
    labels, confusion = metrics.labels, metrics.confusion
    pairs = [
        (confusion[i][j], f"{confusion[i][j]:,} {labels[i]} predicted as {labels[j]}")
        for i in range(len(labels))
        for j in range(len(labels))
        if i != j and confusion[i][j]
    ]
    if not pairs:
        return "No image is misclassified."
    pairs.sort(key=lambda pair: -pair[0])
    others = sum(count for count, _ in pairs[most:])
    told = [text for _, text in pairs[:most]] + ([f"{others:,} other errors"] if others else [])
    return f"Out of the {plural(sum(count for count, _ in pairs), 'false case')}: {', '.join(told)}."


@dataclass(frozen=True, slots=True)
class Score:
    """A number about the probabilities, and how to read it."""

    name: str
    value: str
    reading: str
    beside: str = ""


def probability_scores(metrics: Metrics) -> list[Score]:
    """Log-loss, Brier score and calibration errors, each next to what it has to be compared with."""
    frequencies = [sum(row) / sum(map(sum, metrics.confusion)) for row in metrics.confusion]
    constant_log_loss = -sum(p * math.log(p) for p in frequencies if p)
    constant_brier = 1 - sum(p * p for p in frequencies)
    return [
        Score(
            "Log-loss",
            fraction(metrics.log_loss),
            "Mean of −ln(probability of the true label); 0 is perfect, and one confident error weighs heavily. "
            f"Predicting the label frequencies of this set would score {fraction(constant_log_loss)}.",
        ),
        Score(
            "Brier score",
            fraction(metrics.brier),
            "Mean squared distance between the probabilities and the truth, from 0 (perfect) to 2. "
            f"The same constant prediction would score {fraction(constant_brier)}.",
        ),
        *(_error(metrics, name, error) for name, error in metrics.errors().items()),
    ]


GAP = {
    "class-wise": "Mean gap between predicted probability and observed frequency, over all labels",
    "top-label": "Mean gap between the highest probability and the accuracy",
}


def _error(metrics: Metrics, name: str, entry: CalibrationError) -> Score:
    floor, high = entry.ece_null_mean, entry.ece_null_q95
    seldom = f", and above {percent(high)} in one case of twenty" if high else ""
    return Score(
        f"{name.capitalize()} calibration error (ECE)",
        percent(entry.value),
        f"{GAP[name]}. A perfectly calibrated classifier would show about {percent(floor)} on these patients: the "
        f"noise floor{seldom}. This one is {_times(entry.value, floor)} that; near 1 is well calibrated, well above it "
        f"the probabilities are miscalibrated.{_temperature(metrics, name)}{_prior(metrics)}",
        f"noise floor {percent(floor)}",
    )


def _temperature(metrics: Metrics, name: str) -> str:
    calibration = metrics.calibration
    if not calibration or not calibration.temperatures or not applied(calibration.temperatures):
        return ""
    shown = " and ".join(f"{value:.2f}" for value in calibration.temperatures.values())
    before = calibration.before.errors().get(name, calibration.before.ece_class_wise)
    return (
        f" The probabilities were scaled by a temperature of {shown}, fitted to calibration patients outside training "
        f"and test; uncalibrated, the error was {percent(before.value)}."
    )


def _prior(metrics: Metrics) -> str:
    sentence = prior_sentence(metrics.calibration.prior_step) if metrics.calibration else ""
    return f" {sentence}" if sentence else ""


def _times(value: float, floor: float) -> str:
    return f"{value / floor:.1f} times" if floor else "not comparable with"


def check(metrics: Metrics) -> None:
    """Take everything that a page shows out of `metrics` once.

    Raises:
        Exception: An `IndexError`, `KeyError`, `ValueError` or `ZeroDivisionError`; matrix and labels do not fit.
    """
    for take in (verdict, confusions, per_label, probability_scores):
        take(metrics)


def heading(measure: ByLabel) -> str:
    """The title of a measure as a table's heading."""
    return measure.title[:1].upper() + measure.title[1:]


@dataclass(frozen=True, slots=True)
class LabelRow:
    """A label, its number of images, and each of `COLUMNS` with its interval."""

    label: str
    images: int
    cells: list[tuple[str, str]]


def per_label(metrics: Metrics) -> list[LabelRow]:
    """One row a label; dashes for what an older evaluation lacks."""
    return [
        LabelRow(
            label,
            sum(row),
            [measured(metrics.by_label(column.key).get(label), as_percent=column.as_percent) for column in COLUMNS],
        )
        for label, row in zip(metrics.labels, metrics.confusion, strict=True)
    ]


def dots_of(metrics: Metrics) -> dict[str, Intervals]:
    """What `hilum.report.figures.measure_dots` draws of an evaluation: measures by title."""
    return {heading(measure): found for measure in BY_LABEL[:5] if (found := metrics.by_label(measure.key))}
