"""From a training to what its evaluation judges: calibration, net benefit, and shift with features of the run's own."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from hilum.errors import UsageError
from hilum.evaluation.certificate_check import FEATURES as FILE
from hilum.evaluation.certify import certify
from hilum.evaluation.evaluate import evaluate
from hilum.report.run_page import page_content
from hilum.training.recipe import load_recipe
from hilum.training.train import train


@pytest.fixture
def run(write_dataset, tmp_path, tiny):
    root = write_dataset(splits=("train", "test"), patients=60)
    return train(root, tmp_path / "run", load_recipe("compact", [*tiny, "fraction=0.3"]))


def test_an_evaluation_judges_calibration_net_benefit_and_shift(run, refuses):
    certify(run, false_negative_rate=0.3)
    metrics = evaluate(run, prevalences=[0.02]).metrics
    shift = metrics.operating_point.exchangeability
    assert shift.tests == 4
    smallest = min(getattr(shift, name) for name in ("p_group", "p_tail", "p_others", "p_features"))
    assert shift.p_value == pytest.approx(min(1, 4 * smallest))
    kept = load_file(run.path / FILE)
    calibration = {row.patient_id for row in run.rows if row.split == "calibration"}
    assert len(kept["features"]) == len(kept["truth"]) == len(calibration)
    moment = (run.path / FILE).stat().st_mtime_ns
    curve = metrics.decision_curve
    assert curve.judged == "operating point"
    assert curve.prevalences == [0.01, 0.02, 0.05, 0.10, 0.20, 0.50]
    assert [at.prevalence for at in metrics.predictive_values.at] == curve.prevalences
    assert curve.recalibrated_from.source == "calibration patients"
    assert np.isclose(sum(curve.recalibrated_from.shares.values()), 1)
    assert set(metrics.calibration_by_label) == set(run.labels)
    assert metrics.ece == metrics.ece_class_wise
    items = {item.number: item for item in page_content(run).checklist}
    assert items[16].state == items[17].state == "REPORTED"
    evaluate(run, split="val")
    assert (run.path / FILE).stat().st_mtime_ns == moment
    with refuses(UsageError, "not-a-share"):
        evaluate(run, prevalences=[1.0])
