"""Logistic coefficients against statsmodels and a jackknife by refitting; coverage by simulation."""

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import norm

from hilum.stats.calibration_slope import logistic_estimates
from hilum.stats.intervals import Patients


def made(patients, seed=0, *, slope=1.0, alike=0.6, sizes=(1, 2, 3)):
    """Stated log-odds that are `slope` times too extreme, and outcomes, of patients whose images are alike."""
    generator = np.random.default_rng(seed)
    member = np.repeat(np.arange(patients), generator.choice(sizes, patients))

    def correlated():
        own, shared = generator.normal(size=len(member)), generator.normal(size=patients)[member]
        return np.sqrt(alike) * shared + np.sqrt(1 - alike) * own

    true = 1.8 * correlated() - 0.5
    return norm.cdf(correlated()) < expit(true), slope * true, member


def both(outcome, stated, member):
    ones = np.ones((len(stated), 1))
    patients = Patients(member)
    slope = logistic_estimates(outcome, np.column_stack([ones, stated]), patients)[1]
    return slope, logistic_estimates(outcome, ones, patients, offset=stated)[0]


def test_it_is_statsmodels_with_cluster_robust_errors():
    api = pytest.importorskip("statsmodels.api")
    outcome, stated, member = made(1500, slope=1.5)
    slope, large = both(outcome, stated, member)
    options = {"cov_type": "cluster", "cov_kwds": {"groups": member}}
    columns = api.add_constant(stated)
    free = api.GLM(outcome.astype(float), columns, family=api.families.Binomial()).fit(**options)
    fixed = api.GLM(outcome.astype(float), np.ones(len(stated)), family=api.families.Binomial(), offset=stated)
    fixed = fixed.fit(**options)
    for mine, value, error in ((slope, free.params[1], free.bse[1]), (large, fixed.params[0], fixed.bse[0])):
        assert mine.value == pytest.approx(value, abs=1e-8)
        assert np.sqrt((mine.influence**2).sum()) == pytest.approx(error, rel=0.01)


def test_few_patients_get_the_jackknife_s_error_and_not_the_smaller_sandwich():
    api = pytest.importorskip("statsmodels.api")
    outcome, stated, member = made(40, seed=3)
    slope, _ = both(outcome, stated, member)
    columns, family = api.add_constant(stated), api.families.Binomial()
    robust = api.GLM(outcome.astype(float), columns, family=family)
    sandwich = robust.fit(cov_type="cluster", cov_kwds={"groups": member}).bse[1]
    without = [
        api.GLM(outcome[member != i].astype(float), columns[member != i], family=family).fit().params[1]
        for i in range(40)
    ]
    jackknife = np.sqrt(((np.array(without) - slope.value) ** 2).sum() * 39 / 40)
    error = np.sqrt((slope.influence**2).sum() * 39 / 40)
    assert error == pytest.approx(jackknife, rel=0.1)
    assert error > sandwich


@pytest.mark.parametrize("patients", [20, 50, 200])
@pytest.mark.parametrize("slope", [0.5, 1.0, 2.0])
def test_the_interval_holds_the_true_slope(patients, slope):
    inside = []
    for seed in range(250):
        found, _ = both(*made(patients, seed, slope=slope))
        inside.append(np.isnan(found.value) or found.low <= 1 / slope <= found.high)
    assert np.mean(inside) >= 0.92


def test_a_patient_with_most_of_the_images_is_one_patient():
    outcome, stated, member = made(30, sizes=(1,))
    again = np.r_[np.arange(30), np.repeat(3, 5)]
    alone, _ = both(outcome, stated, member)
    many, _ = both(outcome[again], stated[again], member[again])
    assert many.high - many.low > alone.high - alone.low


def test_without_a_fit_there_is_no_interval():
    stated = np.linspace(-3, 3, 40)
    for outcome in (np.ones(40, bool), stated > 0, np.arange(40) == 5):
        for found in both(outcome, stated, np.arange(40))[:1]:
            assert np.isnan(found.value)
