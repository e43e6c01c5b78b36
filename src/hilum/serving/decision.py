"""From probabilities to the triage decision, and what each decision means in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hilum.data.operating_point import ABSTAIN, CLEAR, FLAG, READ, UNDECIDED, OperatingPoint, triage
from hilum.serving.answer import Answer
from hilum.serving.bundle import Bundle

COLOURFUL = 0.08  # mean chroma; greyscale radiographs have 0, with coloured annotations seldom above 0.02
COLOUR = "a colour picture, and radiographs are grey"
UNCERTIFIED = "no operating point"
URGENT = (CLEAR, UNDECIDED, READ, ABSTAIN, FLAG)  # the last one first


def decide(
    bundle: Bundle, probabilities: Mapping[str, float], chroma: float = 0.0, unlike: str = "", *, of_study: bool = False
) -> tuple[str, str]:
    """The triage decision about one image, and its reason in one sentence.

    Where the bundle has an operating point, its group of labels is cleared below the threshold, and flagged from the
    threshold on; where it has two, what lies between them is to be read. Without one nobody knows how often a rule
    would miss: the decision is ``undecided``.

    Args:
        bundle: Whose answer it is.
        probabilities: By label, in the bundle's order.
        chroma: How colourful the picture was (see `hilum.data.images.Picture`).
        unlike: Why to abstain, as `hilum.data.familiarity` says it; empty where there is no reason to.
        of_study: Whether the image is one of a study, which is decided about as a whole; else by itself.
    """
    reason = COLOUR if chroma > COLOURFUL else unlike
    if bundle.point is None:
        return triage(None, 0.0, reason), reason or UNCERTIFIED
    point, score = bundle.point if of_study else bundle.point.for_images(), score_of(bundle, probabilities)
    decision = triage(point, score, reason)
    return decision, reason or f"{bundle.group} {bundle.percent(score)}, {place(bundle, point, score)}"


def place(bundle: Bundle, point: OperatingPoint, score: float) -> str:
    """Where a score lies, in words: such as ``below the threshold of 3.54 %``."""
    lower = bundle.percent(point.threshold)
    if point.upper_threshold is None:
        return f"{'below' if score < point.threshold else 'at or above'} the threshold of {lower}"
    upper = bundle.percent(point.upper_threshold)
    if score < point.threshold:
        return f"below the lower threshold of {lower}"
    return f"at or above the upper threshold of {upper}" if score >= point.flag_from else f"between {lower} and {upper}"


def score_of(bundle: Bundle, probabilities: Mapping[str, float]) -> float:
    """How probable it is that an image shows what must not be missed, 0 to 1.

    What the operating point flags; without one the positive label, or all that is not healthy; 0 without any of them.

    Args:
        bundle: Whose answer it is.
        probabilities: By label.
    """
    if bundle.point:
        row = np.array([[probabilities[label] for label in bundle.labels]], np.float64)
        return float(bundle.point.scores(row, bundle.labels)[0])
    if bundle.protected:
        return probabilities[bundle.protected]
    return 1 - sum(probabilities[label] for label in bundle.healthy) if bundle.healthy else 0.0


def urgency(bundle: Bundle, answer: Answer) -> tuple[int, float]:
    """What to look at first, the largest: flagged images, then those abstained on; among them by `score_of`.

    Args:
        bundle: Whose answer it is.
        answer: Without an error.
    """
    return URGENT.index(answer.decision), score_of(bundle, answer.probabilities)


def legend(bundle: Bundle, *, of_study: bool = False) -> list[tuple[str, str]]:
    """What each triage decision of a model means: the decision and a sentence, most urgent first.

    Args:
        bundle: Whose decisions they are.
        of_study: Whether they are about studies; else about single images.
    """
    unlike = "unlike the training images, or not a chest X-ray: a person must look"
    if bundle.facts["abstention"] is None:
        unlike = "a colour picture: a person must look. This model cannot tell what else is unlike its training images"
    if bundle.point is None:
        nothing = "the model has no operating point: nothing is flagged or cleared, only probabilities are given"
        return [(ABSTAIN, unlike), (UNDECIDED, f"{nothing} (to get one: hilum certify, then hilum export)")]
    point = bundle.point if of_study else bundle.point.for_images()
    certificate = bundle.facts.get("certificate") or {}
    lower = bundle.percent(point.threshold)
    clear = (
        f"only {bundle.group} ruled out{_sensitivity(certificate)}, for patients like those of the calibration set; "
        f"no other disease is judged, so not the same as healthy{_unit(certificate, of_study=of_study)}"
    )
    if point.upper_threshold is None:
        flag = f"{bundle.group} cannot be ruled out: a probability of {lower} or more"
        unread = [(READ, "an image of the study could not be read, and no other was flagged")] if of_study else []
        return [(FLAG, flag), (ABSTAIN, unlike), *unread, (CLEAR, clear)]
    upper = bundle.percent(point.upper_threshold)
    flag = f"{bundle.group} is likely: a probability of {upper} or more{_specificity(certificate, of_study=of_study)}"
    if point.upper_threshold > 1:
        flag = "no probability is high enough to be flagged with the guarantee that was asked for"
    found = [(FLAG, flag), (ABSTAIN, unlike)]
    if point.upper_threshold > point.threshold:
        between = f"{bundle.group} is neither ruled out nor likely: a probability from {lower} up to {upper}"
        found.append((READ, f"{between}{', or an image could not be read' if of_study else ''}"))
    return [*found, (CLEAR, clear)]


def _sensitivity(certificate: Mapping[str, Any]) -> str:
    if not certificate:
        return ""
    sensitivity, confidence = 100 - 100 * certificate["miss_rate"], 100 * certificate["confidence"]
    return f" at a guaranteed sensitivity of {sensitivity:.3g} % ({confidence:.3g} % confidence)"


def _specificity(certificate: Mapping[str, Any], *, of_study: bool) -> str:
    """What is guaranteed of a flag: one image of several is flagged no more often than its patient, but finds less."""
    upper = certificate.get("upper")
    if not upper:
        return ""
    bound = f"{100 * upper['bound']:.3g} %"
    if upper["kind"] == "ppv":
        if not of_study and (certificate.get("images") or {}).get("max", 2) > 1:
            return ". The guaranteed PPV is by patient, all images together: image by image it is withheld; use --study"
        return f", at a guaranteed PPV of {bound} where the prevalence is {100 * upper['prevalence']:.3g} %"
    return f", at a guaranteed specificity of {bound}"


def _unit(certificate: Mapping[str, Any], *, of_study: bool) -> str:
    """Of what the guarantee speaks; nothing where every calibration patient had one image."""
    images = certificate.get("images")
    if not certificate or (images and images["max"] == 1):
        return ""
    counted = (
        f" (calibration patients had {images['mean']:.1f} images on average, {images['max']} at most)" if images else ""
    )
    if of_study:
        return f". The guarantee is by patient, all images together{counted}"
    if certificate.get("image_threshold") is not None:
        return f". The guarantee is for one image of a patient; decide about several together: --study{counted}"
    return (
        ". The guarantee is by patient, all images together: decided about one by one, it is withheld; use --study"
        f"{counted}"
    )
