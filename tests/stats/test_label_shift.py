"""Shares estimated without labels, and factors chosen with them, against planted shares and Bayes' theorem."""

import numpy as np
import pytest

from hilum.stats.label_shift import choose_offsets, estimate_shares, held_out_gain, log_ratio, share_intervals
from hilum.stats.prior_shift import shifted, shifted_findings

MEANS = np.array([[0.0, 0.0], [1.5, 0.5], [0.5, 1.5]])
HERE = np.array([0.5, 0.25, 0.25])
THERE = np.array([0.15, 0.65, 0.2])


def sample(shares, n, seed=0):
    """Labels of a population, and the probabilities of three Gaussians that are true where labels are as in `HERE`."""
    generator = np.random.default_rng(seed)
    truth = generator.choice(3, n, p=shares)
    points = MEANS[truth] + generator.normal(size=(n, 2))
    raised = np.exp(-((points[:, None] - MEANS) ** 2).sum(axis=2) / 2)
    return truth, posterior(raised, HERE), raised


def posterior(raised, shares):
    found = raised * shares
    return found / found.sum(axis=1, keepdims=True)


def names(n):
    return [f"image:{i}" for i in range(n)]


def test_planted_shares_are_found_within_two_points():
    for seed in range(5):
        truth, stated, raised = sample(THERE, 20_000, seed)
        found = estimate_shares(stated, HERE, names(20_000))
        assert found == pytest.approx(np.bincount(truth) / 20_000, abs=0.02)
        assert found.sum() == pytest.approx(1)
        moved = shifted(stated, log_ratio(found, HERE))
        np.testing.assert_allclose(moved.sum(axis=1), 1)
        assert np.abs(moved - posterior(raised, THERE)).max() < 0.05  # Bayes with the shares of the other place


def test_without_a_shift_nothing_moves_and_a_second_time_nothing_more():
    _, stated, _ = sample(HERE, 20_000)
    assert estimate_shares(stated, HERE, names(20_000)) == pytest.approx(HERE, abs=0.02)
    _, stated, _ = sample(THERE, 4000)
    once = estimate_shares(stated, HERE, names(4000))
    again = estimate_shares(shifted(stated, log_ratio(once, HERE)), once, names(4000))
    assert again == pytest.approx(once, abs=1e-6)


@pytest.mark.parametrize("flagged", [0.2, 0.3, 0.62])
def test_a_known_confusion_gives_the_closed_form(flagged):
    """A test of sensitivity 0.7 and specificity 0.9: the share is that of Rogan and Gladen (1978), or at its limit."""
    sensitivity, specificity, here = 0.7, 0.9, 0.4
    positive = here * sensitivity / (here * sensitivity + (1 - here) * (1 - specificity))
    negative = here * (1 - sensitivity) / (here * (1 - sensitivity) + (1 - here) * specificity)
    answers = np.arange(1000) < flagged * 1000
    stated = np.where(answers, positive, negative)
    found = estimate_shares(np.stack([1 - stated, stated], axis=1), np.array([1 - here, here]), names(1000))
    assert found[1] == pytest.approx((flagged + specificity - 1) / (sensitivity + specificity - 1), abs=1e-5)


def test_the_interval_of_a_known_confusion_has_the_closed_form():
    """The variance of Rogan and Gladen's estimate is that of the share of positive answers, drawn out."""
    sensitivity, specificity, here, n, flagged = 0.7, 0.9, 0.4, 2000, 0.3
    chances = np.array([[here * sensitivity, here * (1 - sensitivity)], [(1 - here) * (1 - specificity)] * 2])
    chances[1, 1] = (1 - here) * specificity
    stated = (chances / chances.sum(axis=0))[0]
    answers = np.where(np.arange(n) < flagged * n, stated[0], stated[1])
    pair, before = np.stack([1 - answers, answers], axis=1), np.array([1 - here, here])
    found = estimate_shares(pair, before, names(n))
    share = (flagged + specificity - 1) / (sensitivity + specificity - 1)
    error = np.sqrt(flagged * (1 - flagged) / n) / (sensitivity + specificity - 1)
    expected = np.log(share / (1 - share)) + 1.96 * error / (share * (1 - share)) * np.array([-1, 1])
    low, high = share_intervals(pair, before, found, names(n))[1]
    assert np.log([low / (1 - low), high / (1 - high)]) == pytest.approx(expected, abs=1e-3)


