"""Paired comparisons against scipy and statsmodels-like references, published figures, and simulation."""

import numpy as np
import pytest

from hilum.evaluation.differences import gains_over_seeds, paired_auroc, paired_differences
from hilum.evaluation.predictions import Predictions

LABELS = ("normal", "infected/covid", "infected/non-covid")


def numbers(found):
    return [found.value, found.low, found.high]


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
    assert found.accuracy.difference.value == pytest.approx(np.mean(second == truth) - np.mean(first == truth))
    for k, label in enumerate(LABELS):
        entry = found.recall[label]
        assert entry.second.value == pytest.approx(np.mean(second[truth == k] == k))
        assert entry.difference.value == pytest.approx(entry.second.value - entry.first.value)
        assert entry.difference.low < entry.difference.value < entry.difference.high


def test_specificity_and_predictive_values_are_compared_too():
    truth, first, second, clusters = answers()
    found = paired_differences(truth, first, second, LABELS, clusters)
    for k, label in enumerate(LABELS):
        for measured, hits, chosen in (
            (found.specificity[label], lambda answer, k=k: answer != k, lambda _, k=k: truth != k),
            (found.ppv[label], lambda _, k=k: truth == k, lambda answer, k=k: answer == k),
            (found.npv[label], lambda _, k=k: truth != k, lambda answer, k=k: answer != k),
        ):
            values = [np.mean(hits(answer)[chosen(answer)]) for answer in (first, second)]
            assert [measured.first.value, measured.second.value] == pytest.approx(values)
            assert measured.difference.value == pytest.approx(values[1] - values[0])
            assert measured.difference.low < measured.difference.value < measured.difference.high
    same = paired_differences(truth, first, first, LABELS, clusters, same=True)
    assert numbers(same.ppv["normal"].difference) == numbers(same.npv["normal"].difference) == [0, 0, 0]
    never = paired_differences(truth, np.zeros_like(first), second, LABELS, clusters)
    assert numbers(never.ppv["infected/covid"].difference) == [None, None, None]


def test_the_interval_of_a_difference_of_predictive_values_covers_the_truth():
    generator = np.random.default_rng(11)

    def called(n):
        truth = (generator.random(n) < 0.4).astype(np.int64)
        shared = truth + 0.8 * generator.normal(size=n)
        return truth, *((shared + 0.4 * generator.normal(size=n) > cut).astype(np.int64) for cut in (0.5, 0.35))

    truth, first, second = called(400_000)
    known = {
        "ppv": truth[second == 1].mean() - truth[first == 1].mean(),
        "npv": truth[first == 0].mean() - truth[second == 0].mean(),
    }
    covered = dict.fromkeys(known, 0)
    for _ in range(150):
        found = paired_differences(*called(120), ("no", "ill"), range(120))
        for name, value in known.items():
            entry = getattr(found, name)["ill"].difference
            covered[name] += entry.low <= value <= entry.high
    assert min(covered.values()) / 150 > 0.95 - 3 * np.sqrt(0.05 * 0.95 / 150)


def test_pairing_narrows_the_interval():
    """Two classifiers that fail on the same hard images differ little, however uncertain each of them is."""
    generator = np.random.default_rng(5)
    truth = generator.integers(0, 3, 400)
    hard = generator.random(400) < 0.3
    first = np.where(hard, (truth + 1) % 3, truth)
    second = np.where(hard & (generator.random(400) < 0.95), (truth + 1) % 3, truth)
    found = paired_differences(truth, first, second, LABELS, [str(i) for i in range(400)]).accuracy
    width = {name: entry.high - entry.low for name, entry in found}
    assert width["difference"] < 0.5 * width["first"]


def test_a_classifier_does_not_differ_from_itself():
    truth, first, _, clusters = answers()
    found = paired_differences(truth, first, first, LABELS, clusters, same=True)
    for entry in (found.accuracy, *found.recall.values()):
        assert numbers(entry.difference) == [0, 0, 0]


