"""What is decided about patients, as frozen records: a certificate and how it holds, abstention, and net benefit."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from hilum.decision.operating_point import OperatingPoint
from hilum.stats.records import Claim, Exchangeability, Interval, Intervals, Known, Record, Verdict

CHECKSUM = "seal"  # as files call it
Outcomes = dict[str, int]  # patients by decision


class CountedShare(Interval):
    """A number of patients, and which share of theirs that is."""

    count: int


class Flagged(Interval):
    """How many patients of a label are flagged."""

    patients: int
    flagged: int


class Upper(Record):
    """The upper threshold, and what is guaranteed of those who are flagged.

    Attributes:
        kind: What is guaranteed.
        bound: Smallest value that is guaranteed, in (0, 1).
        prevalence: At which a PPV is; None for a specificity.
        confidence: Confidence level of this side alone.
        labels: Whose patients were counted.
        n_patients: How many of them there were.
        raised: Whether it was raised to the lower threshold.
    """

    kind: Literal["specificity", "ppv"]
    bound: float
    prevalence: float | None
    confidence: float
    labels: list[str]
    n_patients: int
    threshold: float
    raised: bool
    rank: int | None = None
    n_ill: int | None = None


class UpperClaim(Interval):
    """How the upper side holds: the verdict, and for a specificity who was counted."""

    kind: Literal["specificity", "ppv"]
    bound: float
    verdict: Verdict
    prevalence: float | None = None
    count: int | None = None
    total: int | None = None
    patients_to_decide: int | None = None


class ImageNumbers(Record):
    """How many images of patients with the disease show it: mean, largest, and patients by number."""

    mean: float
    max: int
    distribution: dict[str, int]


class GroupOutcomes(Record):
    """Decisions about patients with the disease, and about others by label."""

    group: Outcomes
    others: dict[str, Outcomes]


class Scores(Record):
    """One score a patient, sorted: with the disease, and without."""

    group: list[float]
    others: list[float]


class LedgerPlace(Record):
    """Where the attempt is recorded, and what it may spend (`hilum.evaluation.spending`)."""

    path: str = ""
    entry: int
    attempt: str
    plan: str
    number: int
    planned: int
    delta: float
    spent_before: int | float  # as it was written: the checksum covers its letters
    counted: list[str]


class CertifiedModel(Record):
    """For which network and probabilities a certificate was made; `form` tells another form from the run's own."""

    model_config = ConfigDict(extra="allow")
    weights_sha256: str = ""
    labels: list[str] = []
    hierarchy: str = ""
    temperatures: dict[str, float] | None = None
    prior_factors: dict[str, float] | None = None
    preprocessing_sha256: str = ""
    form: str | None = None


class CertifiedData(Record):
    """On whose images it was made; `own` where they are the run's."""

    name: str
    split: str
    own: bool
    digest: str
    n_images: int = 0


class Origin(Record):
    """Which version of hilum made a certificate, and when."""

    format: int = 1
    hilum: str = ""
    made: str = ""


class Guarantee(Record):
    """What certain patients certify, and what it costs the others: a `Certificate` that does not say of which model."""

    group: str
    members: list[str]
    false_negative_rate: float
    confidence: float
    lower_confidence: float | None = None
    threshold: float
    upper_threshold: float | None = None
    image_threshold: float | None = None
    rank: int | None = None
    n_patients: int
    false_negatives: int
    resampling_unit: str = "patients"
    images: ImageNumbers | None = None
    one_image_below: int | None = None
    upper: Upper | None = None
    outcomes: GroupOutcomes | None = None
    read: dict[str, CountedShare] | None = None
    flagged: dict[str, Flagged] = {}
    reference: Scores | None = None

    @property
    def operating_point(self) -> OperatingPoint:
        """The thresholds as decisions use them.

        Raises:
            ValueError: They are out of range or order.
        """
        return OperatingPoint(
            self.group, tuple(self.members), self.threshold, self.upper_threshold, self.image_threshold
        )


class Certificate(Guarantee, Origin):
    """A guaranteed sensitivity: ``certificate.json``.

    Attributes:
        group: What must not be missed, of the labels `members`.
        false_negative_rate: The bound, in (0, 1).
        confidence: Confidence level of all that is guaranteed together, in (0, 1).
        threshold: Score of a patient below which nobody is flagged or read.
        upper_threshold: Score from which a patient is flagged; None with one threshold.
        image_threshold: The lower threshold of an image by itself.
        rank: Which of the sorted scores the threshold is, from 1.
        n_patients: Number of patients with the disease.
        false_negatives: How many of them are below the threshold.
        one_image_below: How many of them are, by one image each.
        reference: All patients' scores, for a test of exchangeability.
        ledger: Where the attempt is recorded; None in a file of before there were ledgers.
        model: For which network it was made.
        data: On whose images.
        exchangeability: With the patients of the run's own certificate, where it was made at another site.
        checksum: SHA-256 of all the rest.
    """

    ledger: LedgerPlace | None = None
    model: CertifiedModel
    data: CertifiedData
    conditions: list[str] = []
    notes: list[str] = []
    exchangeability: Exchangeability | None = None
    checksum: str = Field(default="", validation_alias=CHECKSUM, serialization_alias=CHECKSUM)


