"""Intervals over seeds and patients, against Student's t and by simulation."""

import numpy as np
import pytest
from scipy import stats

from hilum.stats.hypothesis_tests import over_seeds
from hilum.stats.intervals import Estimate, Patients, combined, proportion


def exact(value):
    return Estimate(value, value, value, "known", 100.0, np.zeros(100))


def test_without_doubt_about_patients_it_is_students_interval():
    """The gains of recall by seed in the original report's study of checkpoints: one seed of three makes them."""
    found = over_seeds([exact(value) for value in (0.0, 0.0, 0.209)])
    limits = stats.t.interval(0.95, 2, 0.209 / 3, stats.sem([0.0, 0.0, 0.209]))
    assert (found.low, found.high) == pytest.approx(limits)
    assert found.low < -0.22


def test_without_doubt_about_seeds_it_is_the_patients_interval():
    patients = Patients(np.arange(60))
    one = proportion(np.arange(60) < 45, np.full(60, True), patients)
    found, plain = over_seeds([one, one, one]), combined([(1 / 3, one)] * 3)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high))


def test_one_seed_says_nothing_of_others():
    found = over_seeds([exact(0.3)])
    assert found.value == 0.3
    assert np.isnan([found.low, found.high]).all()


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_it_holds_the_truth_over_new_seeds_and_new_patients(seeds):
    """Two methods of equal worth; networks differ by seed. The interval over patients alone is far too short."""
    generator, held, alone = np.random.default_rng(0), 0, 0
    patients = Patients(np.arange(150))
    for _ in range(300):
        hard = generator.normal(size=150)
        gains = []
        for _ in range(seeds):
            right = [hard + generator.normal(0, 0.4) + generator.normal(size=150) < 1 for _ in range(2)]
            one, two = (proportion(answer, np.full(150, True), patients) for answer in right)
            gains.append(combined([(1.0, two), (-1.0, one)]))
        found, plain = over_seeds(gains), combined([(1 / seeds, gain) for gain in gains])
        held += found.low <= 0 <= found.high
        alone += plain.low <= 0 <= plain.high
    assert held / 300 >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / 300)
    assert alone / 300 < 0.85
