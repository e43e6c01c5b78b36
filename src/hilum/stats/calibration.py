"""Calibration: errors (ECE) beside what perfectly calibrated models would show, and temperature scaling.

With a temperature the most probable label of a flat classifier stays the same. What is read down the label tree, and
the most probable label of a cascade, whose stages are scaled apart, may change: there the probabilities were not
comparable before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from hilum.data.labels import Branch, branches
from hilum.stats.intervals import Patients
from hilum.stats.records import CalibrationError

Floats = NDArray[np.float64]
BINS = 15
DRAWS = 200
Ints = NDArray[np.int64]
RANGE = (0.05, 20.0)
FEWEST, FEWEST_ERRORS = 20, 5
PRIOR = 0.5
SMALLEST = np.finfo(np.float64).tiny
FOLDS = 5


def expected_calibration_error(outcomes: Floats, probabilities: Floats, bins: int = BINS) -> float:
    """Class-wise calibration error over bins of equal numbers of images.

    For each label the images are sorted by its probability and cut into bins of equal size; the absolute
    difference between the mean probability and the share that has the label is averaged over bins (weighted by
    their size) and labels (Nixon et al. 2019, "Measuring Calibration in Deep Learning": adaptive, class-wise).

    Args:
        outcomes: Of shape (N, K), 1 where an image has the label and 0 elsewhere.
        probabilities: Of shape (N, K).
        bins: At most so many; never more than images.

    Returns:
        Between 0 and 1. A perfectly calibrated model does not reach 0: see `ece_null_mean`.
    """
    count = len(outcomes)
    edges = np.linspace(0, count, min(bins, count) + 1).astype(int)
    order = np.argsort(probabilities, axis=0, kind="stable")
    gap = np.take_along_axis(outcomes - probabilities, order, axis=0)
    sums = np.add.reduceat(gap, edges[:-1], axis=0)
    return float(np.abs(sums).sum(axis=0).mean() / count)


def top_label_error(outcomes: Floats, probabilities: Floats, bins: int = BINS) -> float:
    """Calibration error of the most probable label, over bins of equal width.

    The absolute difference between the mean probability of the most probable label and the share of images that have
    it, averaged over bins of that probability (Guo et al. 2017, "On Calibration of Modern Neural Networks").

    Args:
        outcomes: Of shape (N, K), 1 where an image has the label and 0 elsewhere.
        probabilities: Of shape (N, K).
        bins: Number of bins, each 1 / `bins` wide.

    Returns:
        Between 0 and 1.
    """
    stated = probabilities.max(axis=1)
    right = np.take_along_axis(outcomes, probabilities.argmax(axis=1)[:, None], axis=1)[:, 0]
    place = np.clip(np.ceil(stated * bins).astype(int) - 1, 0, bins - 1)
    return float(np.abs(np.bincount(place, right - stated, bins)).sum() / len(stated))


ECE = {"ece_class_wise": "class-wise", "ece_top_label": "top-label"}


def calibration_errors(
    truth: NDArray[np.int64], probabilities: Floats, clusters: Sequence[str]
) -> list[CalibrationError]:
    """Both calibration errors, each with its noise floor.

    Args:
        truth: Index of each image's label, shape (N,).
        probabilities: Of shape (N, K).
        clusters: The patient of each image, N names.

    Returns:
        The class-wise and the top-label error, each with the mean of perfectly calibrated models of these
        probabilities, and the value below which 95 % of them stay.
    """
    errors = (_class_wise(probabilities), _top_label(probabilities))
    noise: tuple[list[float], ...] = tuple([] for _ in errors)
    for drawn in outcomes_if_calibrated(probabilities, clusters, draws=DRAWS, seed=0):
        for error, values in zip(errors, noise, strict=True):
            values.append(error(drawn))
    return [
        CalibrationError(
            value=error(truth),
            ece_null_mean=float(np.mean(values)),
            ece_null_q95=float(np.quantile(values, 0.95)),
        )
        for error, values in zip(errors, noise, strict=True)
    ]


def _class_wise(probabilities: Floats, bins: int = BINS) -> Callable[[Ints], float]:
    """`expected_calibration_error` of many outcomes, given as labels: the probabilities are sorted once."""
    count, labels = probabilities.shape
    edges = np.linspace(0, count, min(bins, count) + 1).astype(int)
    order = np.argsort(probabilities, axis=0, kind="stable")
    stated = np.add.reduceat(np.take_along_axis(probabilities, order, axis=0), edges[:-1], axis=0)
    place = np.empty((count, labels), np.int64)  # of each image and label, its bin
    np.put_along_axis(place, order, np.repeat(np.arange(len(stated)), np.diff(edges))[:, None], axis=0)
    place = place * labels + np.arange(labels)
    images = np.arange(count)

    def error(truth: Ints) -> float:
        having = np.bincount(place[images, truth], minlength=stated.size).reshape(stated.shape)
        return float(np.abs(having - stated).sum(axis=0).mean() / count)

    return error


def _top_label(probabilities: Floats, bins: int = BINS) -> Callable[[Ints], float]:
    """`top_label_error` of many outcomes, given as labels."""
    stated, called = probabilities.max(axis=1), probabilities.argmax(axis=1)
    place = np.clip(np.ceil(stated * bins).astype(int) - 1, 0, bins - 1)

    def error(truth: Ints) -> float:
        return float(np.abs(np.bincount(place, (truth == called) - stated, bins)).sum() / len(stated))

    return error


def ece_null_mean(
    probabilities: Floats, clusters: Sequence[str] | None = None, *, draws: int = DRAWS, seed: int = 0
) -> float:
    """The class-wise calibration error that a perfectly calibrated model of these probabilities would show.

    Args:
        probabilities: Of shape (N, K).
        clusters: The patient of each image; by default each its own.
        draws: Number of draws of the outcomes.
        seed: Seed of the draws.

    Returns:
        The mean over the draws.
    """
    error = _class_wise(probabilities)
    return float(
        np.mean([error(truth) for truth in outcomes_if_calibrated(probabilities, clusters, draws=draws, seed=seed)])
    )


def outcomes_if_calibrated(
    probabilities: Floats, clusters: Sequence[str] | None = None, *, draws: int, seed: int
) -> Iterator[NDArray[np.int64]]:
    """Labels that follow the probabilities exactly, those of one patient's images as much alike as these allow.

    One random number a patient is taken through each image's distribution: images of a patient that were given the same
    probabilities get the same label, as they have in truth.

    Args:
        probabilities: Of shape (N, K).
        clusters: The patient of each image; by default each its own.
        draws: How often.
        seed: Of the draws.

    Yields:
        Indices of shape (N,).
    """
    generator = np.random.default_rng(seed)
    ends = np.cumsum(probabilities[:, :-1].T, axis=0)  # of each label's share but the last, which ends at 1
    names = np.arange(len(probabilities)) if clusters is None else np.asarray(clusters)
    _, member = np.unique(names, return_inverse=True)
    for _ in range(draws):
        drawn = generator.random(int(member.max()) + 1)[member]
        outcome = np.zeros(len(member), np.int64)
        for end in ends:
            outcome += drawn > end
        yield outcome


def decisions_of(labels: Sequence[str], hierarchy: str) -> tuple[Branch, ...]:
    """What has a temperature of its own: every decision of a cascade; the only one of a flat classifier."""
    if hierarchy == "cascade":
        return branches(labels)
    return (Branch("", tuple(labels), tuple((k,) for k in range(len(labels)))),)


def fit_temperatures(truth: Ints, probabilities: Floats, labels: Sequence[str], hierarchy: str) -> dict[str, float]:
    """The temperatures that make the log-loss smallest (Guo et al. 2017, "On Calibration of Modern Neural Networks").

    Args:
        truth: Index of each image's label, shape (N,); of patients that neither training nor test has.
        probabilities: What the network says of them, shape (N, K).
        labels: K names.
        hierarchy: ``flat``, or ``cascade``, whose decisions are fitted one by one on the images that reach them.

    Returns:
        By the folder at which the decision is made, empty at the root; above 1 the network was too sure of itself.
        A decision that fewer than 20 images reach, or of which fewer than 5 are misjudged, keeps 1: a few right
        answers would only ask for boundless certainty. Against the same, the logarithm of a temperature is drawn
        towards 0 like a normal variable of standard deviation 0.5. Empty if no decision could be fitted.
    """
    fitted: dict[str, float] = {}
    found_any = False
    for decision in decisions_of(labels, hierarchy):
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


def held_out_log_loss(
    truth: Ints, probabilities: Floats, labels: Sequence[str], hierarchy: str, clusters: Sequence[str]
) -> dict[str, dict[str, float]]:
    """What temperatures would do to patients that they were not fitted to, by cross-validation over patients.

    Args:
        truth: Index of each image's label, shape (N,).
        probabilities: What the network says of them, shape (N, K).
        labels: K names.
        hierarchy: ``flat`` or ``cascade``.
        clusters: The patient of each image, N names; five folds by a hash of the name.

    Returns:
        By decision, as in `fit_temperatures`: the mean held-out log-loss of the images that reach it, ``before`` and
        ``after`` scaling, and ``error``, the standard error by patient of their difference; empty where none does.
    """
    patients = Patients(clusters)
    fold = np.array([fold_of(name) for name in clusters])
    scaled = probabilities.copy()
    for held_out in range(FOLDS):
        rest, here = fold != held_out, fold == held_out
        fitted = fit_temperatures(truth[rest], probabilities[rest], labels, hierarchy)
        scaled[here] = scale(probabilities[here], fitted, labels, hierarchy) if fitted else probabilities[here]
    found: dict[str, dict[str, float]] = {}
    for decision in decisions_of(labels, hierarchy):
        reached = np.array(decision.child_of(len(labels)))[truth] >= 0
        if not reached.any():
            found[decision.name] = {}
            continue
        before, after = (_losses(truth, stated, decision, len(labels)) for stated in (probabilities, scaled))
        gain = before - after
        influence = patients.take(reached).sums(gain - gain.mean()) / len(gain)
        error = float(np.sqrt((influence**2).sum()))
        found[decision.name] = {"before": float(before.mean()), "after": float(after.mean()), "error": error}
    return found


def helpful(temperatures: Mapping[str, float], losses: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The same temperatures, but 1 where held-out log-loss did not fall.

    It has to fall by more than its standard error (the rule of one standard error: Breiman et al. 1984): with few
    patients a temperature is noise, and probabilities stay as the network gives them.

    Args:
        temperatures: As `fit_temperatures` gives them.
        losses: As `held_out_log_loss` gives them.
    """
    return {
        name: value if losses[name] and losses[name]["after"] + losses[name]["error"] < losses[name]["before"] else 1.0
        for name, value in temperatures.items()
    }


