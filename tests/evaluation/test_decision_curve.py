"""Net benefit against its definition, the figures of an independent review, and a published example's identities."""

import numpy as np
import pytest

from hilum.evaluation.decision_curve import (
    ANSWER,
    MODEL,
    POINT,
    THUMBNAIL,
    decision_curve,
    flag_all,
    harm_sentence,
    net_benefit,
    worse_than_nothing,
)
from hilum.evaluation.predictions import Predictions
from hilum.evaluation.triage import Cohort
from hilum.stats.intervals import Patients, proportion
from hilum.stats.prior_shift import Prior

EVEN = Prior(np.array([0.5, 0.5]), np.zeros(2), "made")


def made(ill, scores, patients=None):
    names = tuple(f"p{i}" for i in (patients if patients is not None else range(len(ill))))
    return Predictions(
        labels=("healthy", "ill"),
        paths=tuple(f"{i}.png" for i in range(len(ill))),
        patients=names,
        truth=np.asarray(ill, np.int64),
        probabilities=np.stack([1 - scores, scores], axis=1),
    )


def drawn(n, seed=0, share=0.3):
    """Scores that are calibrated at the share of the ill."""
    generator = np.random.default_rng(seed)
    risk = generator.beta(share * 2, (1 - share) * 2, n)
    return (generator.random(n) < risk).astype(int), risk


@pytest.mark.parametrize("threshold", [0.02, 0.1, 0.35])
def test_it_is_the_definition_by_vickers_and_elkin(threshold):
    """At the sample's own prevalence: true positives minus weighted false positives, over all patients."""
    ill, risk = drawn(400)
    share = float(ill.mean())
    found = decision_curve(
        made(ill, risk),
        ["ill"],
        Prior(np.array([1 - share, share]), np.zeros(2), "here"),
        prevalences=[share],
        thresholds=[threshold],
    )
    true = sum(bool(i) and r >= threshold for i, r in zip(ill, risk, strict=True))
    false = sum(not i and r >= threshold for i, r in zip(ill, risk, strict=True))
    expected = true / 400 - false / 400 * threshold / (1 - threshold)
    assert found.curves[f"{share:g}"][MODEL].value[0] == pytest.approx(expected)
    assert found.all[f"{share:g}"][0] == pytest.approx(share - (1 - share) * threshold / (1 - threshold))


@pytest.mark.parametrize(
    ("prevalence", "threshold", "certified", "answer"),
    [(0.01, 0.05, -2.47, 0.45), (0.05, 0.05, 1.67, 3.99), (0.05, 0.10, -2.03, 3.53)],
)
def test_the_review_s_figures_for_seed_cxr(prevalence, threshold, certified, answer):
    """117 ill, all flagged, with two thirds of the 302 others; by the most probable label 103 and 24."""
    ill = np.repeat([True, False], [117, 302])
    persons = Patients(np.arange(419))

    def rates(found, false):
        flagged = np.zeros(419, bool)
        flagged[:found] = flagged[117 : 117 + false] = True
        return proportion(flagged, ill, persons), proportion(flagged, ~ill, persons)

    point = net_benefit(rates(117, 201), prevalence, threshold)
    assert 100 * point.value == pytest.approx(certified, abs=0.015)
    assert 100 * net_benefit(rates(103, 24), prevalence, threshold).value == pytest.approx(answer, abs=0.1)
    assert point.low < point.value < point.high


def test_a_patient_is_flagged_by_one_image_and_found_only_by_one_that_shows_it():
    cohort = Cohort(["a", "a", "b", "b", "c"], np.array([True, False, False, False, False]))
    assert cohort.ill.tolist() == [True, False, False]
    flagged = cohort.highest(np.array([False, True, False, True, False])) > 0
    assert flagged.tolist() == [False, True, False]  # a's flagged image is not the one that shows the disease
    assert cohort.highest(np.array([0.1, 0.9, 0.2, 0.4, 0.3])).tolist() == [0.1, 0.4, 0.3]


def test_less_than_flagging_nobody_from_the_positive_predictive_value_on():
    ill, risk = drawn(600)
    flagged = risk >= 0.2
    found = decision_curve(made(ill, risk), ["ill"], EVEN, flagged=flagged, prevalences=[0.1])
    sensitivity, false = flagged[ill == 1].mean(), flagged[ill == 0].mean()
    value = 0.1 * sensitivity / (0.1 * sensitivity + 0.9 * false)
    curve = found.curves["0.1"][POINT].value
    for threshold, benefit in zip(found.thresholds, curve, strict=True):
        assert (benefit < 0) == (threshold > value)


