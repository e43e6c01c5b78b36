"""Temperatures: against a known distortion, scikit-learn-free, and what they must not change."""

import json

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from hilum.evaluation.certificate_check import with_checksum
from hilum.evaluation.evaluate import evaluate
from hilum.evaluation.temperature import calibrate
from hilum.stats.calibration import (
    applied,
    ece_null_mean,
    expected_calibration_error,
    fit_temperatures,
    for_temperature,
    held_out_log_loss,
    helpful,
    scale,
)
from hilum.stats.metrics import log_loss
from hilum.training.recipe import load_recipe
from hilum.training.run import open_run
from hilum.training.train import train
from made_certificates import certificate
from random_datasets import LABELS, write_pictures
from training_runs import TINY, copy_with_data

pytestmark = pytest.mark.usefixtures("small_evaluation")


def honest(n=4000, seed=0, k=3):
    """Probabilities that are true: the label is drawn from them."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 1.5, (n, k))
    probabilities = softmax(logits, axis=1)
    truth = (generator.random((n, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
    return np.minimum(truth, k - 1), logits, probabilities


@pytest.mark.parametrize("factor", [0.5, 2.5])
def test_a_network_that_is_too_sure_or_too_shy_is_brought_back(factor):
    truth, logits, probabilities = honest()
    distorted = softmax(logits * factor, axis=1)
    fitted = fit_temperatures(truth, distorted, LABELS, "flat")
    assert fitted[""] == pytest.approx(factor, rel=0.08)
    mended = scale(distorted, fitted, LABELS, "flat")
    np.testing.assert_allclose(mended, probabilities, atol=0.02)
    error = [expected_calibration_error(np.eye(3)[truth], p) for p in (distorted, mended)]
    assert error[1] < 1.5 * ece_null_mean(probabilities) < error[0]


def test_the_temperature_is_where_the_log_loss_is_smallest():
    truth, logits, _ = honest(3000, seed=3)  # enough to outweigh the prior
    plain = softmax(3 * logits, axis=1)
    found = fit_temperatures(truth, plain, LABELS, "flat")[""]
    tried = {t: log_loss(truth, softmax(log_softmax(3 * logits, axis=1) / t, axis=1)) for t in np.linspace(0.5, 8, 400)}
    assert found == pytest.approx(min(tried, key=tried.get), abs=0.05)


def test_a_flat_classifier_keeps_its_answers():
    _, logits, probabilities = honest(500)
    scaled = scale(probabilities, {"": 3.7}, LABELS, "flat")
    assert (scaled.argmax(axis=1) == probabilities.argmax(axis=1)).all()
    np.testing.assert_allclose(scaled, softmax(logits / 3.7, axis=1), atol=1e-12)
    np.testing.assert_allclose(scale(probabilities, {"": 1.0}, LABELS, "flat"), probabilities, atol=1e-12)


def test_each_stage_of_a_cascade_has_its_own():
    """The first decision twice too sure, the second three times too shy."""
    generator = np.random.default_rng(0)
    z0, z1 = generator.normal(0, 1.5, 8000), generator.normal(0, 1.5, 8000)

    def joint(a, b):
        infected, covid = 1 / (1 + np.exp(-a)), 1 / (1 + np.exp(-b))
        return np.stack([1 - infected, infected * covid, infected * (1 - covid)], axis=1)

    true = joint(z0, z1)
    truth = (generator.random((8000, 1)) > true.cumsum(axis=1)).sum(axis=1).clip(max=2)
    distorted = joint(2 * z0, z1 / 3)
    fitted = fit_temperatures(truth, distorted, LABELS, "cascade")
    assert fitted[""] == pytest.approx(2, rel=0.08)
    assert fitted["infected"] == pytest.approx(1 / 3, rel=0.12)
    mended = scale(distorted, fitted, LABELS, "cascade")
    np.testing.assert_allclose(mended.sum(axis=1), 1)
    np.testing.assert_allclose(mended, true, atol=0.03)


def test_saturated_probabilities_stay_finite():
    sure = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    for hierarchy, names in (("flat", [""]), ("cascade", ["", "infected"])):
        assert fit_temperatures(np.array([0, 2]), sure, LABELS, hierarchy) == {}
        scaled = scale(sure, dict.fromkeys(names, 0.3), LABELS, hierarchy)
        assert np.isfinite(scaled).all()
        np.testing.assert_allclose(scaled.sum(axis=1), 1)


@pytest.mark.parametrize(("sharpness", "n"), [(9.0, 20), (9.0, 40), (14.0, 100), (9.0, 400)])
def test_a_good_and_honest_network_is_left_in_peace(sharpness, n):
    """Nearly always right, and its probabilities are true: a handful of right answers must not make it boundless."""
    before, after = [], []
    for seed in range(30):
        generator = np.random.default_rng(seed)
        logits = generator.normal(0, 1, (n + 2000, 3)) + sharpness * np.eye(3)[generator.integers(0, 3, n + 2000)]
        probabilities = softmax(logits, axis=1)
        truth = (generator.random((n + 2000, 1)) > probabilities.cumsum(axis=1)).sum(axis=1).clip(max=2)
        fitted = fit_temperatures(truth[:n], probabilities[:n], LABELS, "flat") or {"": 1.0}
        before.append(log_loss(truth[n:], probabilities[n:]))
        after.append(log_loss(truth[n:], scale(probabilities[n:], fitted, LABELS, "flat")))
    assert np.mean(after) < 1.1 * np.mean(before) + 1e-4


def test_a_stage_that_hardly_anybody_reaches_is_left_alone():
    truth, logits, _ = honest(400, seed=2)
    keep = np.flatnonzero(truth == 0)[:120].tolist() + np.flatnonzero(truth == 1)[:8].tolist()
    distorted = softmax(3 * logits, axis=1)[keep]
    assert fit_temperatures(truth[keep], distorted, LABELS, "cascade")["infected"] == 1.0


@pytest.mark.parametrize(("factor", "helps"), [(3.0, True), (1.0, False)])
def test_a_temperature_is_applied_only_where_it_helps_held_out_patients(factor, helps):
    truth, logits, _ = honest(300, seed=5)
    plain = softmax(factor * logits, axis=1)
    fitted = fit_temperatures(truth, plain, LABELS, "flat")
    losses = held_out_log_loss(truth, plain, LABELS, "flat", [f"patient:{i}" for i in range(300)])
    assert applied(helpful(fitted, losses)) == helps
    assert losses[""]["before"] == pytest.approx(log_loss(truth, plain))


def test_hardly_any_temperature_is_applied_to_an_honest_network_and_none_at_a_loss():
    kept = []
    for seed in range(40):
        truth, _, probabilities = honest(220, seed=seed)
        names = [f"patient:{i // 2}" for i in range(220)]
        fitted = fit_temperatures(truth, probabilities, LABELS, "flat")
        losses = held_out_log_loss(truth, probabilities, LABELS, "flat", names)
        kept.append(applied(helpful(fitted, losses)))
    assert np.mean(kept) < 0.25  # a standard error: one in six


def test_half_of_the_patients_are_kept_for_the_certificate():
    names = [f"patient:{i // 3}" for i in range(3000)]
    mine = for_temperature(names)
    assert 0.45 < mine.mean() < 0.55
    by_patient = {name: mine[i] for i, name in enumerate(names)}
    assert all(by_patient[name] == here for name, here in zip(names, mine, strict=True))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("temperature")
    data = write_pictures(folder / "data", splits=("train", "test"), patients={"train": 60, "test": 12})
    settings = [*TINY, "fraction=0.3", "architecture=cascade", "equalise=true"]
    train(data, folder / "run", load_recipe("compact", settings))
    return folder


@pytest.fixture
def run(trained, tmp_path):
    copy_with_data(trained, tmp_path)
    return open_run(tmp_path / "run")


@pytest.mark.slow
def test_evaluations_are_calibrated_by_patients_of_their_own(run, snapshot):
    metrics = evaluate(run).metrics
    kept = json.loads((run.path / "calibration.json").read_text())
    assert metrics.calibration.temperatures == kept["temperatures"]
    assert list(kept["temperatures"]) == list(kept["fitted"]) == ["", "infected"]
    for name, value in kept["temperatures"].items():
        losses = kept["held_out_log_loss"][name]
        assert value == (kept["fitted"][name] if losses["after"] + losses["error"] < losses["before"] else 1.0)
    assert kept["log_loss_after"] <= kept["log_loss_before"] + 1e-9
    calibration = [row.patient_id for row in run.rows if row.split == "calibration"]
    assert 0 < kept["n_patients"] < len(set(calibration))
    assert kept["n_patients"] == len({p for p in calibration if for_temperature([f"patient:{p}"])[0]})
    moment = (run.path / "calibration.json").stat().st_mtime_ns
    evaluate(run, split="val")
    assert (run.path / "calibration.json").stat().st_mtime_ns == moment  # fitted once
    snapshot(evaluate(run, split="calibration").metrics.data.notes[0])
    snapshot(evaluate(run, split="train").metrics.notes[0])


def test_without_calibration_images_nothing_is_scaled(write_dataset, tmp_path, tiny, snapshot):
    root = write_dataset(splits=("train", "test"))
    recipe = load_recipe("compact", [*tiny, "epochs=1", "calibration=none"])
    metrics = evaluate(train(root, tmp_path / "run", recipe)).metrics
    assert metrics.calibration.temperatures is None
    snapshot(metrics.calibration.note)
    assert metrics.calibration.before.log_loss == metrics.log_loss


def test_too_few_images_are_not_fitted_to(write_dataset, tmp_path, tiny, snapshot):
    root = write_dataset(splits=("train", "test"), patients=10)
    run = train(root, tmp_path / "run", load_recipe("compact", [*tiny, "epochs=1"]))
    calibration = calibrate(run)
    assert calibration.temperatures is None
    snapshot(calibration.note)


def test_temperatures_are_fitted_to_the_runs_own_images_only(run, tmp_path, snapshot):
    """The folder holds something else for a while, or nothing: no temperature comes of it."""
    root = tmp_path / "data"
    files = [tmp_path / "data" / row.path for row in run.rows]
    kept = {file: file.read_bytes() for file in files}
    for file in files:
        file.write_bytes(kept[files[0]])
    snapshot(calibrate(run).note)
    assert not (run.path / "calibration.json").exists()
    for file in files:
        file.unlink()
    assert f"no longer in {root}" in calibrate(run).note
    for file in files:
        file.write_bytes(kept[file])
    assert calibrate(run).temperatures


def test_a_run_that_cannot_be_written_is_calibrated_all_the_same(run):
    (run.path / "calibration.json.part").mkdir()
    assert calibrate(run).temperatures


def test_temperatures_of_other_weights_are_fitted_anew(run):
    evaluate(run)
    file = run.path / "calibration.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"weights_sha256": "0", "temperatures": {"": 9.0}}))
    assert calibrate(run).temperatures != {"": 9.0}


POINT = {"group": "infected/covid", "members": ["infected/covid"], "threshold": 0.5}


@pytest.mark.parametrize("certified", [True, False])
def test_temperatures_of_the_version_before_are_kept_where_a_certificate_was_made_with_them(run, certified):
    file = run.path / "calibration.json"
    now = calibrate(run).temperatures
    before = {"": 1.5, "infected": 2.5}
    kept = {"scheme": 1, "temperatures": before, "weights_sha256": run.environment.weights_sha256}
    file.write_text(json.dumps(kept))
    model = {"weights_sha256": run.environment.weights_sha256, "temperatures": before if certified else now}
    made = with_checksum(certificate(**POINT, model=model))
    (run.path / "certificate.json").write_text(json.dumps(made.as_json()))
    found = calibrate(run)
    assert found.temperatures == (before if certified else now)
    assert ("certificate" in found.note) == certified
    assert json.loads(file.read_text())["scheme"] == 2
    assert calibrate(run).temperatures == found.temperatures  # and from then on
