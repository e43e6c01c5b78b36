"""Perfect measures on few patients: their intervals have width, and hold what can be true."""

import numpy as np
import pytest
from scipy.stats import norm

from hilum.data.ranking import weighted_auroc
from hilum.evaluation.evaluate import measure
from hilum.evaluation.external import drop
from hilum.evaluation.extremes import widen_area, widen_difference, widen_precision_area
from hilum.evaluation.paired import paired_auroc
from hilum.evaluation.predictions import Predictions
from hilum.evaluation.proportions import predictive_values
from hilum.evaluation.subgroups import measure_subgroups

LABELS = ("normal", "infected/covid", "infected/non-covid")


def perfect(n=30, tag=""):
    truth = np.arange(n) % 3
    names = tuple(f"{tag}{i}" for i in range(n))
    return Predictions(LABELS, names, names, truth, np.eye(3)[truth] * 0.7 + 0.1)


def test_no_measure_of_ten_patients_a_label_is_certain():
    found = measure(perfect(), protected=LABELS[1])
    lowest = 0.025 ** (1 / 10)  # ten pairs of patients that share nobody
    areas = [found["auroc"][label] for label in LABELS] + [found["decisions"]["infected"][LABELS[1]]]
    for area in areas:
        assert (area["value"], area["high"]) == (1, 1)
        assert area["low"] == pytest.approx(lowest)
    for name in ("f1", "auprc", "recall", "precision"):
        for label in LABELS:
            assert 0.3 < found[name][label]["low"] < 0.9, name
    for at in found["predictive_values"]["at"]:
        assert at["ppv"]["low"] < 0.95
        assert at["ppv"]["high"] == at["npv"]["high"] == 1
    # At a frequency of 1 %, twenty healthy patients who were all cleared say next to nothing of a positive answer.
    assert found["predictive_values"]["at"][0]["ppv"]["low"] < 0.05


def test_a_perfect_subgroup_is_not_certain():
    some = perfect()
    found = measure_subgroups(some, {"view": ["AP"] * 15 + ["PA"] * 15}, LABELS[1])
    assert found["view"]["AP"]["auroc"]["low"] == pytest.approx(0.025 ** (1 / 5))


def test_a_drop_from_a_perfect_result_is_as_uncertain_as_that_result():
    found = drop(perfect(9), perfect(300, "b"))
    assert found["accuracy"]["internal"]["low"] == pytest.approx(0.025 ** (1 / 9))
    for entry in (found["accuracy"], found["balanced_accuracy"], found["auroc"][LABELS[1]], found["recall"]["normal"]):
        assert entry["difference"]["high"] > 0.2
        assert entry["difference"]["low"] <= 0


def test_two_perfect_classifiers_may_differ_and_one_does_not_differ_from_itself():
    some = perfect()
    other = some.probabilities * 0.9 + 0.1 / 3
    found = paired_auroc(some.truth, some.probabilities, other, LABELS, some.clusters)["normal"]
    assert found["difference"]["low"] < -0.1 < 0.1 < found["difference"]["high"]
    same = paired_auroc(some.truth, some.probabilities, some.probabilities, LABELS, some.clusters)
    assert same["normal"]["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_a_difference_of_imperfect_measures_stays_as_it_was():
    before = {"value": 0.1, "low": 0.0, "high": 0.2}
    after = dict(before)
    widen_difference(after, {"value": 0.8, "low": 0.7, "high": 0.9}, {"value": 0.9, "low": 0.8, "high": 0.95})
    assert after == before


@pytest.mark.parametrize(("area", "patients"), [(0.9, 10), (0.95, 20), (0.98, 40)])
def test_where_a_bootstrap_sees_nothing_the_exact_interval_still_holds_the_area(area, patients):
    """Normal scores: how often they come out perfectly ranked although the area is below the interval's lower end."""
    generator = np.random.default_rng(0)
    apart = np.sqrt(2) * norm.ppf(area)
    positive, weights = np.arange(2 * patients) < patients, np.ones((1, 2 * patients))
    missed = 0
    for _ in range(1000):
        value = weighted_auroc(generator.normal(size=2 * patients) + apart * positive, positive, weights)[0]
        entry = {"value": float(value), "low": 0.0, "high": 1.0}
        widen_area(entry, patients, patients)
        missed += entry["low"] > area
    assert missed / 1000 <= 0.05


@pytest.mark.parametrize("share", [0.05, 0.3, 0.8])
def test_no_ranking_with_that_auroc_has_a_lower_auprc(share):
    """Against random rankings, and against the worst one, integrated."""
    generator = np.random.default_rng(1)
    u = (np.arange(20000) + 0.5) / 20000
    odds = (1 - share) / share
    rankings = [
        *(np.minimum(1, scale * u**power) for power in (0.2, 0.5, 1, 3) for scale in (0.02, 0.1, 0.4)),
        *(np.where(u > start, level, 0) for start in (0, 0.5, 0.9) for level in (0.1, 0.9)),
        *(np.cumsum(generator.gamma(0.1, size=len(u))) / 4000 for _ in range(3)),
    ]
    worst = np.where(u < 0.6, (np.sqrt(u * 0.6) - u) / odds, 0)
    for false in [np.clip(ranking, 0, 1) for ranking in rankings] + [worst]:
        entry = {"value": 1.0, "low": 1.0, "high": 1.0}
        widen_precision_area(entry, {"value": 1.0, "low": 1 - false.mean(), "high": 1.0}, share)
        found = (u / (u + odds * false)).mean()
        assert entry["low"] <= found + 1e-3
        if false is worst and worst.max() <= 1:
            assert entry["low"] == pytest.approx(found, abs=1e-3)


def test_predictive_values_that_are_not_extreme_stay_bootstrapped():
    positive = np.r_[np.ones(50, bool), np.zeros(50, bool)]
    flagged = np.r_[np.ones(45, bool), np.zeros(5, bool), np.ones(10, bool), np.zeros(40, bool)]
    found = predictive_values(positive, flagged, [str(i) for i in range(100)])
    assert 0 < found["recall"]["low"] < 0.9 < found["recall"]["high"] < 1
