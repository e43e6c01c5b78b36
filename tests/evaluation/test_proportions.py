"""Proportions against statsmodels, Bayes' theorem by hand, and the figure that was computed while planning."""

import numpy as np
import pytest

from hilum.evaluation.proportions import predictive_values, smallest_significant, wilson, wilson_of
from hilum.intervals.shares import Patients


@pytest.mark.parametrize(("count", "total"), [(0, 10), (3, 10), (139, 139), (531, 615)])
def test_wilson_is_statsmodels(count, total):
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    low, high = proportion.proportion_confint(count, total, method="wilson")
    found = wilson(count, total)
    assert (found["low"], found["high"]) == pytest.approx((low, high), abs=1e-9)


def test_wilson_of_nothing_is_nothing():
    assert wilson(0, 0)["low"] is None


def test_specificity_counts_the_rest():
    found = wilson_of([[8, 2, 0], [1, 6, 3], [0, 1, 9]], ["a", "b", "c"])
    assert found["specificity"]["b"]["count"] == 17
    assert found["specificity"]["b"]["total"] == 20
    assert found["precision"]["b"]["value"] == pytest.approx(6 / 9)


def test_predictive_values_are_bayes():
    positive = np.repeat([True, False], [100, 200])
    flagged = np.r_[np.repeat([True, False], [90, 10]), np.repeat([True, False], [40, 160])]
    found = predictive_values(positive, flagged, Patients(np.arange(300)), prevalences=[0.01, 1 / 3])
    at = found["at"][0]
    assert at["ppv"]["value"] == pytest.approx(0.01 * 0.9 / (0.01 * 0.9 + 0.99 * 0.2))
    assert at["npv"]["value"] == pytest.approx(0.99 * 0.8 / (0.99 * 0.8 + 0.01 * 0.1))
    assert found["at"][1]["ppv"]["value"] == pytest.approx(90 / 130)
    assert at["ppv"]["low"] < at["ppv"]["value"] < at["ppv"]["high"]


def test_the_smallest_significant_difference_is_the_one_that_was_planned_with():
    """615 images, 10 % discordance: 2.8 points (17 of 61 one way more), as statsmodels' exact McNemar test agrees."""
    assert smallest_significant(615) == pytest.approx(0.028, abs=0.0005)
    mcnemar = pytest.importorskip("statsmodels.stats.contingency_tables").mcnemar
    for count in (100, 333, 615, 2000):
        differing, net = int(0.1 * count), round(smallest_significant(count) * count)
        pairs = [[0, (differing + net) // 2], [(differing - net) // 2, 0]]
        assert mcnemar(pairs, exact=True).pvalue < 0.05
        pairs = [[0, (differing + net) // 2 - 1], [(differing - net) // 2 + 1, 0]]
        assert mcnemar(pairs, exact=True).pvalue >= 0.05
    assert smallest_significant(30) is None
