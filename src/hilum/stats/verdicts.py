"""Is a claim shown, refuted, or neither? By the confidence interval's unfavourable limit, never by the value alone.

A claim such as "the false-negative rate is at most 5 %" is *shown* where the whole interval lies on its side of the
bound, *refuted* where the whole interval lies on the other side, and *not shown* otherwise (as in tests of
non-inferiority: Piaggio et al. 2012, *JAMA*). Three patients without a false negative show nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import binom, binomtest

from hilum.stats.intervals import CONFIDENCE, Patients, exact_limits, proportion, ratio
from hilum.stats.records import Counted, Detectable, Interval, PredictiveAt, PredictiveValues, Verdict, Wilson

SHOWN: Verdict = "shown"
NOT_SHOWN: Verdict = "not shown"
REFUTED: Verdict = "refuted"
MOST = 10_000_000  # patients: a value so near the bound that more would be needed decides nothing


def at_most(low: float | None, high: float | None, bound: float) -> Verdict:
    """Verdict on the claim that a measure is at most `bound`.

    Args:
        low: Lower limit of the measure's interval; None or NaN where undefined.
        high: Upper limit of the interval.
        bound: Largest value that the claim allows.
    """
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return NOT_SHOWN
    return SHOWN if high <= bound else REFUTED if low > bound else NOT_SHOWN


def at_least(low: float | None, high: float | None, bound: float) -> Verdict:
    """Verdict on the claim that a measure is at least `bound`.

    Args:
        low: Lower limit of the measure's interval; None or NaN where undefined.
        high: Upper limit of the interval.
        bound: Smallest value that the claim allows.
    """
    if low is None or high is None:
        return NOT_SHOWN
    return at_most(-high, -low, -bound)


def weakest(verdicts: list[Verdict]) -> Verdict:
    """Verdict on several claims together: the least favourable one; not shown of none."""
    return next((one for one in (REFUTED, NOT_SHOWN, SHOWN) if one in verdicts), NOT_SHOWN)


def patients_to_decide(value: float, bound: float, *, confidence: float = CONFIDENCE) -> int | None:
    """Number of patients, one observation each, with which the same observed share would decide the claim.

    Args:
        value: Observed share, in [0, 1].
        bound: Bound of the claim, in [0, 1].
        confidence: Confidence level of the two-sided exact interval, in (0, 1).

    Returns:
        Smallest number with which Clopper and Pearson's interval of `value` excludes `bound`; None where no number
        up to ten million does, because the value is the bound or next to it.
    """

    def decides(count: int) -> bool:
        low, high = exact_limits(np.float64(value), np.float64(count), confidence)
        return bool(high <= bound) if value < bound else bool(low > bound)

    if value == bound or not decides(MOST):
        return None
    below, enough = 0, 1
    while not decides(enough):
        below, enough = enough, 2 * enough
    while enough - below > 1:
        middle = (below + enough) // 2
        below, enough = (below, middle) if decides(middle) else (middle, enough)
    return enough


def not_lower(entry: Interval, margin: float) -> Verdict:
    """Verdict on the claim that a difference is not below minus `margin` (non-inferiority).

    Refuted is also what lies below it and is significantly lower than zero: such a loss is not to be overlooked.

    Args:
        entry: The difference: ``value``, ``low`` and ``high``, None where undefined.
        margin: Loss that the claim allows, above 0.
    """
    value, low, high = entry.value, entry.low, entry.high
    if value is not None and high is not None and value < -margin and high < 0:
        return REFUTED
    return at_least(low, high, -margin)


def scaled_to_decide(
    value: float | None, low: float | None, high: float | None, bound: float, patients: int
) -> int | None:
    """About how many patients would decide a claim that so many do not, if the value stayed the same; two digits.

    Args:
        value: Measure; None where undefined.
        low: Lower limit of its interval.
        high: Upper limit.
        bound: Bound of the claim.
        patients: Number of patients that the interval comes from.

    Returns:
        None where the value is undefined, or so near the bound that it would take more than ten million.
    """
    if value is None or low is None or high is None:
        return None
    wide, distance = (value - low if value > bound else high - value), abs(value - bound)
    if patients * wide**2 >= MOST * distance**2:
        return None
    number = patients * (wide / distance) ** 2
    step = int(10 ** max(0, math.floor(math.log10(max(number, 1))) - 1))
    return math.ceil(number / step - 1e-9) * step


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values (1979, *Scand. J. Stat.*), in the same order.

    At most a share p of sets of true hypotheses has one below p.

    Args:
        p_values: One a hypothesis.
    """
    order = np.argsort(p_values, kind="stable")
    raised = np.asarray(p_values, np.float64)[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(raised))
    return [float(p) for p in adjusted]


def each_confidence(confidence: float, guarantees: int) -> float:
    """Confidence of each of several guarantees that hold together with a stated one: Bonferroni's inequality.

    It holds whatever the dependence, as that of findings of the same patients. Holm's method gains nothing for
    certified thresholds: it tests the hypotheses that are left at a larger level once others are rejected, but a
    threshold is the largest that is not rejected, so that at the true ones all hypotheses hold and none is left out.
    Verdicts on given thresholds, and paired differences, are such hypotheses: there `holm` is used.

    Args:
        confidence: 1 - delta, of all guarantees together, in (0, 1).
        guarantees: Their number, at least 1.

    Returns:
        1 - delta / `guarantees`.
    """
    return 1 - (1 - confidence) / guarantees if guarantees > 1 else confidence


