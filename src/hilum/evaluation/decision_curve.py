"""Net benefit: is it better to use the classifier than to flag everybody, or nobody?

Of the patients of a population with prevalence p, a rule with some sensitivity and false-positive rate has the net
benefit ``p * sensitivity - (1 - p) * false-positive rate * t / (1 - t)`` (Vickers and Elkin 2006, *Med. Decis.
Making*). The threshold probability t says what a false positive weighs: at 5 %, one found patient is worth 19 healthy
ones who are flagged. Flagging nobody has net benefit 0; a rule has less from the threshold probability on that is its
positive predictive value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from hilum.evaluation.predictions import Predictions
from hilum.evaluation.triage import Cohort, Rates
from hilum.evaluation.triage_schema import DecisionCurve, NetBenefitRow, NetBenefits, RuleRates
from hilum.evaluation.triage_schema import Prior as StatedPrior
from hilum.stats.intervals import Estimate, combined
from hilum.stats.prior_shift import Prior, at_prevalence
from hilum.stats.records import Known
from hilum.stats.verdicts import PREVALENCES, REFUTED, at_least
from hilum.text import interval_text

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
THRESHOLDS = tuple(number / 100 for number in range(1, 51))
JUDGED = (0.05, 0.10, 0.20)  # threshold probabilities of the table, as far as they are plausible
PLAUSIBLE = 5.0  # times the prevalence: beyond, hardly any test is better than flagging nobody
FEWEST = 10  # patients on each side, to recalibrate the thumbnail's scores on
POINT, ANSWER, MODEL, THUMBNAIL = "operating point", "most probable label", "model", "thumbnail"


def net_benefit(rates: Rates, prevalence: float, threshold: float, beside: Rates | None = None) -> Estimate:
    """Net benefit of a rule by patient, with its 95 % interval.

    Args:
        rates: Sensitivity and false-positive rate.
        prevalence: Share of patients with the disease, in (0, 1).
        threshold: Threshold probability, in (0, 1).
        beside: Those of another rule on the same patients, whose net benefit is subtracted.

    Returns:
        At most `prevalence`; times 100 it counts patients found, of 100, without a false positive.
    """
    factors = prevalence, -(1 - prevalence) * threshold / (1 - threshold)
    parts = list(zip(factors, rates, strict=True))
    if beside:
        parts += [(-factor, rate) for factor, rate in zip(factors, beside, strict=True)]
    return combined(parts)


def flag_all(prevalence: float, threshold: float) -> float:
    """Net benefit of flagging everybody."""
    return prevalence - (1 - prevalence) * threshold / (1 - threshold)


def decision_curve(
    predictions: Predictions,
    members: Sequence[str],
    prior: Prior,
    *,
    flagged: Bools | None = None,
    thumbnail: NDArray[np.floating] | None = None,
    prevalences: Sequence[float] = PREVALENCES,
    thresholds: Sequence[float] = THRESHOLDS,
) -> DecisionCurve | None:
    """Net benefit over prevalences and threshold probabilities.

    A patient is flagged if one image is; of a patient with the disease the images that show it count. The model's own
    curve flags from the threshold probability on, after its probabilities were recalibrated to each prevalence.

    Args:
        predictions: Of N images, K labels.
        members: The labels that are the disease.
        prior: The frequencies to which the probabilities belong.
        flagged: What the certified operating point flags, of shape (N,); None without one.
        thumbnail: How much a probe that sees 64 pixels takes each image for each label, of shape (N, K), on any scale;
            it is recalibrated on these very patients, cross-fitted by patient, which is to its advantage.
        prevalences: Each in (0, 1).
        thresholds: Threshold probabilities, each in (0, 1).

    Returns:
        ``rates`` of the fixed rules, ``curves`` by prevalence and rule, ``all`` by prevalence, ``table``: each
        plausible pair of prevalence and threshold probability with the rules' net benefit and, of the rule in force
        (``judged``), the verdict on "not worse than flagging nobody"; None without patients on both sides.
    """
    columns = [predictions.labels.index(label) for label in members]
    cohort = Cohort(predictions.clusters, np.isin(predictions.truth, columns))
    if not columns or cohort.ill.all() or not cohort.ill.any():
        return None
    answer = cohort.highest(np.isin(predictions.predicted, columns)) > 0
    fixed = {ANSWER: cohort.rates(answer)}
    if flagged is not None:
        fixed = {POINT: cohort.rates(cohort.highest(flagged) > 0)} | fixed
    judged = next(iter(fixed))
    small = _recalibrated(cohort, thumbnail[:, columns].sum(axis=1)) if thumbnail is not None else None
    curves: dict[str, dict[str, NetBenefits]] = {}
    table = []
    for prevalence in prevalences:
        stated = at_prevalence(predictions.probabilities, prior, columns, prevalence)[:, columns].sum(axis=1)
        risks = {MODEL: cohort.highest(stated)}
        if small is not None:
            shift = logit(prevalence) - logit(cohort.ill.mean())
            risks[THUMBNAIL] = expit(logit(small) + shift)
        found: dict[str, list[Estimate]] = {name: [] for name in [*fixed, *risks]}
        for threshold in sorted({*thresholds, *JUDGED}):
            rates = fixed | {name: cohort.rates(risk >= threshold) for name, risk in risks.items()}
            here = {name: net_benefit(rate, prevalence, threshold) for name, rate in rates.items()}
            if threshold in thresholds:
                for name, estimate in here.items():
                    found[name].append(estimate)
            if threshold in JUDGED and threshold <= PLAUSIBLE * prevalence:
                table.append(_row(prevalence, threshold, here, rates, judged))
        curves[f"{prevalence:g}"] = {name: _drawn(estimates) for name, estimates in found.items()}
    return DecisionCurve(
        members=list(members),
        judged=judged,
        resampling_unit="patients" if all(predictions.patients) else "images",
        n_with=int(cohort.ill.sum()),
        n_without=int((~cohort.ill).sum()),
        prevalences=list(prevalences),
        thresholds=list(thresholds),
        recalibrated_from=StatedPrior(
            source=prior.source, shares=dict(zip(predictions.labels, prior.shares.tolist(), strict=True))
        ),
        rates={
            name: RuleRates(sensitivity=rate[0].interval(), false_positive_rate=rate[1].interval())
            for name, rate in fixed.items()
        },
        curves=curves,
        all={f"{p:g}": [flag_all(p, threshold) for threshold in thresholds] for p in prevalences},
        table=table,
    )


def _row(
    prevalence: float, threshold: float, here: Mapping[str, Estimate], rates: Mapping[str, Rates], judged: str
) -> NetBenefitRow:
    mine = here[judged]
    row = NetBenefitRow(
        prevalence=prevalence,
        threshold=threshold,
        all=flag_all(prevalence, threshold),
        rules={name: estimate.known() for name, estimate in here.items()},
        verdict=at_least(mine.low, mine.high, 0.0),
    )
    if judged == ANSWER:
        return row
    beside = net_benefit(rates[judged], prevalence, threshold, rates[ANSWER])
    return row.model_copy(update={"against_answer": beside.known()})


def _drawn(estimates: Sequence[Estimate]) -> NetBenefits:
    value, low, high = ([float(getattr(one, name)) for one in estimates] for name in ("value", "low", "high"))
    return NetBenefits(value=value, low=low, high=high)


def _recalibrated(cohort: Cohort, scores: Floats) -> Floats | None:
    """Risk of each patient by logistic regression on other patients' scores; None where they are too few."""
    ill, highest = cohort.ill, cohort.highest(scores)
    if min(ill.sum(), (~ill).sum()) < FEWEST:
        return None
    spread = highest.std() or 1.0
    column = ((highest - highest.mean()) / spread)[:, None]
    risk = np.empty(len(ill))
    for fit, held_out in StratifiedKFold(5, shuffle=True, random_state=0).split(column, ill):
        risk[held_out] = LogisticRegression(C=1e4).fit(column[fit], ill[fit]).predict_proba(column[held_out])[:, 1]
    return np.clip(risk, 1e-9, 1 - 1e-9)


