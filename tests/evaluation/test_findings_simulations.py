"""Guarantees and intervals of several findings together, where the truth is known."""

import importlib.util

import pytest

from hilum.stats.verdicts import each_confidence
from places import STUDIES


@pytest.fixture(scope="module")
def study():
    specification = importlib.util.spec_from_file_location("findings_simulations", STUDIES / "findings_simulations.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_six_guarantees_break_together_in_at_most_delta_and_3_standard_errors(study, correlation):
    assert study.family(correlation) <= 0.05 + 3 * study.standard_error(0.05, 2000)


@pytest.mark.slow
def test_without_a_correction_they_break_more_often(study):
    assert study.family(0.5, corrected=False) > 0.05 + 3 * study.standard_error(0.05, 2000)


@pytest.mark.slow
@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_intervals_of_macro_and_micro_auroc_hold_the_true_one(study, correlation):
    for share in study.coverage(correlation).values():
        assert share >= 0.95 - 3 * study.standard_error(0.95, 400)


def test_the_error_probability_is_shared_evenly():
    assert each_confidence(0.95, 1) == 0.95
    assert 6 * (1 - each_confidence(0.95, 6)) == pytest.approx(0.05)
