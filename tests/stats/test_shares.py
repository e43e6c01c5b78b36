"""Intervals of shares: against statsmodels and R's formula, monotone, and counting patients rather than images."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binomtest, t

from hilum.stats.intervals import Patients, evenly, exact_interval, f1_of, proportion

ONE_EACH = 1000


def share(right, total, each=1):
    """So many right of so many patients, all images of one alike."""
    hits = np.repeat(np.arange(total) < right, each)
    return proportion(hits, np.full(total * each, True), Patients(np.repeat(np.arange(total), each)))


@given(total=st.integers(1, ONE_EACH), part=st.floats(0, 1))
def test_with_one_image_a_patient_it_is_clopper_and_pearsons(total, part):
    right = round(part * total)
    found, known = share(right, total), binomtest(right, total).proportion_ci()
    assert (found.low, found.high) == pytest.approx((known.low, known.high), abs=1e-9)
    assert exact_interval(right / total, total) == pytest.approx({"low": known.low, "high": known.high}, abs=1e-9)


@pytest.mark.parametrize(("right", "total"), [(50, 50), (49, 50), (116, 117), (399, 400), (0, 9), (1, 2)])
def test_it_is_statsmodels_beta_interval(right, total):
    confint = pytest.importorskip("statsmodels.stats.proportion").proportion_confint
    low, high = np.nan_to_num(confint(right, total, method="beta"), nan=float(right > 0))
    assert (share(right, total).low, share(right, total).high) == pytest.approx((low, high), abs=1e-9)


@pytest.mark.parametrize("total", [20, 50, 117, 400])
@pytest.mark.parametrize("each", [1, 3, 40])
def test_one_more_missed_patient_never_improves_the_bound(total, each):
    bounds = [1 - share(total - missed, total, each).low for missed in range(total + 1)]
    assert (np.diff(bounds) >= 0).all()


@pytest.mark.parametrize("each", [2, 40])
def test_images_that_only_repeat_their_patient_add_nothing(each):
    """All right is what so many patients show; in between a little more is allowed for not knowing that they repeat."""
    for right in (20, 19, 12):
        one, many = share(right, 20), share(right, 20, each)
        assert many.value == one.value
        assert many.low <= one.low + 1e-9
        assert many.high - many.low < 1.25 * (one.high - one.low)
    assert share(20, 20, each).low == pytest.approx(share(20, 20).low)


def test_it_is_the_formula_of_rs_survey_package_where_patients_are_many():
    """svyciprop(method="beta"): the effective number, by the ratio of t quantiles, into the beta distribution."""
    generator = np.random.default_rng(0)
    sizes = generator.integers(1, 7, 4000)
    member = np.repeat(np.arange(4000), sizes)
    hits = generator.random(len(member)) < generator.beta(3, 2, 4000)[member]
    found = proportion(hits, np.full(len(hits), True), Patients(member))
    p, n = hits.mean(), len(hits)
    errors = np.bincount(member, hits - p)
    number = p * (1 - p) / ((errors**2).sum() / n**2 * 4000 / 3999)
    number *= (t.ppf(0.975, n - 1) / t.ppf(0.975, 3999)) ** 2
    x = p * number
    expected = beta.ppf(0.025, x, number - x + 1), beta.ppf(0.975, x + 1, number - x)
    assert (found.low, found.high) == pytest.approx(expected, abs=2e-4)


def test_images_of_one_patient_that_agree_widen_the_interval_as_they_should():
    """k equal images a patient: the standard error is that of the patients, sqrt(k) wider than of the images."""
    values = np.repeat(np.random.default_rng(0).random(200) < 0.7, 9)
    every = np.full(len(values), True)
    by_patient = proportion(values, every, Patients(np.repeat(np.arange(200), 9)))
    by_image = proportion(values, every, Patients(np.arange(1800)))
    assert (by_patient.high - by_patient.low) / (by_image.high - by_image.low) == pytest.approx(3, rel=0.1)


def test_a_patient_with_nearly_all_images_says_as_much_as_one():
    """Forty right images of one patient and ten of others: about one and a half patients were seen."""
    member = np.r_[np.zeros(40, int), np.arange(1, 11)]
    found = proportion(np.full(50, True), np.full(50, True), Patients(member))
    assert evenly(np.bincount(member).astype(float)) == pytest.approx(1.55, abs=0.02)
    assert found.low < 0.1


def test_nothing_counted_is_undefined():
    found = proportion(np.zeros(3, bool), np.zeros(3, bool), Patients(list("abc")))
    assert found.as_json() == {"value": None, "low": None, "high": None, "method": "none"}


def test_f1_follows_its_share():
    found = f1_of(share(8, 10))
    assert found.value == pytest.approx(2 * 0.8 / 1.8)
    assert found.low < found.value < found.high


def test_influences_are_the_derivative_by_a_patients_weight():
    generator = np.random.default_rng(1)
    member, hits = generator.integers(0, 12, 60), generator.random(60) < 0.7
    found = proportion(hits, np.full(60, True), Patients(member))
    weights = np.where(member == np.unique(member)[3], 1 + 1e-6, 1.0)
    assert found.influence[3] == pytest.approx((np.average(hits, weights=weights) - hits.mean()) / 1e-6, rel=1e-3)
