"""The upper side of a certificate: against MAPIE, its definition, simulation, and what has to be refused."""

import importlib.util
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from hilum.errors import CertificateError, UsageError
from hilum.evaluation.certificate import (
    GRID,
    NOBODY,
    STARTS,
    UpperSide,
    above,
    allowed_rank,
    certify_upper,
    highest_ppv,
    ppv_limits,
    shown_ppv,
    split_confidence,
)
from hilum.evaluation.certification_patients import certificate_of
from hilum.evaluation.predictions import Predictions
from places import STUDIES
from wording import numbers

LABELS = ("normal", "covid", "other")
SPECIFIC = UpperSide("specificity", 0.9, None, ("normal",))


@pytest.fixture(scope="module")
def simulations():
    specification = importlib.util.spec_from_file_location("two_sided", STUDIES / "triage_simulations.py")
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # dataclasses look there for their own module
    specification.loader.exec_module(module)
    return module


def patients(ill, healthy, others=(), *, images=1):
    """One score a patient, of several images with the same one."""
    scores = np.repeat(np.concatenate([healthy, ill, others]).astype(float), images)
    truth = np.repeat([0] * len(healthy) + [1] * len(ill) + [2] * len(others), images)
    names = np.repeat(np.arange(len(healthy) + len(ill) + len(others)), images)
    probabilities = np.stack([1 - scores, scores, np.zeros(len(scores))], axis=1)
    paths = tuple(f"{i}.png" for i in range(len(scores)))
    return Predictions(LABELS, paths, tuple(map(str, names)), truth.astype(np.int64), probabilities)


def drawn(ill=200, healthy=100, seed=0):
    generator = np.random.default_rng(seed)
    return generator.beta(4, 2, ill), generator.beta(2, 6, healthy)


def certified(ill, healthy, upper=SPECIFIC, **more):
    return certificate_of(
        patients(ill, healthy, **more), "covid", ["covid"], false_negative_rate=0.05, confidence=0.95, upper=upper
    )


@given(st.floats(0, 1))
def test_a_threshold_above_a_score_has_few_digits_and_does_not_flag_it(score):
    found = above(score)
    assert score < found
    assert found == NOBODY or (found <= 1 and round(found, 6) == found)
    assert found - score <= max(2e-6, 2e-3 * min(score, 1 - score)) or found == NOBODY


def test_above_1_nobody_is_flagged():
    ill, healthy = drawn()
    facts = certified(ill, np.where(healthy > 0.01, 1.0, healthy))
    assert facts.upper_threshold > 1
    assert facts.outcomes.group["flag"] == 0


@pytest.mark.parametrize("healthy", [60, 100, 181])
def test_the_upper_threshold_is_the_next_above_mapies(healthy):
    """MAPIE controls the false-positive rate with the same binomial bound; it may stop one patient earlier."""
    mapie = pytest.importorskip("mapie.risk_control")
    _, scores = drawn(healthy=healthy)
    candidates = np.sort(scores)[::-1] + 1e-12
    controller = mapie.BinaryClassificationController(
        lambda x: np.stack([1 - x[:, 0], x[:, 0]], axis=1),
        mapie.false_positive_rate,
        0.1,
        confidence_level=0.975,
        list_predict_params=candidates,
        fwer_method="fixed_sequence",
    )
    controller.calibrate(scores[:, None], np.zeros(healthy, int))
    rank = allowed_rank(healthy, 0.1, 0.975)
    threshold = certify_upper(np.ones(1), {"normal": scores}, SPECIFIC, 0.975, 0.0).threshold
    assert threshold == above(np.sort(scores)[-rank])
    assert np.min(controller.valid_predict_params) in candidates[max(0, rank - 2) : rank]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("rate", [0.05, 0.1])
