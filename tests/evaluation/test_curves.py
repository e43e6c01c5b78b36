"""Curves and average precision against scikit-learn; bands against what they should cover."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from hilum.evaluation.curves import average_precision, curve_bands


def drawn(seed, count=80, decimals=2):
    generator = np.random.default_rng(seed)
    positive = generator.random(count) < 0.3
    positive[:2] = True, False
    return np.round(generator.random(count) + 0.4 * positive, decimals), positive


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), decimals=st.sampled_from([1, 2, 9]))
def test_average_precision_is_scikit_learns_ties_and_weights_included(seed, decimals):
    scores, positive = drawn(seed, decimals=decimals)
    weights = np.random.default_rng(seed + 1).integers(0, 3, (3, len(scores))).astype(float)
    weights[:, :2] = 1
    ours = average_precision(scores, positive, np.vstack([np.ones(len(scores)), weights]))
    assert ours[0] == pytest.approx(sk.average_precision_score(positive, scores))
    for value, row in zip(ours[1:], weights, strict=True):
        assert value == pytest.approx(sk.average_precision_score(positive, scores, sample_weight=row))


def test_without_a_positive_it_is_undefined():
    assert np.isnan(average_precision(np.array([0.1, 0.2]), np.array([False, False]), np.ones((1, 2))))[0]


def test_the_roc_curve_passes_scikit_learns_points_and_lies_in_its_band():
    scores, positive = drawn(4, count=300)
    probabilities = np.stack([1 - scores, scores], axis=1)
    clusters = [str(i // 2) for i in range(300)]
    found = curve_bands(probabilities, positive.astype(int), ["a", "b"], clusters, resamples=200)["b"]
    rate, recall, _ = sk.roc_curve(positive, scores, drop_intermediate=False)
    np.testing.assert_allclose(found["roc"]["y"], np.interp(found["roc"]["x"], rate, recall), atol=0.02)
    assert np.trapezoid(found["roc"]["y"], found["roc"]["x"]) == pytest.approx(sk.auc(rate, recall), abs=0.01)
    for curve in (found["roc"], found["pr"]):
        inside = (np.array(curve["low"]) <= np.array(curve["y"]) + 0.02) & (
            np.array(curve["y"]) - 0.02 <= np.array(curve["high"])
        )
        assert inside.mean() > 0.95
    precision, recall, _ = sk.precision_recall_curve(positive, scores)
    assert found["pr"]["y"][-1] == pytest.approx(precision[recall == 1].max(), abs=1e-5)


def test_a_label_that_nobody_has_has_no_curve():
    assert curve_bands(np.full((4, 2), 0.5), np.zeros(4, int), ["a", "b"], list("wxyz"), resamples=5) == {}


def test_at_recall_zero_precision_is_that_of_the_first_who_is_found_in_every_resample():
    """A resample may lack the highest scores: then nobody is above the next ones, and precision is not 0 there."""
    truth = np.r_[np.ones(20, np.int64), np.zeros(20, np.int64)]
    scores = np.linspace(0.99, 0.01, 40)
    found = curve_bands(np.stack([1 - scores, scores], 1), truth, ["a", "b"], [str(i) for i in range(40)], resamples=60)
    assert found["b"]["pr"]["low"][0] == found["b"]["pr"]["y"][0] == 1
