"""What ``metrics.json`` says, in words and in the seed's result matrix."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hilum.stats.calibration import ECE, applied
from hilum.stats.metrics import BY_LABEL, ByLabel
from hilum.text import fraction, measured, percent, percent_range, plural, result_matrix

Metrics = Mapping[str, Any]
COLUMNS = BY_LABEL
NOT_METRICS = (AttributeError, IndexError, KeyError, TypeError, ValueError, ZeroDivisionError)


def complement(entry: Mapping[str, float | None]) -> dict[str, float | None]:
    """One minus a measure, its interval turned round: the miss rate of a recall."""
    value, low, high = (entry.get(key) for key in ("value", "low", "high"))
    return {
        "value": None if value is None else 1 - value,
        "low": None if high is None else 1 - high,
        "high": None if low is None else 1 - low,
    }


def images_of(metrics: Metrics) -> str:
    """``615 test images``, or ``615 images of NAME`` where a whole dataset was evaluated."""
    if metrics["split"] == "all":
        return f"{plural(metrics['n_images'], 'image')} of {metrics['name']}"
    return plural(metrics["n_images"], f"{metrics['split']} image")


def verdict(metrics: Metrics) -> str:
    """The evaluation in one sentence: how many were right, and how many of what matters were missed."""
    matrix, confidence = (
        result_matrix(metrics["labels"], metrics["confusion"]),
        f"{100 * metrics['intervals']['confidence']:g} % CI",
    )
    limits = percent_range(metrics["accuracy"]).removesuffix(" %")
    sentence = f"{matrix.accuracy} of {images_of(metrics)} right ({confidence} {limits})"
    judged = [label for label, total in zip(matrix.labels, matrix.truth_totals, strict=True) if total]
    protected = metrics["protected"] in judged
    label = metrics["protected"] if protected else min(judged, key=lambda name: metrics["recall"][name]["value"])
    position = matrix.labels.index(label)
    total = matrix.truth_totals[position]
    missed = total - matrix.rows[position].cells[position].count
    missed_range = percent_range(complement(metrics["recall"][label])).removesuffix(" %")
    rate = f"{percent(missed / total)}, {confidence} {missed_range}"
    if not protected:
        return f"{sentence}; found least often: {label}, {missed:,} of {plural(total, 'image')} missed ({rate})."
    verb = "was" if missed == 1 else "were"
    of_all = f"{missed:,} of {plural(total, f'{label} image')}"
    return f"{sentence}; {of_all} {verb} not called {label} (missed: {rate})."


def confusions(metrics: Metrics, most: int = 6) -> str:
    """Which label was taken for which, the most frequent first, as the seed counts its false cases."""
    labels, confusion = metrics["labels"], metrics["confusion"]
    pairs = [
        (confusion[i][j], f"{confusion[i][j]:,} {labels[i]} predicted as {labels[j]}")
        for i in range(len(labels))
        for j in range(len(labels))
        if i != j and confusion[i][j]
    ]
    if not pairs:
        return "No image was answered wrongly."
    pairs.sort(key=lambda pair: -pair[0])
    others = sum(count for count, _ in pairs[most:])
    told = [text for _, text in pairs[:most]] + ([f"{others:,} of other kinds"] if others else [])
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
    frequencies = [sum(row) / sum(map(sum, metrics["confusion"])) for row in metrics["confusion"]]
    constant_log_loss = -sum(p * math.log(p) for p in frequencies if p)
    constant_brier = 1 - sum(p * p for p in frequencies)
    return [
        Score(
            "Log-loss",
            fraction(metrics["log_loss"]),
            "Mean of −ln(probability given to the truth); 0 is perfect, and one confident error costs much. "
            f"Always answering how frequent each label is here would score {fraction(constant_log_loss)}.",
        ),
        Score(
            "Brier score",
            fraction(metrics["brier"]),
            "Mean squared distance between the probabilities and the truth, from 0 (perfect) to 2. "
            f"The same constant answer would score {fraction(constant_brier)}.",
        ),
        *(_error(metrics, key, name) for key, name in ECE.items() if key in metrics or key == "ece_class_wise"),
    ]


GAP = {
    "ece_class_wise": "Mean gap between the probability stated for a label and the share that has it, over all labels",
    "ece_top_label": "Mean gap between the probability of the most probable label and the share that has it",
}


def _error(metrics: Metrics, key: str, name: str) -> Score:
    entry = metrics.get(key) or metrics["ece"]
    floor, high = entry["noise_floor"], entry.get("noise_high")
    seldom = f", and in one case of twenty more than {percent(high)}" if high else ""
    return Score(
        f"{name.capitalize()} calibration error (ECE)",
        percent(entry["value"]),
        f"{GAP[key]}. A perfectly calibrated classifier would show about {percent(floor)} on these patients: the noise "
        f"floor{seldom}. This one is {_times(entry['value'], floor)} that; near 1 nothing is wrong, well above it the "
        f"probabilities should not be taken at their word.{_temperature(metrics, key)}",
        f"noise floor {percent(floor)}",
    )


def _temperature(metrics: Metrics, key: str) -> str:
    calibration = metrics.get("calibration") or {}
    if not applied(calibration.get("temperatures")):
        return ""
    shown = " and ".join(f"{value:.2f}" for value in calibration["temperatures"].values())
    before = calibration["before"].get(key) or calibration["before"]["ece"]
    return (
        f" The probabilities were scaled by a temperature of {shown}, fitted to calibration patients that neither "
        f"training nor test has; before that the error was {percent(before['value'])}."
    )


def _times(value: float, floor: float) -> str:
    return f"{value / floor:.1f} times" if floor else "not comparable with"


def check(metrics: Metrics) -> None:
    """Take everything that a page shows out of `metrics` once.

    Raises:
        Exception: One of `NOT_METRICS`; something is not there, or is not what it should be.
    """
    for take in (verdict, confusions, per_label, probability_scores):
        take(metrics)
    percent_range(metrics["balanced_accuracy"])
    for key in ("n_images", "n_patients", "unit"):
        metrics[key]
    for key, inner in (("data", "root"), ("data", "digest"), ("intervals", "confidence")):
        metrics[key][inner]


def heading(measure: ByLabel) -> str:
    """The title of a measure as a table's heading."""
    return measure.title[:1].upper() + measure.title[1:]


def per_label(metrics: Metrics) -> list[dict[str, Any]]:
    """One row a label: images, and each of `COLUMNS` with its interval; dashes for what an older evaluation lacks."""
    totals = result_matrix(metrics["labels"], metrics["confusion"]).truth_totals
    return [
        {
            "label": label,
            "images": total,
            "cells": [
                measured(metrics.get(column.key, {}).get(label) or {}, as_percent=column.as_percent)
                for column in COLUMNS
            ],
        }
        for label, total in zip(metrics["labels"], totals, strict=True)
    ]


def dots_of(metrics: Metrics) -> dict[str, Any]:
    """What `hilum.report.figures.measure_dots` draws of an evaluation: measures by title."""
    return {heading(measure): metrics[measure.key] for measure in BY_LABEL[:5] if measure.key in metrics}
