"""The prior step in a run: what sets it, who applies it, whom it spends, and what it makes void."""

import json

import numpy as np
import pytest

import hilum
from hilum.data.labels import fair_shares
from hilum.errors import CertificateError, RunError, UsageError
from hilum.evaluation.certify import certify
from hilum.evaluation.evaluate import evaluate
from hilum.evaluation.predictions import read_predictions
from hilum.evaluation.prior_step import FILE, implied_by_loss, implied_shares
from hilum.evaluation.set_prior import parse_prevalences, remove_prior, set_prior
from hilum.exporting.export import export
from hilum.serving.predictor import Predictor
from hilum.training.recipe import load_recipe
from hilum.training.run import open_run
from hilum.training.train import train
from random_datasets import LABELS, write_pictures
from training_runs import TINY, copy_with_data, make_findings_run, write_findings

pytestmark = [pytest.mark.usefixtures("small_evaluation"), pytest.mark.slow]
STATED = {"normal": 0.1, "infected/covid": 0.6}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prior")
    data = write_pictures(folder / "data", splits=("train", "test"), patients={"train": 60, "test": 12})
    train(data, folder / "run", load_recipe("compact", [*TINY, "fraction=0.3", "epochs=10", "mixup=0"]))
    return folder


@pytest.fixture
def run(trained, tmp_path):
    copy_with_data(trained, tmp_path)
    return open_run(tmp_path / "run")


@pytest.fixture
def elsewhere(tmp_path):
    """Another hospital, where nearly everybody has COVID-19."""
    root = write_pictures(tmp_path / "elsewhere", patients=48, metadata=False, start=7)
    for file in root.rglob("*.png"):
        if file.parent.name != "covid" and int(file.stem[2:5]) >= 8:
            file.unlink()
    return root


def test_evaluation_and_model_file_say_the_same_and_bayes_says_it_too(run, tmp_path):
    before = evaluate(run, split="val", out=tmp_path / "before")
    step = set_prior(run, prevalences=STATED)
    after = evaluate(run, split="val", out=tmp_path / "after")
    assert step.prevalences == pytest.approx({**STATED, "infected/non-covid": 0.3})
    raised = before.predictions.probabilities * [step.prevalences[k] / step.implied[k] for k in run.labels]
    raised /= raised.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(after.predictions.probabilities, raised, atol=1e-12)
    assert after.metrics.calibration.prior_step.factors == step.factors
    assert before.metrics.calibration.prior_step is None
    assert "prior_step" not in json.loads((tmp_path / "before" / "metrics.json").read_text())["calibration"]
    model_file = export(run, tmp_path / "model.onnx")
    assert model_file.facts["calibration"]["prior_step"]["factors"] == step.factors
    predictor = Predictor(tmp_path / "model.onnx")
    kept = read_predictions(tmp_path / "after" / "predictions.csv")
    for path, row in list(zip(kept.paths, kept.probabilities, strict=True))[:20]:
        answer = predictor.predict(tmp_path / "data" / path)
        np.testing.assert_allclose(list(answer.probabilities.values()), row, atol=1e-6)
    assert remove_prior(run)
    assert not remove_prior(run)
    again = evaluate(run, split="val", out=tmp_path / "again")
    np.testing.assert_array_equal(again.predictions.probabilities, before.predictions.probabilities)


def test_python_sets_the_step_and_http_serves_it(run, tmp_path):
    client_of = pytest.importorskip("starlette.testclient").TestClient
    from hilum.serving.http.served_models import ServedModels
    from hilum.serving.http.service import create_app

    step = hilum.set_prior(run.path, prevalences=STATED, progress=False)
    assert step == set_prior(run, prevalences=STATED).facts
    after = evaluate(run, split="val", out=tmp_path / "after").predictions
    export(run, tmp_path / "model.onnx")
    models = ServedModels([str(tmp_path / "model.onnx")])
    client = client_of(create_app(models), base_url="http://127.0.0.1")
    files = [("files", (path, (tmp_path / "data" / path).read_bytes(), "image/png")) for path in after.paths[:5]]
    answer = client.post("/v1/predict", files=files)
    models.close()
    for found, row in zip(answer.json()["predictions"], after.probabilities, strict=False):
        assert [found["probabilities"][label] for label in run.labels] == pytest.approx(list(row), abs=1e-6)
    for given in ({"choose": "accuracy", "prevalences": STATED}, {"prevalences": STATED, "split": "val"}, {}):
        with pytest.raises(UsageError):
            hilum.set_prior(run.path, **given)


