"""Curves against scikit-learn; bands against what they should cover."""

import numpy as np
import pytest
from sklearn import metrics as sk

from hilum.stats.auc import curve_bands, patient_weights
from hilum.stats.intervals import Patients


def drawn(seed, count=80, decimals=2):
    generator = np.random.default_rng(seed)
    positive = generator.random(count) < 0.3
    positive[:2] = True, False
    return np.round(generator.random(count) + 0.4 * positive, decimals), positive


def test_the_roc_curve_passes_scikit_learns_points_and_lies_in_its_band():
    scores, positive = drawn(4, count=300)
    probabilities = np.stack([1 - scores, scores], axis=1)
    patients = Patients(np.arange(300) // 2)
    found = curve_bands(probabilities, positive.astype(int), ["a", "b"], patients, resamples=200)["b"]
    rate, recall, _ = sk.roc_curve(positive, scores, drop_intermediate=False)
    np.testing.assert_allclose(found.roc.y, np.interp(found.roc.x, rate, recall), atol=0.02)
    assert np.trapezoid(found.roc.y, found.roc.x) == pytest.approx(sk.auc(rate, recall), abs=0.01)
    for curve in (found.roc, found.pr):
        inside = (np.array(curve.low) <= np.array(curve.y) + 0.02) & (np.array(curve.y) - 0.02 <= np.array(curve.high))
        assert inside.mean() > 0.95
    precision, recall, _ = sk.precision_recall_curve(positive, scores)
    assert found.pr.y[-1] == pytest.approx(precision[recall == 1].max(), abs=1e-5)


def test_a_label_that_nobody_has_has_no_curve():
    assert curve_bands(np.full((4, 2), 0.5), np.zeros(4, int), ["a", "b"], Patients(list("wxyz")), resamples=5) == {}


def test_at_recall_zero_precision_is_that_of_the_first_who_is_found():
    """A resample may lack the highest scores: then nobody is above the next ones, and precision is not 0 there.

    The first who is found was right, which one patient shows about as well as an exact interval of one of one says.
    """
    truth = np.r_[np.ones(20, np.int64), np.zeros(20, np.int64)]
    scores = np.linspace(0.99, 0.01, 40)
    some = Patients(np.arange(40))
    found = curve_bands(np.stack([1 - scores, scores], 1), truth, ["a", "b"], some, resamples=60)["b"].pr
    assert found.y[0] == found.high[0] == 1
    assert found.low[0] == pytest.approx(0.025, abs=1e-4)
    assert found.low[-1] == pytest.approx(0.025 ** (1 / 20), abs=1e-4)


def test_weights_move_whole_patients_and_keep_their_number():
    some = Patients(["a", "a", "b", "c", "c", "c"])
    parts = list(patient_weights(some, 50, seed=0, chunk=40))
    assert max(part.size for part in parts) <= 40
    weights = np.concatenate(parts)
    assert weights.shape == (50, 6)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 3] == weights[:, 5]).all()
    assert (weights[:, [0, 2, 3]].sum(axis=1) == 3).all()
    np.testing.assert_array_equal(weights, np.concatenate(list(patient_weights(some, 50, seed=0, chunk=40))))
