"""The one-sided test of the lower tail: its level, the review's subgroup of 10 %, and what it says it could see."""

import numpy as np
import pytest
from scipy.stats import binom

from hilum.stats.exchangeability import (
    compare_scores,
    exchangeable_p,
    lower_tail_p,
    shift_sentence,
    visible_share,
    with_features,
)
from hilum.stats.records import Exchangeability


def scores(first, second, share, seed, *, digits=None):
    """A reference, and patients of whom a share is new and below the threshold that misses 2 %: then 12 % are."""
    generator = np.random.default_rng(seed)
    before, after = generator.random(first), generator.random(second)
    after = np.where(generator.random(second) < share, 0.02 * generator.random(second), after)
    return (before, after) if digits is None else (before.round(digits), after.round(digits))


@pytest.mark.parametrize("digits", [None, 1])
def test_the_lower_tail_raises_false_alarms_at_its_level_with_ties_too(digits):
    p = [lower_tail_p(*scores(65, 117, 0.0, seed, digits=digits), permutations=199, seed=seed) for seed in range(400)]
    assert np.mean(np.array(p) <= 0.05) <= binom.ppf(0.999, 400, 0.05) / 400


@pytest.mark.parametrize(
    ("first", "second", "before", "least"), [(65, 117, 0.3, 0.6), (147, 117, 0.4, 0.8), (147, 194, 0.45, 0.85)]
)
def test_a_subgroup_of_a_tenth_that_is_missed_is_seen(first, second, before, least):
    """Cramér and von Mises' test saw it in 10, 20 and 29 % of the review's samples."""
    samples = [scores(first, second, 0.1, seed) for seed in range(120)]
    tail, all_of_it = (
        np.mean([test(*sample, permutations=199, seed=i) <= 0.05 for i, sample in enumerate(samples)])
        for test in (lower_tail_p, exchangeable_p)
    )
    assert all_of_it <= before
    assert tail >= least


def test_it_is_one_sided_and_empty_groups_differ_in_nothing():
    low, high = np.linspace(0, 0.4, 60), np.linspace(0.5, 1, 60)
    assert lower_tail_p(high, low) < 0.001
    assert lower_tail_p(low, high) > 0.99
    assert lower_tail_p(np.zeros(0), low) == lower_tail_p(low, np.zeros(0)) == 1.0
    assert lower_tail_p(np.zeros(30), np.zeros(30)) == 1.0


def test_small_groups_are_exact_by_enumeration():
    """Of 3 and 3 without ties one lowest score counts (15 % of 6): it falls to the second group in half."""
    first, second = np.array([0.2, 0.3, 0.4]), np.array([0.1, 0.5, 0.6])
    assert lower_tail_p(first, second, permutations=9999) == pytest.approx(0.5, abs=0.02)


def test_p_values_are_corrected_by_their_number():
    before, after = scores(147, 194, 0.3, 1)
    generator = np.random.default_rng(0)
    others = generator.random(50), generator.random(90)
    found = compare_scores((before, after), others, permutations=999)
    assert found.tests == 3
    assert found.p_value == pytest.approx(3 * min(found.p_group, found.p_tail, found.p_others))
    more = with_features(found, {"p_features": 0.5, "auroc_features": 0.5, "n_features": [9, 9]})
    assert more.tests == 4
    assert more.p_value == pytest.approx(4 * found.p_tail)
    assert more.visible >= found.visible
    assert with_features(found, None) == found


@pytest.mark.parametrize(("first", "second"), [(65, 117), (147, 194)])
def test_what_it_says_it_could_see_it_sees_in_four_of_five_new_samples(first, second):
    share = visible_share(first, second, 0.05)
    seen = [lower_tail_p(*scores(first, second, share, 1000 + i), permutations=399, seed=i) <= 0.05 for i in range(200)]
    less = [
        lower_tail_p(*scores(first, second, share / 2, 1000 + i), permutations=399, seed=i) <= 0.05 for i in range(100)
    ]
    assert np.mean(seen) >= 0.7
    assert np.mean(less) < 0.75


def test_few_patients_see_little_and_say_so():
    assert visible_share(0, 10, 0.05) is None
    assert visible_share(3, 3, 0.0125) is None
    assert visible_share(20, 20, 0.05) > visible_share(200, 200, 0.05)
    generator = np.random.default_rng(0)
    few = compare_scores((generator.random(3), generator.random(3)), (generator.random(3), generator.random(3)))
    assert few.visible is None
    many = compare_scores(scores(147, 194, 0.0, 5), scores(60, 90, 0.0, 6))
    assert f"{100 * many.visible:.0f} %" in shift_sentence(many)
    assert shift_sentence(few)
    older = Exchangeability(p_group=0.4, p_others=0.9, p_value=0.8)
    assert shift_sentence(older)
