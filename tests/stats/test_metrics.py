"""Measures against scikit-learn, which computes them in another way, and against the original report's published
matrix."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from hilum.evaluation.performance import measure
from hilum.evaluation.predictions import Predictions
from hilum.stats.intervals import Patients
from hilum.stats.metrics import brier, confusion_counts, decision_auroc, log_loss, measures

LABELS = ("normal", "infected/covid", "infected/non-covid")


def random_predictions(seed, count=200, n_labels=3, decimals=8):
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, n_labels, count)
    scores = generator.normal(size=(count, n_labels)) + 1.5 * np.eye(n_labels)[truth]
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return truth, np.round(probabilities, decimals)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), n_labels=st.integers(2, 5), decimals=st.sampled_from([1, 2, 8]))
def test_plain_measures_agree_with_scikit_learn_ties_included(seed, n_labels, decimals):
    truth, probabilities = random_predictions(seed, n_labels=n_labels, decimals=decimals)
    predicted = probabilities.argmax(axis=1)
    labels = [f"l{k}" for k in range(n_labels)]
    ours = measures(truth, probabilities, labels, Patients(np.arange(len(truth))))
    assert ours["accuracy"].value == pytest.approx(sk.accuracy_score(truth, predicted))
    assert ours["balanced_accuracy"].value == pytest.approx(sk.balanced_accuracy_score(truth, predicted))
    recalls = sk.recall_score(truth, predicted, average=None, labels=range(n_labels))
    precisions = sk.precision_score(truth, predicted, average=None, labels=range(n_labels), zero_division=np.nan)
    for k, label in enumerate(labels):
        assert ours["recall"][label].value == pytest.approx(recalls[k])
        assert ours["precision"][label].value == pytest.approx(precisions[k], nan_ok=True)
        assert ours["auroc"][label].value == pytest.approx(sk.roc_auc_score(truth == k, probabilities[:, k]))
        f1 = sk.f1_score(truth, predicted, average=None, labels=range(n_labels))[k]
        assert ours["f1"][label].value == pytest.approx(f1)


def test_log_loss_and_brier_agree_with_scikit_learn():
    truth, probabilities = random_predictions(3, decimals=16)
    assert log_loss(truth, probabilities) == pytest.approx(sk.log_loss(truth, probabilities))
    by_label = [sk.brier_score_loss(truth == k, probabilities[:, k]) for k in range(3)]
    assert brier(truth, probabilities) == pytest.approx(sum(by_label))


def test_confusion_has_truth_in_rows():
    counts = confusion_counts(np.array([0, 0, 1]), np.array([0, 1, 1]), 2)
    np.testing.assert_array_equal(counts, [[1, 1], [0, 1]])


def seeds_test_set():
    """The 25 decisions of the original report's Fig. 6 (rows predicted, columns expected)."""
    published = np.array([[5, 0, 0], [3, 8, 4], [0, 1, 4]])
    pairs = [(t, p) for p in range(3) for t in range(3) for _ in range(published[p, t])]
    truth, predicted = np.array(pairs).T
    return Predictions(
        labels=LABELS,
        paths=tuple(f"{i}.jpg" for i in range(25)),
        patients=("",) * 25,
        truth=truth,
        probabilities=np.eye(3)[predicted] * 0.8 + 0.2 / 3,
    )


def test_the_seeds_matrix_gives_the_seeds_figures():
    result = measure(seeds_test_set(), positive_label="infected/covid")
    assert result.confusion == [[5, 3, 0], [0, 8, 1], [0, 4, 4]]
    assert result.accuracy.value == pytest.approx(0.68)
    assert [round(result.recall[label].value, 3) for label in LABELS] == [0.625, 0.889, 0.5]
    assert [round(result.precision[label].value, 3) for label in LABELS] == [1.0, 0.533, 0.8]
    assert (result.n_images, result.n_patients, result.resampling_unit) == (25, None, "images")