def test_groups_share_what_is_stated_for_them(run):
    step = set_prior(run, prevalences={"infected/*": 0.2})
    shares = step.prevalences
    assert shares["normal"] == pytest.approx(0.8)
    assert shares["infected/covid"] + shares["infected/non-covid"] == pytest.approx(0.2)
    assert step == set_prior(run, prevalences={"infected/*": 0.2}).model_copy(update={"made": step.made})  # not stacked


@pytest.mark.parametrize(
    ("weights", "expected"), [("none", None), ("balanced", [1 / 3] * 3), ("hierarchical", fair_shares(LABELS))]
)
def test_weights_in_the_loss_are_in_the_implied_prior(run, weights, expected):
    text = (run.path / "recipe.toml").read_text()
    changed = open_run(run.path)
    recipe = changed.recipe
    plan = recipe.training.model_copy(update={"class_weights": weights})
    changed.__dict__["recipe"] = recipe.model_copy(update={"training": plan})
    prior = implied_by_loss(changed)
    assert implied_shares(prior) == pytest.approx(prior.shares if expected is None else expected)
    assert (run.path / "recipe.toml").read_text() == text


def test_the_prevalence_elsewhere_is_estimated_without_labels(run, elsewhere, tmp_path):
    """The network learns brightness alone, and answers nearly always rightly: three quarters have COVID-19."""
    step = set_prior(run, unlabelled=elsewhere)
    assert step.method == "estimated"
    assert step.n_images == 128
    assert step.prevalences["infected/covid"] > step.implied["infected/covid"] + 0.1
    low, high = step.prevalence_intervals["infected/covid"]
    assert low < step.prevalences["infected/covid"] < high
    notes = evaluate(run, elsewhere, split="train", out=tmp_path / "out").metrics.notes
    assert any("transductive" in note for note in notes)
    with pytest.raises(CertificateError) as refused:
        certify(run, elsewhere, split="train", false_negative_rate=0.2)
    assert refused.value.code == "seen-patients"


def test_test_images_select_nothing(run, tmp_path, refuses):
    with refuses(RunError, "test-images"):
        set_prior(run, unlabelled=tmp_path / "data" / "test")
    with refuses(RunError, "test-images"):
        set_prior(run, unlabelled=tmp_path / "data")
    with refuses(RunError, "test-images"):
        set_prior(run, measure="accuracy", split="test")
    with refuses(RunError, "train-images"):
        set_prior(run, measure="accuracy", split="train")
    with refuses(RunError, "no-images"):
        set_prior(run, unlabelled=tmp_path / "data" / "train")
    assert not (run.path / FILE).exists()


@pytest.mark.parametrize("measure", ["accuracy", "balanced-accuracy"])
def test_factors_are_chosen_on_validation(run, elsewhere, measure):
    step = set_prior(run, measure=measure)
    gain = step.held_out[""]
    helps = gain["after"] - gain["error"] > gain["before"]
    assert (set(step.factors.values()) != {1.0}) is helps
    assert step.split == "val"
    assert step.n_images == sum(row.split == "val" for row in run.rows)
    assert set_prior(run, elsewhere, measure=measure, split="train").split == "train"


def test_a_certificate_made_before_is_void(run):
    certify(run, false_negative_rate=0.3, confidence=0.8, attempts=2)
    set_prior(run, prevalences=STATED)
    metrics = evaluate(run, split="val").metrics
    assert metrics.certificate is None
    assert any("another prior step" in note for note in metrics.notes)
    made = certify(run, false_negative_rate=0.3, confidence=0.8).certificate
    assert made.model.prior_factors == pytest.approx(metrics.calibration.prior_step.factors)
    assert evaluate(run, split="val").metrics.certificate == made


