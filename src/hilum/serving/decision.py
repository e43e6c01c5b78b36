"""From probabilities to the triage decision, and what each decision means in words."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hilum.data.operating_point import ABSTAIN, CLEAR, FLAG, UNDECIDED, triage
from hilum.serving.answer import Answer
from hilum.serving.bundle import Bundle

COLOURFUL = 0.08  # mean chroma; greyscale radiographs have 0, with coloured annotations seldom above 0.02
COLOUR = "a colour picture, and radiographs are grey"
UNCERTIFIED = "no operating point"
URGENT = (CLEAR, UNDECIDED, ABSTAIN, FLAG)  # the last one first


def decide(
    bundle: Bundle, probabilities: Mapping[str, float], chroma: float = 0.0, unlike: str = ""
) -> tuple[str, str]:
    """The triage decision about one image, and its reason in one sentence.

    Where the bundle has an operating point, its group of labels is flagged from the threshold on, and cleared below.
    Without one nobody knows how often a rule would miss: the decision is ``undecided``.

    Args:
        bundle: Whose answer it is.
        probabilities: By label, in the bundle's order.
        chroma: How colourful the picture was (see `hilum.data.images.Picture`).
        unlike: Why to abstain, as `hilum.data.familiarity` says it; empty where there is no reason to.
    """
    reason = COLOUR if chroma > COLOURFUL else unlike
    if bundle.point is None:
        return triage(None, reason), reason or UNCERTIFIED
    score = score_of(bundle, probabilities)
    flagged, threshold = score >= bundle.point.threshold, bundle.percent(bundle.point.threshold)
    where = "at or above" if flagged else "below"
    said = f"{bundle.group} {bundle.percent(score)}, {where} the threshold of {threshold}"
    return triage(flagged, reason), reason or said


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


def legend(bundle: Bundle) -> list[tuple[str, str]]:
    """What each triage decision of a model means: the decision and a sentence, most urgent first."""
    unlike = "unlike the training images, or not a chest X-ray: a person must look"
    if bundle.facts["abstention"] is None:
        unlike = "a colour picture: a person must look. This model cannot tell what else is unlike its training images"
    if bundle.point is None:
        nothing = "the model has no operating point: nothing is flagged or cleared, only probabilities are given"
        return [(ABSTAIN, unlike), (UNDECIDED, f"{nothing} (to get one: hilum certify, then hilum export)")]
    sure = ""
    if certificate := bundle.facts.get("certificate"):
        sensitivity, confidence = 100 - 100 * certificate["miss_rate"], 100 * certificate["confidence"]
        sure = f" at a guaranteed sensitivity of {sensitivity:.3g} % ({confidence:.3g} % confidence)"
    threshold = bundle.percent(bundle.point.threshold)
    return [
        (FLAG, f"{bundle.group} cannot be ruled out: a probability of {threshold} or more"),
        (ABSTAIN, unlike),
        (
            CLEAR,
            f"only {bundle.group} ruled out{sure}, for patients like those of the calibration set; "
            "no other disease is judged, so not the same as healthy",
        ),
    ]
