"""What is said about one radiograph: the answer, its triage decision, and what each decision means in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NotRequired, Self

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypedDict  # which pydantic asks for, to make a schema of it in Python 3.11

from hilum.decision.operating_point import (
    CLEAR,
    DECISIONS,
    FLAG,
    OperatingPoint,
    triage,
    triage_images,
)
from hilum.earlier import current
from hilum.serving.model_file import ModelFile
from hilum.text import printable

COLOURFUL = 0.08  # mean chroma; greyscale radiographs have 0, with coloured annotations seldom above 0.02
COLOUR = "a colour image; radiographs are greyscale"
UNCERTIFIED = "no operating point"


class ModelName(TypedDict):
    """The model file that gave an answer."""

    name: str
    sha256: str


class FindingLine(TypedDict):
    """What a line says of one finding; see `FindingAnswer`."""

    probability: float
    decision: str
    reason: str


class PredictionLine(TypedDict):
    """A line of ``hilum predict --json`` about an image; see `Prediction`."""

    path: str
    label: str
    label_name: str
    probabilities: dict[str, float]
    decision: str
    reason: str
    notes: list[str]
    p_in_distribution: float | None
    findings: NotRequired[dict[str, FindingLine]]  # where an image may have several
    model: NotRequired[ModelName]  # not within a study, which has it once
    schema_version: NotRequired[Literal[1]]


class UnreadableLine(TypedDict):
    """A line about an image that cannot be read."""

    path: str
    error: str
    model: NotRequired[ModelName]
    schema_version: NotRequired[Literal[1]]


class StudyLine(TypedDict):
    """A line of ``hilum predict --study HOW --json``; see `hilum.serving.studies.StudyPrediction`."""

    study: str
    decision: str
    reason: str
    score: float | None
    n_images: int
    n_unreadable: int
    notes: list[str]
    images: list[PredictionLine | UnreadableLine]
    findings: NotRequired[dict[str, FindingLine]]
    model: ModelName
    schema_version: Literal[1]


Line = PredictionLine | UnreadableLine | StudyLine


@dataclass(frozen=True, slots=True)
class FindingAnswer:
    """What is said of one finding of an image or study.

    Attributes:
        probability: That it is present; of a study, the largest of its images.
        decision: The triage decision about it, as of `Prediction`.
        reason: Of the decision, one sentence.
    """

    probability: float
    decision: str
    reason: str

    def to_json(self) -> FindingLine:
        """As a line of JSON holds it."""
        return {"probability": self.probability, "decision": self.decision, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer about one image, or why there is none.

    Attributes:
        path: Of the image, or what it is called.
        label: The most probable one; of findings those more probable than not, with ``|`` between them, or ``no
            finding``; empty where there is an `error`.
        probabilities: By label or finding, in the model file's order.
        label_name: What that label is called before people.
        decision: The triage decision, of several findings the most urgent one: ``flag``, ``read`` (between two
            thresholds), ``clear``, ``abstain``, or ``undecided`` where the model file has no operating point; empty
            where there is an `error`.
        reason: Of the decision, one sentence.
        notes: What has to be known besides, such as a lateral view.
        p_in_distribution: Share of calibration patients at least as unlike the training images as this image; None
            where the model file cannot tell.
        error: Why the image could not be read; empty where it could.
        findings: By finding, where an image may have several; else empty.
    """

    path: str
    label: str = ""
    label_name: str = ""
    probabilities: Mapping[str, float] = field(default_factory=dict)
    decision: str = ""
    reason: str = ""
    notes: tuple[str, ...] = ()
    p_in_distribution: float | None = None
    error: str = ""
    findings: Mapping[str, FindingAnswer] = field(default_factory=dict)

    @property
    def top(self) -> str:
        """The label to show first: the most probable one, or of findings the one with the most urgent decision."""
        if not self.findings:
            return self.label
        return max(
            self.findings, key=lambda name: (DECISIONS.index(self.findings[name].decision), self.probabilities[name])
        )

    def __repr__(self) -> str:
        answer = f"not read: {self.error}"
        if not self.error:
            likely = f"{self.top} {100 * self.probabilities.get(self.top, math.nan):.1f} %"
            answer = f"{self.decision}, {likely}"
        return f"<hilum.Prediction {printable(f'{self.path}: {answer}'.removeprefix(': '))}>"

    def to_json(self, model: Mapping[str, str]) -> PredictionLine | UnreadableLine:
        """The object of one line of ``hilum predict --json``.

        Args:
            model: ``name`` and ``sha256`` of the model file.
        """
        named: ModelName = {"name": model["name"], "sha256": model["sha256"]}
        if self.error:
            return {"path": self.path, "error": self.error, "model": named, "schema_version": 1}
        line: PredictionLine = {
            "path": self.path,
            "label": self.label,
            "label_name": self.label_name,
            "probabilities": dict(self.probabilities),
            "decision": self.decision,
            "reason": self.reason,
            "notes": list(self.notes),
            "p_in_distribution": self.p_in_distribution,
            "model": named,
            "schema_version": 1,
        }
        if self.findings:
            line["findings"] = {name: found.to_json() for name, found in self.findings.items()}
        return line

    @classmethod
    def from_json(cls, line: Mapping[str, object]) -> Self:
        """A prediction from the object of one line, also of version 0.1, and without the model's name.

        Raises:
            ValueError: It is no line of ``hilum predict --json`` about an image.
        """
        found = {key: value for key, value in current(line).items() if key not in ("model", "schema_version")}
        try:
            findings = {name: FindingAnswer(**answer) for name, answer in found.pop("findings", {}).items()}
            return cls(**found | {"notes": tuple(found.get("notes", ()))}, findings=findings)
        except (TypeError, AttributeError) as error:
            msg = f"not an image line of hilum predict --json ({error})"
            raise ValueError(msg) from error

    def to_row(self, labels: Sequence[str], model: Mapping[str, str], findings: Sequence[str] = ()) -> list[str]:
        """The cells of one row of ``hilum predict --csv`` (see `columns`)."""
        shown = [f"{self.probabilities[label]:.8f}" if not self.error else "" for label in labels]
        familiar = "" if self.p_in_distribution is None else f"{self.p_in_distribution:.6f}"
        words = [
            self.path,
            self.label,
            self.label_name,
            self.decision,
            self.reason,
            *shown,
            familiar,
            " ".join(self.notes),
            self.error,
        ]
        decided = [f.decision if (f := self.findings.get(name)) else "" for name in findings]
        return [*words, model["name"], model["sha256"], *decided]


