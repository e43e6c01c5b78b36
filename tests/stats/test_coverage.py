"""How often intervals hold the truth: a part of the grid of docs/explanation/simulations.md, with fixed seeds."""

import importlib.util
import sys

import numpy as np
import pytest

from hilum.evaluation.performance import measure
from hilum.evaluation.predictions import Predictions
from places import STUDIES
from sizes import sized


@pytest.fixture(scope="module")
def study():
    specification = importlib.util.spec_from_file_location("interval_coverage", STUDIES / "interval_coverage.py")
    module = importlib.util.module_from_spec(specification)
    sys.modules["interval_coverage"] = module  # where dataclasses look for the names of types
    specification.loader.exec_module(module)
    return module


def held(study, cells, runs):
    """Of 600 intervals that hold 92 %, in 5 % of the cases fewer than 90.2 % do; of tails of 5 %, more than 6.5 %."""
    for cell in cells:
        for name, (above, below, _) in study.simulated(cell, runs).items():
            allowed = 1.64 / np.sqrt(runs)
            assert above + below <= 0.08 + allowed * 0.27, (str(cell), name, above, below)
            assert max(above, below) <= 0.05 + allowed * 0.22, (str(cell), name, above, below)


@pytest.mark.slow
def test_recall_is_held_where_misses_are_few(study):
    held(study, [cell for cell in study.cells(small=True) if cell.misses], 1000)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(2))
def test_everything_is_held_where_patients_are_few(study, part):
    held(study, [cell for cell in study.cells(small=True) if cell.area][part::2], sized(40, 150))


@pytest.mark.parametrize("hidden", [False, True])
def test_what_coverage_is_counted_against_is_what_very_many_patients_show(study, hidden):
    cell = study.Cell("1 to 3", 40000, 8000, area=0.9, hidden=hidden)
    scores, ill, member = study.ranked_set(cell, np.random.default_rng(0))
    p = 1 / (1 + np.exp(-(scores - study.effect(0.9, hidden)[0] / 2)))
    names = tuple(map(str, range(len(p))))
    many = Predictions(("healthy", "ill"), names, tuple(map(str, member)), ill.astype(int), np.stack([1 - p, p], 1))
    found, known = measure(many, positive_label="ill"), study.truths(0.9, hidden, 0.2)
    for name in ("recall", "precision", "F1", "AUROC", "AUPRC"):
        assert getattr(found, name.lower())["ill"].value == pytest.approx(known[name], abs=0.012), name
    for name in ("accuracy", "balanced accuracy"):
        assert getattr(found, name.replace(" ", "_")).value == pytest.approx(known[name], abs=0.01)
    at = next(at for at in found.predictive_values.at if at.prevalence == study.PREVALENCE)
    assert at.ppv.value == pytest.approx(known["PPV at 5 %"], abs=0.012)
    assert at.npv.value == pytest.approx(known["NPV at 5 %"], abs=0.003)
