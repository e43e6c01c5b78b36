"""How far a model drops at a source that it never saw, against ordinary folds of the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import stdtrit

from hilum.data.labels import is_healthy
from hilum.evaluation.findings_predictions import FindingsPredictions
from hilum.evaluation.findings_schema import FindingsMetrics
from hilum.evaluation.predictions import Predictions
from hilum.evaluation.schema import Metrics
from hilum.evaluation.source_folds import Division, NotTested, OnlyAt
from hilum.stats.auc import auroc_estimate
from hilum.stats.intervals import CONFIDENCE, Estimate, Patients, combined
from hilum.stats.metrics import answer_measures, mean_of, within_folds
from hilum.stats.records import Interval, Record


class SourceResult(Record):
    """A source that the model never saw.

    Attributes:
        name: Of the source.
        n_images: Number of images tested.
        n_patients: Number of patients; None where not every image's patient is known.
        n_train: Number of images trained on, all from other sources.
        prevalence: Share of the label in the source.
        auroc: Of the label against the rest, at this source.
        balanced_accuracy: Mean recall over the labels there.
        sensitivity: Recall of the label.
        specificity: Of the label.
        ordinary: The AUROC of the same images in ordinary folds.
        shortcut: AUROC of the strongest shortcut baseline that learnt from the same training images.
        shortcut_name: What it sees.
    """

    name: str
    n_images: int
    n_patients: int | None
    n_train: int
    prevalence: float
    auroc: Interval
    balanced_accuracy: Interval
    sensitivity: Interval
    specificity: Interval
    ordinary: Interval = Interval()
    shortcut: Interval = Interval()
    shortcut_name: str = ""


class SourceDrop(Record):
    """A measure at sources that the model never saw, in ordinary folds, and the latter minus the former."""

    unseen: Interval
    ordinary: Interval = Interval()
    drop: Interval = Interval()


class SourceComparison(Record):
    """The model at sources that it never saw, beside ordinary folds.

    Attributes:
        by: Column of the sources.
        label: The label that is measured against the rest; the positive one, where it can be.
        labels: Labels that are measured at all: those that some training part has without the source.
        sources: One a source that was tested.
        not_tested: Sources that were not.
        confounded: Labels that come from one source only.
        n_train: Mean number of training images without the source, and in ordinary folds.
        repeats: How often ordinary folds were divided and trained, each time by another random seed.
        auroc: Mean over sources and over ordinary folds.
        balanced_accuracy: The same.
    """

    by: str
    label: str
    labels: list[str]
    sources: list[SourceResult]
    not_tested: list[NotTested] = Field(default_factory=list)
    confounded: list[OnlyAt] = Field(default_factory=list)
    n_train: tuple[int, int | None]
    repeats: int = 1
    auroc: SourceDrop
    balanced_accuracy: SourceDrop


class FindingsBySource(Record):
    """The same of several findings an image.

    Attributes:
        by: Column of the sources.
        findings: By finding, where some source has images with and without it; ``label`` is the finding.
        not_measured: The others.
        not_tested: Sources that were not.
        confounded: Findings that are present at one source only.
        n_train: Mean number of training images without the source, and in ordinary folds.
        repeats: How often ordinary folds were divided and trained.
        macro: Mean AUROC over the findings.
    """

    by: str
    findings: dict[str, SourceComparison]
    not_measured: list[str] = Field(default_factory=list)
    not_tested: list[NotTested] = Field(default_factory=list)
    confounded: list[OnlyAt] = Field(default_factory=list)
    n_train: tuple[int, int | None]
    repeats: int = 1
    macro: SourceDrop


@dataclass(frozen=True)
class FoldResults:
    """What was predicted in turns.

    Attributes:
        predictions: Of all folds together.
        fold: Fold of each image, shape (N,).
        metrics: By fold; None where a fold measured nothing.
        n_train: Number of training images, by fold.
    """

    predictions: Predictions
    fold: NDArray[np.int64]
    metrics: Sequence[Metrics | None]
    n_train: Sequence[int]


@dataclass(frozen=True)
class FindingFoldResults:
    """The same of several findings an image."""

    predictions: FindingsPredictions
    fold: NDArray[np.int64]
    metrics: Sequence[FindingsMetrics]
    n_train: Sequence[int]

    def of_finding(self, name: str) -> FoldResults:
        """One finding, over the images where it is known."""
        metrics = [found.metrics if (found := fold.findings.get(name)) else None for fold in self.metrics]
        rows = self.predictions.rows_of(name)
        return FoldResults(self.predictions.of_finding(name), self.fold[rows], metrics, self.n_train)


def compare_sources(
    by: str, division: Division, unseen: FoldResults, ordinary: Sequence[FoldResults], positive_label: str | None
) -> SourceComparison:
    """Measure each source, their mean, and how much less that is than the mean of ordinary folds.

    Means count each source, and each ordinary fold, once. Their difference is paired by patient: everybody is tested in
    both. Its interval counts trainings, too: ordinary folds are divided and trained several times, by other random
    seeds, and sources that do not differ would be one more time (`_with_trainings`). It says nothing of other sources
    than these.

    Args:
        by: Column of the sources.
        division: By source.
        unseen: What was predicted without the source.
        ordinary: What was predicted in `ordinary_folds`, once for each random seed; empty without.
        positive_label: The label that must not be missed, if there is one.
    """
    return _compared(by, division, unseen, ordinary, positive_label)[0]


def compare_findings_by_source(
    by: str, division: Division, unseen: FindingFoldResults, ordinary: Sequence[FindingFoldResults]
) -> FindingsBySource:
    """`compare_sources` of each finding, and the mean over findings.

    Args:
        by: Column of the sources.
        division: By source.
        unseen: What was predicted without the source.
        ordinary: What was predicted in `ordinary_folds`, once for each random seed; empty without.
    """
    everybody = [patient for one in (unseen, *ordinary) for patient in one.predictions.clusters]
    found: dict[str, SourceComparison] = {}
    means: list[_Means] = []
    names = unseen.predictions.findings
    for name in names:
        if not len(unseen.predictions.rows_of(name)):
            continue
        others = [one.of_finding(name) for one in ordinary]
        comparison, of = _compared(by, division, unseen.of_finding(name), others, name, everybody)
        if comparison.label == name and comparison.auroc.unseen.value is not None:
            found[name] = comparison
            means.append(of)
    patients = Patients(everybody)
    unseen_mean = mean_of([one.unseen for one in means], patients)
    repeats = [mean_of(list(of), patients) for of in zip(*(one.ordinary for one in means), strict=True)]
    return FindingsBySource(
        by=by,
        findings=found,
        not_measured=[name for name in names if name not in found],
        not_tested=list(division.not_tested),
        confounded=list(division.confounded),
        n_train=_n_train(unseen.n_train, [one.n_train for one in ordinary]),
        repeats=len(ordinary),
        macro=_drop(_Means(unseen_mean, repeats), patients),
    )


@dataclass(frozen=True)
class _Means:
    """The mean of a measure over sources, and over the ordinary folds of each repeat."""

    unseen: Estimate
    ordinary: Sequence[Estimate]


def _compared(
    by: str,
    division: Division,
    unseen: FoldResults,
    ordinary: Sequence[FoldResults],
    positive_label: str | None,
    everybody: Sequence[str] = (),
) -> tuple[SourceComparison, _Means]:
    """The comparison, and the mean AUROC, whose influences count the patients of `everybody` besides."""
    labels = unseen.predictions.labels
    clusters = [*everybody, *unseen.predictions.clusters]
    first = len(everybody)
    takes = []
    for one in ordinary:
        takes.append(np.arange(len(clusters), len(clusters) + len(one.fold)))
        clusters += one.predictions.clusters
    patients = Patients(clusters)
    occurring = [labels[i] for i in sorted(set(unseen.predictions.truth.tolist()))]
    label = _measured_label(unseen, positive_label)
    own = _by_fold(unseen, label, occurring, patients.take(np.arange(first, first + len(unseen.fold))))
    areas, balanced = _means(own, patients)
    other_areas, other_balanced, before = [], [], []
    for one, taken in zip(ordinary, takes, strict=True):
        again = patients.take(taken)
        others = _by_fold(one, label, occurring, again)
        matched = [other for mine, other in zip(own, others, strict=True) if np.isfinite(mine[0].value)]
        found = _means(matched, patients)
        other_areas.append(found[0])
        other_balanced.append(found[1])
        before.append(_same_images(unseen, one, label, again))
    rows = [
        _source_result(
            fold.name,
            metrics,
            label,
            n_train,
            mean_of([of[k] for of in before if np.isfinite(of[k].value)], patients).interval()
            if before
            else Interval(),
        )
        for k, (fold, metrics, n_train) in enumerate(zip(division.folds, unseen.metrics, unseen.n_train, strict=True))
        if metrics
    ]
    means = _Means(areas, other_areas)
    comparison = SourceComparison(
        by=by,
        label=label,
        labels=occurring,
        sources=rows,
        not_tested=list(division.not_tested),
        confounded=list(division.confounded),
        n_train=_n_train(unseen.n_train, [one.n_train for one in ordinary]),
        repeats=len(ordinary),
        auroc=_drop(means, patients),
        balanced_accuracy=_drop(_Means(balanced, other_balanced), patients),
    )
    return comparison, means


def _n_train(unseen: Sequence[int], ordinary: Sequence[Sequence[int]]) -> tuple[int, int | None]:
    return round(float(np.mean(unseen))), round(float(np.mean(ordinary))) if ordinary else None


def _measured_label(tested: FoldResults, positive_label: str | None) -> str:
    """The label with images on both sides at some source: the positive one, one that is not healthy, or any."""
    truth, labels = tested.predictions.truth, tested.predictions.labels
    by_fold = [truth[tested.fold == fold] for fold in np.unique(tested.fold)]
    possible = [
        label for k, label in enumerate(labels) if any((of == k).any() and (of != k).any() for of in by_fold)
    ] or [labels[k] for k in sorted(set(truth.tolist()))]
    return min(possible, key=lambda label: (label != positive_label, is_healthy(label), label))


Pair = tuple[Estimate, Estimate]


def _by_fold(tested: FoldResults, label: str, occurring: Sequence[str], patients: Patients) -> list[Pair]:
    """AUROC and balanced accuracy of each fold, over images of labels that occur on both sides."""
    of = tested.predictions
    k, counted = of.labels.index(label), [of.labels.index(name) for name in occurring]
    found = []
    for fold in range(len(tested.metrics)):
        here = np.flatnonzero((tested.fold == fold) & np.isin(of.truth, counted))
        area = auroc_estimate(of.probabilities[here, k], of.truth[here] == k, patients.take(here))
        answers = answer_measures(of.truth[here], of.predicted[here], of.labels, patients.take(here))
        found.append((area, answers["balanced_accuracy"]))
    return found


def _means(pairs: Sequence[Pair], patients: Patients) -> Pair:
    """Means over the folds in which both labels occur."""
    both = [pair for pair in pairs if np.isfinite(pair[0].value)]
    return mean_of([pair[0] for pair in both], patients), mean_of([pair[1] for pair in both], patients)


def _drop(means: _Means, patients: Patients) -> SourceDrop:
    """How much less than in ordinary folds; no difference where a repeat measured nothing."""
    ordinary = mean_of(means.ordinary, patients)
    if not np.isfinite(ordinary.value):
        return SourceDrop(unseen=means.unseen.interval())
    drop = _with_trainings(combined([(1.0, ordinary), (-1.0, means.unseen)]), [one.value for one in means.ordinary])
    return SourceDrop(unseen=means.unseen.interval(), ordinary=ordinary.interval(), drop=drop.interval())


def _with_trainings(drop: Estimate, repeats: Sequence[float]) -> Estimate:
    """The same with an interval that counts trainings, too.

    Ordinary folds of R random seeds differ by the division and by the training. Were there no difference between
    sources, folds by source would be one more such draw, which lies within Student's t times s sqrt(1 + 1/R) of their
    mean: a prediction interval. Its variance is added to that of patients.

    Args:
        drop: With an interval that counts patients alone.
        repeats: The mean of ordinary folds for each random seed, R of them; of one alone nothing is known.
    """
    count = len(repeats)
    if count < 2:
        return drop
    reach = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2) * np.std(repeats, ddof=1) * np.sqrt(1 + 1 / count))
    low, high = (float(np.hypot(side, reach)) for side in (drop.value - drop.low, drop.high - drop.value))
    return replace(drop, low=drop.value - low, high=drop.value + high)


def _same_images(unseen: FoldResults, ordinary: FoldResults, label: str, patients: Patients) -> list[Estimate]:
    """The AUROC of each source's images in ordinary folds, compared within the source and the fold."""
    of = ordinary.predictions
    place = {path: i for i, path in enumerate(of.paths)}
    k, found = of.labels.index(label), []
    for fold in range(len(unseen.metrics)):
        paths = (unseen.predictions.paths[i] for i in np.flatnonzero(unseen.fold == fold))
        here = np.array([place[path] for path in paths if path in place], np.int64)
        area = within_folds(
            auroc_estimate, of.probabilities[here, k], of.truth[here] == k, patients.take(here), ordinary.fold[here]
        )
        found.append(area)
    return found


def _source_result(name: str, metrics: Metrics, label: str, n_train: int, ordinary: Interval) -> SourceResult:
    nothing = Interval()
    k = metrics.labels.index(label) if label in metrics.labels else None
    shown = metrics.shortcuts.labels.get(label) if metrics.shortcuts else None
    strongest = max(shown.baselines, key=lambda one: one.auroc.value, default=None) if shown else None
    return SourceResult(
        name=name,
        n_images=metrics.n_images,
        n_patients=metrics.n_patients,
        n_train=n_train,
        prevalence=0.0 if k is None else sum(metrics.confusion[k]) / metrics.n_images,
        auroc=metrics.auroc.get(label, nothing),
        balanced_accuracy=metrics.balanced_accuracy,
        sensitivity=metrics.recall.get(label, nothing),
        specificity=metrics.specificity.get(label, nothing),
        ordinary=ordinary,
        shortcut=strongest.auroc if strongest else nothing,
        shortcut_name=strongest.name if strongest else "",
    )
