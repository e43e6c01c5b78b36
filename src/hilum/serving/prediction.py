"""What is said about one radiograph: the answer, its triage decision, and what each decision means in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NotRequired, Self

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypedDict  # which pydantic asks for, to make a schema of it in Python 3.11

from hilum.decision.operating_point import (
    ABSTAIN,
    CLEAR,
    DECISIONS,
    FLAG,
    READ,
    UNDECIDED,
    OperatingPoint,
    triage,
    triage_images,
)
from hilum.earlier import current
from hilum.serving.metadata import ServedCertificate
from hilum.serving.model_file import ModelFile

COLOURFUL = 0.08  # mean chroma; greyscale radiographs have 0, with coloured annotations seldom above 0.02
COLOUR = "a colour image; radiographs are greyscale"
UNCERTIFIED = "no operating point"


class ModelName(TypedDict):
    """The model file that gave an answer."""

    name: str
    sha256: str


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
    model: ModelName
    schema_version: Literal[1]


Line = PredictionLine | UnreadableLine | StudyLine


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer about one image, or why there is none.

    Attributes:
        path: Of the image, or what it is called.
        label: The most probable one; empty where there is an `error`.
        probabilities: By label, in the model file's order.
        label_name: What that label is called before people.
        decision: The triage decision: ``flag``, ``read`` (between two thresholds), ``clear``, ``abstain``, or
            ``undecided`` where the model file has no operating point; empty where there is an `error`.
        reason: Of the decision, one sentence.
        notes: What has to be known besides, such as a lateral view.
        p_in_distribution: Share of calibration patients at least as unlike the training images as this image; None
            where the model file cannot tell.
        error: Why the image could not be read; empty where it could.
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

    def to_json(self, model: Mapping[str, str]) -> PredictionLine | UnreadableLine:
        """The object of one line of ``hilum predict --json``.

        Args:
            model: ``name`` and ``sha256`` of the model file.
        """
        named: ModelName = {"name": model["name"], "sha256": model["sha256"]}
        if self.error:
            return {"path": self.path, "error": self.error, "model": named, "schema_version": 1}
        return {
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

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> Self:
        """A prediction from the object of one line, also of version 0.1, and without the model's name.

        Raises:
            ValueError: It is no line of ``hilum predict --json`` about an image.
        """
        found = {key: value for key, value in current(line).items() if key not in ("model", "schema_version")}
        try:
            return cls(**found | {"notes": tuple(found.get("notes", ()))})
        except TypeError as error:
            msg = f"not an image line of hilum predict --json ({error})"
            raise ValueError(msg) from error

    def to_row(self, labels: Sequence[str], model: Mapping[str, str]) -> list[str]:
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
        return [*words, model["name"], model["sha256"]]


def columns(labels: Sequence[str]) -> list[str]:
    """The head of ``hilum predict --csv``."""
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

    Args:
        model_file: Whose answer it is.
        probabilities: By label.
    """
    if model_file.point:
        return float(model_file.point.scores(_row(model_file, probabilities), model_file.labels)[0])
    if model_file.positive_label:
        return probabilities[model_file.positive_label]
    return 1 - sum(probabilities[label] for label in model_file.healthy) if model_file.healthy else 0.0


def urgency(model_file: ModelFile, answer: Prediction) -> tuple[int, float]:
    """What to look at first, the largest: flagged images, then those abstained on; among them by `score_of`.

    Args:
        model_file: Whose answer it is.
        answer: Without an error.
    """
    return DECISIONS.index(answer.decision), score_of(model_file, answer.probabilities)


def legend(model_file: ModelFile, *, of_study: bool = False) -> list[tuple[str, str]]:
    """What each triage decision of a model means: the decision and a sentence, most urgent first.

    Args:
        model_file: Whose decisions they are.
        of_study: Whether they are about studies; else about single images.
    """
    unlike = "out of distribution, or not a chest X-ray: a person must read it"
    if model_file.metadata.abstention is None:
        unlike = (
            "a colour image: a person must read it. This model has no out-of-distribution detector for other images"
        )
    if model_file.point is None:
        nothing = "the model has no operating point: no triage decision, probabilities only"
        return [(ABSTAIN, unlike), (UNDECIDED, f"{nothing} (to add one: hilum certify, then hilum export)")]
    point = model_file.point if of_study else model_file.point.for_images()
    certificate = model_file.metadata.certificate
    lower = model_file.percent(point.threshold)
    clear = (
        f"only {model_file.group} ruled out{_sensitivity(certificate)}, for patients like those of the calibration "
        f"set; other diseases are not assessed, so this does not mean healthy{_unit(certificate, of_study=of_study)}"
    )
    if point.upper_threshold is None:
        flag = f"{model_file.group} cannot be ruled out: a probability of {lower} or more"
        unread = [(READ, "an image of the study could not be read, and no other was flagged")] if of_study else []
        return [(FLAG, flag), (ABSTAIN, unlike), *unread, (CLEAR, clear)]
    upper = model_file.percent(point.upper_threshold)
    flag = (
        f"{model_file.group} is likely: a probability of {upper} or more{_specificity(certificate, of_study=of_study)}"
    )
    if point.upper_threshold > 1:
        flag = "no probability can be flagged at the requested guarantee"
    found = [(FLAG, flag), (ABSTAIN, unlike)]
    if point.upper_threshold > point.threshold:
        between = f"{model_file.group} is neither ruled out nor likely: a probability from {lower} up to {upper}"
        found.append((READ, f"{between}{', or an image could not be read' if of_study else ''}"))
    return [*found, (CLEAR, clear)]


def _sensitivity(certificate: ServedCertificate | None) -> str:
    if certificate is None:
        return ""
    sensitivity, confidence = 100 - 100 * certificate.false_negative_rate, 100 * certificate.confidence
    return f" at a guaranteed sensitivity of {sensitivity:.3g} % ({confidence:.3g} % confidence)"


def _specificity(certificate: ServedCertificate | None, *, of_study: bool) -> str:
    """What is guaranteed of a flag: one image of several is flagged no more often than its patient, but finds less."""
    if certificate is None or certificate.upper is None:
        return ""
    upper, images = certificate.upper, certificate.images
    bound = f"{100 * upper.bound:.3g} %"
    if upper.prevalence is None:
        return f", at a guaranteed specificity of {bound}"
    if not of_study and (images is None or images.max > 1):
        return (
            ". The guaranteed PPV is per patient, for all images together. It does not hold for single images: "
            "use --study"
        )
    return f", at a guaranteed PPV of {bound} where the prevalence is {100 * upper.prevalence:.3g} %"


def _unit(certificate: ServedCertificate | None, *, of_study: bool) -> str:
    """Of what the guarantee speaks; nothing where every calibration patient had one image."""
    images = certificate.images if certificate else None
    if certificate is None or (images and images.max == 1):
        return ""
    counted = f" (calibration patients had {images.mean:.1f} images on average, {images.max} at most)" if images else ""
    if of_study:
        return f". The guarantee is per patient, for all images together{counted}"
    if certificate.image_threshold is not None:
        return f". The guarantee is for one image per patient; for several images use --study{counted}"
    return (
        ". The guarantee is per patient, for all images together. It does not hold for single images: use --study"
        f"{counted}"
    )
