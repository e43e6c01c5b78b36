"""What ``metrics.json`` holds, as frozen records: the JSON has the same names."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Self

from pydantic import ConfigDict, TypeAdapter, model_validator

from hilum.auditing.findings import KnownIssues
from hilum.documents import Document
from hilum.evaluation.triage_schema import Abstention, Certificate, CertificateCheck, DecisionCurve
from hilum.stats.records import (
    AllBrierParts,
    Bin,
    Detectable,
    Interval,
    Intervals,
    Known,
    LabelCalibration,
    LabelCurves,
    PredictiveValues,
    PriorStep,
    ProbabilityScores,
    Record,
    Verdict,
    Wilson,
)

OUTDATED = (
    "this evaluation is of an earlier version, with one label and one weak learner per probe: run "
    "`hilum evaluate` again"
)


INTERVALS = TypeAdapter(Intervals)


class Confidence(Record):
    """How the intervals were made: their confidence level, in (0, 1)."""

    confidence: float


class Temperatures(Record):
    """What calibration changed: temperatures by decision (None where there are none), and the scores before.

    `prior_step` are the factors after the temperatures; None where none were set.
    """

    temperatures: dict[str, float] | None
    note: str = ""
    prior_step: PriorStep | None = None
    before: ProbabilityScores


class DataFacts(Record):
    """Which images were evaluated."""

    root: str | None
    digest: str | None
    notes: list[str] = []


class AgainstRest(Interval):
    """A subgroup's recall minus that of the rest."""

    p: float
    p_holm: float | None = None
    verdict: Verdict
    patients_to_decide: int | None = None


class Subgroup(Record):
    """Measures within a part of the patients; None where it lacks what they take."""

    n_images: int
    n_patients: int
    n_positive: int | None
    accuracy: Interval
    recall: Interval | None = None
    false_alarms: Interval | None = None
    auroc: Interval | None = None
    against_rest: AgainstRest | None = None


Subgroups = dict[str, dict[str, Subgroup]]  # by column, then value


class TableColumn(Record):
    """A column of the dataset: its name, the share of filled cells, and counts by label where values are few."""

    column: str
    filled: float
    by_label: dict[str, dict[str, int]] | None


class TableFacts(Record):
    """What the dataset says of source, date, licence, age, sex, view, and the making of labels."""

    n_images: int
    columns: dict[str, TableColumn]
    confounded_labels: list[str] = []
    impossible: list[str] = []
    undated: int | None = None


class TwoSides(Record):
    """A measure on the run's own test patients, on others, and the difference."""

    internal: Interval
    external: Interval
    difference: Interval


class Drop(Record):
    """Measures of two groups of patients, over the labels that both have."""

    labels: list[str]
    left_out: dict[str, int]
    accuracy: TwoSides
    balanced_accuracy: TwoSides
    recall: dict[str, TwoSides]
    auroc: dict[str, TwoSides]


class Lead(Record):
    """A shortcut baseline, and the model's lead over it."""

    name: str
    kind: str
    learner: str = ""
    auroc: Known
    difference: Known
    verdict: Verdict


class LabelLeads(Record):
    """The model beside all baselines on one label."""

    verdict: Verdict
    model: Known
    baselines: list[Lead]


class Shortcuts(Record):
    """Whether the model outperforms the shortcut baselines; the verdict is None, with a note, where there is none."""

    verdict: Verdict | None
    labels: dict[str, LabelLeads]
    not_scored: list[str] = []
    note: str = ""
    n_fitted: int = 0
    n_scored: int = 0
    n_images: int = 0

    @model_validator(mode="before")
    @classmethod
    def _claimed_too_much(cls, values: Any) -> Any:
        """Comparisons of before 0.1 claimed more than they had shown."""
        outdated = isinstance(values, Mapping) and "verdict" not in values
        return {"verdict": None, "labels": {}, "note": OUTDATED} if outdated else values


class Property(Record):
    """Reliance on one property: the change of the log-odds, and which part of the margin that is."""

    name: str
    kind: str
    log_odds: Interval
    share: Interval
    p_value: float
    p_corrected: float | None = None


class LabelReliance(Record):
    """Reliance of one label on each property."""

    n_patients: int
    margin: Interval
    found: list[Property]


class Reliance(Record):
    """On which properties of the images the answers rest."""

    labels: dict[str, LabelReliance]
    constant: list[str] = []
    not_scored: list[str] = []
    note: str = ""


class Unreadable(Record):
    """A file that could not be read."""

    path: str
    message: str


class FileFacts(Record):
    """What a table beside it holds: rows below its header, and its hash."""

    rows: int
    sha256: str

    @classmethod
    def of(cls, content: bytes, rows: int) -> Self:
        """Of a table with so many rows below its header, so that another one, or half of it, is found."""
        return cls(rows=rows, sha256=hashlib.sha256(content).hexdigest())


class Metrics(ProbabilityScores, Document):
    """All measures of an evaluation: ``metrics.json``. Parts that an evaluation lacks are empty or None.

    Attributes:
        confusion: Counts (K, K), rows truth, columns predicted.
        resampling_unit: ``patients``, or ``images`` where not every image's patient is known.
        with_patient: Number of images whose patient is known.
    """

    model_config = ConfigDict(extra="allow")  # further measures by label, as CONTRIBUTING.md adds one
    name: str = ""
    split: str = "test"
    labels: list[str]
    positive_label: str | None
    n_images: int
    n_patients: int | None
    with_patient: int = 0
    resampling_unit: str
    confusion: list[list[int]]
    intervals: Confidence
    accuracy: Interval
    balanced_accuracy: Interval
    recall: Intervals
    precision: Intervals = {}
    f1: Intervals = {}
    auroc: Intervals = {}
    auprc: Intervals = {}
    specificity: Intervals = {}
    npv: Intervals = {}
    sensitivity: Intervals = {}
    ppv: Intervals = {}
    decisions: dict[str, Intervals] = {}
    wilson: Wilson | None = None
    predictive_values: PredictiveValues | None = None
    detectable: Detectable | None = None
    calibration_by_label: dict[str, LabelCalibration] = {}
    curves: dict[str, LabelCurves] = {}
    reliability: dict[str, list[Bin]] = {}
    brier_parts: AllBrierParts | None = None
    calibration: Temperatures | None = None
    data: DataFacts = DataFacts(root=None, digest=None)
    notes: list[str] = []
    audit: KnownIssues | None = None
    healthy: list[str] | None = None
    subgroups: Subgroups = {}
    operating_point: CertificateCheck | None = None
    decision_curve: DecisionCurve | None = None
    certificate: Certificate | None = None
    table: TableFacts | None = None
    performance_drop: Drop | None = None
    shortcuts: Shortcuts | None = None
    reliance: Reliance | None = None
    abstention: Abstention | None = None
    abstention_note: str = ""
    unreadable: list[Unreadable] = []
    weights_sha256: str | None = None
    files: dict[str, FileFacts] | None = None
    shared: str = ""

    def by_label(self, key: str) -> Intervals:
        """A measure of each label, by its key; empty where the evaluation lacks it."""
        return INTERVALS.validate_python(getattr(self, key, {}))