def applied(temperatures: Mapping[str, float] | None) -> bool:
    """Whether temperatures change any probability; those of 1 were fitted and did not help."""
    return any(value != 1.0 for value in (temperatures or {}).values())


def scale(probabilities: Floats, temperatures: Mapping[str, float], labels: Sequence[str], hierarchy: str) -> Floats:
    """Probabilities at other temperatures.

    Args:
        probabilities: Of shape (N, K).
        temperatures: As `fit_temperatures` gives them; one leaves a decision as it is.
        labels: K names.
        hierarchy: ``flat`` or ``cascade``.

    Returns:
        Of shape (N, K); each row sums to one.
    """
    logs = np.zeros_like(probabilities)
    for decision in decisions_of(labels, hierarchy):
        scaled = np.log(np.maximum(_shares(probabilities, decision), SMALLEST)) / temperatures[decision.name]
        scaled = scaled - np.logaddexp.reduce(scaled, axis=1, keepdims=True)
        for child, members in enumerate(decision.members):
            logs[:, members] += scaled[:, [child]]
    result: Floats = np.exp(logs)
    return result


def of_two(present: Floats) -> Floats:
    """Probabilities (N, 2) of absent and present, of that a finding is present, of shape (N,)."""
    return np.stack([1 - present, present], axis=1)


