"""The prior step of a run or model file in words."""

from __future__ import annotations

from hilum.stats.records import PriorStep
from hilum.text import percent


def prior_sentence(step: PriorStep | None) -> str:
    """What the prior step does and how it was set; empty where there is none.

    Args:
        step: Of a run or an evaluation.
    """
    if not step:
        return ""
    factors = ", ".join(f"{label} {factor:.3g}" for label, factor in step.factors.items())
    return f"Prior step: probabilities are multiplied after the temperature by the factors {factors}; {_how(step)}."


def _how(step: PriorStep) -> str:
    where = f"{step.n_images:,} images of {step.data}{f' ({step.split})' if step.split else ''}"
    if step.method == "chosen":
        return f"chosen by {step.measure} on {where}"
    shares = ", ".join(
        f"{label} {percent(share)}{_limits(step, label)}" for label, share in (step.prevalences or {}).items()
    )
    if step.method == "estimated":
        return f"for the prevalence {shares}, estimated without labels on {where}"
    return f"for the stated prevalence {shares}"


def _limits(step: PriorStep, label: str) -> str:
    limits = (step.prevalence_intervals or {}).get(label)
    return f" ({percent(limits[0])} to {percent(limits[1])})" if limits else ""
