"""Two classifiers on the same patients, or one on two groups of them: how much measures differ, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from hilum.data.labels import nested_decisions
from hilum.errors import RunError
from hilum.evaluation.performance import argmax, top_down
from hilum.evaluation.predictions import Predictions, read_predictions
from hilum.evaluation.prior_step import same_step
from hilum.evaluation.schema import Confidence, Drop, TwoSides
from hilum.files import settle
from hilum.stats.auc import auroc_estimate
from hilum.stats.hypothesis_tests import McNemar, PatientTest, mcnemar, over_seeds, patient_test
from hilum.stats.intervals import (
    CONFIDENCE,
    FEARED,
    Estimate,
    Patients,
    apart,
    combined,
    evenly,
    identical,
    proportion,
    undefined,
)
from hilum.stats.metrics import mean_of, measures
from hilum.stats.records import Interval, PriorStep, Record
from hilum.text import interval_text, percent
from hilum.training.run import Run, read_json

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Paired(Record):
    """A measure of two classifiers, and the difference: second minus first."""

    first: Interval
    second: Interval
    difference: Interval


class Differences(Record):
    """Measures of two classifiers' answers, overall and by label.

    Specificity, PPV and NPV are empty in comparisons of earlier versions.
    """

    accuracy: Paired
    balanced_accuracy: Paired
    recall: dict[str, Paired]
    specificity: dict[str, Paired] = Field(default_factory=dict)
    ppv: dict[str, Paired] = Field(default_factory=dict)
    npv: dict[str, Paired] = Field(default_factory=dict)


class RuleDifferences(Differences):
    """The same for one way of reading the probabilities, with tests of equal accuracy."""

    mcnemar: McNemar
    patients: PatientTest


class PairedMeasures(Record):
    """All that is paired of two classifiers.

    Attributes:
        labels: K names.
        n_patients: Number of patients; None where not every image's patient is known.
        with_patient: Number of images whose patient is known.
        resampling_unit: ``patients`` or ``images``.
        same_answers: Whether both answer the same about every image.
        rules: Differences by way of reading the probabilities (`hilum.evaluation.performance`).
        rule_effect: What reading down the label tree changes, for each run; None for labels without nesting.
    """

    labels: list[str]
    n_images: int
    n_patients: int | None
    with_patient: int = 0
    resampling_unit: str
    images_by_label: dict[str, int]
    same_answers: bool
    rules: dict[str, RuleDifferences]
    rule_effect: list[RuleDifferences] | None
    auroc: dict[str, Paired]
    intervals: Confidence


class Gain(Interval):
    """A mean difference with its interval over seeds and patients, and the difference of each seed."""

    values: list[float | None]


class OverSeeds(Record):
    """What one method gains over another, from several pairs of networks.

    Attributes:
        seeds: Number of pairs.
        runs: Folders of each pair.
    """

    seeds: int
    accuracy: Gain
    balanced_accuracy: Gain
    recall: dict[str, Gain]
    specificity: dict[str, Gain] = Field(default_factory=dict)
    ppv: dict[str, Gain] = Field(default_factory=dict)
    npv: dict[str, Gain] = Field(default_factory=dict)
    auroc: dict[str, Gain]
    runs: list[tuple[str, str]] = Field(default_factory=list)


def measure_pair(first: Predictions, second: Predictions, *, same: bool = False) -> PairedMeasures:
    """Measure predictions for the same images in the same order.

    Args:
        first: Of N images, K labels.
        second: Of the same ones.
        same: Both come from one and the same classifier.
    """
    labels, truth, clusters = first.labels, first.truth, first.clusters
    nested = bool(nested_decisions(labels))
    both = first.probabilities, second.probabilities
    flat = [argmax(probabilities) for probabilities in both]
    tree = [top_down(probabilities, labels) for probabilities in both] if nested else []

    def beside(one: Ints, two: Ints, *, same: bool = False) -> RuleDifferences:
        right = one == truth, two == truth
        found = paired_differences(truth, one, two, labels, clusters, same=same)
        return RuleDifferences(**found.given(), mcnemar=mcnemar(*right), patients=patient_test(*right, clusters))

    rules = {"argmax": beside(*flat, same=same)}
    if nested:
        rules["top_down"] = beside(*tree, same=same)
    known = all(first.patients)
    return PairedMeasures(
        labels=list(labels),
        n_images=len(truth),
        n_patients=len(set(first.patients)) if known else None,
        with_patient=sum(map(bool, first.patients)),
        resampling_unit="patients" if known else "images",
        images_by_label={label: int((truth == k).sum()) for k, label in enumerate(labels)},
        same_answers=bool((flat[0] == flat[1]).all()),
        rules=rules,
        rule_effect=[beside(flat[i], tree[i]) for i in range(2)] if nested else None,
        auroc=paired_auroc(truth, *both, labels, clusters),
        intervals=Confidence(confidence=CONFIDENCE),
    )


@dataclass(frozen=True)
class Pair:
    """A measure of two classifiers, and what the second one gains."""

    first: Estimate
    second: Estimate
    gain: Estimate

    def paired(self) -> Paired:
        """The same as results hold it."""
        return Paired(first=self.first.interval(), second=self.second.interval(), difference=self.gain.interval())


@dataclass(frozen=True)
class Pairs:
    """Measures of all labels together by name, and of each label by name and label."""

    overall: dict[str, Pair]
    by_label: dict[str, dict[str, Pair]]


def paired_differences(
    truth: Ints, first: Ints, second: Ints, labels: Sequence[str], clusters: Sequence[str], *, same: bool = False
) -> Differences:
    """Measures of two classifiers and their difference, second minus first.

    A difference of shares of the same images is that of what only the second gets right and what only the first does,
    so that nothing is said by images that both treat alike; where there are no others, they can still be as frequent as
    their exact limits allow. PPV and NPV are shares of images that each classifier chooses: their difference takes the
    correlation that the patients show, lessened where few patients tell the two apart.

    Args:
        truth: Index of each image's label, shape (N,).
        first: Index of what the first one answered.
        second: Index of what the second one answered.
        labels: K names.
        clusters: The patient of each image.
        same: Both are one and the same classifier, whose difference is zero without doubt.
    """
    pairs = answer_pairs(truth, first, second, labels, Patients(clusters), same=same)
    return Differences.model_validate(
        {
            **{name: pair.paired() for name, pair in pairs.overall.items()},
            **{name: {label: pair.paired() for label, pair in of.items()} for name, of in pairs.by_label.items()},
        }
    )


def answer_pairs(
    truth: Ints, first: Ints, second: Ints, labels: Sequence[str], patients: Patients, *, same: bool = False
) -> Pairs:
    """What `paired_differences` measures, as estimates that can be averaged."""

    def of_same(one: Bools, two: Bools, counted: Bools) -> Pair:
        """A share of images that the truth chooses."""
        shares = proportion(one, counted, patients), proportion(two, counted, patients)
        if same:
            return Pair(*shares, identical(patients) if counted.any() else undefined(patients))
        both = [proportion(which, counted, patients) for which in (two & ~one, one & ~two)]
        told = evenly(patients.sums(counted & (one != two)))
        return Pair(*shares, combined([(1.0, both[0]), (-1.0, both[1])], trust=told / (told + FEARED)))

    def of_chosen(hits: Bools, one: Bools, two: Bools) -> Pair:
        """A share of images that each classifier chooses."""
        shares = proportion(hits, one, patients), proportion(hits, two, patients)
        if same:
            return Pair(*shares, identical(patients) if one.any() else undefined(patients))
        told = evenly(patients.sums(one != two))
        return Pair(*shares, combined([(1.0, shares[1]), (-1.0, shares[0])], trust=told / (told + FEARED)))

    by_label: dict[str, dict[str, Pair]] = {"recall": {}, "specificity": {}, "ppv": {}, "npv": {}}
    for k, label in enumerate(labels):
        has, one, two = truth == k, first == k, second == k
        by_label["recall"][label] = of_same(one, two, has)
        by_label["specificity"][label] = of_same(~one, ~two, ~has)
        by_label["ppv"][label] = of_chosen(has, one, two)
        by_label["npv"][label] = of_chosen(~has, ~one, ~two)
    known = [pair for pair in by_label["recall"].values() if np.isfinite(pair.first.value)]
    overall = {
        "accuracy": of_same(first == truth, second == truth, np.full(len(truth), True)),
        "balanced_accuracy": Pair(
            mean_of([pair.first for pair in known], patients),
            mean_of([pair.second for pair in known], patients),
            mean_of([pair.gain for pair in known], patients),
        ),
    }
    return Pairs(overall, by_label)


def paired_auroc(
    truth: Ints, first: Floats, second: Floats, labels: Sequence[str], clusters: Sequence[str]
) -> dict[str, Paired]:
    """AUROC of each label by two classifiers and its difference, second minus first.

    Args:
        truth: Index of each image's label, shape (N,).
        first: Probabilities (N, K) of the first classifier.
        second: Those of the second.
        labels: K names.
        clusters: The patient of each image.
    """
    patients = Patients(clusters)
    return {
        label: area_pair(truth == k, first[:, k], second[:, k], patients).paired() for k, label in enumerate(labels)
    }


def area_pair(has: Bools, first: Floats, second: Floats, patients: Patients, confidence: float = CONFIDENCE) -> Pair:
    """AUROC of two classifiers' scores of the same images, and the gain of the second.

    Args:
        has: Whether each image has the label, shape (N,).
        first: Scores of the first classifier, shape (N,).
        second: Those of the second.
        patients: Of the N images.
        confidence: Confidence level of the intervals, in (0, 1).
    """
    one, two = (auroc_estimate(scores, has, patients, confidence=confidence) for scores in (first, second))
    same = np.array_equal(first, second)
    return Pair(one, two, identical(patients) if same else combined([(1.0, two), (-1.0, one)]))


def gains_over_seeds(pairs: Sequence[tuple[Predictions, Predictions]]) -> OverSeeds:
    """What one method gains over another, from several pairs of networks on the same images.

    Args:
        pairs: Predictions of the first and the second method, one pair a seed, at least 2, of the same N images in the
            same order.

    Returns:
        Without the folders of the runs.
    """
    one = pairs[0][0]
    truth, labels, patients = one.truth, one.labels, Patients(one.clusters)
    seeds = [answer_pairs(truth, first.predicted, second.predicted, labels, patients) for first, second in pairs]
    areas = [
        {
            label: area_pair(truth == k, first.probabilities[:, k], second.probabilities[:, k], patients)
            for k, label in enumerate(labels)
        }
        for first, second in pairs
    ]
    return OverSeeds.model_validate(
        {
            "seeds": len(pairs),
            **_gains([seed.overall for seed in seeds]),
            **{name: _gains([seed.by_label[name] for seed in seeds]) for name in seeds[0].by_label},
            "auroc": _gains(areas),
        }
    )


def _gains(by_seed: Sequence[Mapping[str, Pair]]) -> dict[str, Gain]:
    found = {name: [pairs[name].gain for pairs in by_seed] for name in by_seed[0]}
    return {name: gain_of(gains) for name, gains in found.items()}


def gain_of(gains: Sequence[Estimate]) -> Gain:
    """The mean of one difference over seeds, with its interval, and the difference of each seed."""
    return Gain(**over_seeds(gains).interval().given(), values=[gain.interval().value for gain in gains])


INTERNAL = "test"


def internal_predictions(run: Run, step: PriorStep | None) -> Predictions | None:
    """What the run said of its own test images; None where not with these weights and this prior step."""
    folder = run.path / "evaluation" / INTERNAL
    settle(folder)
    measured = read_json(folder / "metrics.json")
    if measured.get("weights_sha256") != run.environment.weights_sha256:
        return None
    if not same_step(measured.get("calibration"), step):
        return None
    try:
        return read_predictions(folder / "predictions.csv")
    except RunError:
        return None


def drop(internal: Predictions, external: Predictions, *, confidence: float = CONFIDENCE) -> Drop:
    """Measures of two groups of patients beside each other, and external minus internal.

    Both are measured on images of the labels that both have: a mean over three labels at home and one elsewhere would
    compare what cannot be compared, and so would an AUROC against another rest.

    Args:
        internal: Of the run's own test images.
        external: Of other people, with labels of the same names.
        confidence: Of the intervals.

    Returns:
        ``labels`` that both have, ``left_out`` (images of other labels, by side), and ``accuracy``,
        ``balanced_accuracy``, and ``recall`` and ``auroc`` by label: each ``internal``, ``external`` and ``difference``
        with ``value``, ``low``, ``high``, None where undefined.
    """
    sides = {"internal": internal, "external": external}
    common = np.intersect1d(internal.truth, external.truth)
    kept = {name: of.take(np.flatnonzero(np.isin(of.truth, common))) for name, of in sides.items()}
    found = {
        name: measures(of.truth, of.probabilities, of.labels, Patients(of.clusters), confidence=confidence)
        for name, of in kept.items()
    }
    inside, outside = found["internal"], found["external"]

    def by_label(name: str) -> dict[str, TwoSides]:
        return {label: _two_sides(inside[name][label], outside[name][label]) for label in internal.labels}

    return Drop(
        labels=[internal.labels[k] for k in common],
        left_out={name: len(of.truth) - len(kept[name].truth) for name, of in sides.items()},
        accuracy=_two_sides(inside["accuracy"], outside["accuracy"]),
        balanced_accuracy=_two_sides(inside["balanced_accuracy"], outside["balanced_accuracy"]),
        recall=by_label("recall"),
        auroc=by_label("auroc"),
    )


def _two_sides(internal: Estimate, external: Estimate) -> TwoSides:
    difference = apart(internal, external).interval()
    return TwoSides(internal=internal.interval(), external=external.interval(), difference=difference)


def drop_sentence(found: Drop) -> str:
    """The drop of accuracy in one sentence."""
    if not found.labels:
        return "external validation: these images and the run's test images have no label in common"
    both = found.balanced_accuracy
    over = f" over the labels that both have ({', '.join(found.labels)})" if any(found.left_out.values()) else ""
    return (
        f"external validation: balanced accuracy{over} {percent(both.internal.value)} on the run's test patients, "
        f"{percent(both.external.value)} here: {interval_text(both.difference, sign=True)}"
    )
