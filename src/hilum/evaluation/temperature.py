"""Temperature scaling: probabilities that can be taken at their word.

The most probable label of a flat classifier stays the same. What is read down the label tree, and the most probable
label of a cascade, whose stages are scaled apart, may change: there the probabilities were not comparable before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from hilum.data.taxonomy import Branch, branches

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
RANGE = (0.05, 20.0)
FEWEST, FEWEST_ERRORS = 20, 5
PRIOR = 0.5
SMALLEST = np.finfo(np.float64).tiny


def decisions_of(labels: Sequence[str], architecture: str) -> tuple[Branch, ...]:
    """What has a temperature of its own: every decision of a cascade; the only one of a flat classifier."""
    if architecture == "cascade":
        return branches(labels)
    return (Branch("", tuple(labels), tuple((k,) for k in range(len(labels)))),)


def fit_temperatures(truth: Ints, probabilities: Floats, labels: Sequence[str], architecture: str) -> dict[str, float]:
    """The temperatures that make the log-loss smallest (Guo et al. 2017, "On Calibration of Modern Neural Networks").

    Args:
        truth: Index of each image's label, shape (N,); of patients that neither training nor test has.
        probabilities: What the network says of them, shape (N, K).
        labels: K names.
        architecture: ``flat``, or ``cascade``, whose decisions are fitted one by one on the images that reach them.

    Returns:
        By the folder at which the decision is made, empty at the root; above 1 the network was too sure of itself.
        A decision that fewer than 20 images reach, or of which fewer than 5 are misjudged, keeps 1: a few right
        answers would only ask for boundless certainty. Against the same, the logarithm of a temperature is drawn
        towards 0 like a normal variable of standard deviation 0.5. Empty if no decision could be fitted.
    """
    fitted: dict[str, float] = {}
    found_any = False
    for decision in decisions_of(labels, architecture):
        child = np.array(decision.child_of(len(labels)))[truth]
        here = child >= 0
        logs = np.log(np.maximum(_shares(probabilities[here], decision), SMALLEST))
        answer = child[here]

        def loss(log_temperature: float, logs: Floats = logs, answer: Ints = answer) -> float:
            scaled = logs / np.exp(log_temperature)
            scaled = scaled - np.logaddexp.reduce(scaled, axis=1, keepdims=True)
            prior = (log_temperature / PRIOR) ** 2 / 2
            return float(prior - scaled[np.arange(len(answer)), answer].sum())

        enough = len(answer) >= FEWEST and (logs.argmax(axis=1) != answer).sum() >= FEWEST_ERRORS
        found = minimize_scalar(loss, bounds=np.log(RANGE), method="bounded") if enough else None
        fitted[decision.name] = float(np.exp(found.x)) if found else 1.0
        found_any = found_any or enough
    return fitted if found_any else {}


def scale(probabilities: Floats, temperatures: Mapping[str, float], labels: Sequence[str], architecture: str) -> Floats:
    """Probabilities at other temperatures.

    Args:
        probabilities: Of shape (N, K).
        temperatures: As `fit_temperatures` gives them; one leaves a decision as it is.
        labels: K names.
        architecture: ``flat`` or ``cascade``.

    Returns:
        Of shape (N, K); each row sums to one.
    """
    logs = np.zeros_like(probabilities)
    for decision in decisions_of(labels, architecture):
        scaled = np.log(np.maximum(_shares(probabilities, decision), SMALLEST)) / temperatures[decision.name]
        scaled = scaled - np.logaddexp.reduce(scaled, axis=1, keepdims=True)
        for child, members in enumerate(decision.members):
            logs[:, members] += scaled[:, [child]]
    result: Floats = np.exp(logs)
    return result


def for_temperature(patients: Sequence[str]) -> NDArray[np.bool_]:
    """Which calibration images the temperature may see: those of every other patient, by a hash of the name.

    The others are kept for the certificate, whose guarantee holds only for patients that nothing was fitted to.

    Args:
        patients: One group name an image, N of them.

    Returns:
        Of shape (N,).
    """
    return np.array([hashlib.sha256(name.encode(errors="surrogateescape")).digest()[0] % 2 == 0 for name in patients])


def _shares(probabilities: Floats, decision: Branch) -> Floats:
    """How probable each child of a decision is, of shape (N, children), unnormalised."""
    return np.stack([probabilities[:, inside].sum(axis=1) for inside in decision.members], axis=1)
