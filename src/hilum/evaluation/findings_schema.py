"""What ``metrics.json`` holds of several findings an image: each finding's own measures, and their means."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hilum.auditing.findings import KnownIssues
from hilum.documents import Document
from hilum.evaluation.schema import Confidence, DataFacts, FileFacts, Metrics, Unreadable
from hilum.evaluation.triage_schema import CHECKSUM, Certificate
from hilum.stats.records import CalibrationError, Interval, Record


class FindingCounts(Record):
    """Of how many images a finding is known.

    Attributes:
        present: Number of images that have it.
        absent: Number of images known not to have it.
        uncertain: Number of images of which it is uncertain; they are not evaluated.
        unknown: Number of images of which it is unknown.
        patients: Number of patients with an image that has it; of images where patients are unknown.
    """

    present: int
    absent: int
    uncertain: int
    unknown: int
    patients: int


class FindingMeasures(Record):
    """One finding against its absence, over the images where it is known.

    Attributes:
        counts: Of how many images it is known.
        threshold: Probability from which on an image is called to have it: the certified one, else 0.5.
        certified: Whether a certificate guarantees the sensitivity at this threshold.
        sensitivity: At the threshold, of images.
        specificity: At the threshold, of images.
        ppv: Positive predictive value at the threshold.
        npv: Negative predictive value at the threshold.
        f1: At the threshold.
        auroc: Area under the ROC curve.
        auprc: Average precision.
        ece: Calibration error.
        metrics: Everything that ``metrics.json`` holds of exclusive labels, for ``no NAME`` and NAME.
    """

    counts: FindingCounts
    threshold: float
    certified: bool
    accuracy: Interval
    sensitivity: Interval
    specificity: Interval
    ppv: Interval
    npv: Interval
    f1: Interval
    auroc: Interval
    auprc: Interval
    ece: CalibrationError
    metrics: Metrics

    @property
    def useless(self) -> bool:
        """Whether the interval of the AUROC includes 0.5, which guessing has, or lies below it."""
        return self.auroc.low is None or self.auroc.low <= 0.5


class MeanInterval(Interval):
    """A mean, and over how many findings: over those where the measure is defined."""

    findings: int


class FindingMeans(Record):
    """Means over findings.

    Macro: the mean of the findings' measures. Micro: the measure of all pairs of image and finding together. Intervals
    resample patients, each with all its images and findings.
    """

    accuracy: MeanInterval
    balanced_accuracy: MeanInterval
    sensitivity: MeanInterval
    specificity: MeanInterval
    ppv: MeanInterval
    npv: MeanInterval
    f1: MeanInterval
    auroc: MeanInterval
    auprc: MeanInterval


class FindingsCertificate(Record):
    """Guaranteed sensitivities of several findings that hold together: ``certificate.json`` of a run of findings.

    Attributes:
        format: Version of the file; 3 has several findings.
        false_negative_rate: The bound of each finding, in (0, 1).
        confidence: Family-wise confidence: with it all guarantees hold together.
        each_confidence: Confidence of each finding by itself, by which its threshold was found.
        correction: How the family-wise confidence is shared.
        findings: A certificate by finding.
        not_certified: Findings without one, and why.
        checksum: SHA-256 of all the rest.
    """

    format: int
    task: Literal["findings"]
    hilum: str
    made: str
    false_negative_rate: float
    confidence: float
    each_confidence: float
    correction: Literal["bonferroni"]
    findings: dict[str, Certificate]
    not_certified: dict[str, str] = {}
    notes: list[str] = []
    checksum: str = Field(default="", validation_alias=CHECKSUM, serialization_alias=CHECKSUM)


class FindingsMetrics(Record, Document):
    """Several findings an image: ``metrics.json``.

    Attributes:
        findings: Measures by finding.
        macro: Means over findings, each counting once.
        micro: Measures of all pairs of image and finding.
        certificate: The certificates in force of the run's findings.
        not_measured: Findings of which nothing can be said, and why.
        only_true: Findings of the table without probabilities.
        only_predicted: Findings with probabilities of which the table has no truth.
    """

    task: Literal["findings"]
    name: str = ""
    split: str = "test"
    n_images: int
    n_patients: int | None
    with_patient: int = 0
    resampling_unit: str
    intervals: Confidence
    findings: dict[str, FindingMeasures]
    macro: FindingMeans
    micro: FindingMeans
    certificate: FindingsCertificate | None = None
    not_measured: dict[str, str] = {}
    only_true: list[str] = []
    only_predicted: list[str] = []
    data: DataFacts = DataFacts(root=None, digest=None)
    notes: list[str] = []
    audit: KnownIssues | None = None
    unreadable: list[Unreadable] = []
    weights_sha256: str | None = None
    files: dict[str, FileFacts] | None = None

    @property
    def useless(self) -> list[str]:
        """Findings whose AUROC is not shown to be above 0.5, the lowest first."""
        found = [(one.auroc.value or 0.0, name) for name, one in self.findings.items() if one.useless]
        return [name for _, name in sorted(found)]

    def worst_first(self) -> list[str]:
        """The findings by their AUROC, the lowest first."""
        return sorted(self.findings, key=lambda name: self.findings[name].auroc.value or 0.0)
