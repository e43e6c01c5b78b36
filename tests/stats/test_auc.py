"""Areas under curves against scikit-learn; their spread against a bootstrap, DeLong's formula and simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import average_precision_score, roc_auc_score

from hilum.stats.auc import auprc_estimate, auroc_estimate, aurocs
from hilum.stats.intervals import Patients


def drawn(seed, count=80, decimals=2):
    generator = np.random.default_rng(seed)
    positive = generator.random(count) < 0.3
    positive[:2] = True, False
    return np.round(generator.random(count) + 0.4 * positive, decimals), positive, generator.integers(0, 40, count)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), decimals=st.sampled_from([1, 2, 9]))
def test_values_are_scikit_learns_and_influences_their_derivatives_ties_included(seed, decimals):
    scores, positive, member = drawn(seed, decimals=decimals)
    weights = np.where(member == member[0], 1 + 1e-5, 1.0)
    place = np.unique(member).searchsorted(member[0])
    for estimate, score in ((auroc_estimate, roc_auc_score), (auprc_estimate, average_precision_score)):
        found = estimate(scores, positive, Patients(member))
        assert found.value == pytest.approx(score(positive, scores))
        assert found.low <= found.value <= found.high
        moved = (score(positive, scores, sample_weight=weights) - found.value) / 1e-5
        assert found.influence[place] == pytest.approx(moved, abs=1e-4)
        assert found.influence.sum() == pytest.approx(0, abs=1e-12)


def test_many_areas_are_scikit_learns_with_and_without_ties():
    generator = np.random.default_rng(0)
    positive = generator.random((6, 200)) < 0.3
    for scores in (
        generator.normal(size=(6, 200)),
        generator.integers(0, 5, (6, 200)).astype(float),
        np.ones((6, 200)),
    ):
        expected = [roc_auc_score(truth, row) for truth, row in zip(positive, scores, strict=True)]
        assert aurocs(scores, positive) == pytest.approx(expected)
    assert np.isnan(aurocs(np.ones((1, 3)), np.ones((1, 3), bool))).all()


def test_the_spread_is_delongs():
    """One image a patient: the variance of the structural components (DeLong, DeLong and Clarke-Pearson 1988)."""
    scores, positive, _ = drawn(3, 300, 9)
    found = auroc_estimate(scores, positive, Patients(np.arange(300)))
    above = scores[positive][:, None] > scores[~positive]
    variance = above.mean(axis=1).var() / positive.sum() + above.mean(axis=0).var() / (~positive).sum()
    assert (found.influence**2).sum() == pytest.approx(variance)


@pytest.mark.parametrize("estimate", [auroc_estimate, auprc_estimate])
def test_the_spread_is_that_of_a_bootstrap_over_patients(estimate):
    generator = np.random.default_rng(5)
    member = np.repeat(np.arange(200), generator.integers(1, 5, 200))
    ill = (np.arange(200) < 70)[member]
    scores = 1.2 * ill + generator.normal(size=200)[member] + 0.5 * generator.normal(size=len(member))
    rows = [np.flatnonzero(member == patient) for patient in range(200)]
    score = roc_auc_score if estimate is auroc_estimate else average_precision_score
    values = []
    for _ in range(400):
        chosen = np.concatenate([rows[patient] for patient in generator.integers(0, 200, 200)])
        values.append(score(ill[chosen], scores[chosen]))
    found = estimate(scores, ill, Patients(member))
    assert np.sqrt((found.influence**2).sum()) == pytest.approx(np.std(values), rel=0.12)


def test_a_perfect_ranking_is_as_sure_as_the_patients_of_the_rarer_side_make_it():
    positive = np.arange(300) < 10
    found = auroc_estimate(positive.astype(float), positive, Patients(np.arange(300)))
    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(0.025 ** (1 / 10))
    one = auroc_estimate(np.where(np.arange(300) == 0, 0.5, positive), positive, Patients(np.arange(300)))
    assert found.low - 0.1 < one.low <= found.low  # one who lies among the others: no jump, and none to a better bound


@pytest.mark.parametrize(("area", "patients"), [(0.9, 10), (0.95, 20), (0.98, 40)])
def test_perfect_rankings_that_are_luck_stay_within_the_interval(area, patients):
    generator, positive = np.random.default_rng(0), np.arange(2 * patients) < patients
    apart, names = np.sqrt(2) * norm.ppf(area), Patients(np.arange(2 * patients))
    lows = [
        auroc_estimate(generator.normal(size=2 * patients) + apart * positive, positive, names).low for _ in range(500)
    ]
    assert np.mean(np.array(lows) > area) <= 0.05


def test_what_is_undefined_says_so():
    some = Patients(list("abc"))
    assert np.isnan(auroc_estimate(np.ones(3), np.ones(3, bool), some).value)
    assert np.isnan(auprc_estimate(np.ones(3), np.zeros(3, bool), some).low)
