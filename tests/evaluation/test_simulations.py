"""hilum's own statistics where the truth is known; simulations.md shows the same simulations as tables."""

import importlib.util

import numpy as np
import pytest

from hilum.evaluation.certificate import allowed_rank, certified_threshold
from places import STUDIES


def load(name):
    specification = importlib.util.spec_from_file_location(name, STUDIES / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def simulations():
    return load("evaluation_simulations")


@pytest.fixture(scope="module")
def coverage():
    return load("coverage_simulations")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["continuous", "tied", "clustered"])
@pytest.mark.parametrize(("patients", "rate"), [(59, 0.05), (125, 0.05), (66, 0.10)])
def test_a_certificate_is_broken_in_at_most_delta_and_3_standard_errors(simulations, kind, patients, rate):
    broken = simulations.certificate(kind, patients, rate)
    assert broken <= 0.05 + 3 * simulations.standard_error(0.05, 2000)


@pytest.mark.slow
def test_counting_frames_as_patients_breaks_it(simulations):
    assert simulations.certificate("frames as patients", 125, 0.05) > 0.05 + 3 * simulations.standard_error(0.05, 2000)


@pytest.mark.slow
def test_bands_subgroups_abstention_and_bins_hold_the_truth_in_about_95_percent(coverage):
    """200 runs: 2 standard errors are 3 points."""
    for found in (coverage.bands(200), coverage.others(200)):
        assert min(found.values()) >= 0.92, found


@pytest.mark.ci
def test_exact_intervals_never_fall_short_and_wilsons_is_right_on_average(simulations):
    shares = np.linspace(0.02, 0.98, 49)
    assert min(simulations.proportion_coverage("Clopper-Pearson", share, 117) for share in shares) >= 0.95
    assert np.mean([simulations.proportion_coverage("Wilson", share, 117) for share in shares]) == pytest.approx(
        0.95, abs=0.01
    )


@pytest.mark.parametrize("count", [139, 615])
def test_the_noise_floor_is_what_calibrated_probabilities_show(simulations, count):
    shown, foretold = simulations.calibration_error(count, draws=60)
    assert shown == pytest.approx(foretold, rel=0.06)


@pytest.mark.slow
def test_false_abstentions_and_false_shifts_keep_their_rate(simulations):
    assert 0.02 <= simulations.false_abstentions(0.05, 100) <= 0.05 + 0.005
    assert simulations.false_shifts(59, runs=600) <= 0.05 + 3 * simulations.standard_error(0.05, 600)


@pytest.mark.slow
@pytest.mark.parametrize("higher", [0.0, 1.0])
def test_the_audits_intervals_hold_what_fits_to_other_patients_would_show(simulations, higher):
    """81 to 88 % did where finished scores were resampled; 200 runs: 2 standard errors are 3 points."""
    assert simulations.false_shortcuts(60, higher) <= 0.05 + 2 * simulations.standard_error(0.05, 200)


@pytest.mark.parametrize("rate", [0.05, 0.1])
@pytest.mark.parametrize("patients", [29, 60, 125, 181])
def test_the_rank_is_where_mapies_p_value_ends(rate, patients):
    """MAPIE tests each number of misses by the binomial distribution (Hoeffding's bound is never the smaller one)."""
    methods = pytest.importorskip("mapie.risk_control.methods")
    # A hair less than j misses: MAPIE rounds up, and j / n times n may come out above j.
    rates = np.maximum(0, np.arange(patients) - 1e-9) / patients
    p = methods.compute_hoeffding_bentkus_p_value(rates, patients, rate, binary=True)[:, 0]
    assert allowed_rank(patients, rate, 0.95) == (p <= 0.05).sum()


@pytest.mark.parametrize("rate", [0.05, 0.1])
@pytest.mark.parametrize("patients", [60, 125, 181])
def test_the_threshold_is_mapies_or_the_next_above_it(rate, patients):
    """MAPIE's fixed sequence stops at our order statistic, or one before it, where its rounding costs a miss."""
    mapie = pytest.importorskip("mapie.risk_control")
    scores = np.sort(np.random.default_rng(patients).random(patients))
    controller = mapie.BinaryClassificationController(
        lambda x: np.stack([1 - x[:, 0], x[:, 0]], axis=1),
        "recall",
        1 - rate,
        confidence_level=0.95,
        list_predict_params=scores,
        fwer_method="fixed_sequence",
    )
    controller.calibrate(scores[:, None], np.ones(patients, int))
    rank = allowed_rank(patients, rate, 0.95)
    assert certified_threshold(scores, rate, 0.95) == scores[rank - 1]
    assert np.max(controller.valid_predict_params) in scores[max(0, rank - 2) : rank]