Bools = NDArray[np.bool_]
PREVALENCES = (0.01, 0.05, 0.10, 0.20, 0.50)
DISCORDANCE = 0.10
POWER = 0.80
SIGNIFICANT = 0.05


def wilson(count: int, total: int, confidence: float = 0.95) -> Counted:
    """A proportion with Wilson's score interval (Wilson 1927, *J. Am. Stat. Assoc.*), which counts all as independent.

    Args:
        count: How many.
        total: Out of how many; 0 gives None.
        confidence: Of the interval.
    """
    if not total:
        return Counted(count=0, total=0, value=None, low=None, high=None)
    limits = binomtest(count, total).proportion_ci(confidence, method="wilson")
    return Counted(count=count, total=total, value=count / total, low=float(limits.low), high=float(limits.high))


def wilson_of(confusion: Sequence[Sequence[int]], labels: Sequence[str], confidence: float = 0.95) -> Wilson:
    """Wilson's intervals of accuracy, and of recall, precision and specificity by label.

    Args:
        confusion: Counts (K, K), rows truth.
        labels: K names.
        confidence: Of the intervals.
    """
    table = np.asarray(confusion)
    right, total = np.diag(table), int(table.sum())
    truths, answers = table.sum(axis=1), table.sum(axis=0)

    def by_label(counts: NDArray[np.int64], totals: NDArray[np.int64]) -> dict[str, Counted]:
        numbers = zip(labels, counts, totals, strict=True)
        return {label: wilson(int(count), int(out_of), confidence) for label, count, out_of in numbers}

    return Wilson(
        accuracy=wilson(int(right.sum()), total, confidence),
        recall=by_label(right, truths),
        precision=by_label(right, answers),
        specificity=by_label(total - truths - answers + right, total - truths),
    )


def predictive_values(
    positive: Bools, flagged: Bools, patients: Patients, *, prevalences: Sequence[float] = PREVALENCES
) -> PredictiveValues:
    """What a flag, and no flag, would mean where the disease is more or less frequent than in these data.

    Bayes' theorem with recall and specificity of these data; it takes those for constant, which they are not if other
    patients are ill in other ways.

    Args:
        positive: Who has the disease, shape (N,).
        flagged: Who is flagged, shape (N,).
        patients: Of the N images.
        prevalences: Each between 0 and 1.

    Returns:
        ``recall`` and ``specificity``, and ``at``: for each prevalence ``ppv`` (of the flagged, the share who have it)
        and ``npv`` (of the others, the share who do not), all with intervals.
    """
    recall, specificity = (proportion(flagged == there, positive == there, patients) for there in (np.True_, np.False_))
    false_to_true = ratio(specificity.complement(), recall)
    missed_to_cleared = ratio(recall.complement(), specificity)
    at = []
    for p in prevalences:
        ppv, npv = _decreasing((1 - p) / p, false_to_true), _decreasing(p / (1 - p), missed_to_cleared)
        at.append(PredictiveAt(prevalence=p, ppv=ppv, npv=npv))
    return PredictiveValues(recall=recall.interval(), specificity=specificity.interval(), at=at)


def _decreasing(odds: float, ratio: tuple[float, float, float]) -> Interval:
    """1 / (1 + odds * ratio), with the ratio's limits; no value where the ratio has none."""
    value, high, low = (1 / (1 + odds * number) for number in ratio)
    if not np.isfinite(value):
        return Interval(value=None, low=None, high=None, method="mover-r")
    return Interval(value=value, low=low, high=high, method="mover-r")


def detectable_difference(count: int, discordance: float = DISCORDANCE, power: float = POWER) -> float | None:
    """The difference of accuracy that McNemar's exact test would find with a given power.

    The power is exact, over all numbers of pairs in which the classifiers differ; it follows Connor's formula (1987,
    *Biometrics*) where pairs are many, and asks for a little more, as the exact test does.

    Args:
        count: Pairs of answers: patients counted once each.
        discordance: Share of them on which the two classifiers differ.
        power: Probability of finding the difference, in (0, 1).

    Returns:
        As a share; None where even classifiers that differ one way only would not be distinguished so often.
    """
    if count < 1:
        return None
    numbers = np.arange(count + 1)
    chance = binom.pmf(numbers, count, discordance)
    likely = numbers[chance > 1e-9]
    # With d pairs, as many or fewer one way are significant; none where -1.
    critical = binom.ppf(SIGNIFICANT / 2, likely, 0.5)
    critical -= binom.cdf(critical, likely, 0.5) > SIGNIFICANT / 2

    def found(difference: float) -> float:
        share = (discordance + difference) / (2 * discordance)
        less, more = binom.cdf(critical, likely, 1 - share), binom.sf(likely - critical - 1, likely, 1 - share)
        return float((chance[likely] * (less + more)).sum())

    if found(discordance) < power:
        return None
    return float(brentq(lambda difference: found(difference) - power, 0.0, discordance, xtol=1e-6))


def detectable_sentence(found: Detectable) -> str:
    """What the number of patients could show, in one sentence.

    Args:
        found: ``count`` of ``unit``, ``discordance``, ``power``, and ``value``: the difference, or None.
    """
    who = f"{found.count:,} {found.resampling_unit}, each counted once"
    if found.value is None:
        return f"{who}: too few to detect any difference from another classifier with {100 * found.power:g} % power"
    return (
        f"{who}: a difference of accuracy from another classifier with other predictions for "
        f"{100 * found.discordance:g} % of them is detected with {100 * found.power:g} % power (McNemar's "
        "exact test at 5 %) if it is at "
        f"least {100 * found.value:.1f} points"
    )
