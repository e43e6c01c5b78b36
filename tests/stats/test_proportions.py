"""Proportions and power against statsmodels, Connor's formula, and Bayes' theorem by hand."""

import numpy as np
import pytest

from hilum.stats.intervals import Patients
from hilum.stats.records import Detectable
from hilum.stats.verdicts import detectable_difference, detectable_sentence, predictive_values, wilson, wilson_of


@pytest.mark.parametrize(("count", "total"), [(0, 10), (3, 10), (139, 139), (531, 615)])
def test_wilson_is_statsmodels(count, total):
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    low, high = proportion.proportion_confint(count, total, method="wilson")
    found = wilson(count, total)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)


def test_wilson_of_nothing_is_nothing():
    assert wilson(0, 0).low is None


def test_specificity_counts_the_rest():
    found = wilson_of([[8, 2, 0], [1, 6, 3], [0, 1, 9]], ["a", "b", "c"])
    assert found.specificity["b"].count == 17
    assert found.specificity["b"].total == 20
    assert found.precision["b"].value == pytest.approx(6 / 9)


def test_predictive_values_are_bayes():
    positive = np.repeat([True, False], [100, 200])
    flagged = np.r_[np.repeat([True, False], [90, 10]), np.repeat([True, False], [40, 160])]
    found = predictive_values(positive, flagged, Patients(np.arange(300)), prevalences=[0.01, 1 / 3])
    at = found.at[0]
    assert at.ppv.value == pytest.approx(0.01 * 0.9 / (0.01 * 0.9 + 0.99 * 0.2))
    assert at.npv.value == pytest.approx(0.99 * 0.8 / (0.99 * 0.8 + 0.01 * 0.1))
    assert found.at[1].ppv.value == pytest.approx(90 / 130)
    assert at.ppv.low < at.ppv.value < at.ppv.high


def connor(difference, discordance):
    """Pairs for 80 % power by Connor's formula (1987), two-sided at 5 %."""
    return (1.959964 * np.sqrt(discordance) + 0.841621 * np.sqrt(discordance - difference**2)) ** 2 / difference**2


@pytest.mark.parametrize("count", [419, 1000, 4000])
def test_the_detectable_difference_is_connor_s_and_a_little_more(count):
    assert count == pytest.approx(connor(detectable_difference(count), 0.1), rel=0.12)
    assert count > connor(detectable_difference(count), 0.1)


@pytest.mark.parametrize("count", [100, 419])
def test_the_detectable_difference_is_found_in_four_of_five_samples(count):
    """Drawn pairs through statsmodels' own exact test."""
    mcnemar = pytest.importorskip("statsmodels.stats.contingency_tables").mcnemar
    difference = detectable_difference(count)
    generator = np.random.default_rng(0)
    pairs = generator.multinomial(count, [0.05 + difference / 2, 0.05 - difference / 2, 0.9], 2000)
    p = {(a, b): mcnemar([[0, a], [b, 0]], exact=True).pvalue for a, b in {(a, b) for a, b, _ in pairs.tolist()}}
    assert np.mean([p[a, b] < 0.05 for a, b, _ in pairs.tolist()]) == pytest.approx(0.8, abs=0.03)


def test_too_few_patients_can_show_no_difference_at_all():
    assert detectable_difference(0) is None
    assert detectable_difference(3) is None
    assert detectable_difference(30) is None
    found = Detectable(count=30, resampling_unit="patients", discordance=0.1, power=0.8, value=None)
    assert detectable_sentence(found) != detectable_sentence(found.model_copy(update={"value": 0.1}))
