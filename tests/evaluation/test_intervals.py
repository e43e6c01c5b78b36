"""Intervals: coverage by simulation, and patients rather than images."""

import numpy as np
import pytest
from scipy.stats import binomtest, t

from hilum.evaluation.intervals import bootstrap, cluster_weights, expanded_tail


def share(values):
    return lambda weights: {"share": weights @ values / weights.sum(axis=1)}


def test_weights_move_whole_patients_and_keep_their_number():
    clusters = ["a", "a", "b", "c", "c", "c"]
    weights = np.concatenate(list(cluster_weights(clusters, 50, seed=0, chunk=40)))
    assert weights.shape == (50, 6)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 3] == weights[:, 5]).all()
    assert (weights[:, [0, 2, 3]].sum(axis=1) == 3).all()


def test_memory_is_bounded_and_the_seed_decides():
    clusters = [str(i) for i in range(100)]
    parts = list(cluster_weights(clusters, 100, seed=1, chunk=1000))
    assert max(part.size for part in parts) <= 1000
    again = np.concatenate(list(cluster_weights(clusters, 100, seed=1, chunk=1000)))
    np.testing.assert_array_equal(np.concatenate(parts), again)


def test_a_plain_proportion_gets_about_the_exact_interval():
    values = np.r_[np.ones(160), np.zeros(40)]
    result = bootstrap(share(values), [str(i) for i in range(200)])["share"]
    exact = binomtest(160, 200).proportion_ci()
    assert result["value"] == pytest.approx(0.8)
    assert result["low"] == pytest.approx(exact.low, abs=0.012)
    assert result["high"] == pytest.approx(exact.high, abs=0.012)


def test_images_of_one_patient_that_agree_widen_the_interval_as_they_should():
    """k equal images a patient: the standard error is that of the patients, sqrt(k) wider than of the images."""
    values = np.repeat(np.random.default_rng(0).random(100) < 0.7, 9).astype(float)
    patients = np.repeat(np.arange(100), 9).astype(str)
    by_patient = bootstrap(share(values), patients)["share"]
    by_image = bootstrap(share(values), [str(i) for i in range(900)])["share"]
    ratio = (by_patient["high"] - by_patient["low"]) / (by_image["high"] - by_image["low"])
    assert ratio == pytest.approx(3, rel=0.12)


@pytest.mark.slow
def test_95_percent_of_intervals_cover_the_truth_with_clustered_images():
    """Beta-binomial patients of unequal size; 500 runs: 3 standard errors around 95 % are 92 to 98 %."""
    generator = np.random.default_rng(0)
    covered = 0
    for run in range(500):
        sizes = generator.integers(1, 6, 150)
        patients = np.repeat(np.arange(150), sizes).astype(str)
        values = (generator.random(sizes.sum()) < np.repeat(generator.beta(4, 1, 150), sizes)).astype(float)
        result = bootstrap(share(values), patients, seed=run)["share"]
        covered += result["low"] <= 0.8 <= result["high"]
    assert 0.92 <= covered / 500 <= 0.98


def test_what_is_undefined_is_none():
    result = bootstrap(lambda weights: {"x": np.full(len(weights), np.nan)}, ["a", "b"])
    assert result["x"] == {"value": None, "low": None, "high": None}


@pytest.mark.parametrize("patients", [5, 12])
def test_few_patients_get_an_interval_nearly_as_wide_as_students(patients):
    """Of a mean of normal values Student's interval is exact; a plain percentile interval is 16 to 37 % too narrow."""
    generator = np.random.default_rng(3)
    ratio = []
    for seed in range(30):
        values = generator.normal(size=patients)
        found = bootstrap(share(values), [str(i) for i in range(patients)], seed=seed)["share"]
        student = t.ppf(0.975, patients - 1) * values.std(ddof=1) / np.sqrt(patients)
        ratio.append((found["high"] - found["low"]) / 2 / student)
    assert 0.85 <= np.mean(ratio) <= 1.1


def test_with_many_patients_the_tails_are_the_usual_ones_and_with_one_the_whole_range():
    assert expanded_tail(10**6, 0.95) == pytest.approx(0.025, abs=1e-5)
    assert expanded_tail(30, 0.95) == pytest.approx(0.0188, abs=1e-3)
    assert expanded_tail(1, 0.95) == 0