def test_mapies_controller_of_many_classes_accepts_the_pair_of_thresholds(rate):
    """Three outcomes as classes: both risks of the certified pair are controlled, each with its half of delta."""
    mapie, risks = (pytest.importorskip(f"mapie.risk_control{name}") for name in ("", ".risks"))
    ill, healthy = drawn(300, 300)
    facts = certified(ill, healthy, UpperSide("specificity", 1 - rate, None, ("normal",)))
    lower, upper = facts.threshold, facts.upper_threshold
    cleared = risks.ClassSpecificRisk(1, lambda y, p: p == 0, lambda y, p: y == 1, higher_is_better=False)
    flagged = risks.ClassSpecificRisk(0, lambda y, p: p == 1, lambda y, p: y == 0, higher_is_better=False)
    # MAPIE rounds a count up, and so may be one patient more careful: one step back on either side it agrees.
    steps = [np.sort(ill)[facts.rank - 2], above(np.sort(healthy)[-facts.upper.rank + 1])]
    too_far = [np.sort(ill)[facts.rank] + 1e-9, np.sort(healthy)[-facts.upper.rank - 1]]
    for pair, accepted in ((steps, True), ([too_far[0], upper], False), ([lower, too_far[1]], False)):
        controller = mapie.MultiClassificationLTTController(
            lambda x, low, high: np.where(x[:, 0] < low, 0, np.where(x[:, 0] >= high, 1, 2)),
            [cleared, flagged],
            [0.05, rate],
            confidence_level=0.975,
            list_predict_params=np.array([pair]),
            classes=[0, 1, 2],
        )
        controller.calibrate(np.concatenate([ill, healthy])[:, None], np.repeat([1, 0], 300))
        assert bool(len(controller.valid_predict_params)) == accepted, pair


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_ppv_at_the_prevalence_of_the_sample_is_one_that_mapie_accepts():
    """MAPIE tests the flagged of one sample as binomial; two limits and Bayes' theorem are the more careful way."""
    mapie = pytest.importorskip("mapie.risk_control")
    ill, healthy = drawn(200, 400)
    shown = shown_ppv(ill, healthy, 0.6, 1 / 3, 0.05)
    everybody, truth = np.concatenate([ill, healthy])[:, None], np.repeat([1, 0], [200, 400])

    def accepted(threshold):
        controller = mapie.BinaryClassificationController(
            lambda x: np.stack([1 - x[:, 0], x[:, 0]], axis=1),
            mapie.positive_predictive_value,
            0.6,
            confidence_level=0.95,
            list_predict_params=np.array([threshold]),
        )
        controller.calibrate(everybody, truth)
        return bool(len(controller.valid_predict_params))

    assert all(accepted(threshold) for threshold in shown[::5])
    refused = [threshold for threshold in GRID[shown.min() > GRID] if not accepted(threshold)]
    assert refused
    assert max(refused) < shown.min()


def test_without_an_upper_side_the_certificate_is_that_of_one_threshold():
    ill, healthy = drawn()
    one, two = certified(ill, healthy, None), certified(ill, healthy)
    assert one.rank == allowed_rank(200, 0.05, 0.95)
    assert two.rank == allowed_rank(200, 0.05, split_confidence(0.95, two_sided=True)) < one.rank
    assert (one.upper, one.upper_threshold, one.outcomes.group["read"]) == (None, None, 0)
    assert one.lower_confidence == 0.95
    assert two.threshold < two.upper_threshold


def test_outcomes_are_counted_and_thresholds_that_cross_leave_nobody_between():
    ill, healthy = drawn()
    facts = certified(ill, healthy)
    group, low, high = facts.outcomes.group, facts.threshold, facts.upper_threshold
    assert (group["clear"], group["flag"]) == ((ill < low).sum(), (ill >= high).sum())
    assert group["read"] == ((ill >= low) & (ill < high)).sum() > 0
    assert facts.read["covid"].value == group["read"] / len(ill)
    assert facts.read["normal"].low <= facts.read["normal"].value <= facts.read["normal"].high
    assert facts.outcomes.others["normal"]["flag"] == (healthy >= high).sum() < facts.upper.rank
    apart = certified(0.9 + ill / 20, healthy / 20)
    assert apart.upper_threshold == apart.threshold
    assert apart.upper.raised
    assert apart.outcomes.group["read"] == apart.outcomes.others["normal"]["read"] == 0


def test_only_healthy_patients_certify_a_specificity_and_all_others_a_ppv(refuses):
    ill, healthy = drawn()
    sick = np.full(50, 0.99)
    specific = certified(ill, healthy, others=sick)
    assert specific.upper.labels == ["normal"]
    assert specific.upper_threshold == certified(ill, healthy).upper_threshold
    with refuses(CertificateError, "no-threshold"):
        certified(ill, healthy, UpperSide("ppv", 0.8, 0.2, ("normal",)), others=sick)


