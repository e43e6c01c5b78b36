"""Calibration slope and in-the-large: directions in words, and what so few patients may not show."""

import numpy as np
import pytest
from scipy.special import expit, softmax

from hilum.stats.calibration import calibration_errors
from hilum.stats.calibration_slope import FACTOR, calibration_by_label, calibration_sentences, calibration_verdict
from hilum.stats.intervals import Patients

LABELS = ("healthy", "ill")


def two(n, seed, *, slope=1.0, shift=0.0, spread=1.8):
    """Truth and probabilities of two labels, too extreme by `slope` and too high for the second by `shift`."""
    generator = np.random.default_rng(seed)
    true = spread * generator.normal(size=n) - 0.3
    stated = expit(slope * true + shift)
    return (generator.random(n) < expit(true)).astype(np.int64), np.stack([1 - stated, stated], axis=1)


def metrics_of(truth, probabilities):
    names = [str(i) for i in range(len(truth))]
    by_label = calibration_by_label(truth, probabilities, LABELS, Patients(names))
    return by_label, calibration_errors(truth, probabilities, names)[0]


@pytest.mark.parametrize(("slope", "word"), [(2.0, "overconfident"), (0.5, "underconfident"), (1.0, "")])
def test_the_direction_is_said(slope, word):
    entry = metrics_of(*two(1200, 2, slope=slope))[0]["ill"]
    assert entry.slope.direction == word
    assert entry.slope.value == pytest.approx(1 / slope, rel=0.2)


@pytest.mark.parametrize(("shift", "word"), [(0.8, "too high"), (-0.8, "too low")])
def test_too_high_and_too_low_are_said(shift, word):
    found = metrics_of(*two(1200, 3, shift=shift))[0]
    assert found["ill"].in_the_large.direction == word
    assert found["healthy"].in_the_large.direction == {"too high": "too low", "too low": "too high"}[word]
    assert found["ill"].in_the_large.value == pytest.approx(-shift, abs=0.25)


@pytest.mark.parametrize("patients", [20, 50, 100])
def test_twice_overconfident_hardly_ever_passes(patients):
    """The former rule passed such a model in 50 % with 20 patients and in 33 % with 50."""
    verdicts = [calibration_verdict(*metrics_of(*two(patients, seed, slope=2.0))) for seed in range(60)]
    assert np.mean([verdict == "shown" for verdict in verdicts]) <= 0.05


@pytest.mark.parametrize("slope", [FACTOR, 1 / FACTOR])
def test_at_the_bound_itself_at_most_a_fortieth_passes(slope):
    verdicts = [calibration_verdict(*metrics_of(*two(1500, seed, slope=slope))) for seed in range(60)]
    assert np.mean([verdict == "shown" for verdict in verdicts]) <= 0.08  # 0.025, and three standard errors


def test_calibrated_with_enough_patients_is_shown_and_with_three_it_is_not():
    assert calibration_verdict(*metrics_of(*two(4000, 5))) == "shown"
    assert calibration_verdict(*metrics_of(*two(3, 5))) == "not shown"
    few = metrics_of(*two(150, 1))
    assert calibration_verdict(*few) == "not shown"
    needed = few[0]["ill"].slope.patients_to_decide
    assert needed is None or needed > 150
    assert calibration_sentences(few[0])


def test_three_labels_are_judged_one_by_one():
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 1.5, (3000, 3))
    truth = (generator.random((3000, 1)) > softmax(logits, axis=1).cumsum(axis=1)).sum(axis=1)
    stated = softmax(logits, axis=1)
    found = calibration_by_label(truth, stated, ("a", "b", "c"), Patients(np.arange(3000)))
    for entry in found.values():
        assert entry.slope.low < 1 < entry.slope.high
        assert entry.verdict == "shown"
