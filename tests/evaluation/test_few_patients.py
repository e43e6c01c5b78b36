"""Perfect measures on few patients: their intervals have width, and hold what can be true."""

import numpy as np
import pytest

from hilum.evaluation.differences import drop, paired_auroc
from hilum.evaluation.performance import measure
from hilum.evaluation.predictions import Predictions
from hilum.evaluation.subgroups import measure_subgroups
from hilum.stats.intervals import Patients
from hilum.stats.verdicts import predictive_values

LABELS = ("normal", "infected/covid", "infected/non-covid")


def perfect(n=30, tag=""):
    truth = np.arange(n) % 3
    names = tuple(f"{tag}{i}" for i in range(n))
    return Predictions(LABELS, names, names, truth, np.eye(3)[truth] * 0.7 + 0.1)


def test_no_measure_of_ten_patients_a_label_is_certain():
    found = measure(perfect(), positive_label=LABELS[1])
    lowest = 0.025 ** (1 / 10)  # ten pairs of patients that share nobody
    areas = [found.auroc[label] for label in LABELS] + [found.decisions["infected"][LABELS[1]]]
    for area in areas:
        assert (area.value, area.high) == (1, 1)
        assert area.low == pytest.approx(lowest)
    for name in ("f1", "auprc", "recall", "precision"):
        for label in LABELS:
            assert 0.3 < found.by_label(name)[label].low < 0.9, name
    for at in found.predictive_values.at:
        assert at.ppv.low < 0.95
        assert at.ppv.high == at.npv.high == 1
    # At a frequency of 1 %, twenty healthy patients who were all cleared say next to nothing of a positive answer.
    assert found.predictive_values.at[0].ppv.low < 0.06


def test_a_perfect_subgroup_is_not_certain():
    some = perfect()
    found = measure_subgroups(some, {"view": ["AP"] * 15 + ["PA"] * 15}, LABELS[1])
    assert found["view"]["AP"].auroc.low == pytest.approx(0.025 ** (1 / 5))


def test_a_drop_from_a_perfect_result_is_as_uncertain_as_that_result():
    found = drop(perfect(9), perfect(300, "b"))
    assert found.accuracy.internal.low == pytest.approx(0.025 ** (1 / 9))
    for entry in (found.accuracy, found.balanced_accuracy, found.auroc[LABELS[1]], found.recall["normal"]):
        assert entry.difference.high > 0.2
        assert entry.difference.low <= 0


def test_two_perfect_classifiers_may_differ_and_one_does_not_differ_from_itself():
    some = perfect()
    other = some.probabilities * 0.9 + 0.1 / 3
    found = paired_auroc(some.truth, some.probabilities, other, LABELS, some.clusters)["normal"]
    assert found.difference.low < -0.1 < 0.1 < found.difference.high
    same = paired_auroc(some.truth, some.probabilities, some.probabilities, LABELS, some.clusters)["normal"].difference
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_predictive_values_of_many_patients_are_as_sure_as_they_make_them():
    positive = np.r_[np.ones(50, bool), np.zeros(50, bool)]
    flagged = np.r_[np.ones(45, bool), np.zeros(5, bool), np.ones(10, bool), np.zeros(40, bool)]
    found = predictive_values(positive, flagged, Patients(np.arange(100)))
    assert 0 < found.recall.low < 0.9 < found.recall.high < 1