def test_what_never_happened_gets_the_exact_interval():
    """Six of six right: Clopper and Pearson's lower limit is the 6th root of 0.025."""
    truth = np.repeat([0, 1, 2], 6)
    predictions = Predictions(
        LABELS, tuple(map(str, range(18))), tuple(f"p{i}" for i in range(18)), truth, np.eye(3)[truth] * 0.9 + 0.1 / 3
    )
    result = measure(predictions)
    for measured, count in ((result.recall["normal"], 6), (result.accuracy, 18)):
        assert measured.low == pytest.approx(0.025 ** (1 / count))
        assert measured.high == 1


def test_a_label_that_nobody_has_leaves_its_recall_open_and_the_rest_defined():
    truth, probabilities = random_predictions(0, count=40)
    truth[truth == 2] = 0
    ours = measures(truth, probabilities, LABELS, Patients(np.arange(40)))
    assert np.isnan(ours["recall"]["infected/non-covid"].value)
    assert np.isfinite(ours["balanced_accuracy"].low)


def test_each_decision_of_the_tree_has_an_area_of_its_own():
    """Against scikit-learn: normal against infected on all images, one infection against the other on infected ones."""
    generator = np.random.default_rng(4)
    truth = generator.integers(0, 3, 300)
    probabilities = generator.dirichlet(np.ones(3), 300) * 0.7 + 0.3 * np.eye(3)[truth]
    labels = ("normal", "infected/covid", "infected/non-covid")
    found = decision_auroc(truth, probabilities, labels, Patients(np.arange(300)))
    assert list(found) == ["", "infected"]
    root = sk.roc_auc_score(truth > 0, 1 - probabilities[:, 0])
    assert found[""]["infected"].value == pytest.approx(root)
    assert found[""]["normal"].value == pytest.approx(root)
    ill = truth > 0
    share = probabilities[ill, 1] / probabilities[ill, 1:].sum(axis=1)
    assert found["infected"]["infected/covid"].value == pytest.approx(sk.roc_auc_score(truth[ill] == 1, share))
    assert decision_auroc(truth, probabilities, ("a", "b", "c"), Patients(np.arange(300))) == {}
    assert decision_auroc(truth, probabilities, ("a", "a/b", "c"), Patients(np.arange(300))) == {}


def two_folds(seed=0, count=240):
    """Two networks that rank equally well, of which the second one's scores are all lower."""
    truth, probabilities = random_predictions(seed, count)
    folds = np.arange(count) % 2
    scaled = np.where(folds[:, None] == 1, probabilities**3 / 10, probabilities)
    return truth, probabilities, scaled, folds


def test_areas_of_folds_do_not_compare_scores_of_different_networks():
    truth, plain, scaled, folds = two_folds()
    patients = Patients(np.arange(len(truth)))
    one, other = (measures(truth, scores, LABELS, patients, folds=folds) for scores in (plain, scaled))
    for k, label in enumerate(LABELS):
        for name in ("auroc", "auprc"):
            assert one[name][label].value == pytest.approx(other[name][label].value)
            assert one[name][label].low == pytest.approx(other[name][label].low)
        has, within = truth == k, [folds == fold for fold in (0, 1)]
        parts = [sk.roc_auc_score(has[here], plain[here, k]) for here in within]
        pairs = [has[here].sum() * (~has[here]).sum() for here in within]
        assert one["auroc"][label].value == pytest.approx(np.average(parts, weights=pairs))
    pooled = measures(truth, scaled, LABELS, patients)["auroc"]["normal"].value
    assert pooled < one["auroc"]["normal"].value - 0.05  # what pooling would have lost


def test_a_fold_without_a_label_says_nothing_about_it():
    truth, plain, _, folds = two_folds()
    truth = np.where((folds == 1) & (truth == 1), 0, truth)
    found = measures(truth, plain, LABELS, Patients(np.arange(len(truth))), folds=folds)["auroc"]["infected/covid"]
    here = folds == 0
    assert found.value == pytest.approx(sk.roc_auc_score(truth[here] == 1, plain[here, 1]))
