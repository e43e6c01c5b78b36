"""Calibration error beside its noise floor."""

import numpy as np
import pytest

from hilum.stats.calibration import (
    calibration_errors,
    ece_null_mean,
    expected_calibration_error,
    outcomes_if_calibrated,
    top_label_error,
)


def draw(count, seed, sharpness=1.0):
    """Outcomes that follow probabilities p exactly, and probabilities sharpened by a temperature."""
    generator = np.random.default_rng(seed)
    scores = generator.normal(size=(count, 3)) * 1.5
    p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    drawn = (generator.random((count, 1)) > np.cumsum(p, axis=1)).sum(axis=1)
    sharp = p**sharpness
    return np.eye(3)[drawn], sharp / sharp.sum(axis=1, keepdims=True)


def test_a_calibrated_model_shows_its_noise_floor_and_no_more():
    errors = [expected_calibration_error(*draw(615, seed)) for seed in range(30)]
    floors = [ece_null_mean(draw(615, seed)[1], draws=50) for seed in range(5)]
    assert np.mean(errors) == pytest.approx(np.mean(floors), rel=0.1)


def test_the_floor_falls_with_the_root_of_the_number_of_images():
    small, large = (ece_null_mean(draw(count, 0)[1], draws=60) for count in (400, 6400))
    assert small / large == pytest.approx(4, rel=0.25)


def test_an_overconfident_model_lies_far_above_the_floor():
    outcomes, probabilities = draw(2000, 0, sharpness=3)
    assert expected_calibration_error(outcomes, probabilities) > 3 * ece_null_mean(probabilities, draws=50)


def test_one_bin_is_the_difference_of_the_means():
    outcomes, probabilities = draw(100, 1)
    expected = np.abs((outcomes - probabilities).mean(axis=0)).mean()
    assert expected_calibration_error(outcomes, probabilities, bins=1) == pytest.approx(expected)


def test_as_many_bins_as_images_is_the_mean_absolute_difference():
    outcomes, probabilities = draw(100, 2)
    assert expected_calibration_error(outcomes, probabilities, bins=100) == pytest.approx(
        np.abs(outcomes - probabilities).mean()
    )


def test_images_of_one_patient_raise_the_floor_as_fewer_images_do():
    """k equal images a patient say what one does: the floor is that of a k-th of the images, with as many a bin."""
    _, few = draw(150, 3)
    patients = np.repeat(np.arange(150), 5).astype(str)
    many = np.repeat(few, 5, axis=0)
    alone = ece_null_mean(few, draws=150)
    assert ece_null_mean(many, patients, draws=150) == pytest.approx(alone, rel=0.1)
    assert ece_null_mean(many, draws=150) < 0.6 * alone


def test_drawn_outcomes_have_the_stated_frequencies_within_patients_too():
    probabilities = np.array([[0.2, 0.5, 0.3], [0.2, 0.5, 0.3], [0.6, 0.1, 0.3]])
    drawn = np.stack(list(outcomes_if_calibrated(probabilities, ["a", "a", "b"], draws=4000, seed=0)))
    for k in range(3):
        np.testing.assert_allclose((drawn == k).mean(axis=0), probabilities[:, k], atol=0.03)
    assert (drawn[:, 0] == drawn[:, 1]).all()


@pytest.mark.parametrize("sharpness", [1.0, 3.0])
def test_the_top_label_error_is_torchmetrics(sharpness):
    """Guo's error, over 15 bins of equal width; torchmetrics cuts bins at the other side, which matters to no draw."""
    functional = pytest.importorskip("torchmetrics.functional.classification")
    torch = pytest.importorskip("torch")
    outcomes, probabilities = draw(700, 4, sharpness)
    stated, truth = torch.tensor(probabilities), torch.tensor(outcomes.argmax(axis=1))
    theirs = functional.multiclass_calibration_error(stated, truth, num_classes=3, n_bins=15, norm="l1")
    assert top_label_error(outcomes, probabilities) == pytest.approx(float(theirs), abs=1e-6)


def test_both_errors_are_named_and_differ():
    outcomes, probabilities = draw(615, 0, sharpness=2)
    found = calibration_errors(outcomes.argmax(axis=1), probabilities, [str(i) for i in range(615)])
    for error in found:
        assert error.ece_null_mean < error.ece_null_q95 < error.value
    assert found[1].value > found[0].value


@pytest.mark.parametrize("decimals", [1, 12])  # with equal probabilities, and without
def test_errors_of_many_outcomes_are_those_of_their_definitions(decimals):
    outcomes, probabilities = draw(400, 5)
    probabilities = probabilities.round(decimals) + 1e-9
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    patients = (np.arange(400) // 2).astype(str)
    found = calibration_errors(outcomes.argmax(axis=1), probabilities, patients)
    drawn = [np.eye(3)[truth] for truth in outcomes_if_calibrated(probabilities, patients, draws=200, seed=0)]
    for entry, error in zip(found, (expected_calibration_error, top_label_error), strict=True):
        assert entry.value == pytest.approx(error(outcomes, probabilities), abs=1e-12)
        noise = [error(one, probabilities) for one in drawn]
        assert entry.ece_null_mean == pytest.approx(np.mean(noise), abs=1e-12)
        assert entry.ece_null_q95 == pytest.approx(np.quantile(noise, 0.95), abs=1e-12)