def test_results_of_another_step_are_not_in_the_model_file(run, tmp_path):
    evaluate(run)
    set_prior(run, prevalences=STATED)
    assert export(run, tmp_path / "a.onnx").facts["results"] is None
    evaluate(run)
    assert export(run, tmp_path / "a.onnx").facts["results"]


@pytest.mark.parametrize("change", [{"weights_sha256": "0"}, {"temperatures": {"": 9.0}}, {"factors": {"normal": 0}}])
def test_a_step_of_other_probabilities_is_refused(run, change, refuses):
    set_prior(run, prevalences=STATED)
    file = run.path / FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with refuses(RunError, "prior"):
        evaluate(run, split="val")
    file.write_text("{")
    with refuses(RunError, "prior"):
        evaluate(run, split="val")
    set_prior(run, prevalences=STATED)  # which replaces it
    evaluate(run, split="val")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("normal", "not-a-share"),
        ("normal=1", "not-a-share"),
        ("normal=0.2,normal=0.3", "not-a-share"),
        ("nothing=0.2", "no-such-label"),
        ("normal=0.7,infected/*=0.7", "shares-do-not-sum"),
        ("normal=0.7,infected/covid=0.3", "shares-do-not-sum"),
        ("infected/*=0.2,infected/covid=0.1", "stated-twice"),
    ],
)
def test_shares_that_cannot_be_are_refused(run, text, code, refuses):
    with refuses(UsageError, code):
        set_prior(run, prevalences=parse_prevalences(text))


def test_exactly_one_way_is_taken(run, tmp_path, refuses):
    for ways in ({}, {"prevalences": STATED, "measure": "accuracy"}):
        with refuses(UsageError, "one-way"):
            set_prior(run, **ways)
    with refuses(UsageError, "no-such-measure"):
        set_prior(run, measure="auroc")
    with refuses(UsageError, "no-images"):
        set_prior(run, unlabelled=tmp_path / "nowhere")


def test_the_command_sets_shows_and_removes(hilum, run, snapshot):
    written = json.loads(hilum("prior", run.path, "--prevalence", "normal=0.5", "--json", check=0).stdout)
    assert written == json.loads((run.path / FILE).read_text())
    snapshot(hilum("prior", run.path, check=0).stdout)
    hilum("prior", run.path, "--split", "val", check=2)
    assert not hilum("prior", run.path, "--remove", check=0).stderr
    hilum("prior", run.path, check=2)


def test_findings_have_odds_of_their_own(tmp_path):
    data = write_findings(tmp_path / "data")
    run = make_findings_run(data, tmp_path / "run", "epochs=2")
    before = evaluate(run, split="val", out=tmp_path / "before").predictions
    for share in (5, 1, 0, -0.2, float("nan")):
        with pytest.raises(UsageError) as caught:
            set_prior(run, prevalences={"above": share})
        assert caught.value.code == "not-a-share"
    with pytest.raises(UsageError) as caught:
        set_prior(run, prevalences={"above": 0.05}, implied="calibration")
    assert caught.value.code == "ignored-option"
    step = set_prior(run, prevalences={"above": 0.05})
    after = evaluate(run, split="val", out=tmp_path / "after")
    assert step.factors["below"] == pytest.approx(1)
    odds = [p.probabilities[:, 0] / (1 - p.probabilities[:, 0]) for p in (before, after.predictions)]
    assert odds[1] / odds[0] == pytest.approx(step.factors["above"], rel=1e-6)
    np.testing.assert_allclose(after.predictions.probabilities[:, 1:], before.probabilities[:, 1:], atol=1e-12)
    one = after.metrics.findings["above"].metrics.calibration.prior_step
    assert one.prevalences == {"above": 0.05}
    export(run, tmp_path / "model.onnx")
    predictor = Predictor(tmp_path / "model.onnx")
    for path, row in list(zip(after.predictions.paths, after.predictions.probabilities, strict=True))[:10]:
        answer = predictor.predict(data.root / path)
        np.testing.assert_allclose(list(answer.probabilities.values()), row, atol=1e-6)
    assert set(set_prior(run, measure="balanced-accuracy").held_out) == set(run.findings)