class Sensitivities(Record):
    """Sensitivity by patient with referrals counted in three ways."""

    recall_abstentions_positive: Interval
    recall_abstentions_negative: Interval
    selective_recall: Interval


class CertificateCheck(Interval):
    """How a certificate holds on patients who did not choose its thresholds.

    The interval is that of the share of patients with the disease who are cleared.
    """

    group: str
    threshold: float
    patients: int
    resampling_unit: str
    outcomes: Outcomes
    cleared: int
    bound: float
    verdict: Verdict
    patients_to_decide: int | None
    missed: int
    below: Claim
    sensitivity: Sensitivities
    others: dict[str, Outcomes]
    read: dict[str, CountedShare] = {}
    flagged: dict[str, Flagged]
    upper: UpperClaim | None = None
    exchangeability: Exchangeability | None = None
    checksum: str = Field(default="", validation_alias=CHECKSUM, serialization_alias=CHECKSUM)


class Prior(Record):
    """Label frequencies, and who tells them."""

    source: str
    shares: dict[str, float]


class RuleRates(Record):
    """Rates of a fixed rule, by patient."""

    sensitivity: Interval
    false_positive_rate: Interval


class NetBenefits(Record):
    """Net benefit by threshold probability."""

    value: list[float]
    low: list[float]
    high: list[float]


class NetBenefitRow(Record):
    """Net benefit of each rule at one prevalence and threshold probability."""

    prevalence: float
    threshold: float
    all: float
    rules: dict[str, Known]
    verdict: Verdict
    against_answer: Known | None = None


class DecisionCurve(Record):
    """Net benefit over prevalences and threshold probabilities."""

    members: list[str]
    judged: str
    resampling_unit: str
    n_with: int
    n_without: int
    prevalences: list[float]
    thresholds: list[float]
    recalibrated_from: Prior
    rates: dict[str, RuleRates]
    curves: dict[str, dict[str, NetBenefits]]
    all: dict[str, list[float]]
    table: list[NetBenefitRow]


class AbstainedShare(Interval):
    """A share of patients who are abstained on."""

    patients: int
    count: int


class AbstainedPatients(Record):
    """Patients whom abstention concerns: by one image of each, by any, and by number of images."""

    one_image: AbstainedShare
    any_image: AbstainedShare
    by_images: dict[str, AbstainedShare]


class FalseAbstentions(Record):
    """The rate of false abstentions as calibration sets vary."""

    mean: float
    low: float
    high: float
    beyond: float


class OODFacts(Record):
    """What ``abstention.json`` says of the reference of the out-of-distribution detector.

    Attributes:
        neighbours: By which distances are measured.
        level: Stated rate of false abstentions, in (0, 1).
        boundary: Distance from which an image is no chest radiograph.
        wrong: Poses in which a chest radiograph does not fit.
        n_reference: Training images that are kept.
        n_calibration: Calibration patients.
        rate: Of false abstentions, as calibration sets vary; None in versions before.
        of_calibration: Calibration patients who would be abstained on.
        sha256: Of ``abstention.safetensors``.
    """

    format: int
    neighbours: int
    level: float
    boundary: float
    wrong: list[int]
    n_reference: int = 0
    n_calibration: int
    rate: FalseAbstentions | None = None
    resampling_unit: str = ""
    weights_sha256: str
    preprocessing_sha256: str = ""
    of_calibration: AbstainedPatients | None = None
    sha256: str = ""


class AbstainedImages(Record):
    """Images of a label, and those abstained on."""

    images: int
    abstained: int


class AbstentionRecall(Record):
    """Recall with abstentions counted in three ways."""

    recall_abstentions_negative: Interval
    recall_abstentions_positive: Interval
    selective_recall: Interval


class RiskCoverage(Record):
    """Error rate of the images decided about, by coverage and by what is left out first."""

    coverage: list[float]
    confidence: list[float]
    confidence_area: float
    in_distribution: list[float]
    in_distribution_area: float


class Abstention(Record):
    """The out-of-distribution reference, and what abstention does to these patients."""

    level: float
    n_calibration: int = 0
    rate: FalseAbstentions | None = None
    of_calibration: AbstainedPatients | None = None
    decisions: dict[str, int] = {}
    abstained: Interval
    reasons: Intervals
    by_patient: AbstainedPatients | None = None
    by_label: dict[str, AbstainedImages] = {}
    recall: AbstentionRecall
    risk_coverage: RiskCoverage
    format: int | None = None
    neighbours: int | None = None
    boundary: float | None = None
    wrong: list[int] = []
    n_reference: int | None = None
    resampling_unit: str = ""
    weights_sha256: str = ""
    preprocessing_sha256: str = ""
    sha256: str = ""
