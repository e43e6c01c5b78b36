"""Recalibration to another prevalence against Bayes' theorem and against samples drawn at both prevalences."""

import numpy as np
import pytest

from hilum.errors import UsageError
from hilum.stats.prior_shift import Prior, at_prevalence, fit_prior, with_stated

MEANS = np.array([[0.0, 0.0], [1.5, 0.5], [0.5, 1.5]])


def sample(shares, n, seed=0):
    """Labels and points of three Gaussians, and the log-likelihood of each point under each."""
    generator = np.random.default_rng(seed)
    truth = generator.choice(3, n, p=shares)
    points = MEANS[truth] + generator.normal(size=(n, 2))
    return truth, -((points[:, None] - MEANS) ** 2).sum(axis=2) / 2


def posterior(logs, shares):
    raised = np.exp(logs) * shares
    return raised / raised.sum(axis=1, keepdims=True)


def test_it_is_bayes_theorem_with_the_other_prior():
    there = np.array([0.9, 0.04, 0.06])
    here = np.array([0.3, 0.28, 0.42])
    _, logs = sample(there, 500)
    found = at_prevalence(posterior(logs, here), Prior(here, np.zeros(3), ""), [1, 2], 0.1)
    assert found == pytest.approx(posterior(logs, there), abs=1e-12)


def test_offsets_undo_class_weights_of_a_training():
    """A network trained with balanced weights answers as if labels were equally frequent."""
    shares = np.array([0.7, 0.1, 0.2])
    truth, logs = sample(shares, 20_000)
    clusters = [str(i) for i in range(len(truth))]
    prior = fit_prior(truth, posterior(logs, np.full(3, 1 / 3)), clusters, "calibration patients")
    assert prior.shares == pytest.approx(np.bincount(truth) / len(truth))
    assert prior.offsets - prior.offsets.mean() == pytest.approx(np.log(shares) - np.log(shares).mean(), abs=0.06)


def test_patients_count_once():
    truth, logs = sample(np.array([0.4, 0.3, 0.3]), 300)
    once = fit_prior(truth, posterior(logs, np.full(3, 1 / 3)), [str(i) for i in range(300)], "")
    again = np.r_[np.arange(300), np.repeat(7, 200)]
    many = fit_prior(truth[again], posterior(logs, np.full(3, 1 / 3))[again], [str(i) for i in again], "")
    assert many.shares == pytest.approx(once.shares)
    assert many.offsets == pytest.approx(once.offsets, abs=1e-6)


def test_too_few_patients_of_a_label_tell_nothing():
    truth = np.r_[np.zeros(20, int), np.ones(4, int)]
    assert fit_prior(truth, np.full((24, 2), 0.5), [str(i) for i in range(24)], "") is None


@pytest.mark.parametrize("prevalence", [0.0, 1.0, -0.1, 5])
def test_a_prevalence_that_leaves_no_doubt_is_refused(prevalence, refuses):
    prior = Prior(np.array([0.5, 0.5]), np.zeros(2), "")
    with pytest.raises(ValueError, match="prevalence"):
        at_prevalence(np.full((2, 2), 0.5), prior, [1], prevalence)
    with pytest.raises(ValueError, match="others"):
        at_prevalence(np.full((2, 2), 0.5), prior, [0, 1], 0.5)
    with refuses(UsageError, "not-a-share"):
        with_stated([0.1, prevalence])


def test_stated_prevalences_join_the_usual_ones():
    assert with_stated([0.02, 0.1]) == (0.01, 0.02, 0.05, 0.10, 0.20, 0.50)


def test_certain_answers_stay_certain():
    prior = Prior(np.array([0.5, 0.5]), np.zeros(2), "")
    found = at_prevalence(np.array([[1.0, 0.0], [0.0, 1.0]]), prior, [1], 0.01)
    assert found == pytest.approx(np.eye(2))
