"""Paired comparisons against scipy and statsmodels-like references, published figures, and simulation."""

import itertools

import numpy as np
import pytest
from scipy.stats import binomtest

from hilum.evaluation.paired import mcnemar, paired_auroc, paired_differences, sign_flip

LABELS = ("normal", "infected/covid", "infected/non-covid")


def right(both, first_only, second_only, neither):
    first = [True] * (both + first_only) + [False] * (second_only + neither)
    second = [True] * both + [False] * first_only + [True] * second_only + [False] * neither
    return np.array(first), np.array(second)


def test_mcnemar_is_the_published_one():
    # Agresti, Categorical Data Analysis, 2nd ed., table 10.1 (794, 150, 86, 570): chi-squared 17.36, p < 0.0001;
    # and a small one where the exact p is a plain binomial sum: 2 * P(X <= 2 | 12, 1/2) = 2 * 79 / 4096.
    found = mcnemar(*right(794, 150, 86, 570))
    assert (found["both"], found["first_only"], found["second_only"], found["neither"]) == (794, 150, 86, 570)
    assert 1e-6 < found["p_value"] < 1e-4
    assert mcnemar(*right(50, 2, 10, 8))["p_value"] == pytest.approx(2 * 79 / 4096)
    assert mcnemar(*right(5, 0, 0, 5))["p_value"] == 1.0


def test_with_one_image_a_patient_the_sign_flip_is_mcnemar():
    first, second = right(40, 3, 11, 6)
    found = sign_flip(first, second, [str(i) for i in range(60)])
    assert found["p_value"] == pytest.approx(mcnemar(first, second)["p_value"])
    assert found["discordant_patients"] == 14


def test_the_sign_flip_counts_patients():
    """All signs of all patients, tried one by one."""
    generator = np.random.default_rng(3)
    clusters = generator.integers(0, 9, 40).astype(str)
    first, second = generator.random(40) < 0.5, generator.random(40) < 0.75
    by_patient = [second[clusters == c].sum() - first[clusters == c].sum() for c in np.unique(clusters)]
    observed = abs(sum(by_patient))
    flips = [abs(np.dot(signs, by_patient)) for signs in itertools.product([-1, 1], repeat=len(by_patient))]
    assert sign_flip(first, second, list(clusters))["p_value"] == pytest.approx(np.mean(np.array(flips) >= observed))


def test_images_of_one_patient_are_one_observation():
    """Ten images of one patient, all in favour of the second: to McNemar that is proof, to us it is one patient."""
    first, second = right(20, 0, 10, 0)
    clusters = [f"p{i}" for i in range(20)] + ["the one"] * 10
    assert mcnemar(first, second)["p_value"] < 0.01
    assert sign_flip(first, second, clusters)["p_value"] == 1.0


