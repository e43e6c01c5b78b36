"""From probabilities to flag, clear or abstain."""

from __future__ import annotations

from collections.abc import Mapping

from hilum.serving.bundle import Bundle

COLOURFUL = 0.08  # mean chroma; greyscale radiographs have 0, with coloured annotations seldom above 0.02


def decide(
    bundle: Bundle, probabilities: Mapping[str, float], chroma: float = 0.0, unlike: str = ""
) -> tuple[str, str]:
    """The decision about one image, and its reason in one sentence.

    Where the bundle has an operating point, its group of labels is flagged from the threshold on. Otherwise the most
    probable label decides: what must not be missed is flagged; where no label is protected, all that is not healthy.

    Args:
        bundle: Whose answer it is.
        probabilities: By label.
        chroma: How colourful the picture was (see `hilum.data.images.Picture`).
        unlike: Why to abstain, as `hilum.data.familiarity` says it; empty where there is no reason to.
    """
    shown = bundle.display
    top = max(probabilities, key=lambda label: probabilities[label])
    most = f"most probable: {shown[top]}, {probabilities[top]:.1%}"
    if chroma > COLOURFUL:
        return "abstain", f"a colour picture, and radiographs are grey ({most})"
    if unlike:
        return "abstain", f"{unlike} ({most})"
    point = bundle.facts["operating_point"]
    if point:
        score, threshold = sum(probabilities[label] for label in point["members"]), point["threshold"]
        flagged = score >= threshold
        group = shown.get(point["group"], point["group"])
        where = "at or above" if flagged else "below"
        return "flag" if flagged else "clear", f"{group} {score:.2%}, {where} the threshold of {threshold:.2%}; {most}"
    flagged = top == bundle.protected if bundle.protected else top not in bundle.healthy
    return "flag" if flagged else "clear", f"{most}; no operating point"