def test_two_classifiers_that_agree_on_few_patients_may_still_differ():
    truth = np.array([0, 1, 2] * 4)
    found = paired_differences(truth, truth, truth, LABELS, [str(i) for i in range(12)])
    assert found.accuracy.difference.value == 0
    assert found.accuracy.difference.high == pytest.approx(1 - 0.025 ** (1 / 12))
    assert found.accuracy.first.low < 0.75


def test_the_interval_of_a_difference_covers_the_truth():
    generator, n, covered = np.random.default_rng(7), 120, 0
    for _ in range(150):
        truth = np.repeat(np.arange(3), n // 3)
        wrong = (truth + 1) % 3
        common = generator.random(n)
        first = np.where(common < 0.7, truth, wrong)
        second = np.where((common < 0.65) | (common > 0.85), truth, wrong)  # 0.80: the truth is +0.10
        found = paired_differences(truth, first, second, LABELS, [str(i) for i in range(n)])
        entry = found.accuracy.difference
        covered += entry.low <= 0.1 <= entry.high
    assert covered / 150 > 0.95 - 3 * np.sqrt(0.05 * 0.95 / 150)


def test_areas_are_compared_on_the_same_patients():
    truth, first, _, clusters = answers()
    generator = np.random.default_rng(0)
    vague = generator.dirichlet(np.ones(3), len(truth))
    sharp = 0.5 * vague + 0.5 * np.eye(3)[first]
    found = paired_auroc(truth, vague, sharp, LABELS, clusters)
    assert found["normal"].difference.low > 0
    same = paired_auroc(truth, sharp, sharp, LABELS, clusters)["normal"].difference
    assert numbers(same) == [0, 0, 0]


def test_what_no_resample_can_move_is_not_certain():
    """One patient of each label, one image gained and one lost: every resample says zero."""
    truth = np.array([0, 0, 1, 1, 2, 2])
    first, second = np.array([0, 1, 1, 1, 2, 2]), np.array([1, 0, 1, 1, 2, 2])
    found = paired_differences(truth, first, second, LABELS, ["a", "a", "b", "b", "c", "c"])
    for entry in (found.accuracy, found.recall["normal"], found.balanced_accuracy):
        assert entry.difference.value == 0
        assert entry.difference.low < -0.5
        assert entry.difference.high > 0.5
    always = np.zeros(6, dtype=np.int64)
    found = paired_differences(truth, always, always, LABELS, ["a", "a", "b", "b", "c", "c"])
    assert found.balanced_accuracy.first.low < 0.05
    assert found.balanced_accuracy.first.high > 0.75


def seeds_of(gain, seeds, spread, n=200):
    """Pairs of networks on the same images; the second gets more right by `gain`, which differs by seed."""
    generator = np.random.default_rng(3)
    truth = generator.integers(0, 3, n)
    names = tuple(f"{i}.png" for i in range(n))

    def network(right):
        answer = np.where(generator.random(n) < right, truth, (truth + 1) % 3)
        return Predictions(LABELS, names, names, truth, 0.1 + 0.7 * np.eye(3)[answer])

    return [(network(0.6), network(0.6 + gain + spread * step)) for step in np.linspace(-1, 1, seeds)]


def test_a_gain_over_seeds_is_the_mean_of_the_pairs_and_less_sure_than_each():
    pairs = seeds_of(0.25, 3, 0.1)
    found = gains_over_seeds(pairs)
    single = [
        paired_differences(a.truth, a.predicted, b.predicted, LABELS, a.clusters).accuracy.difference for a, b in pairs
    ]
    assert found.seeds == 3
    assert found.accuracy.values == pytest.approx([one.value for one in single])
    assert found.accuracy.value == pytest.approx(np.mean([one.value for one in single]))
    assert found.accuracy.high - found.accuracy.low > single[0].high - single[0].low
    areas = paired_auroc(
        pairs[1][0].truth, pairs[1][0].probabilities, pairs[1][1].probabilities, LABELS, pairs[1][0].clusters
    )
    assert found.auroc["normal"].values[1] == pytest.approx(areas["normal"].difference.value)
