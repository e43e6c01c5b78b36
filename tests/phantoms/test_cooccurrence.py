"""Findings occur as often, and go together as much, as the tables say."""

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from hilum.errors import UsageError
from hilum.phantoms import CORRELATIONS, FINDINGS, PREVALENCES, parse_prevalence
from hilum.phantoms.cooccurrence import check_prevalences, read_findings, sample_severities

PATIENTS = 6000


@pytest.fixture(scope="module")
def drawn():
    return [sample_severities(3, patient, 0, PREVALENCES) for patient in range(PATIENTS)]


@pytest.fixture(scope="module")
def present(drawn):
    return np.array([[name in one for name in FINDINGS] for one in drawn])


def test_the_table_is_a_correlation_matrix():
    np.testing.assert_array_equal(CORRELATIONS, CORRELATIONS.T)
    np.testing.assert_array_equal(np.diag(CORRELATIONS), 1)
    assert np.linalg.eigvalsh(CORRELATIONS).min() > 0.1


def test_findings_are_as_frequent_as_their_prevalences(present):
    expected = np.array(list(PREVALENCES.values()))
    error = np.sqrt(expected * (1 - expected) / PATIENTS)
    assert (np.abs(present.mean(0) - expected) < 3.5 * error).all()


def test_pairs_are_as_frequent_as_the_bivariate_normal_says(present):
    for i, j in combinations(range(len(FINDINGS)), 2):
        above = [-norm.ppf(1 - PREVALENCES[FINDINGS[k]]) for k in (i, j)]
        both = multivariate_normal(cov=[[1, CORRELATIONS[i, j]], [CORRELATIONS[i, j], 1]]).cdf(above)
        error = np.sqrt(both * (1 - both) / PATIENTS)
        assert abs((present[:, i] & present[:, j]).mean() - both) < 3.5 * error, (FINDINGS[i], FINDINGS[j])


def test_severities_are_uniform(drawn):
    for name in FINDINGS:
        found = np.sort([one[name] for one in drawn if name in one])
        steps = np.arange(1, len(found) + 1) / len(found)
        assert np.abs(found - steps).max() < 1.63 / np.sqrt(len(found))  # Kolmogorov and Smirnov, 1 %


def test_images_of_a_patient_share_findings_mostly(present):
    later = np.array([[name in sample_severities(3, p, 1, PREVALENCES) for name in FINDINGS] for p in range(1500)])
    same = (later == present[:1500]).mean()
    others = (later == np.roll(present[:1500], 1, axis=0)).mean()
    assert 0.88 < same < 0.98
    assert others < 0.75
    assert np.abs(later.mean(0) - present[:1500].mean(0)).max() < 0.04


def test_prevalences_of_none_and_all():
    shares = check_prevalences({"nodule": 0.0, "effusion": 1.0})
    found = [sample_severities(0, patient, 0, shares) for patient in range(200)]
    assert all("effusion" in one and "nodule" not in one for one in found)
    assert all(0 <= one["effusion"] <= 1 for one in found)


def test_values_are_uncertain_or_missing_whatever_the_truth(drawn):
    said = [read_findings(one, 3, patient, 0, uncertain=0.05, missing=0.1) for patient, one in enumerate(drawn[:2000])]
    for truth, known in ((True, "1"), (False, "0")):
        values = [
            value
            for one, row in zip(drawn, said, strict=False)
            for name, value in row.items()
            if (name in one) == truth
        ]
        shares = {value: values.count(value) / len(values) for value in set(values)}
        assert set(shares) == {known, "-1", ""}
        assert shares["-1"] == pytest.approx(0.05, abs=0.015)
        assert shares[""] == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize("wrong", [{"edema": 0.1}, {"nodule": 1.2}, {"nodule": -0.1}, {"nodule": float("nan")}])
def test_prevalences_that_are_none_are_refused(wrong, refuses):
    with refuses(UsageError, "unknown-finding" if "edema" in wrong else "not-a-share"):
        check_prevalences(wrong)


@pytest.mark.parametrize("text", ["nodule", "nodule=", "nodule=many"])
def test_prevalences_are_written_as_name_and_share(text, refuses):
    assert parse_prevalence("nodule = 0.3") == ("nodule", 0.3)
    with refuses(UsageError, "not-a-share"):
        parse_prevalence(text)
