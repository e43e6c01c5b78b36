"""Tests of two classifiers against published figures, scipy, all signs one by one, and simulation."""

import itertools

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from hilum.stats.hypothesis_tests import mcnemar, patient_test, sign_flip_if_exchangeable, studentised_bootstrap


def right(both, first_only, second_only, neither):
    first = [True] * (both + first_only) + [False] * (second_only + neither)
    second = [True] * both + [False] * first_only + [True] * second_only + [False] * neither
    return np.array(first), np.array(second)


def test_mcnemar_is_the_published_one():
    # Agresti, Categorical Data Analysis, 2nd ed., table 10.1 (794, 150, 86, 570): chi-squared 17.36, p < 0.0001;
    # and a small one where the exact p is a plain binomial sum: 2 * P(X <= 2 | 12, 1/2) = 2 * 79 / 4096.
    found = mcnemar(*right(794, 150, 86, 570))
    assert (found.both, found.first_only, found.second_only, found.neither) == (794, 150, 86, 570)
    assert 1e-6 < found.p_value < 1e-4
    assert mcnemar(*right(50, 2, 10, 8)).p_value == pytest.approx(2 * 79 / 4096)
    assert mcnemar(*right(5, 0, 0, 5)).p_value == 1.0


def test_with_one_image_a_patient_the_sign_flip_is_mcnemar():
    first, second = right(40, 3, 11, 6)
    found = patient_test(first, second, [str(i) for i in range(60)])
    assert found.test == "sign-flip"
    assert found.p_value == pytest.approx(mcnemar(first, second).p_value)
    assert found.discordant_patients == 14


def test_the_sign_flip_counts_patients():
    """All signs of all patients, tried one by one."""
    generator = np.random.default_rng(3)
    clusters = generator.integers(0, 9, 40).astype(str)
    first, second = generator.random(40) < 0.5, generator.random(40) < 0.75
    by_patient = [int(second[clusters == c].sum()) - int(first[clusters == c].sum()) for c in np.unique(clusters)]
    observed = abs(sum(by_patient))
    flips = [abs(np.dot(signs, by_patient)) for signs in itertools.product([-1, 1], repeat=len(by_patient))]
    sizes = np.array([(clusters == c).sum() for c in np.unique(clusters)])
    found = sign_flip_if_exchangeable(np.array(by_patient), sizes)
    assert found.p_value == pytest.approx(np.mean(np.array(flips) >= observed))


def test_images_of_one_patient_are_one_observation():
    """Ten images of one patient, all in favour of the second: to McNemar that is proof, to us it is one patient."""
    first, second = right(20, 0, 10, 0)
    clusters = [f"p{i}" for i in range(20)] + ["the one"] * 10
    assert mcnemar(first, second).p_value < 0.01
    assert patient_test(first, second, clusters).p_value == 1.0


@pytest.mark.parametrize(("discordant", "n"), [(5, 100), (6, 100), (25, 100), (60, 615)])
def test_the_smallest_difference_is_where_p_begins_to_be_small(discordant, n):
    alone = [str(i) for i in range(n)]
    found = patient_test(*right(n - discordant, discordant // 2, discordant - discordant // 2, 0), alone)
    reached = [
        (discordant - 2 * lost) / n for lost in range(discordant // 2 + 1) if binomtest(lost, discordant).pvalue < 0.05
    ]
    assert found.smallest_significant == (pytest.approx(min(reached)) if reached else None)
    assert (discordant < 6) == (not reached)  # 2 / 2^5 > 0.05: five discordant patients can show nothing


def test_the_detectable_difference_is_found_in_four_of_five_samples():
    generator, n, rate, found = np.random.default_rng(0), 600, 0.12, []
    alone = [str(i) for i in range(n)]
    plain = patient_test(*right(n - 72, 36, 36, 0), alone).detectable
    share = (1 + plain / rate) / 2  # of the discordant in favour of the second
    for _ in range(400):
        discordant = generator.random(n) < rate
        second = discordant & (generator.random(n) < share)
        first = discordant & ~second
        found.append(patient_test(first, second, alone).p_value < 0.05)
    assert 0.7 < np.mean(found) < 0.9


def test_an_exact_test_rarely_cries_wolf():
    """Two equally good classifiers, three images a patient: at most 5 % false alarms, where McNemar gives far more."""
    generator, by_patient, by_image = np.random.default_rng(1), [], []
    clusters = np.repeat(np.arange(60), 3)
    for _ in range(600):
        first, second = (np.repeat(generator.random(60) < 0.7, 3) for _ in range(2))
        by_patient.append(patient_test(first, second, clusters.astype(str)).p_value < 0.05)
        by_image.append(mcnemar(first, second).p_value < 0.05)
    assert np.mean(by_patient) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 600)
    assert np.mean(by_image) > 0.15


def unequal(generator, patients):
    """Two equally accurate classifiers: the second gains single images and loses rare patients of twenty."""
    large = generator.random(patients) < 0.05
    sizes = np.where(large, 20, 1)
    gain = np.where(generator.random(patients) < 0.05 * 20 * 0.4 / 0.95, 1, 0)
    gained = np.where(large, np.where(generator.random(patients) < 0.4, -20, 0), gain)
    return gained.astype(float), sizes.astype(float)


@pytest.mark.slow
def test_equal_accuracy_is_rarely_rejected_where_patients_differ_in_size():
    """The sign-flip test, which assumes more than equal accuracy, is the one that cries wolf."""
    generator, rejected = np.random.default_rng(0), np.zeros(2)
    for _ in range(300):
        gained, sizes = unequal(generator, 400)
        tests = sign_flip_if_exchangeable(gained, sizes), studentised_bootstrap(gained, sizes, resamples=499)
        rejected += [test.p_value < 0.05 for test in tests]
    assert rejected[1] / 300 < 0.05 + 2 * np.sqrt(0.05 * 0.95 / 300)
    assert rejected[0] > rejected[1]


def test_the_studentised_test_is_chosen_where_patients_differ_in_size():
    first, second = right(60, 0, 20, 0)
    sizes = [20, *[1] * 60]
    clusters = [str(patient) for patient, size in enumerate(sizes) for _ in range(size)]
    assert patient_test(first, second, clusters).test == "studentised bootstrap"
    assert patient_test(first, second, [str(i) for i in range(80)]).test == "sign-flip"


def test_with_one_image_a_patient_the_studentised_test_agrees_with_mcnemar():
    """Large samples: both are the normal approximation, (b - c) / sqrt(b + c)."""
    gained = np.r_[np.ones(70), -np.ones(45), np.zeros(885)]
    found = studentised_bootstrap(gained, np.ones(1000))
    assert found.p_value == pytest.approx(2 * norm.sf(25 / np.sqrt(115)), abs=0.01)
    assert found.smallest_significant == pytest.approx(1.96 * np.sqrt(115) / 1000, rel=0.05)


def test_few_patients_with_a_difference_show_nothing():
    gained = np.r_[np.ones(5), np.zeros(40)]
    found = studentised_bootstrap(gained, np.r_[20.0, np.ones(44)])
    assert (found.p_value, found.smallest_significant) == (1.0, None)