def columns(labels: Sequence[str], findings: Sequence[str] = ()) -> list[str]:
    """The head of ``hilum predict --csv``; where labels are `findings`, with the decision about each."""
    shown = [f"p:{label}" for label in labels]
    return [
        "path",
        "label",
        "label_name",
        "decision",
        "reason",
        *shown,
        "p_in_distribution",
        "notes",
        "error",
        "model",
        "model_sha256",
        *(f"decision:{name}" for name in findings),
    ]


def decide(
    model_file: ModelFile,
    probabilities: Mapping[str, float],
    chroma: float = 0.0,
    unlike: str = "",
    *,
    of_study: bool = False,
) -> tuple[str, str]:
    """The triage decision about one image, and its reason in one sentence.

    Where the model file has an operating point, its group of labels is cleared below the threshold, and flagged from
    the threshold on; where it has two, what lies between them is to be read. Without one nobody knows how often a rule
    would miss: the decision is ``undecided``.

    Args:
        model_file: Whose answer it is.
        probabilities: By label, in the model file's order.
        chroma: How colourful the picture was (see `hilum.data.images.Picture`).
        unlike: Why to abstain, as `hilum.decision.ood` says it; empty where there is no reason to.
        of_study: Whether the image is one of a study, which is decided about as a whole; else by itself.
    """
    reason = COLOUR if chroma > COLOURFUL else unlike
    row = _row(model_file, probabilities)
    (decision,) = triage_images(model_file.point, row, model_file.labels, [reason], together=of_study)
    if model_file.point is None:
        return decision, reason or UNCERTIFIED
    point, score = model_file.point.deciding(together=of_study), score_of(model_file, probabilities)
    return decision, reason or f"{model_file.group} {model_file.percent(score)}, {place(model_file, point, score)}"


def _row(model_file: ModelFile, probabilities: Mapping[str, float]) -> NDArray[np.float64]:
    return np.array([[probabilities[label] for label in model_file.labels]], np.float64)


def place(model_file: ModelFile, point: OperatingPoint, score: float) -> str:
    """Where a score lies, in words: such as ``below the threshold of 3.54 %``."""
    lower, kind = model_file.percent(point.threshold), triage(point, score)
    if point.upper_threshold is None:
        return f"{'below' if kind == CLEAR else 'at or above'} the threshold of {lower}"
    upper = model_file.percent(point.upper_threshold)
    if kind == CLEAR:
        return f"below the lower threshold of {lower}"
    return f"at or above the upper threshold of {upper}" if kind == FLAG else f"between {lower} and {upper}"


def score_of(model_file: ModelFile, probabilities: Mapping[str, float]) -> float:
    """How probable it is that an image shows what must not be missed, 0 to 1.

    What the operating point flags; without one the positive label, or all that is not healthy; 0 without any of them.
    Of findings the positive one, or the most probable.

    Args:
        model_file: Whose answer it is.
        probabilities: By label.
    """
    if model_file.point:
        return float(model_file.point.scores(_row(model_file, probabilities), model_file.labels)[0])
    if model_file.positive_label:
        return probabilities[model_file.positive_label]
    if model_file.findings:
        return max(probabilities.values())
    return 1 - sum(probabilities[label] for label in model_file.healthy) if model_file.healthy else 0.0


def urgency(model_file: ModelFile, answer: Prediction) -> tuple[int, float]:
    """What to look at first, the largest: flagged images, then those abstained on; among them by `score_of`.

    Args:
        model_file: Whose answer it is.
        answer: Without an error.
    """
    return DECISIONS.index(answer.decision), score_of(model_file, answer.probabilities)
