"""Sums, differences and ratios of measures, against published examples and closed forms."""

import numpy as np
import pytest

from hilum.stats.auc import auroc_estimate
from hilum.stats.intervals import Estimate, Patients, apart, combined, proportion, ratio
from hilum.stats.verdicts import wilson


def alone(right, total):
    return proportion(np.arange(total) < right, np.full(total, True), Patients(np.arange(total)))


def given(value, low, high):
    return Estimate(value, low, high, "given", 50.0, np.zeros(1))


def test_a_difference_of_independent_shares_is_newcombes():
    """56/70 - 48/80 with Wilson's limits: +0.0524 to +0.3339 (Newcombe 1998, Stat. Med. 17:873, method 10)."""
    sides = [wilson(*counts) for counts in ((48, 80), (56, 70))]
    found = apart(*(given(side.value, side.low, side.high) for side in sides))
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_what_moves_alike_does_not_differ_and_what_does_not_move_is_as_uncertain_as_its_parts():
    same = alone(8, 10)
    found = combined([(1.0, same), (-1.0, same)])
    assert (found.value, found.low, found.high) == (0, 0, 0)
    certain = alone(10, 10)
    found = combined([(1.0, certain), (-1.0, certain)])
    assert found.high == pytest.approx(1 - certain.low)


def test_a_mean_of_one_thing_is_that_thing_and_of_independent_ones_surer():
    one = alone(30, 40)
    twice = combined([(0.5, one), (0.5, one)])
    assert (twice.low, twice.high) == pytest.approx((one.low, one.high))
    names = Patients(np.arange(80))
    halves = [proportion(np.arange(80) % 4 > 0, np.arange(80) // 40 == half, names) for half in (0, 1)]
    mean = combined([(0.5, half) for half in halves])
    assert mean.high - mean.low == pytest.approx((halves[0].high - halves[0].low) / np.sqrt(2), rel=1e-6)


def test_two_areas_on_the_same_patients_differ_as_surely_as_delongs_test_says():
    generator = np.random.default_rng(2)
    ill = np.arange(400) < 150
    first = ill + generator.normal(size=400)
    second = first + 0.4 * generator.normal(size=400)
    names = Patients(np.arange(400))
    one, two = auroc_estimate(first, ill, names), auroc_estimate(second, ill, names)
    found = combined([(1.0, two), (-1.0, one)])
    error = np.sqrt(((two.influence - one.influence) ** 2).sum())
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.15)
    assert found.high - found.low < 0.7 * (one.high - one.low)


def test_a_ratio_is_that_of_its_limits_and_stands_zeros():
    """With one share known for certain the limits are those of the other, divided."""
    found = ratio(given(0.2, 0.1, 0.4), given(0.8, 0.8, 0.8))
    assert found == pytest.approx((0.25, 0.125, 0.5))
    none = ratio(given(0.0, 0.0, 0.1), given(0.5, 0.4, 0.6))
    assert none[:2] == (0, 0)
    assert 0.1 / 0.5 < none[2] < 0.1 / 0.4 + 1e-9
    assert ratio(given(0.5, 0.4, 0.6), given(0.0, 0.0, 0.2))[2] == np.inf
    assert np.isnan(ratio(given(0.0, 0.0, 0.5), given(0.0, 0.0, 0.5))[0])


def test_an_undefined_part_leaves_the_whole_undefined():
    nothing = proportion(np.zeros(5, bool), np.zeros(5, bool), Patients(np.arange(5)))
    assert combined([(1.0, nothing), (-1.0, alone(3, 5))]).as_json()["low"] is None