def test_a_calibrated_model_is_never_worse_than_both_defaults_by_more_than_noise():
    ill, risk = drawn(4000, share=0.5)
    found = decision_curve(made(ill, risk), ["ill"], EVEN, prevalences=[0.05, 0.5])
    for prevalence in (0.05, 0.5):
        curve = found.curves[f"{prevalence:g}"][MODEL]
        for threshold, benefit in zip(found.thresholds, curve.value, strict=True):
            assert benefit > max(0, flag_all(prevalence, threshold)) - 0.004


def test_harm_is_said_where_it_holds_and_not_elsewhere():
    ill, risk = drawn(600, seed=1)
    careless = decision_curve(made(ill, risk), ["ill"], EVEN, flagged=risk >= 0.01)
    assert worse_than_nothing(careless)[0].prevalence == 0.01
    assert all(row.verdict in ("refuted", "not shown") for row in worse_than_nothing(careless))
    assert harm_sentence(careless)
    table = [row.model_copy(update={"verdict": "not shown"}) for row in careless.table]
    undecided = careless.model_copy(update={"table": table})
    assert harm_sentence(undecided).startswith("NOT SHOWN TO BE BETTER THAN FLAGGING NOBODY")
    perfect = decision_curve(made(ill, ill * 0.98 + 0.01), ["ill"], EVEN, flagged=ill == 1)
    assert not harm_sentence(perfect)
    assert not harm_sentence(None)


def test_the_interval_holds_the_truth_and_widens_by_patient():
    """Bernoulli flags of known rates: the true net benefit lies inside in about 95 %."""
    generator = np.random.default_rng(3)
    inside = 0
    for _ in range(300):
        ill = np.repeat([True, False], [60, 140])
        flagged = generator.random(200) < np.where(ill, 0.9, 0.2)
        persons = Patients(np.arange(200))
        found = net_benefit((proportion(flagged, ill, persons), proportion(flagged, ~ill, persons)), 0.2, 0.2)
        inside += found.low <= 0.2 * 0.9 - 0.8 * 0.2 * 0.25 <= found.high
    assert inside >= 0.92 * 300


def test_a_difference_of_two_rules_is_paired():
    ill, risk = drawn(500)
    found = decision_curve(made(ill, risk), ["ill"], EVEN, flagged=risk >= 0.5)
    for row in found.table:  # the most probable label is the same rule
        assert row.against_answer.value == pytest.approx(0)
        assert row.against_answer.high - row.against_answer.low < 1e-6


def test_the_thumbnail_is_recalibrated_whatever_its_scale():
    ill, risk = drawn(2000)
    one, other = (
        decision_curve(made(ill, risk), ["ill"], EVEN, thumbnail=np.stack([-s, s], axis=1), prevalences=[0.3])
        for s in (np.log(risk / (1 - risk)), 1000 * np.log(risk / (1 - risk)) + 7)
    )
    curves = [np.array(found.curves["0.3"][THUMBNAIL].value) for found in (one, other)]
    assert curves[0] == pytest.approx(curves[1], abs=1e-6)
    assert curves[0] == pytest.approx(np.array(one.curves["0.3"][MODEL].value), abs=0.05)
    few = decision_curve(made(ill[:12], risk[:12]), ["ill"], EVEN, thumbnail=np.zeros((12, 2)))
    assert THUMBNAIL not in few.curves["0.01"]


def test_without_both_kinds_of_patients_there_is_no_curve():
    assert decision_curve(made(np.ones(9, int), np.full(9, 0.9)), ["ill"], EVEN) is None
    assert decision_curve(made(np.zeros(9, int), np.full(9, 0.9)), ["ill"], EVEN) is None
    assert decision_curve(made(np.arange(8) % 2, np.full(8, 0.9)), [], EVEN) is None
    few = decision_curve(made(np.arange(3) % 2, np.full(3, 0.9)), ["ill"], EVEN)
    assert few.judged == ANSWER


@pytest.mark.parametrize(
    ("prevalence", "expected"),
    [(None, [0.25771429, 0.21688889, 0.12569231]), (0.05, [0.03401174, -0.01018772, -0.05966475])],
)
def test_dcurves_gives_the_same_at_any_prevalence(prevalence, expected):
    """Figures of dcurves 1.1.7 (Vickers' group): ``dca(..., prevalence=...)`` of the same 500 patients."""
    generator = np.random.default_rng(0)
    risk = generator.beta(0.6, 1.4, 500)
    ill = generator.random(500) < risk
    cohort = Cohort([str(i) for i in range(500)], ill)
    rates = [cohort.rates(cohort.highest(risk) >= threshold) for threshold in (0.02, 0.1, 0.35)]
    at = prevalence or float(ill.mean())
    found = [net_benefit(rate, at, threshold).value for rate, threshold in zip(rates, (0.02, 0.1, 0.35), strict=True)]
    assert found == pytest.approx(expected, abs=1e-7)
