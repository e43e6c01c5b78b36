"""The head of a frozen encoder: what scikit-learn finds, chosen by folds of patients, and features kept by content."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from hilum.data.dataset import Dataset
from hilum.data.readers.read import read_table
from hilum.errors import ModelFileError, RunError, SplitError, UsageError
from hilum.evaluation.evaluate import evaluate
from hilum.evaluation.inference import trained_network
from hilum.models.encoder_network import Encoder
from hilum.models.feature_cache import FeatureCache
from hilum.models.stages import final_layer
from hilum.progress import Progress
from hilum.training.encoder_head import check_head
from hilum.training.penalised_regression import PENALTIES, fit_regression
from hilum.training.plan import EncoderChoice, TrainingPlan
from hilum.training.recipe import load_recipe
from hilum.training.run import open_run
from hilum.training.train import train
from made_encoders import write_maps
from training_runs import write_findings, write_squares

pytestmark = pytest.mark.usefixtures("small_evaluation")

FEW = ["min_val_patients=5"]


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    folder = tmp_path_factory.mktemp("squares")
    write_squares(folder / "data")
    encoder = write_maps(folder / "encoder" / "e.onnx", width=24)
    recipe = load_recipe("encoder", [f"encoder={encoder}", *FEW])
    return folder, recipe, train(folder / "data", folder / "run", recipe, check=False)


def made(count, width, labels, seed=0):
    generator = np.random.default_rng(seed)
    features = (generator.normal(size=(count, width)) * generator.uniform(0.1, 9, width)).astype(np.float32)
    return features, (features[:, :labels] + generator.normal(0, 2, (count, labels))).argmax(axis=1)


@pytest.mark.parametrize(("count", "width"), [(200, 20), (60, 150)])  # more images than features, and fewer
@pytest.mark.parametrize("labels", [2, 3])
def test_the_head_is_scikit_learns(count, width, labels):
    features, targets = made(count, width, labels)
    found = fit_regression(
        features, targets, np.arange(count), "abc"[:labels], TrainingPlan(class_weights="balanced"),
        EncoderChoice(penalty=50.0), Progress(),
    )  # fmt: skip
    scaled = StandardScaler().fit_transform(features.astype(np.float64))
    other = LogisticRegression(C=1 / 50, class_weight="balanced", tol=1e-8, max_iter=5000)
    expected = other.fit(scaled, targets).predict_proba(scaled)
    scores = torch.from_numpy(features @ found.weight.T + found.bias)
    assert np.allclose(scores.softmax(dim=1).numpy(), expected, atol=1e-4)


def test_a_head_of_findings_leaves_out_what_is_unknown():
    features, _ = made(300, 10, 2)
    truth = (features[:, :2] > 0).astype(np.float32)
    truth[::3, 0] = np.nan
    found = fit_regression(
        features, truth, np.arange(300), ("a", "b"), TrainingPlan(), EncoderChoice(penalty=10.0), Progress()
    )
    known = ~np.isnan(truth[:, 0])
    scaler = StandardScaler().fit(features.astype(np.float64))
    other = LogisticRegression(C=0.1, tol=1e-8, max_iter=5000)
    expected = other.fit(scaler.transform(features[known]), truth[known, 0]).decision_function(
        scaler.transform(features)
    )
    assert np.allclose(features @ found.weight[0] + found.bias[0], expected, atol=1e-3)


def test_a_constant_feature_says_nothing():
    features, targets = made(80, 6, 2)
    features[:, 3] = 7
    found = fit_regression(
        features, targets, np.arange(80), "ab", TrainingPlan(), EncoderChoice(penalty=1.0), Progress()
    )
    assert not found.weight[:, 3].any()
    assert np.isfinite(found.weight).all()


@pytest.mark.parametrize("labels", ["ab", "abc"])
def test_penalties_that_are_left_out_would_not_have_been_chosen(labels, monkeypatch):
    generator = np.random.default_rng(0)
    truth = generator.integers(0, len(labels), 150)
    features = (generator.normal(size=(150, 200)) + 0.1 * truth[:, None]).astype(np.float32)
    given = (features, truth, np.arange(150), tuple(labels), TrainingPlan(), EncoderChoice(), Progress())
    short = fit_regression(*given)
    monkeypatch.setattr("hilum.training.penalised_regression.PATIENCE", 100)
    whole = fit_regression(*given)
    assert len(short.tried) < len(whole.tried) == len(PENALTIES)
    assert short.penalty == whole.penalty
    np.testing.assert_array_equal(short.weight, whole.weight)


def test_the_penalty_is_chosen_on_other_patients():
    """Features that tell only patients apart: by image, the smallest penalty would win."""
    generator = np.random.default_rng(3)
    patients = np.repeat(np.arange(40), 6)
    features = np.eye(40, dtype=np.float32)[patients] * 5 + generator.normal(0, 0.1, (240, 40)).astype(np.float32)
    targets = (patients % 2).astype(np.int64)
    by_patient, by_image = (
        fit_regression(features, targets, groups, "ab", TrainingPlan(), EncoderChoice(), Progress())
        for groups in (patients, np.arange(240))
    )
    assert by_image.penalty < 1
    assert by_patient.penalty > 1000


@pytest.mark.ci
def test_left_out_patients_are_the_validation(squares, tmp_path):
    folder, recipe, run = squares
    assert {row.split for row in run.rows} == {"train", "calibration", "test"}
    by_folds = run.environment.best
    again = recipe.model_copy(update={"splits": recipe.splits.model_copy(update={"val": "test", "test": "none"})})
    by_part = train(folder / "data", tmp_path / "run", again, check=False).environment.best
    assert abs(by_folds.val_accuracy - by_part.val_accuracy) < 0.15
    assert by_folds.val_loss > run.history()[0]["train_loss"]


@pytest.mark.ci
def test_the_run_is_an_ordinary_one(squares):
    folder, _, run = squares
    facts = run.environment.encoder
    assert (facts.licence, facts.pooling, facts.features) == ("MIT", ["mean", "max"], 48)
    assert min(facts.penalties, key=lambda one: one.loss).penalty == facts.penalty
    assert [row["val_loss"] for row in run.history()] == [run.environment.best.val_loss]
    assert evaluate(run).metrics.accuracy.value > 0.8
    (folder / "encoder" / "e.onnx").rename(folder / "encoder" / "moved.onnx")
    try:
        assert evaluate(open_run(run.path)).metrics.accuracy.value > 0.8  # a run carries its encoder
    finally:
        (folder / "encoder" / "moved.onnx").rename(folder / "encoder" / "e.onnx")


@pytest.mark.ci
def test_the_same_training_gives_the_same_weights_with_and_without_cache(squares, tmp_path):
    folder, recipe, run = squares
    again = [train(folder / "data", tmp_path / name, recipe, check=False) for name in ("cold", "warm")]
    assert {one.environment.weights_sha256 for one in again} == {run.environment.weights_sha256}


@pytest.mark.ci
def test_images_that_were_seen_are_not_shown_again(squares, monkeypatch):
    shown = []
    run = Encoder.run

    def counted(self, images):
        shown.append(float(images.std()) > 0)  # its shape is found on a black image
        return run(self, images)

    monkeypatch.setattr(Encoder, "run", counted)
    evaluate(squares[2])
    assert sum(shown) > 0
    shown.clear()
    evaluate(squares[2])
    assert sum(shown) == 0


def test_a_changed_encoder_is_found(squares, tmp_path, refuses):
    folder, recipe, _ = squares
    run = train(folder / "data", tmp_path / "run", recipe, check=False)
    content = run.encoder_file.read_bytes()
    run.encoder_file.unlink()
    (run.path / "encoder.onnx").write_bytes(content + b"\0")
    with refuses(RunError, "other-file"):
        evaluate(open_run(run.path))
    (run.path / "encoder.onnx").unlink()
    with refuses(RunError, "no-encoder"):
        evaluate(open_run(run.path))


@pytest.mark.ci
def test_an_interrupted_training_goes_on_without_the_encoders_file(squares, tmp_path):
    folder, recipe, done = squares
    run = train(folder / "data", tmp_path / "run", recipe, check=False)
    facts = run.environment.model_dump(mode="json", exclude={"weights_sha256", "best", "encoder"}, exclude_unset=True)
    run.write_environment(type(run.environment).model_validate(facts))
    again = train(folder / "data", tmp_path / "run", resume=True, check=False)
    assert again.environment.weights_sha256 == done.environment.weights_sha256


@pytest.mark.ci
def test_several_findings(tmp_path):
    data = write_findings(tmp_path / "data", patients=60)
    encoder = write_maps(tmp_path / "e.onnx", width=24)
    run = train(data, tmp_path / "run", load_recipe("encoder", [f"encoder={encoder}", *FEW]), check=False)
    head = final_layer(trained_network(run))
    assert head.weight.shape == (6, 48)
    assert not head.weight[::2].any()
    evaluation = evaluate(run)
    assert min(one.auroc.value for one in evaluation.metrics.findings.values()) > 0.8


def test_fewer_patients_than_it_takes(squares, refuses):
    folder, recipe, _ = squares
    table = read_table(folder / "data")

    def of(patient):
        return Dataset(table.root, [replace(row, patient_id=patient(i, row)) for i, row in enumerate(table.rows)])

    with refuses(SplitError, "too-few-patients"):  # more classes than patients
        check_head(recipe, of(lambda i, row: f"p{i % 2}"))
    alone = of(lambda i, row: "p" if row.label == "normal" else f"q{i}")
    with refuses(SplitError, "too-few-patients"):
        check_head(recipe, alone)
    with refuses(SplitError, "too-few-patients"):  # no folds, and no validation part
        check_head(load_recipe("encoder", ["penalty=3"]), alone)
    held_out = ["val" if row.split == "test" else row.split for row in alone.rows]
    check_head(load_recipe("encoder", ["penalty=3"]), alone.with_splits(held_out))


def test_loggers_follow_steps(squares, tmp_path, refuses):
    folder, recipe, _ = squares
    with refuses(UsageError, "logger-of-encoder"):
        train(folder / "data", tmp_path / "run", recipe, loggers=["tensorboard"])
    assert not (tmp_path / "run").exists()


def test_a_wrong_encoder_leaves_nothing_behind(squares, tmp_path):
    folder, recipe, _ = squares
    with pytest.raises(ModelFileError):
        train(folder / "data", tmp_path / "run", recipe.model_copy(update={"encoder": EncoderChoice(file="none")}))
    assert not (tmp_path / "run").exists()


def test_records_that_were_cut_or_changed_are_passed_over():
    cache = FeatureCache("0" * 8, 3)
    keys, found = cache.find([b"a", b"b"])
    assert found == [None, None]
    cache.add(keys, np.array([[1, 2, 3], [4, 5, 6]], np.float32))
    content = bytearray(cache.file.read_bytes())
    cache.file.write_bytes(content[:-5])  # cut
    cache = FeatureCache("0" * 8, 3)
    keys, (first, second) = cache.find([b"a", b"b"])
    assert (first.tolist(), second) == ([1, 2, 3], None)
    cache.add(keys[1:], np.array([[7, 8, 9]], np.float32))
    assert FeatureCache("0" * 8, 3).find([b"b"])[1][0].tolist() == [7, 8, 9]
    content = bytearray(cache.file.read_bytes())
    content[17] ^= 1
    cache.file.write_bytes(content)
    assert FeatureCache("0" * 8, 3).find([b"a"])[1] == [None]