def scale_findings(probabilities: Floats, temperatures: Mapping[str, float], findings: Sequence[str]) -> Floats:
    """Probabilities of findings at other temperatures.

    Args:
        probabilities: That each finding is present, of shape (N, F).
        temperatures: By finding; one leaves it as it is.
        findings: F names.

    Returns:
        Of shape (N, F): each log-odds divided by the finding's temperature.
    """
    by = np.array([temperatures[name] for name in findings])
    up, down = (np.log(np.maximum(share, SMALLEST)) / by for share in (probabilities, 1 - probabilities))
    result: Floats = np.exp(up - np.logaddexp(up, down))
    return result


def for_temperature(patients: Sequence[str]) -> NDArray[np.bool_]:
    """Which calibration images the temperature may see: those of every other patient, by a hash of the name.

    The others are kept for the certificate, whose guarantee holds only for patients that nothing was fitted to.

    Args:
        patients: One group name an image, N of them.

    Returns:
        Of shape (N,).
    """
    return np.array([int(_digest(name)[:2], 16) % 2 == 0 for name in patients])


def fold_of(name: str) -> int:
    """Which of the five folds a patient is in, by a hash of the name."""
    return int(_digest(name)[:8], 16) % FOLDS


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()


def _losses(truth: Ints, probabilities: Floats, decision: Branch, n_labels: int) -> Floats:
    """Log-loss of a decision for each of the images that reach it."""
    child = np.array(decision.child_of(n_labels))[truth]
    logs = np.log(np.maximum(_shares(probabilities[child >= 0], decision), SMALLEST))
    logs -= np.logaddexp.reduce(logs, axis=1, keepdims=True)
    losses: Floats = -logs[np.arange(len(logs)), child[child >= 0]]
    return losses


def _shares(probabilities: Floats, decision: Branch) -> Floats:
    """How probable each child of a decision is, of shape (N, children), unnormalised."""
    return np.stack([probabilities[:, inside].sum(axis=1) for inside in decision.members], axis=1)
