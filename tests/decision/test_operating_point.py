"""What becomes of patients: flagged, referred or cleared, counted together, and what that proves of a certificate."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from hilum.decision.operating_point import DECISIONS, OperatingPoint, are_probabilities, triage, triage_together
from hilum.evaluation.certificate import certified_threshold
from hilum.evaluation.certificate_check import measure_certificate, verdict_of
from hilum.evaluation.certification_patients import certificate_of
from hilum.evaluation.predictions import Predictions
from hilum.evaluation.triage import claim_at_most, decide
from made_certificates import certificate

LABELS = ("normal", "covid")


def predictions(scores, truth, patients):
    scores = np.asarray(scores, float)
    paths = tuple(f"{i}.png" for i in range(len(scores)))
    probabilities = np.stack([1 - scores, scores], axis=1)
    return Predictions(LABELS, paths, tuple(patients), np.asarray(truth, np.int64), probabilities)


def test_a_threshold_or_two_make_two_outcomes_or_three():
    one, two = OperatingPoint("covid", ("covid",), 0.2), OperatingPoint("covid", ("covid",), 0.2, 0.7)
    scores = (0.0, np.nextafter(0.2, 0), 0.2, np.nextafter(0.7, 0), 0.7, 1.0)
    assert [triage(one, score) for score in scores] == ["clear", "clear", "flag", "flag", "flag", "flag"]
    assert [triage(two, score) for score in scores] == ["clear", "clear", "read", "read", "flag", "flag"]
    assert {triage(two, score, "strange") for score in scores} == {"abstain"}
    assert triage(None, 0.9) == "undecided"
    assert certificate(threshold=0.2).operating_point == one
    assert certificate(threshold=0.2, upper_threshold=0.7).operating_point == two


@pytest.mark.parametrize(
    "thresholds",
    [
        (-0.1,), (1.1,), (float("nan"),), (float("inf"),), (0.5, 0.4), (0.5, float("nan")), (0.5, 2.0),
        (0.5, float("inf")), (0.5, None, 0.6), (0.5, None, -0.1), (0.5, None, float("nan")),
    ],
)  # fmt: skip
def test_thresholds_that_no_probability_can_be_compared_with_are_refused(thresholds):
    with pytest.raises(ValueError, match="should be a number from"):
        OperatingPoint("covid", ("covid",), *thresholds)


def test_rows_are_probabilities_or_not():
    nan, inf = float("nan"), float("inf")
    good = [[0.2, 0.8], [1, 0], [0.5004, 0.5004], [1.0000001, 0]]
    bad = [
        [nan, nan],
        [0.9, nan],
        [inf, -5],
        [inf, -inf],
        [3, 4],
        [5, -4],
        [0.5, 0.48],
        [0.52, 0.5],
        [-1e-9, 1],
        [0, 0],
    ]
    for kind in (np.float32, np.float64):
        with np.errstate(all="raise"):
            assert are_probabilities(np.array(good, kind)).all()
            assert not are_probabilities(np.array(bad, kind)).any()
    assert not are_probabilities(np.array(good), 1e-4)[2]


@given(st.lists(st.sampled_from(DECISIONS), min_size=1, max_size=100), st.integers(0, 3))
def test_a_study_is_cleared_only_if_every_image_is_and_flagged_if_one_is(decisions, unreadable):
    found = triage_together(decisions, unreadable)
    assert (found == "clear") == (set(decisions) == {"clear"} and not unreadable)
    assert (found == "flag") == ("flag" in decisions)
    assert triage_together(reversed(decisions), unreadable) == found


def test_patients_are_counted_once_by_all_their_images():
    """a: one of two flagged; b: cleared; c: one of two abstained on; d: abstained on; e: between; h: healthy."""
    given = predictions(
        [0.9, 0.1, 0.1, 0.1, 0.1, 0.1, 0.5, 0.9], [1] * 7 + [0], ["a", "a", "b", "c", "c", "d", "e", "h"]
    )
    reasons = ["", "", "", "far", "", "far", "", ""]
    found = measure_certificate(certificate(upper_threshold=0.8), given, reasons)
    assert found.outcomes == {"flag": 1, "read": 1, "abstain": 2, "clear": 1}
    assert found.others == {"normal": {"flag": 1, "read": 0, "abstain": 0, "clear": 0}}
    assert (found.cleared, found.below.count) == (1, 3)
    values = {name: share.value for name, share in found.sensitivity.given().items()}
    assert values == {"recall_abstentions_positive": 0.8, "recall_abstentions_negative": 0.2, "selective_recall": 0.5}
    decisions = decide(given, OperatingPoint("covid", ("covid",), 0.2, 0.8), reasons)
    assert decisions.patients == ("flag", "flag", "clear", "abstain", "abstain", "abstain", "read", "flag")
    assert decisions.images == ("flag", "clear", "clear", "abstain", "clear", "abstain", "read", "flag")


@pytest.mark.parametrize(
    ("missed", "patients", "verdict"),
    [
        (0, 1, "not shown"),
        (0, 71, "not shown"),
        (0, 72, "shown"),
        (3, 20, "not shown"),
        (10, 117, "not shown"),
        (12, 117, "refuted"),
    ],
)
def test_three_patients_prove_nothing_and_a_wide_interval_neither(missed, patients, verdict):
    """0 of n is shown to be at most 5 % once 0.95^n is at most 2.5 %: from 72 patients on."""
    found = claim_at_most(missed, patients, 0.05)
    assert found.verdict == verdict
    if missed < patients:
        assert found.high == pytest.approx(beta.ppf(0.975, missed + 1, patients - missed))
    if verdict == "not shown":
        assert found.patients_to_decide > patients


def test_abstention_does_not_hide_a_threshold_below_which_too_many_lie():
    """E7: all of those below are abstained on. Nobody is cleared, and yet the threshold is refuted."""
    given = predictions([0.1] * 40 + [0.9] * 60, [1] * 100, map(str, range(100)))
    found = measure_certificate(certificate(), given, ["far"] * 40 + [""] * 60)
    assert (found.cleared, found.verdict, found.below.verdict) == (0, "shown", "refuted")
    assert verdict_of(found) == "refuted"
    assert verdict_of(measure_certificate(certificate(), given)) == "refuted"


def test_nobody_with_the_disease_shows_nothing():
    found = measure_certificate(certificate(), predictions([0.1], [0], ["a"]))
    assert (found.value, found.verdict, found.patients_to_decide) == (None, "not shown", None)
    assert found.sensitivity.recall_abstentions_positive.value is None


@pytest.mark.parametrize("how", ["at random", "high scores", "low scores"])
def test_whatever_is_abstained_on_the_bound_holds_for_those_who_are_cleared(how):
    """E7, second part: half are abstained on, by any rule; 600 certificates of 147 patients."""
    generator, broken = np.random.default_rng(0), 0
    population = generator.normal(size=20_000)
    strange = generator.random(20_000)
    strange = {"at random": strange, "high scores": -population, "low scores": population}[how]
    decided = np.sort(population[strange > np.median(strange)])
    for _ in range(600):
        threshold = certified_threshold(generator.choice(population, 147), 0.05, 0.95)
        broken += np.searchsorted(decided, threshold) / len(population) > 0.05
    assert broken / 600 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 600)


def test_a_certificate_holds_where_its_patients_are_counted_again():
    generator = np.random.default_rng(1)
    given = predictions(generator.beta(3, 1, 400), [1] * 400, map(str, range(400)))
    facts = certificate_of(given, "covid", ["covid"], false_negative_rate=0.05, confidence=0.95)
    again = measure_certificate(facts, given)
    assert again.below.count == again.cleared == facts.false_negatives


@pytest.mark.parametrize(("flagged", "verdict"), [(0, "shown"), (10, "not shown"), (30, "refuted")])
def test_the_upper_side_is_judged_too_and_the_weaker_verdict_counts(flagged, verdict):
    upper = {"kind": "specificity", "bound": 0.9, "labels": ["normal"], "threshold": 0.8}
    scores = [0.9] * 100 + [0.9] * flagged + [0.1] * (100 - flagged)
    given = predictions(scores, [1] * 100 + [0] * 100, map(str, range(200)))
    found = measure_certificate(certificate(upper_threshold=0.8, upper=upper), given)
    assert (found.verdict, found.upper.verdict, verdict_of(found)) == ("shown", verdict, verdict)
    assert (found.upper.count, found.upper.total) == (flagged, 100)
    ppv = upper | {"kind": "ppv", "bound": 0.5, "prevalence": 0.1}
    found = measure_certificate(certificate(upper_threshold=0.8, upper=ppv), given).upper
    assert found.value == pytest.approx(0.1 / (0.1 + 0.9 * flagged / 100))
    assert found.verdict == {0: "shown", 10: "not shown", 30: "refuted"}[flagged]
    nobody = measure_certificate(certificate(upper_threshold=0.8, upper=ppv), given.take(np.arange(100))).upper
    assert (nobody.value, nobody.verdict) == (None, "not shown")