def test_intervals_hold_the_share_as_often_as_they_say():
    """Patients with one to six images that look alike: intervals by image would be too short."""
    held = np.zeros(3)
    for seed in range(200):
        _, stated, _ = sample(THERE, 250, seed)
        again = np.repeat(np.arange(250), np.random.default_rng(seed).integers(1, 7, 250))
        clusters = [f"patient:{i}" for i in again]
        found = estimate_shares(stated[again], HERE, clusters)
        low, high = share_intervals(stated[again], HERE, found, clusters).T
        held += (low <= THERE) & (high >= THERE)
    assert (held >= 200 * 0.91).all()  # 95 % but for chance: 2.6 standard errors
    assert (held <= 200 * 0.99).all()


def test_a_share_of_nobody_and_one_that_nothing_tells_have_no_limits():
    certain = np.tile([1.0, 0.0], (50, 1))
    assert share_intervals(certain, np.array([0.5, 0.5]), np.array([1.0, 0.0]), names(50)).tolist() == [[0, 1], [0, 1]]
    nothing = np.tile([0.3, 0.7], (50, 1))
    limits = share_intervals(nothing, np.array([0.3, 0.7]), np.array([0.3, 0.7]), names(50))
    assert limits.tolist() == [[0, 1], [0, 1]]


def test_patients_count_once():
    _, stated, _ = sample(THERE, 300)
    again = np.r_[np.arange(300), np.repeat(7, 200)]
    many = estimate_shares(stated[again], HERE, [f"patient:{i}" for i in again])
    assert many == pytest.approx(estimate_shares(stated, HERE, names(300)), abs=1e-6)


def test_of_two_labels_the_order_stays_and_certain_answers_too():
    stated = np.linspace(0, 1, 101)
    for offset in (-40.0, -1.0, 2.0, 40.0):
        moved = shifted(np.stack([1 - stated, stated], axis=1), np.array([0.0, offset]))[:, 1]
        alone = shifted_findings(stated[:, None], np.array([offset]))[:, 0]
        np.testing.assert_allclose(alone, moved, atol=1e-12)
        assert (np.diff(moved) > -1e-15).all()
        assert (moved[0], moved[-1]) == (0, 1)


def test_chosen_factors_are_those_of_bayes():
    """The best decisions for balanced accuracy are those of equal shares, for accuracy those of the true ones."""
    truth, stated, raised = sample(HERE, 30_000)
    balanced = choose_offsets(truth, stated, "balanced-accuracy")
    equal = posterior(raised, np.full(3, 1 / 3)).argmax(axis=1)
    recalls = [
        np.mean([(answer == truth)[truth == k].mean() for k in range(3)])
        for answer in (equal, shifted(stated, balanced).argmax(axis=1))
    ]
    assert recalls[1] == pytest.approx(recalls[0], abs=0.004)
    assert balanced == pytest.approx(log_ratio(np.full(3, 1 / 3), HERE) - np.log(4 / 3), abs=0.4)
    truth, stated, raised = sample(THERE, 30_000)
    hits = shifted(stated, choose_offsets(truth, stated, "accuracy")).argmax(axis=1) == truth
    assert hits.mean() == pytest.approx((posterior(raised, THERE).argmax(axis=1) == truth).mean(), abs=0.004)


def test_factors_help_held_out_patients_only_where_something_is_wrong():
    truth, stated, _ = sample(THERE, 600)
    gain = held_out_gain(truth, stated, names(600), "accuracy")
    assert gain["after"] - gain["error"] > gain["before"]
    helped = []
    for seed in range(20):
        truth, stated, _ = sample(HERE, 300, seed)
        gain = held_out_gain(truth, stated, names(300), "accuracy")
        helped.append(gain["after"] - gain["error"] > gain["before"])
    assert np.mean(helped) < 0.25  # one standard error: one in six
