"""Two ways to read the same probabilities."""

import numpy as np
import pytest

from hilum.evaluation.performance import argmax, top_down

SEED = ("normal", "infected/covid", "infected/non-covid")


def test_two_infections_together_outweigh_normal():
    probabilities = np.array([[0.4, 0.35, 0.25], [0.6, 0.3, 0.1], [0.2, 0.1, 0.7]])
    assert argmax(probabilities).tolist() == [0, 0, 2]
    assert top_down(probabilities, SEED).tolist() == [1, 0, 2]


def test_the_first_decision_is_the_complement_of_normal():
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), 500)
    infected = top_down(probabilities, SEED) != 0
    assert (infected == (1 - probabilities[:, 0] > probabilities[:, 0])).all()
    within = top_down(probabilities, SEED)[infected]
    assert (within == 1 + (probabilities[infected, 2] > probabilities[infected, 1])).all()


def test_labels_without_nesting_are_read_alike():
    probabilities = np.random.default_rng(1).dirichlet(np.ones(4), 200)
    assert (top_down(probabilities, ("a", "b", "c", "d")) == argmax(probabilities)).all()


@pytest.mark.parametrize(
    ("labels", "probabilities", "expected"),
    [
        (("n", "i/c", "i/o/a", "i/o/b"), [0.30, 0.28, 0.22, 0.20], 2),  # infected 0.70, other 0.42, a 0.22
        (("x/n", "x/i/deep/c", "x/i/deep/o"), [0.4, 0.25, 0.35], 2),  # folders that decide nothing are passed over
        (("i/c", "n", "i/o"), [0.3, 0.4, 0.3], 0),  # whatever the order of the labels
    ],
)
def test_deep_trees(labels, probabilities, expected):
    assert top_down(np.array([probabilities]), labels).tolist() == [expected]
