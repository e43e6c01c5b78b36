"""The two-sample test on features: its level, what it sees, and that another mix of labels is no shift."""

import numpy as np
import pytest
from scipy.stats import binom

from hilum.evaluation.certificate_check import sample
from hilum.evaluation.ood_reference import two_sample


def drawn(first, second, seed, *, shift=0.0, share=1.0, dimensions=32):
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(first + second, dimensions))
    new = generator.random(second) < share
    features[first:][new, :6] += shift
    return features, np.repeat([False, True], [first, second])


def test_it_holds_its_level():
    p = [two_sample(*drawn(60, 100, seed), np.zeros(160, int), permutations=99, seed=seed)[0] for seed in range(300)]
    assert np.mean(np.array(p) <= 0.05) <= binom.ppf(0.999, 300, 0.05) / 300


def test_a_shift_of_all_is_seen_and_measured():
    p, area = two_sample(*drawn(60, 100, 0, shift=1.0), np.zeros(160, int))
    assert p < 0.01
    assert area > 0.8


def test_a_subgroup_is_seen_more_often_than_chance():
    found = [
        two_sample(*drawn(147, 194, seed, shift=3.0, share=0.15), np.zeros(341, int), permutations=199, seed=seed)[0]
        for seed in range(40)
    ]
    assert np.mean(np.array(found) <= 0.05) > 0.5


def test_another_mix_of_labels_is_no_shift():
    """Labels look different from each other, and are more frequent in one sample; within each nothing differs."""
    alarms = []
    for seed in range(60):
        generator = np.random.default_rng(seed)
        labels = np.r_[np.repeat([0, 1], [80, 20]), np.repeat([0, 1], [20, 80])]
        features = generator.normal(size=(200, 16)) + 3 * labels[:, None]
        alarms.append(
            two_sample(features, np.repeat([False, True], 100), labels, permutations=99, seed=seed)[0] <= 0.05
        )
    assert np.mean(alarms) <= 0.15


def test_too_few_patients_of_every_label_tell_nothing():
    features, second = drawn(10, 4, 0)
    assert two_sample(features, second, np.zeros(14, int)) is None
    constant = two_sample(np.ones((20, 3)), np.repeat([False, True], 10), np.zeros(20, int))
    assert constant == (1.0, 0.5)


def test_one_image_of_each_patient_whatever_the_order():
    paths = [f"{i}.png" for i in range(12)]
    clusters = [f"p{i // 3}" for i in range(12)]
    chosen = sample(paths, clusters)
    assert sorted({clusters[i] for i in chosen}) == ["p0", "p1", "p2", "p3"]
    assert len(chosen) == 4
    back = sample(paths[::-1], clusters[::-1])
    assert {paths[::-1][i] for i in back} == {paths[i] for i in chosen}


@pytest.mark.parametrize("patients", [1500])
def test_many_patients_are_a_sample(patients):
    names = [f"p{i}" for i in range(patients)]
    assert len(sample(names, names)) == 1000