@given(
    seed=st.integers(0, 10**6),
    n=st.integers(10, 300),
    prevalence=st.sampled_from([0.02, 0.2, 0.5]),
    lower=st.sampled_from([0.0, 0.3, 0.6]),
)
def test_the_ppv_that_is_named_as_the_highest_is_shown_and_the_next_one_is_not(seed, n, prevalence, lower):
    generator = np.random.default_rng(seed)
    ill, healthy = generator.beta(4, 2, n), generator.beta(2, 4, n)
    highest = highest_ppv(ill, healthy, prevalence, 0.05, lower)
    assert (shown_ppv(ill, healthy, highest, prevalence, 0.05) >= lower).any()
    assert not (shown_ppv(ill, healthy, highest + 1e-6, prevalence, 0.05) >= lower).any()


def test_a_ppv_is_bayes_theorem_of_exact_limits_and_all_thresholds_down_to_the_first_that_fails():
    ill, healthy = drawn(400, 400)
    limits = ppv_limits(ill, healthy, 0.2, 0.01)
    place = int(np.argmin(np.abs(GRID - 0.5)))
    found, alarms = (ill >= GRID[place]).sum(), (healthy >= GRID[place]).sum()
    sensitivity, rate = beta.ppf(0.005, found, 401 - found), beta.ppf(0.995, alarms + 1, 400 - alarms)
    assert limits[place] == pytest.approx(0.2 * sensitivity / (0.2 * sensitivity + 0.8 * rate))
    shown = shown_ppv(ill, healthy, 0.5, 0.2, 0.025)
    alone = ppv_limits(ill, healthy, 0.2, 0.025 / len(STARTS)) >= 0.5
    assert set(shown) <= set(GRID[alone])
    assert {GRID[start >= GRID][0] for start in STARTS if alone[start >= GRID][0]} <= set(shown)
    facts = certified(ill, healthy, UpperSide("ppv", 0.5, 0.2, ("normal",)))
    assert facts.upper_threshold == shown[shown >= facts.threshold].min()


def test_what_cannot_be_is_refused(refuses):
    ill, healthy = drawn()
    for asked in ((1.0, None, None), (0.0, None, None), (None, 0.5, 0.0), (None, 0.5, 1.0), (None, 2.0, 0.1)):
        with refuses(UsageError, "not-a-share"):
            UpperSide.asked(*asked, ("normal",))
    for asked in ((0.9, 0.5, 0.1), (None, 0.5, None), (0.9, None, 0.1)):
        with pytest.raises(UsageError):
            UpperSide.asked(*asked, ("normal",))
    assert UpperSide.asked(None, None, None, ("normal",)) is None
    with refuses(CertificateError, "no-healthy-patients"):
        certified(ill, [], others=healthy)
    with refuses(CertificateError, "no-healthy-patients"):
        certified(ill, [], UpperSide("ppv", 0.5, 0.1, ()))
    with refuses(CertificateError, "too-few-healthy-patients") as refused:
        certified(ill, healthy[:20])
    assert {"36", "16"} <= numbers(refused.value.message)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["continuous", "tied", "clustered"])
@pytest.mark.parametrize("side", ["specificity", "ppv"])
def test_both_guarantees_hold_together_in_all_but_delta_of_2000_certificates(simulations, kind, side):
    found = simulations.two_sided(kind, side)
    assert found.broken <= 0.05 + 3 * simulations.standard_error(0.05, found.runs)
    assert found.made > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("images", [(1, 2, 3), (10,)])
def test_an_image_by_itself_is_missed_as_rarely_as_a_patient(simulations, images):
    """E6: by the patients' threshold 66 to 100 % of certificates of ten images a patient are broken for one image."""
    found = simulations.one_image(images)
    assert found["patient"] <= 0.05 + 3 * simulations.standard_error(0.05, 2000)
    assert found["own threshold"] <= 0.05 + 3 * simulations.standard_error(0.05, 2000)
    if images == (10,):
        assert found["theirs"] > 0.6


@pytest.mark.parametrize("upper", [SPECIFIC, UpperSide("ppv", 0.5, 0.2, ("normal",))])
def test_what_a_certificate_was_asked_for_can_be_asked_again(upper):
    """As for the network in 8 bits, whose certificate is made by the same rule on the same patients."""
    ill, healthy = drawn(400, 400)
    facts = certified(ill, healthy, upper)
    assert certified(ill, healthy, UpperSide.of(facts.upper)) == facts
    assert UpperSide.of(None) is None
