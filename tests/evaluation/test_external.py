"""Other people's data: their labels, and the drop from one's own."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from hilum.errors import SplitError, UsageError
from hilum.evaluation.cohort import match_labels, parse_map
from hilum.evaluation.differences import drop, drop_sentence
from hilum.evaluation.predictions import Predictions

OURS = ("normal", "infected/covid", "infected/non-covid")


def test_labels_are_matched_by_their_last_component_and_all_healthy_ones_are_one():
    found = match_labels(["No Finding", "COVID", "pneumonia/non-covid"], OURS)
    assert found == {"No Finding": "normal", "COVID": "infected/covid", "pneumonia/non-covid": "infected/non-covid"}


def test_all_names_of_covid_are_one():
    found = match_labels(["Viral-COVID19", "COVID-19, ARDS", "non-covid"], OURS)
    assert found == {"Viral-COVID19": OURS[1], "COVID-19, ARDS": OURS[1], "non-covid": OURS[2]}


def test_labels_match_in_every_spelling_that_reading_takes_for_the_same():
    ours = ("normal", "viral_pneumonia", "COVID-", "COVID+")
    assert match_labels(["Viral Pneumonia", "viral-pneumonia"], ours) == dict.fromkeys(
        ["Viral Pneumonia", "viral-pneumonia"], "viral_pneumonia"
    )


def test_what_could_be_two_labels_is_not_guessed(refuses):
    with refuses(SplitError, "unmapped-label"):
        match_labels(["tb"], ["normal", "a/tb", "b/tb"])
    assert match_labels(["tb"], ["normal", "a/tb", "b/tb"], {"tb": "b/tb"}) == {"tb": "b/tb"}


def test_the_map_says_what_is_unknown_and_leaves_out_what_it_is_told_to(refuses):
    with refuses(SplitError, "unmapped-label"):
        match_labels(["normal", "ARDS"], OURS)
    given = parse_map(["ARDS=", "SARS = infected/covid"])
    assert match_labels(["normal", "ARDS", "SARS"], OURS, given)["ARDS"] == ""
    with refuses(UsageError, "no-such-label"):
        match_labels(["normal"], OURS, {"TB": "normal"})
    with refuses(UsageError, "no-such-target"):
        match_labels(["TB"], OURS, {"TB": "tuberculosis"})
    for bad in (["x"], ["=normal"], ["a=b", "a=c"]):
        with pytest.raises(UsageError):
            parse_map(bad)


@given(st.permutations(OURS))
def test_own_names_stay(labels):
    assert match_labels(labels, OURS) == {label: label for label in labels}


def answers(right, n, seed, tag):
    generator = np.random.default_rng(seed)
    truth = np.arange(n) % 3
    answer = np.where(generator.random(n) < right, truth, (truth + 1) % 3)
    names = tuple(f"{tag}{i}" for i in range(n))
    return Predictions(OURS, names, names, truth, np.eye(3)[answer] * 0.7 + 0.1)


def test_a_drop_is_found_with_the_interval_of_two_independent_samples():
    found = drop(answers(0.9, 600, 0, "a"), answers(0.6, 300, 1, "b"))
    entry = found.accuracy
    a, b = entry.internal.value, entry.external.value
    error = np.sqrt(a * (1 - a) / 600 + b * (1 - b) / 300)
    assert entry.difference.value == pytest.approx(b - a)
    assert entry.difference.low == pytest.approx(b - a - 1.96 * error, abs=0.012)
    assert entry.difference.high == pytest.approx(b - a + 1.96 * error, abs=0.012)


def test_a_label_that_is_not_there_has_no_drop():
    outside = answers(0.9, 90, 1, "b")
    only = Predictions(OURS, outside.paths, outside.patients, np.minimum(outside.truth, 1), outside.probabilities)
    found = drop(answers(0.9, 90, 0, "a"), only)
    assert found.recall[OURS[2]].difference.value is None


def test_both_places_are_compared_on_the_labels_that_both_have(snapshot):
    """A label that is missing elsewhere counts at home neither in the mean nor in the rest that an AUROC is against."""
    inside, outside = answers(0.9, 300, 0, "a"), answers(0.6, 200, 1, "b")
    only = outside.take(np.flatnonzero(outside.truth < 2))
    found = drop(inside, only)
    assert found.labels == list(OURS[:2])
    assert found.left_out == {"internal": 100, "external": 0}
    recalls = [found.recall[label] for label in found.labels]
    for side, of in (("internal", inside), ("external", only)):
        here = of.take(np.flatnonzero(of.truth < 2))
        assert getattr(found.accuracy, side).value == pytest.approx(np.mean(here.predicted == here.truth))
        assert getattr(found.balanced_accuracy, side).value == pytest.approx(
            np.mean([getattr(r, side).value for r in recalls])
        )
        area = roc_auc_score(here.truth == 1, here.probabilities[:, 1])
        assert getattr(found.auroc[OURS[1]], side).value == pytest.approx(area)
    snapshot(drop_sentence(found))
    assert "both have" not in drop_sentence(drop(inside, outside))


def test_without_a_label_in_common_nothing_is_compared(snapshot):
    some = answers(0.9, 90, 0, "a")
    found = drop(some.take(np.flatnonzero(some.truth < 2)), some.take(np.flatnonzero(some.truth == 2)))
    assert found.labels == []
    assert found.accuracy.difference.value is None
    snapshot(drop_sentence(found))