@pytest.mark.parametrize(("discordant", "n"), [(5, 100), (6, 100), (25, 100), (60, 615)])
def test_the_smallest_difference_is_where_p_begins_to_be_small(discordant, n):
    alone = [str(i) for i in range(n)]
    found = sign_flip(*right(n - discordant, discordant // 2, discordant - discordant // 2, 0), alone)
    reached = [
        (discordant - 2 * lost) / n for lost in range(discordant // 2 + 1) if binomtest(lost, discordant).pvalue < 0.05
    ]
    assert found["smallest_significant"] == (pytest.approx(min(reached)) if reached else None)
    assert (discordant < 6) == (not reached)  # 2 / 2^5 > 0.05: five discordant patients can show nothing


def test_the_detectable_difference_is_found_in_four_of_five_samples():
    generator, n, rate, found = np.random.default_rng(0), 600, 0.12, []
    alone = [str(i) for i in range(n)]
    plain = sign_flip(*right(n - 72, 36, 36, 0), alone)["detectable"]
    share = (1 + plain / rate) / 2  # of the discordant in favour of the second
    for _ in range(400):
        discordant = generator.random(n) < rate
        second = discordant & (generator.random(n) < share)
        first = discordant & ~second
        found.append(sign_flip(first, second, alone)["p_value"] < 0.05)
    assert 0.7 < np.mean(found) < 0.9


def test_an_exact_test_rarely_cries_wolf():
    """Two equally good classifiers, three images a patient: at most 5 % false alarms, where McNemar gives far more."""
    generator, by_patient, by_image = np.random.default_rng(1), [], []
    clusters = np.repeat(np.arange(60), 3)
    for _ in range(600):
        first, second = (np.repeat(generator.random(60) < 0.7, 3) for _ in range(2))
        by_patient.append(sign_flip(first, second, clusters.astype(str))["p_value"] < 0.05)
        by_image.append(mcnemar(first, second)["p_value"] < 0.05)
    assert np.mean(by_patient) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 600)
    assert np.mean(by_image) > 0.15


def answers(n=240, seed=0):
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 3, n)
    other = generator.integers(0, 3, (2, n))
    first = np.where(generator.random(n) < 0.8, truth, other[0])
    second = np.where(generator.random(n) < 0.9, truth, other[1])
    return truth, first, second, [f"p{i // 2}" for i in range(n)]


def test_differences_are_those_of_the_measures():
    truth, first, second, clusters = answers()
    found = paired_differences(truth, first, second, LABELS, clusters)
    assert found["accuracy"]["difference"]["value"] == pytest.approx(np.mean(second == truth) - np.mean(first == truth))
    for k, label in enumerate(LABELS):
        entry = found["recall"][label]
        assert entry["second"]["value"] == pytest.approx(np.mean(second[truth == k] == k))
        assert entry["difference"]["value"] == pytest.approx(entry["second"]["value"] - entry["first"]["value"])
        assert entry["difference"]["low"] < entry["difference"]["value"] < entry["difference"]["high"]


def test_pairing_narrows_the_interval():
    """Two classifiers that fail on the same hard images differ little, however uncertain each of them is."""
    generator = np.random.default_rng(5)
    truth = generator.integers(0, 3, 400)
    hard = generator.random(400) < 0.3
    first = np.where(hard, (truth + 1) % 3, truth)
    second = np.where(hard & (generator.random(400) < 0.95), (truth + 1) % 3, truth)
    found = paired_differences(truth, first, second, LABELS, [str(i) for i in range(400)])["accuracy"]
    width = {name: entry["high"] - entry["low"] for name, entry in found.items()}
    assert width["difference"] < 0.5 * width["first"]


def test_a_classifier_does_not_differ_from_itself():
    truth, first, _, clusters = answers()
    found = paired_differences(truth, first, first, LABELS, clusters, same=True)
    for entry in (found["accuracy"], *found["recall"].values()):
        assert [entry["difference"][end] for end in ("value", "low", "high")] == [0, 0, 0]


def test_two_classifiers_that_agree_on_few_patients_may_still_differ():
    truth = np.array([0, 1, 2] * 4)
    found = paired_differences(truth, truth, truth, LABELS, [str(i) for i in range(12)])
    assert found["accuracy"]["difference"]["value"] == 0
    assert found["accuracy"]["difference"]["high"] == pytest.approx(1 - 0.025 ** (1 / 12))
    assert found["accuracy"]["first"]["low"] < 0.75


def test_the_interval_of_a_difference_covers_the_truth():
    generator, n, covered = np.random.default_rng(7), 120, 0
    for _ in range(150):
        truth = np.repeat(np.arange(3), n // 3)
        wrong = (truth + 1) % 3
        common = generator.random(n)
        first = np.where(common < 0.7, truth, wrong)
        second = np.where((common < 0.65) | (common > 0.85), truth, wrong)  # 0.80: the truth is +0.10
        found = paired_differences(truth, first, second, LABELS, [str(i) for i in range(n)])
        entry = found["accuracy"]["difference"]
        covered += entry["low"] <= 0.1 <= entry["high"]
    assert covered / 150 > 0.95 - 3 * np.sqrt(0.05 * 0.95 / 150)


def test_areas_are_compared_on_the_same_patients():
    truth, first, _, clusters = answers()
    generator = np.random.default_rng(0)
    vague = generator.dirichlet(np.ones(3), len(truth))
    sharp = 0.5 * vague + 0.5 * np.eye(3)[first]
    found = paired_auroc(truth, vague, sharp, LABELS, clusters)
    assert found["normal"]["difference"]["low"] > 0
    same = paired_auroc(truth, sharp, sharp, LABELS, clusters)["normal"]["difference"]
    assert [same[end] for end in ("value", "low", "high")] == [0, 0, 0]


def test_what_no_resample_can_move_is_not_certain():
    """One patient of each label, one image gained and one lost: every resample says zero."""
    truth = np.array([0, 0, 1, 1, 2, 2])
    first, second = np.array([0, 1, 1, 1, 2, 2]), np.array([1, 0, 1, 1, 2, 2])
    found = paired_differences(truth, first, second, LABELS, ["a", "a", "b", "b", "c", "c"])
    for entry in (found["accuracy"], found["recall"]["normal"], found["balanced_accuracy"]):
        assert entry["difference"]["value"] == 0
        assert entry["difference"]["low"] < -0.5
        assert entry["difference"]["high"] > 0.5
    always = np.zeros(6, dtype=np.int64)
    found = paired_differences(truth, always, always, LABELS, ["a", "a", "b", "b", "c", "c"])
    assert found["balanced_accuracy"]["first"]["low"] < 0.05
    assert found["balanced_accuracy"]["first"]["high"] > 0.75
