"""What ``crossval.json`` holds: the plan of a cross-validation, all folds together, each fold, and the sources."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field, JsonValue, field_serializer
from scipy.special import stdtrit

from hilum.auditing.findings import KnownIssues
from hilum.documents import Document
from hilum.evaluation.findings_schema import FindingsMetrics
from hilum.evaluation.schema import FileFacts, Metrics
from hilum.evaluation.source_comparison import FindingsBySource, SourceComparison
from hilum.stats.records import Record
from hilum.training.multirun import WholeRecipe


class Spread(Record):
    """Mean and standard deviation of a measure over folds, with an interval; earlier versions have none."""

    mean: float
    sd: float
    low: float | None = None
    high: float | None = None


def spread_over_folds(values: Sequence[float]) -> Spread:
    """Mean and spread of a measure over the folds of one cross-validation, with an interval.

    Folds share training images, so that their standard error promises too much. The corrected resampled t interval
    adds the ratio of test to training images (Nadeau and Bengio 2003, *Machine Learning*).

    Args:
        values: The measure by fold, K of them.

    Returns:
        With the 95 % interval; without, of a single fold.
    """
    if len(values) < 2:
        return Spread(mean=float(np.mean(values)), sd=0.0)
    count, mean, sd = len(values), float(np.mean(values)), float(np.std(values, ddof=1))
    half = float(stdtrit(count - 1, 0.975)) * sd * np.sqrt(1 / count + 1 / (count - 1))
    return Spread(mean=mean, sd=sd, low=mean - half, high=mean + half)


class CrossValidationPlan(Record, Document):
    """Every choice of a cross-validation; `data` is the identity of the dataset.

    Attributes:
        by: Column of the sources, each of which is a fold; empty in ordinary folds.
        as_large_as: Column of the sources whose sizes ordinary folds have.
    """

    folds: int
    by: str = ""
    as_large_as: str = ""
    seed: int
    recipe: WholeRecipe
    data: str


class CrossValidation(CrossValidationPlan):
    """A cross-validation: ``crossval.json``.

    Attributes:
        audit: What is known to be wrong with the data.
        pooled: Metrics of the predictions of all folds together.
        per_fold: Metrics of each fold.
        spread: Spread over the folds, by measure.
        sources: The model at sources that it never saw; None of ordinary folds.
        files: Hash of ``predictions.csv``.
    """

    hilum: str = ""
    notes: list[str] = Field(default_factory=list)
    audit: KnownIssues
    pooled: Metrics
    per_fold: list[Metrics]
    spread: dict[str, Spread]
    sources: SourceComparison | None = None
    files: dict[str, FileFacts] = Field(default_factory=dict)

    @field_serializer("pooled")
    def _document(self, metrics: Metrics) -> dict[str, JsonValue]:
        return metrics.to_json()

    @field_serializer("per_fold")
    def _documents(self, folds: list[Metrics]) -> list[dict[str, JsonValue]]:
        return [metrics.to_json() for metrics in folds]


class FindingsCrossValidation(CrossValidationPlan):
    """A cross-validation of several findings an image: ``crossval.json``.

    Attributes:
        audit: What is known to be wrong with the data.
        pooled: Measures of the predictions of all folds together; areas compare scores within folds.
        per_fold: Measures of each fold.
        spread: Spread over the folds of means over findings.
        sources: The model at sources that it never saw, by finding; None of ordinary folds.
        files: Hash of ``predictions.csv``.
    """

    task: Literal["findings"]
    hilum: str = ""
    notes: list[str] = Field(default_factory=list)
    audit: KnownIssues
    shared: str = ""
    pooled: FindingsMetrics
    per_fold: list[FindingsMetrics]
    spread: dict[str, Spread]
    sources: FindingsBySource | None = None
    files: dict[str, FileFacts] = Field(default_factory=dict)

    @field_serializer("pooled")
    def _document(self, metrics: FindingsMetrics) -> dict[str, JsonValue]:
        return metrics.to_json()

    @field_serializer("per_fold")
    def _documents(self, folds: list[FindingsMetrics]) -> list[dict[str, JsonValue]]:
        return [metrics.to_json() for metrics in folds]