def worse_than_nothing(found: DecisionCurve | None) -> list[NetBenefitRow]:
    """The plausible pairs at which the rule in force has less net benefit than flagging nobody."""
    return [row for row in found.table if row.rules[found.judged].value < 0] if found else []


def harm_sentence(found: DecisionCurve | None) -> str:
    """Where flagging nobody is better, to be read before any figure; empty where it is not, as far as is plausible."""
    rows = worse_than_nothing(found)
    if not found or not rows:
        return ""
    judged = found.judged
    lowest = {row.prevalence: row for row in reversed(rows)}  # the smallest threshold probability of each
    told = []
    for row in sorted(lowest.values(), key=lambda row: row.prevalence):
        beside = f", the most probable label {100 * row.rules[ANSWER].value:+.2f}" if judged != ANSWER else ""
        sure = "" if row.verdict == REFUTED else " (not significantly below 0)"
        told.append(
            f"{per_hundred(row.rules[judged])} at a prevalence of {100 * row.prevalence:g} % and a threshold "
            f"probability of {100 * row.threshold:g} %{sure}{beside}"
        )
    rule = f"operating point for {' or '.join(found.members)}" if judged == POINT else f"{judged} as a rule"
    surely = any(row.verdict == REFUTED for row in rows)
    heading = f"{'WORSE' if surely else 'NOT SHOWN TO BE BETTER'} THAN FLAGGING NOBODY"
    return f"{heading}: the {rule} has a net benefit per 100 patients of {'; '.join(told)}"


def per_hundred(entry: Known) -> str:
    """``−2.47 (95 % CI −3.10 to −1.92)``: a net benefit, per 100 patients."""
    return interval_text(entry.times(100), as_percent=False, sign=True, digits=2)
