"""The certificate's rule against the published numbers of patients, its definition, and simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binom

from hilum.decision.operating_point import OperatingPoint, members_of
from hilum.evaluation.certificate import (
    allowed_rank,
    certified_threshold,
    highest_bound,
    patients_needed,
    round_down,
)
from hilum.stats.exchangeability import exchangeable_p

LABELS = ("normal", "infected/covid", "infected/non-covid")
# Patients for 0, 1, 2, 3, 4 misses at 95 % confidence (Wilks' tolerance limits; notes on evaluation).
NEEDED = {
    0.10: [29, 46, 61, 76, 89],
    0.05: [59, 93, 124, 153, 181],
    0.02: [149, 236, 313, 386, 456],
    0.01: [299, 473, 628, 773, 913],
}


@pytest.mark.parametrize("rate", NEEDED)
def test_the_numbers_of_patients_are_the_published_ones(rate):
    assert [patients_needed(rate, 0.95, misses) for misses in range(5)] == NEEDED[rate]
    for misses, count in enumerate(NEEDED[rate]):
        assert allowed_rank(count, rate, 0.95) == misses + 1
        assert allowed_rank(count - 1, rate, 0.95) == misses


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 400), rate=st.floats(0.005, 0.5), confidence=st.floats(0.5, 0.999))
def test_the_rank_is_the_largest_whose_miss_rate_has_the_stated_bound(n, rate, confidence):
    """Of uniform scores the k-th smallest is Beta(k, n - k + 1): the bound by another distribution."""
    rank = allowed_rank(n, rate, confidence)
    above = [beta.sf(rate, k, n - k + 1) for k in range(1, n + 1)]
    assert all(chance <= 1 - confidence + 1e-9 for chance in above[:rank])
    assert rank == n or above[rank] > 1 - confidence - 1e-9
    assert (rank > 0) == (n >= patients_needed(rate, confidence))


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("n", [1, 6, 19, 58, 400])
def test_the_bound_that_is_named_as_the_highest_is_certified_and_the_next_one_is_not(n, confidence):
    bound, scores = highest_bound(n, confidence), np.linspace(0.1, 0.9, n)
    assert certified_threshold(scores, 1 - bound, confidence) == scores[0]
    assert certified_threshold(scores, 1 - bound - 0.001, confidence) is None
    assert patients_needed(1 - bound, confidence) <= n < patients_needed(1 - bound - 0.001, confidence)


def test_too_few_patients_get_no_threshold_and_enough_get_an_order_statistic():
    scores = np.random.default_rng(0).random(93)
    assert certified_threshold(scores[:58], 0.05, 0.95) is None
    assert certified_threshold(scores[:59], 0.05, 0.95) == scores[:59].min()
    assert certified_threshold(scores, 0.05, 0.95) == np.sort(scores)[1]


@settings(max_examples=200, deadline=None)
@given(st.floats(1e-12, 1.0))
def test_rounding_a_threshold_never_raises_it_and_changes_it_little(threshold):
    rounded = round_down(threshold)
    assert threshold * (1 - 1.1e-3) <= rounded <= threshold
    assert len(f"{rounded:.12g}".strip("0.").replace(".", "").split("e")[0]) <= 5


@pytest.mark.parametrize("kind", ["continuous", "tied"])
def test_the_bound_is_broken_as_rarely_as_promised(kind):
    """2,000 calibrations of 125 patients at 5 %: at most 5 % + 3 standard errors are broken; the naive rule, half."""
    generator = np.random.default_rng(0)
    broken = naive = 0
    for _ in range(2000):
        scores = generator.normal(size=125)
        scores = np.round(scores, 1) if kind == "tied" else scores
        threshold = certified_threshold(scores, 0.05, 0.95)
        broken += _below(threshold, kind) > 0.05
        naive += _below(np.sort(scores)[6], kind) > 0.05
    assert broken / 2000 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2000)
    if kind == "continuous":
        assert 0.5 < naive / 2000 < 0.62  # measured while planning: 0.565
        expected = binom.cdf(2, 125, 0.05)
        assert broken / 2000 == pytest.approx(expected, abs=3.5 * np.sqrt(expected / 2000))


def _below(threshold, kind):
    from scipy.stats import norm

    return norm.cdf(threshold - (0.05 if kind == "tied" else 0))


def test_a_group_is_a_label_or_a_folder_of_labels():
    assert members_of("infected/*", LABELS) == LABELS[1:]
    assert members_of("infected/covid", LABELS) == (LABELS[1],)
    assert members_of("infected", LABELS) == members_of("x/*", LABELS) == ()
    point = OperatingPoint("infected/*", LABELS[1:], 0.5)
    probabilities = np.array([[0.5, 0.3, 0.2], [0.6, 0.3, 0.1]])
    assert (point.scores(probabilities, LABELS) >= point.flag_from).tolist() == [True, False]


def test_exchangeability_is_like_scipys_test_without_ties():
    from scipy.stats import cramervonmises_2samp

    generator = np.random.default_rng(1)
    for shift in (0.0, 0.3, 0.6):
        first, second = generator.normal(size=70), generator.normal(shift, 1, size=45)
        ours = exchangeable_p(first, second)
        theirs = cramervonmises_2samp(first, second, method="asymptotic").pvalue
        assert ours == pytest.approx(theirs, abs=0.02)


def test_exchangeability_raises_false_alarms_at_its_level_with_ties_too():
    generator = np.random.default_rng(2)
    draws = [np.round(generator.random((2, 30)), 1) for _ in range(300)]
    alarms = np.mean([exchangeable_p(*draw, permutations=199, seed=i) <= 0.05 for i, draw in enumerate(draws)])
    assert alarms <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)
    assert exchangeable_p(np.zeros(0), np.ones(3)) == 1.0
    assert exchangeable_p(np.zeros(20), np.ones(20)) < 0.001
