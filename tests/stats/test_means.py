"""Intervals of means: against SciPy, a published example's algebra, and by how often they hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hilum.stats.intervals import mean_estimate, ratio_of_means, sign_flip_of_mean

VALUES = st.lists(st.floats(-50, 50), min_size=2, max_size=30).map(np.array)


@given(VALUES)
def test_the_interval_is_students(values):
    found = mean_estimate(values)
    if np.ptp(values) < 1e-6:
        return
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-6)
    assert (found.influence**2).sum() == pytest.approx(values.var() / len(values), abs=1e-9)


def test_one_value_has_no_interval():
    assert np.isnan(mean_estimate(np.array([2.0])).low)
    assert np.isnan(mean_estimate(np.array([])).value)
    assert np.isnan(ratio_of_means(np.array([1.0]), np.array([1.0])).low)


@pytest.mark.parametrize("seed", range(5))
def test_fieller_holds_the_ratios_that_a_t_test_does_not_reject(seed):
    generator = np.random.default_rng(seed)
    lower = generator.normal(5, 2, 25)
    upper = 0.3 * lower + generator.normal(0, 1, 25)
    found = ratio_of_means(upper, lower)
    assert found.low < found.value < found.high
    for end in (found.low, found.high):
        assert stats.ttest_1samp(upper - end * lower, 0).pvalue == pytest.approx(0.05, abs=1e-6)


def test_a_margin_of_nothing_has_no_share():
    generator = np.random.default_rng(0)
    assert np.isnan(ratio_of_means(generator.normal(size=20), generator.normal(size=20)).value)
    assert np.isnan(ratio_of_means(np.zeros(20), np.zeros(20)).value)
    assert ratio_of_means(np.zeros(20), np.ones(20)).value == 0


@pytest.mark.parametrize("count", [5, 9, 13, 20])
def test_the_sign_flip_test_is_scipys(count):
    values = np.random.default_rng(count).normal(0.4, 1, count)
    found = stats.permutation_test(
        (values, np.zeros(count)), lambda a, b: (a - b).sum(), permutation_type="samples", n_resamples=100_000
    )
    assert sign_flip_of_mean(values) == pytest.approx(found.pvalue, abs=0 if count < 14 else 0.015)


def test_nothing_is_no_evidence():
    assert sign_flip_of_mean(np.zeros(10)) == 1
    assert sign_flip_of_mean(np.array([])) == 1
    assert sign_flip_of_mean(np.ones(6)) == pytest.approx(2 / 64)
