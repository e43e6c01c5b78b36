"""What a service, or the page without one, says of a model before it answers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from hilum.serving.legend import legend
from hilum.serving.model_file import ModelFile


@dataclass(frozen=True)
class Label:
    """A label of a model.

    Attributes:
        label: As answers carry it.
        name: What it is called before people.
        healthy: Whether it means that nothing was found.
        flagged: Whether an operating point flags it.
        threshold: From which probability on an image is not cleared of it; None where it has no threshold of its own.
        upper_threshold: From which on it is flagged where there are two thresholds.
    """

    label: str
    name: str
    healthy: bool
    flagged: bool
    threshold: float | None = None
    upper_threshold: float | None = None


@dataclass(frozen=True)
class Decision:
    """A triage decision that a model may take, and what it means."""

    decision: str
    meaning: str


@dataclass(frozen=True)
class ModelDescription:
    """What ``GET /v1/model`` says of a model.

    Attributes:
        name: Of the model.
        sha256: Of its file.
        labels: In the order of the probabilities.
        group: What the operating point flags, in words; empty without one.
        threshold: From which probability on it flags; None without an operating point.
        upper_threshold: From which on it flags where there are two thresholds.
        decimals: How many decimals a probability in percent has.
        decisions: What each triage decision means, most urgent first.
        data_errors: Errors that the audit found in its training data.
        licence: Of the weights.
        made_by: Version of hilum that wrote the file.
        certificate: As the model file has it; None where nothing is guaranteed.
        certificates: Those of a model of several findings, by finding.
        card: The model card, in Markdown.
        scope: What it is for and what it cannot do, the first words of its card.
        abstains_below: Share of calibration patients at least as unlike the training images below which there is no
            answer; None where the model file has no out-of-distribution detector.
    """

    name: str
    sha256: str
    labels: tuple[Label, ...]
    group: str
    threshold: float | None
    upper_threshold: float | None
    decimals: int
    decisions: tuple[Decision, ...]
    data_errors: tuple[str, ...]
    licence: str
    made_by: str
    certificate: dict[str, Any] | None
    certificates: dict[str, Any]
    card: str
    scope: str
    abstains_below: float | None


def _label(file: ModelFile, label: str) -> Label:
    members = file.point.members if file.point else ()
    point = file.points.get(label) or (file.point if members == (label,) else None)
    single = point.for_images() if point else None
    return Label(
        label,
        file.label_name[label],
        label in file.healthy,
        label in members or label in file.points,
        single.threshold if single else None,
        single.upper_threshold if single else None,
    )


def describe(file: ModelFile) -> ModelDescription:
    """What there is to say of a model before it answers."""
    point = file.point.for_images() if file.point else None
    certificate, certificates = file.facts.get("certificate"), file.facts.get("certificates")
    card = str(file.facts.get("card", ""))
    abstention = file.metadata.abstention
    return ModelDescription(
        file.name,
        file.sha256,
        tuple(_label(file, label) for label in file.labels),
        file.group,
        point.threshold if point else None,
        point.upper_threshold if point else None,
        file.decimals,
        tuple(Decision(*pair) for pair in legend(file)),
        file.data_errors,
        str(file.facts.get("licence", "")),
        str(file.facts.get("hilum", "")),
        certificate if isinstance(certificate, dict) else None,
        certificates if isinstance(certificates, dict) else {},
        card,
        scope_of(card),
        abstention.level if abstention else None,
    )


def scope_of(card: str) -> str:
    """The first two paragraphs of a model card after its title, without their Markdown."""
    opening = re.split(r"(?m)^## ", card, maxsplit=1)[0]
    paragraphs = [part for part in re.split(r"\n\s*\n", opening) if part.strip() and part.lstrip()[0] not in "#|>"]
    return re.sub(r"[*`]", "", " ".join(" ".join(paragraphs[:2]).split()))
