"""Triage of several findings an image: a decision about each, and the one about the image or study that they make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hilum.decision.operating_point import (
    ABSTAIN,
    CLEAR,
    DECISIONS,
    READ,
    UNDECIDED,
    OperatingPoint,
    triage,
    triage_together,
)
from hilum.serving.model_file import ModelFile
from hilum.serving.prediction import COLOUR, COLOURFUL, UNCERTIFIED, FindingAnswer, Prediction, place

LIKELY = 0.5  # a finding that is more probable than not belongs to an image's label
NO_FINDING, SEPARATOR = "no finding", "|"  # as `hilum.data.multilabel` writes labels
NAMED = 3  # findings in a sentence


def decide_findings(
    model_file: ModelFile,
    probabilities: Mapping[str, float],
    chroma: float = 0.0,
    unlike: str = "",
    *,
    of_study: bool = False,
) -> dict[str, FindingAnswer]:
    """The triage decision about each finding of one image.

    A finding without an operating point is ``undecided``; an image that is abstained on is so for each finding.

    Args:
        model_file: Whose answer it is.
        probabilities: By finding.
        chroma: How colourful the picture was (see `hilum.data.images.Picture`).
        unlike: Why to abstain; empty where there is no reason to.
        of_study: Whether the image is one of a study, which is decided about as a whole.
    """
    why = COLOUR if chroma > COLOURFUL else unlike
    found = {}
    for name in model_file.findings:
        point, share = model_file.points.get(name), probabilities[name]
        rule = point.deciding(together=of_study) if point else None
        reason = why or (_place(model_file, name, rule, share) if rule else UNCERTIFIED)
        found[name] = FindingAnswer(share, triage(rule, share, why), reason)
    return found


def image_decision(model_file: ModelFile, findings: Mapping[str, FindingAnswer]) -> tuple[str, str]:
    """The decision about an image or study, which is the most urgent one about its findings, and its reason."""
    decision = max((one.decision for one in findings.values()), key=DECISIONS.index)
    names = [name for name, one in findings.items() if one.decision == decision]
    if decision == ABSTAIN:
        return decision, findings[names[0]].reason
    if decision == UNDECIDED:
        if not model_file.points:
            return decision, UNCERTIFIED
        return decision, f"no operating point for {_listed(model_file, names)}; the other findings are ruled out"
    if decision == CLEAR:
        return decision, "each finding is below its threshold"
    ranked = sorted(names, key=lambda name: -findings[name].probability)
    more = f"; and {len(ranked) - NAMED} more findings" if len(ranked) > NAMED else ""
    return decision, "; ".join(findings[name].reason for name in ranked[:NAMED]) + more


def study_findings(model_file: ModelFile, images: Sequence[Prediction]) -> dict[str, FindingAnswer]:
    """What is said of each finding of a study: its largest probability, and the decision that its images make.

    Args:
        model_file: Whose answers they are.
        images: Of the study, made with the thresholds of a study; those that could not be read have an ``error``.
    """
    readable = [answer for answer in images if not answer.error]
    found = {}
    for name in model_file.findings if readable else ():
        top = max((answer.findings[name] for answer in readable), key=lambda one: one.probability)
        decision = triage_together((a.findings[name].decision for a in readable), len(images) - len(readable))
        same = [a.findings[name] for a in readable if a.findings[name].decision == decision]
        best = max(same, key=lambda one: one.probability, default=top)
        unread = decision == READ and not same
        reason = f"{best.reason}; an image could not be read, so that nothing is ruled out" if unread else best.reason
        found[name] = FindingAnswer(top.probability, decision, reason)
    return found


def likely_findings(probabilities: Mapping[str, float]) -> str:
    """The findings that are more probable than not, as labels are written."""
    return SEPARATOR.join(name for name, share in probabilities.items() if share >= LIKELY) or NO_FINDING


def likely_names(model_file: ModelFile, label: str) -> str:
    """What such a label is called before people."""
    return ", ".join(model_file.label_name.get(one, one) for one in label.split(SEPARATOR))


def _place(model_file: ModelFile, name: str, point: OperatingPoint, share: float) -> str:
    return f"{model_file.short[name]} {model_file.percent(share)}, {place(model_file, point, share)}"


def _listed(model_file: ModelFile, names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(model_file.short[name] for name in names[:NAMED]) + more
