"""Calibration taken apart: identities, known miscalibration, and coverage of the diagram's intervals."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from hilum.stats.calibration_slope import brier_parts, reliability
from hilum.stats.intervals import Patients
from hilum.stats.metrics import brier

LABELS = ["a", "b", "c"]


def calibrated(seed, count=600):
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet([0.6, 0.5, 0.7], size=count)
    truth = (generator.random((count, 1)) > probabilities.cumsum(axis=1)).sum(axis=1).clip(0, 2)
    return truth, probabilities


def test_the_parts_add_up_to_the_brier_score_and_none_is_negative():
    truth, probabilities = calibrated(0)
    parts = brier_parts(truth, probabilities, LABELS, draws=10)
    total = parts.miscalibration - parts.discrimination + parts.uncertainty
    assert total == pytest.approx(brier(truth, probabilities))
    assert all(value >= -1e-12 for part in parts.by_label.values() for value in part.given().values())


def test_calibrated_probabilities_stay_at_the_floor_and_sharpened_ones_leave_it():
    truth, probabilities = calibrated(1)
    parts = brier_parts(truth, probabilities, LABELS)
    assert parts.miscalibration == pytest.approx(parts.ece_null_mean, rel=0.6)
    sharp = probabilities**3 / (probabilities**3).sum(axis=1, keepdims=True)
    sharpened = brier_parts(truth, sharp, LABELS)
    assert sharpened.miscalibration > 3 * sharpened.ece_null_mean


def test_a_constant_answer_discriminates_nothing():
    truth, _ = calibrated(2)
    same = np.tile(np.bincount(truth, minlength=3) / len(truth), (len(truth), 1))
    parts = brier_parts(truth, same, LABELS, draws=5)
    assert parts.discrimination == pytest.approx(0)
    assert parts.miscalibration == pytest.approx(0)


def test_points_are_scikit_learns_quantile_bins():
    truth, probabilities = calibrated(3)
    points = reliability(truth, probabilities, LABELS, Patients(np.arange(600)))["b"]
    share, stated = calibration_curve(truth == 1, probabilities[:, 1], n_bins=10, strategy="quantile")
    np.testing.assert_allclose([p.value for p in points], share, atol=0.02)
    np.testing.assert_allclose([p.stated for p in points], stated, atol=0.02)
    assert sum(p.n_images for p in points) == 600


def test_intervals_cover_calibrated_shares_about_as_often_as_they_say():
    covered = total = 0
    for seed in range(20):
        truth, probabilities = calibrated(seed, 300)
        points = reliability(truth, probabilities, LABELS, Patients(np.arange(300)))
        for point in (p for points_of in points.values() for p in points_of):
            covered += point.low <= point.stated <= point.high
            total += 1
    assert covered / total > 0.9
