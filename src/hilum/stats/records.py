"""What results are made of: frozen records, which JSON files hold under the same names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator


def first_problem(error: ValidationError) -> str:
    """What is wrong with a file first: ``'data': input should be a valid dictionary``."""
    first = error.errors(include_url=False)[0]
    return f"'{'.'.join(map(str, first['loc'])) or 'the file'}': {first['msg'][:1].lower()}{first['msg'][1:]}"


Verdict = Literal["shown", "not shown", "refuted"]


class Record(BaseModel):
    """A frozen part of a result. Keys of a file that it does not know are passed over."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    def given(self) -> dict[str, Any]:
        """The fields that were given, as they are."""
        return {name: getattr(self, name) for name in self.model_fields_set}

    def as_json(self) -> dict[str, Any]:
        """What a JSON file holds of it: the fields that were given."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


class Interval(Record):
    """A measure with its interval.

    Attributes:
        value: Measure; None where undefined.
        low: Lower limit of the interval; None where undefined.
        high: Upper limit.
        method: How the interval was made.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    method: str = ""

    def complement(self) -> Interval:
        """One minus the measure, its interval turned round: the false-negative rate of a recall."""
        value, low, high = (None if n is None else 1 - n for n in (self.value, self.high, self.low))
        return Interval(value=value, low=low, high=high)


class Known(Interval):
    """A measure that is always defined."""

    value: float
    low: float
    high: float

    def times(self, factor: float) -> Known:
        """The measure in other units."""
        return Known(value=factor * self.value, low=factor * self.low, high=factor * self.high)


class Counted(Interval):
    """A share of things that count once each: `count` of `total`."""

    count: int
    total: int


class Claim(Counted):
    """A share, and the verdict on the claim that it is at most `bound`.

    Attributes:
        bound: Largest share that the claim allows, in [0, 1].
        verdict: Whether that is shown.
        patients_to_decide: How many would decide it; None where it is decided, or where no number would.
    """

    bound: float
    verdict: Verdict
    patients_to_decide: int | None = None


Intervals = dict[str, Interval]


class PriorStep(Record):
    """Factors by which calibrated probabilities are multiplied before they are made to sum to one.

    Attributes:
        method: Whether the prevalences were stated, estimated on images without labels, or the factors chosen on
            patients with labels.
        factors: By label; of a finding that of its odds.
        implied: Shares of the labels to which the probabilities belonged before, and `implied_by` whom they were found.
        prevalences: Shares to which they belong since; None where factors were chosen.
        prevalence_intervals: Limits of 95 % by patient of shares that were estimated.
        measure: By which factors were chosen.
        data: Name of the dataset on which they were estimated or chosen, and `split` its part.
        held_out: The measure before and after on patients on whom the factors were not chosen, and the standard error
            of the difference, by finding or under an empty name.
    """

    method: Literal["stated", "estimated", "chosen"]
    factors: dict[str, float]
    implied: dict[str, float] | None = None
    implied_by: str = ""
    prevalences: dict[str, float] | None = None
    prevalence_intervals: dict[str, tuple[float, float]] | None = None
    measure: str = ""
    data: str = ""
    split: str = ""
    n_images: int = 0
    n_patients: int | None = None
    held_out: dict[str, dict[str, float]] = {}

    def about(self, finding: str) -> PriorStep:
        """What it says of one finding, whose absence keeps its place."""
        kept: dict[str, object] = {"factors": {f"no {finding}": 1.0, finding: self.factors[finding]}}
        by_name = ("implied", "prevalences", "prevalence_intervals", "held_out")
        for name in by_name:
            values = getattr(self, name)
            kept |= {name: {finding: values[finding]}} if values and finding in values else {}
        rest = {name: value for name, value in self.given().items() if name not in by_name}
        return PriorStep.model_validate(rest | kept)


class CalibrationError(Record):
    """A calibration error beside those of perfectly calibrated models: their mean and 95 % quantile."""

    value: float
    ece_null_mean: float
    ece_null_q95: float | None = None


class ProbabilityScores(Record):
    """Scores of the probabilities themselves.

    Attributes:
        log_loss: Mean negative log-probability of the truth, in nats.
        brier: Mean squared distance of the probabilities from the truth, from 0 to 2.
        ece_class_wise: Calibration error over all labels.
        ece_top_label: Calibration error of the most probable label.
        ece: The former under its earlier name.
    """

    log_loss: float
    brier: float
    ece_class_wise: CalibrationError
    ece_top_label: CalibrationError | None = None
    ece: CalibrationError | None = None

    @model_validator(mode="before")
    @classmethod
    def _earlier_name(cls, values: Any) -> Any:
        return (
            {"ece_class_wise": values["ece"], **values} if isinstance(values, Mapping) and "ece" in values else values
        )

    def errors(self) -> dict[str, CalibrationError]:
        """The calibration errors by their names in sentences."""
        top = {"top-label": self.ece_top_label} if self.ece_top_label else {}
        return {"class-wise": self.ece_class_wise, **top}


class Wilson(Record):
    """Wilson's intervals, which count images as independent."""

    accuracy: Counted
    recall: dict[str, Counted]
    precision: dict[str, Counted]
    specificity: dict[str, Counted]


class PredictiveAt(Record):
    """Predictive values at one prevalence."""

    prevalence: float
    ppv: Interval
    npv: Interval


class PredictiveValues(Record):
    """What a flag, and no flag, mean at several prevalences."""

    label: str = ""
    recall: Interval
    specificity: Interval
    at: list[PredictiveAt]


class Detectable(Record):
    """The difference of accuracy that so many patients would show; None where too few for any."""

    discordance: float
    power: float
    resampling_unit: str
    count: int
    value: float | None


class Coefficient(Interval):
    """A calibration slope or intercept, its direction in words, and the verdict on its being right."""

    direction: str
    verdict: Verdict
    patients_to_decide: int | None


class LabelCalibration(Record):
    """Calibration of one label."""

    slope: Coefficient
    in_the_large: Coefficient
    verdict: Verdict


class Curve(Record):
    """A curve with pointwise bands."""

    x: list[float]
    y: list[float]
    low: list[float]
    high: list[float]


class LabelCurves(Record):
    """Curves of one label against the rest."""

    prevalence: float
    roc: Curve
    pr: Curve


class Bin(Interval):
    """A point of a reliability diagram: the share that has the label, against the stated probability."""

    n_images: int
    stated: float
    lowest: float = Field(alias="from")
    highest: float = Field(alias="to")


class BrierParts(Record):
    """The Brier score of one label taken apart."""

    miscalibration: float
    discrimination: float
    uncertainty: float


class AllBrierParts(BrierParts):
    """The Brier score taken apart, with the miscalibration that calibrated models would show."""

    ece_null_mean: float
    by_label: dict[str, BrierParts] = {}


class Exchangeability(Record):
    """Whether other patients look like those of a certificate: p-values, and the smallest times their number."""

    p_group: float | None = None
    p_tail: float | None = None
    p_others: float | None = None
    p_features: float | None = None
    auroc_features: float | None = None
    n_features: list[int] | None = None
    n_reference: int = 0
    n_here: int = 0
    p_value: float
    tests: int | None = None
    visible: float | None = None
