"""How far a model drops at a source that it never saw, against ordinary folds of the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from hilum.data.labels import is_healthy
from hilum.evaluation.predictions import Predictions
from hilum.evaluation.schema import Metrics
from hilum.evaluation.source_folds import Division, NotTested, OnlyAt
from hilum.stats.auc import auroc_estimate
from hilum.stats.intervals import Estimate, Patients, combined
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
    auroc: SourceDrop
    balanced_accuracy: SourceDrop


@dataclass(frozen=True)
class FoldResults:
    """What was predicted in turns.

    Attributes:
        predictions: Of all folds together.
        fold: Fold of each image, shape (N,).
        metrics: By fold.
        n_train: Number of training images, by fold.
    """

    predictions: Predictions
    fold: NDArray[np.int64]
    metrics: Sequence[Metrics]
    n_train: Sequence[int]


def compare_sources(
    by: str, division: Division, unseen: FoldResults, ordinary: FoldResults | None, positive_label: str | None
) -> SourceComparison:
    """Measure each source, their mean, and how much less that is than the mean of ordinary folds.

    Means count each source, and each ordinary fold, once. Their difference is paired by patient: everybody is tested in
    both. It says nothing of other sources than these.

    Args:
        by: Column of the sources.
        division: By source.
        unseen: What was predicted without the source.
        ordinary: What was predicted in `ordinary_folds`; None without.
        positive_label: The label that must not be missed, if there is one.
    """
    labels, count = unseen.predictions.labels, len(unseen.fold)
    everybody = [*unseen.predictions.clusters, *(ordinary.predictions.clusters if ordinary else [])]
    patients = Patients(everybody)
    occurring = [labels[i] for i in sorted(set(unseen.predictions.truth.tolist()))]
    label = _measured_label(unseen, positive_label)
    own = _by_fold(unseen, label, occurring, patients.take(np.arange(count)))
    areas, balanced = _means(own, patients)
    other_areas, other_balanced = None, None
    before = [Interval()] * len(division.folds)
    if ordinary:
        again = patients.take(np.arange(count, len(everybody)))
        others = _by_fold(ordinary, label, occurring, again)
        matched = [other for one, other in zip(own, others, strict=True) if np.isfinite(one[0].value)]
        other_areas, other_balanced = _means(matched, patients)
        before = _same_images(unseen, ordinary, label, again)
    rows = [
        _source_result(fold.name, metrics, label, n_train, area)
        for fold, metrics, n_train, area in zip(division.folds, unseen.metrics, unseen.n_train, before, strict=True)
    ]
    return SourceComparison(
        by=by,
        label=label,
        labels=occurring,
        sources=rows,
        not_tested=list(division.not_tested),
        confounded=list(division.confounded),
        n_train=(round(float(np.mean(unseen.n_train))), round(float(np.mean(ordinary.n_train))) if ordinary else None),
        auroc=_drop(areas, other_areas),
        balanced_accuracy=_drop(balanced, other_balanced),
    )


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


def _drop(unseen: Estimate, ordinary: Estimate | None) -> SourceDrop:
    if ordinary is None:
        return SourceDrop(unseen=unseen.interval())
    drop = combined([(1.0, ordinary), (-1.0, unseen)])
    return SourceDrop(unseen=unseen.interval(), ordinary=ordinary.interval(), drop=drop.interval())


def _same_images(unseen: FoldResults, ordinary: FoldResults, label: str, patients: Patients) -> list[Interval]:
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
        found.append(area.interval())
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
