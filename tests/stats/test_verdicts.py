import math

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from hilum.evaluation.certificate import patients_needed
from hilum.stats.records import Interval
from hilum.stats.verdicts import at_least, at_most, holm, not_lower, patients_to_decide, scaled_to_decide, weakest


@pytest.mark.parametrize(
    ("missed", "patients", "verdict"),
    [(0, 1, "not shown"), (0, 3, "not shown"), (0, 72, "shown"), (3, 20, "not shown"), (10, 117, "not shown"),
     (20, 117, "refuted"), (0, 71, "not shown")],
)  # fmt: skip
def test_a_bound_of_five_percent_takes_patients_to_be_shown(missed, patients, verdict):
    limits = binomtest(missed, patients).proportion_ci(0.95, method="exact")
    assert at_most(limits.low, limits.high, 0.05) == verdict
    assert at_least(1 - limits.high, 1 - limits.low, 0.95) == verdict  # the same claim about sensitivity


def test_a_false_claim_is_shown_in_at_most_one_tail_of_the_interval():
    for patients in (20, 50, 117, 400):
        chance = 0.0
        for missed in range(patients + 1):
            limits = binomtest(missed, patients).proportion_ci(0.95, method="exact")
            if at_most(limits.low, limits.high, 0.05) == "shown":
                chance += binom.pmf(missed, patients, 0.0501)
        assert chance <= 0.025


def test_nothing_is_shown_by_an_undefined_measure():
    assert at_most(None, None, 0.05) == at_most(math.nan, math.nan, 0.05) == at_least(None, None, 0.95) == "not shown"
    assert weakest([]) == "not shown"
    assert weakest(["shown", "refuted", "not shown"]) == "refuted"
    assert weakest(["shown", "not shown"]) == "not shown"


def test_patients_to_decide_without_a_miss_are_those_that_the_binomial_law_asks_for():
    assert patients_to_decide(0.0, 0.05) == patients_needed(0.05, 0.975)
    assert patients_to_decide(0.0, 0.05, confidence=0.9) == patients_needed(0.05, 0.95) == 59


@pytest.mark.parametrize(("value", "bound"), [(0.02, 0.05), (0.08, 0.05), (0.5, 0.4), (1.0, 0.99)])
def test_one_patient_fewer_would_not_decide(value, bound):
    from hilum.stats.intervals import exact_limits

    enough = patients_to_decide(value, bound)
    for count, decided in ((enough, True), (enough - 1, False)):
        low, high = exact_limits(np.float64(value), count)
        assert (not low <= bound < high) == decided


def test_a_value_at_the_bound_is_never_decided():
    assert patients_to_decide(0.05, 0.05) is None
    assert patients_to_decide(0.05 + 1e-9, 0.05) is None


@pytest.mark.parametrize(
    ("value", "low", "high", "verdict"),
    [
        (0.0, -0.04, 0.04, "shown"),
        (-0.03, -0.049, -0.01, "shown"),
        (-0.03, -0.2, 0.14, "not shown"),
        (-0.2, -0.3, -0.1, "refuted"),
        (-0.1, -0.17, -0.03, "refuted"),
        (None, None, None, "not shown"),
    ],
)
def test_a_loss_within_the_margin_has_to_be_shown(value, low, high, verdict):
    assert not_lower(Interval(value=value, low=low, high=high), 0.05) == verdict


def test_four_times_the_patients_halve_the_interval():
    assert scaled_to_decide(0.02, -0.02, 0.06, 0.0, 100) == 400
    assert scaled_to_decide(0.0, -0.1, 0.1, 0.0, 100) is None
    assert scaled_to_decide(None, None, None, 0.0, 3) is None


def test_holm_is_statsmodels():
    multipletests = pytest.importorskip("statsmodels.stats.multitest").multipletests
    p = [0.01, 0.04, 0.03, 0.005, 0.5, 0.5, 1e-5]
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])
    assert holm([]) == []
