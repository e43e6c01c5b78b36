"""A guaranteed sensitivity: an exact bound for the patients to come, from patients that nothing was fitted to.

Of n patients who have the disease let s(1) <= ... <= s(n) be their scores. Flagging everybody with a score of at least
s(k) misses a new patient when his score is below s(k). Whatever the scores' distribution, the share of patients below
s(k) exceeds `alpha` with a probability of at most BinomCDF(k - 1; n, alpha), with ties as well (this is the
non-parametric tolerance limit of Wilks 1941, *Ann. Math. Statist.*). The rule takes the largest k for which that is at
most `delta`: the highest threshold, and so the fewest false alarms, that the certificate allows. A threshold that
merely has `alpha` misses on the sample exceeds it on new patients half of the time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from hilum.errors import CertificateError, UsageError
from hilum.evaluation.triage import claim_at_most
from hilum.evaluation.triage_schema import Upper, UpperClaim
from hilum.stats.intervals import Patients, exact_limits
from hilum.stats.records import Interval
from hilum.stats.verdicts import at_least, each_confidence, predictive_values

Floats = NDArray[np.float64]
DIGITS = 4  # to which a threshold is rounded down: float32 networks differ from float64 ones in later digits


def allowed_rank(patients: int, false_negative_rate: float, confidence: float) -> int:
    """Which of the sorted scores is the threshold.

    Args:
        patients: n, with the disease.
        false_negative_rate: alpha, between 0 and 1.
        confidence: 1 - delta, between 0 and 1.

    Returns:
        k, from 1 to n, so that k - 1 of them may be missed; 0 where even s(1) cannot be certified.
    """
    chances = binom.cdf(np.arange(patients), patients, false_negative_rate)
    return int((chances <= 1 - confidence).sum())


def split_confidence(confidence: float, *, two_sided: bool) -> float:
    """Confidence of each of two guarantees that have to hold together (Bonferroni), or of the only one.

    Args:
        confidence: 1 - delta, of all that is guaranteed together.
        two_sided: Whether an upper threshold is certified, too.
    """
    return each_confidence(confidence, 2 if two_sided else 1)


def patients_needed(false_negative_rate: float, confidence: float, misses: int = 0) -> int:
    """The fewest patients with which so many may be missed.

    Args:
        false_negative_rate: alpha, between 0 and 1.
        confidence: 1 - delta, between 0 and 1.
        misses: How many.
    """
    high = misses + 1
    while binom.cdf(misses, high, false_negative_rate) > 1 - confidence:
        high *= 2
    low = max(misses + 1, high // 2)
    while low < high:
        middle = (low + high) // 2
        if binom.cdf(misses, middle, false_negative_rate) > 1 - confidence:
            low = middle + 1
        else:
            high = middle
    return low


def highest_bound(patients: int, confidence: float) -> float:
    """The highest sensitivity, or specificity, that so many patients can guarantee, rounded down to 0.001.

    Args:
        patients: How many, at least 1; none is missed.
        confidence: 1 - delta, between 0 and 1.
    """
    return floor(1000 * float((1 - confidence) ** (1 / patients))) / 1000


def certified_threshold(scores: Floats, false_negative_rate: float, confidence: float) -> float | None:
    """The highest threshold whose false-negative rate is certified.

    Args:
        scores: One a patient with the disease, of shape (n,), independent of each other and of the model.
        false_negative_rate: alpha: P(false-negative rate > alpha) is at most delta.
        confidence: 1 - delta.

    Returns:
        One of the scores; None where n is too small (see `patients_needed`).
    """
    rank = allowed_rank(len(scores), false_negative_rate, confidence)
    return float(np.sort(scores)[rank - 1]) if rank else None


def round_down(threshold: float, digits: int = DIGITS) -> float:
    """A threshold with few digits, not above the given one, so that nobody whom that flags is cleared by it."""
    if threshold <= 0:
        return threshold
    scale = 10.0 ** (digits - 1 - floor(log10(threshold)))
    rounded = floor(threshold * scale) / scale
    return rounded if rounded <= threshold else (floor(threshold * scale) - 1) / scale


STARTS = (0.95, 0.8, 0.5, 0.2)  # fixed before any patient is seen: where the search for a PPV begins
GRID: Floats = np.round(1 / (1 + np.exp(-np.arange(9.0, -7.05, -0.1))), 6)  # even in log-odds, falling
FINEST = 6  # decimals of an upper threshold: float32 networks differ from float64 ones in later ones
ANOTHER = "it takes an attempt left in the plan, a lower confidence, or other patients"
NOBODY = 1.001  # no probability reaches it


@dataclass(frozen=True)
class UpperSide:
    """What is to be guaranteed of those who are flagged.

    Attributes:
        kind: ``specificity`` or ``ppv``.
        bound: The smallest value that is guaranteed, in (0, 1).
        prevalence: At which the PPV is, in (0, 1); None for a specificity.
        healthy: The labels whose patients are counted as healthy.
    """

    kind: Literal["specificity", "ppv"]
    bound: float
    prevalence: float | None
    healthy: tuple[str, ...]

    @classmethod
    def asked(
        cls, specificity: float | None, ppv: float | None, prevalence: float | None, healthy: Sequence[str]
    ) -> UpperSide | None:
        """From the options of ``hilum certify``; None where no upper side is asked for.

        Raises:
            UsageError: A share outside of 0 to 1, both kinds at once, or a PPV without a prevalence.
        """
        for name, value in (("specificity", specificity), ("ppv", ppv), ("prevalence", prevalence)):
            if value is not None and not 0 < value < 1:
                why = "" if name != "prevalence" else " At 0 or 1 the predictive values are constant."
                msg = f"--{name} {value:g}: give a share between 0 and 1, such as 0.{'05' if why else '95'}.{why}"
                raise UsageError(msg, code="not-a-share")
        if specificity is not None and ppv is not None:
            msg = "--specificity and --ppv both set the upper threshold. Give one of them."
            raise UsageError(msg, code="two-guarantees")
        if ppv is not None and prevalence is None:
            msg = f"--ppv {ppv:g}: the predictive value depends on the prevalence. Give --prevalence, too."
            raise UsageError(msg, code="no-prevalence")
        if prevalence is not None and ppv is None:
            msg = f"--prevalence {prevalence:g}: is used with --ppv only. Give both, or neither."
            raise UsageError(msg, code="needless-prevalence")
        if ppv is not None:
            return cls("ppv", ppv, prevalence, tuple(healthy))
        return None if specificity is None else cls("specificity", specificity, None, tuple(healthy))

    @classmethod
    def of(cls, upper: Upper | None) -> UpperSide | None:
        """What a certificate was asked for; None where it has one threshold."""
        return cls(upper.kind, upper.bound, upper.prevalence, tuple(upper.labels)) if upper else None


def check_upper(ill: int, others: Mapping[str, int], side: UpperSide, confidence: float) -> None:
    """Refuse what so few patients cannot certify whatever their scores are; known before any score is seen.

    Args:
        ill: Number of patients with the disease.
        others: Number of patients without it, by label.
        side: What is to be guaranteed.
        confidence: Confidence level of this side alone, in (0, 1).

    Raises:
        CertificateError: No healthy patient, or too few patients for that.
    """
    total = sum(others[label] for label in _counted(others, side))
    if not total:
        named = f" ({', '.join(side.healthy)})" if side.healthy else ""
        what = f"no healthy patient{named}" if side.kind == "specificity" else "no patient without the disease"
        msg = f"{what} is in the certification set: false positives are unknown. Add some, or omit --{side.kind}."
        raise CertificateError(msg, code="no-healthy-patients")
    if side.kind == "specificity":
        if not allowed_rank(total, 1 - side.bound, confidence):
            raise CertificateError(_too_few(total, side.bound, confidence), code="too-few-healthy-patients")
        return
    assert side.prevalence is not None
    best = ppv_limits(np.ones(ill), np.zeros(total), side.prevalence, (1 - confidence) / len(STARTS)).max()
    if best < side.bound:
        msg = (
            f"{ill} patients with the disease and {total} without: at a prevalence of {100 * side.prevalence:g} % they "
            f"can show a PPV of at most {floor(1000 * best) / 10:g} %, and --ppv is {100 * side.bound:g} %. Add "
            "patients without the disease, or lower --ppv."
        )
        raise CertificateError(msg, code="unreachable-ppv")


def _counted(others: Iterable[str], side: UpperSide) -> list[str]:
    """The labels whose patients tell of false alarms."""
    return sorted(others if side.kind == "ppv" else set(others) & set(side.healthy))


def certify_upper(ill: Floats, others: Mapping[str, Floats], side: UpperSide, confidence: float, lower: float) -> Upper:
    """Find the upper threshold.

    Args:
        ill: One score a patient with the disease, shape (n,).
        others: One score a patient without it, by label.
        side: What is to be guaranteed.
        confidence: Confidence level of this side alone, in (0, 1).
        lower: The lower threshold, which the upper one is at least.

    Returns:
        The upper threshold and what it rests on.

    Raises:
        CertificateError: No healthy patient, or too few patients for that.
    """
    check_upper(len(ill), {label: len(found) for label, found in others.items()}, side, confidence)
    counted = _counted(others, side)
    scores = np.concatenate([others[label] for label in counted])

    def found(threshold: float, *, raised: bool, **counted_on: int) -> Upper:
        return Upper(
            kind=side.kind,
            bound=side.bound,
            prevalence=side.prevalence,
            confidence=confidence,
            labels=counted,
            n_patients=len(scores),
            threshold=threshold,
            raised=raised,
            **counted_on,
        )

    if side.kind == "specificity":
        rank = allowed_rank(len(scores), 1 - side.bound, confidence)
        certified = above(float(np.sort(scores)[-rank]))
        return found(max(certified, lower), raised=certified < lower, rank=rank)
    assert side.prevalence is not None
    shown = shown_ppv(ill, scores, side.bound, side.prevalence, 1 - confidence)
    passed = shown[shown >= lower]
    if not len(passed):
        raise CertificateError(_no_ppv(ill, scores, side, 1 - confidence, lower), code="no-threshold")
    return found(float(passed.min()), raised=bool(shown.min() < lower), n_ill=len(ill))


def upper_claim(upper: Upper, ill: Floats, others: Mapping[str, Floats]) -> UpperClaim:
    """How the upper side holds on patients who did not choose it, as if nobody were abstained on.

    Args:
        upper: Of a certificate.
        ill: One score a patient with the disease, shape (n,).
        others: One score a patient without it, by label.

    Returns:
        The verdict on the share of healthy patients who are flagged, at most 1 - specificity, with their ``count`` and
        ``total``; or on the PPV at the stated prevalence.
    """
    there = [others[label] for label in upper.labels if label in others]
    scores = np.concatenate(there) if there else np.zeros(0)
    if upper.prevalence is None:
        claim = claim_at_most(int((scores >= upper.threshold).sum()), len(scores), 1 - upper.bound)
        return UpperClaim(kind="specificity", **claim.given())
    found = Interval(value=None, low=None, high=None)
    if len(ill) and len(scores):
        positive = np.repeat([True, False], [len(ill), len(scores)])
        flagged = np.concatenate([ill, scores]) >= upper.threshold
        everybody = Patients(np.arange(len(positive)))
        found = predictive_values(positive, flagged, everybody, prevalences=[upper.prevalence]).at[0].ppv
    verdict = at_least(found.low, found.high, upper.bound)
    return UpperClaim(
        kind="ppv",
        value=found.value,
        low=found.low,
        high=found.high,
        bound=upper.bound,
        prevalence=upper.prevalence,
        verdict=verdict,
    )


def above(score: float) -> float:
    """The next number with few digits that is larger, so that flagging from it on flags nobody with that score.

    Digits count from the nearer end of 0 to 1: scores near 1 differ in the digits behind the nines.
    """
    if score >= 1 - 10.0**-FINEST:
        return NOBODY
    nearer = max(min(score, 1 - score), 10.0**-FINEST)
    decimals = min(FINEST, DIGITS - 1 - floor(log10(nearer)))
    rounded = ceil(score * 10.0**decimals) / 10.0**decimals
    return round(rounded if rounded > score else rounded + 10.0**-decimals, decimals)


def shown_ppv(ill: Floats, others: Floats, bound: float, prevalence: float, delta: float) -> Floats:
    """All thresholds of the grid that pass: at every one of them at once the PPV is at least `bound`.

    Args:
        ill: Scores of patients with the disease, shape (n,).
        others: Scores of patients without it, shape (m,).
        bound: Smallest PPV that is guaranteed, in (0, 1).
        prevalence: Share of patients with the disease, in (0, 1).
        delta: Largest probability that one of the returned thresholds has a smaller PPV.

    Returns:
        Falling, of shape (T,).
    """
    limits = ppv_limits(ill, others, prevalence, delta / len(STARTS))
    passed = limits >= bound
    found = np.zeros(len(GRID), dtype=bool)
    for start in STARTS:
        first = int((start < GRID).sum())
        fails = np.flatnonzero(~passed[first:])
        found[first : first + int(fails[0]) if len(fails) else len(GRID)] = True
    return GRID[found]


def highest_ppv(ill: Floats, others: Floats, prevalence: float, delta: float, lower: float) -> float | None:
    """The largest bound for which `shown_ppv` has a threshold of at least `lower`; None where no start is above it."""
    limits = ppv_limits(ill, others, prevalence, delta / len(STARTS))
    firsts = [int((start < GRID).sum()) for start in STARTS]
    return max((float(limits[first]) for first in firsts if GRID[first] >= lower), default=None)


def ppv_limits(ill: Floats, others: Floats, prevalence: float, delta: float) -> Floats:
    """Lower limit of the PPV at each threshold of the grid by itself, with an error of at most `delta` each."""
    level = 1 - delta  # two-sided, so that each limit errs with delta / 2
    rates = [(scores[:, None] >= GRID).mean(axis=0) for scores in (ill, others)]
    sensitivity = exact_limits(rates[0], np.float64(len(ill)), level)[0]
    alarms = exact_limits(rates[1], np.float64(len(others)), level)[1]
    limits: Floats = prevalence * sensitivity / (prevalence * sensitivity + (1 - prevalence) * alarms)
    return limits


def missing_patients(count: int, allowed: float, confidence: float) -> str:
    """What a guarantee takes, how many patients are missing, and what so few can guarantee; `allowed`: of misses."""
    needed = patients_needed(allowed, confidence)
    lacking = needed - count
    best = f" With {count}, at best {100 * highest_bound(count, confidence):.1f} % can be certified." if count else ""
    return f"takes {needed}: {lacking} {'is' if lacking == 1 else 'are'} missing.{best}"


def _too_few(count: int, specificity: float, confidence: float) -> str:
    return (
        f"{count} healthy patients unseen by the run; to certify a specificity of {100 * specificity:g} % with "
        f"{100 * confidence:g} % confidence (the rest of the error is for the sensitivity) "
        f"{missing_patients(count, 1 - specificity, confidence)}"
    )


def _no_ppv(ill: Floats, others: Floats, side: UpperSide, delta: float, lower: float) -> str:
    highest = highest_ppv(ill, others, side.prevalence or 0.5, delta, lower)
    best = "none is above the lower one"
    if highest is not None:
        best = f"the highest that can be shown is {floor(1000 * highest) / 10:g} %"
    return (
        f"no threshold has a PPV of {100 * side.bound:g} % at a prevalence of {100 * (side.prevalence or 0):g} % for "
        f"certain: {best}, with {len(ill)} patients with the disease and {len(others)} without. Add patients without "
        "the disease, lower --ppv, or use a model with fewer false positives."
    )
