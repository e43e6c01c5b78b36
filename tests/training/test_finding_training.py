"""Learning several findings an image: the loss beside PyTorch's own, gaps in what is known, and whole trainings."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hilum.data.multilabel import column_of, finding_values
from hilum.errors import RecipeError, RunError, SplitError
from hilum.evaluation.inference import predict
from hilum.evaluation.temperature import calibrate
from hilum.models.registry import PerFinding, build_classifier
from hilum.training.augmentation import Mix
from hilum.training.findings_loss import SOFT, FindingsLoss, Validated, finding_aurocs, presence_weights, targets_of
from hilum.training.plan import TrainingPlan
from hilum.training.recipe import load_recipe
from hilum.training.train import train
from hilum.training.trainable import check_training
from training_runs import COMPACT, FEW, FINDINGS, make_findings_run, write_findings

NAN = float("nan")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_findings(tmp_path_factory.mktemp("findings"))


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    return make_findings_run(data, tmp_path_factory.mktemp("run") / "run")


class Scores(nn.Module):
    """Gives the same scores whatever it sees."""

    def __init__(self, scores):
        super().__init__()
        self.scores = nn.Parameter(scores)

    def forward(self, images):
        return self.scores


def some(seed=0, images=7):
    generator = torch.Generator().manual_seed(seed)
    scores = 3 * torch.randn(images, 6, generator=generator)
    targets = (torch.rand(images, 3, generator=generator) < 0.4).float()
    targets[torch.rand(images, 3, generator=generator) < 0.3] = NAN
    return scores, targets


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", ["none", "balanced"])
def test_the_loss_is_pytorchs_binary_cross_entropy_where_a_finding_is_known(smoothing, weighted):
    scores, targets = some()
    plan = TrainingPlan(label_smoothing=smoothing, finding_weights=weighted)
    network = PerFinding(Scores(scores))
    loss = FindingsLoss(network, plan, targets.numpy())(network, torch.zeros(7, 1, 2, 2), targets)
    known = ~targets.isnan()
    logits = (scores[:, 1::2] - scores[:, ::2])[known]
    wanted = (targets * (1 - smoothing) + smoothing / 2)[known]
    weight = presence_weights(plan, targets.numpy()).expand(7, 3)[known]
    expected = F.binary_cross_entropy_with_logits(logits, wanted, pos_weight=weight)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_what_is_unknown_has_no_gradient():
    scores, targets = some()
    inner = Scores(scores)
    network = PerFinding(inner)
    FindingsLoss(network, TrainingPlan(), targets.numpy())(network, torch.zeros(7, 1, 2, 2), targets).backward()
    slope = inner.scores.grad.unflatten(1, (3, 2))
    assert torch.isfinite(slope).all()
    assert (slope[targets.isnan()] == 0).all()
    assert (slope[~targets.isnan()] != 0).all()


def test_a_batch_of_which_nothing_is_known_teaches_nothing():
    inner = Scores(torch.randn(4, 6))
    network = PerFinding(inner)
    targets = torch.full((4, 3), NAN)
    loss = FindingsLoss(network, TrainingPlan(), np.zeros((2, 3), np.float32))(
        network, torch.zeros(4, 1, 2, 2), targets
    )
    loss.backward()
    assert loss.item() == 0
    assert (inner.scores.grad == 0).all()


def test_mixed_images_have_mixed_targets_where_both_are_known():
    scores, targets = some(images=6)
    network = PerFinding(Scores(scores))
    mix = Mix(torch.tensor([1, 0, 3, 2, 5, 4]), 0.3)
    loss = FindingsLoss(network, TrainingPlan(), targets.numpy())(network, torch.zeros(6, 1, 2, 2), targets, mix)
    mixed = 0.3 * targets + 0.7 * targets[mix.partner]
    known = ~mixed.isnan()
    logits = (scores[:, 1::2] - scores[:, ::2])[known]
    expected = F.binary_cross_entropy_with_logits(logits, mixed[known])
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(("uncertain", "value"), [("ignore", NAN), ("positive", 1), ("negative", 0), ("soft", SOFT)])
def test_uses_of_uncertain_findings(uncertain, value):
    values = np.array([[1, 0, -1], [NAN, -1, 0]], np.float32)
    expected = np.array([[1, 0, value], [NAN, value, 0]], np.float32)
    np.testing.assert_array_equal(targets_of(values, uncertain), expected)


def test_balanced_weights_are_odds_of_absence_and_bounded():
    targets = np.zeros((1000, 2), np.float32)
    targets[:100, 0], targets[:2, 1] = 1, 1
    targets[500:, 0] = NAN
    weights = presence_weights(TrainingPlan(finding_weights="balanced"), targets)
    assert weights.tolist() == [4.0, 20.0]


def test_a_validation_is_measured_where_findings_are_known():
    scores, targets = some(images=40)
    log_probabilities = PerFinding(Scores(scores))(None).detach()
    whole = Validated()
    whole.add(log_probabilities[:25], targets[:25])
    whole.add(log_probabilities[25:], targets[25:])
    found = whole.measures(1)
    known = ~targets.isnan()
    logits = scores[:, 1::2] - scores[:, ::2]
    expected = F.binary_cross_entropy_with_logits(logits[known], targets[known])
    assert found["val_loss"] == pytest.approx(expected.item(), rel=1e-5)
    assert found["val_accuracy"] == pytest.approx(float(((logits > 0) == (targets == 1))[known].float().mean()))
    assert found["val_false_negatives"] == int(((targets[:, 1] == 1) & (logits[:, 1] < 0)).sum())
    from sklearn.metrics import roc_auc_score

    areas = [roc_auc_score(targets[k, n], logits[k, n].detach()) for n, k in enumerate(known.T)]
    assert found["val_auroc"] == pytest.approx(np.mean(areas))


def test_a_finding_without_both_kinds_has_no_area():
    areas = finding_aurocs(np.array([[0.1, 0.2], [0.8, 0.9]]), np.array([[0, 1], [1, NAN]]))
    assert areas[0] == 1
    assert np.isnan(areas[1])


@pytest.mark.parametrize("members", [1, 2])
def test_probabilities_of_members_are_averaged(members):
    network = build_classifier("findings", "compact", FINDINGS, 32, members=members, width=4).eval()
    images = torch.randn(3, 1, 32, 32)
    found = network(images).exp()
    assert found.shape == (3, 3, 2)
    assert torch.allclose(found.sum(dim=2), torch.ones(3, 3), atol=1e-5)
    parts = network.members if members > 1 else [network]
    assert torch.allclose(found, torch.stack([part(images).exp() for part in parts]).mean(dim=0), atol=1e-5)


def test_a_training_learns_findings_and_keeps_them(run, data):
    assert run.findings == FINDINGS
    assert run.structure == "findings"
    assert json.loads((run.path / "environment.json").read_text())["task"] == "findings"
    history = run.history()
    assert history[-1]["val_auroc"] > 0.9
    assert history[-1]["val_loss"] < history[0]["val_loss"]
    assert run.environment.best.val_auroc == history[-1]["val_auroc"]
    np.testing.assert_array_equal(finding_values(run.table()), finding_values(data))
    owners = {}
    for row in run.rows:
        assert owners.setdefault(row.patient_id, row.split) == row.split


def test_a_run_says_how_probable_each_finding_is(run, data):
    from hilum.evaluation.cohort import run_images
    from hilum.progress import Progress

    images, _ = run_images(run, Progress())
    stated = predict(run, images, run.findings)
    assert stated.shape == (len(data), 3)
    assert finding_aurocs(stated, targets_of(finding_values(images.table), "ignore")).min() > 0.7
    calibration = calibrate(run)
    assert calibration.temperatures.keys() == set(FINDINGS)
    np.testing.assert_allclose(calibration.applied_to(stated, run), stated, atol=1e-9)  # none helps with 14 patients
    halved = replace(calibration, temperatures={"above": 1.0, "below": 2.0, "left": 1.0}).applied_to(stated, run)
    np.testing.assert_allclose(halved[:, [0, 2]], stated[:, [0, 2]], atol=1e-9)
    np.testing.assert_allclose(np.log(halved / (1 - halved))[:, 1], np.log(stated / (1 - stated))[:, 1] / 2, rtol=1e-6)


def test_an_interrupted_training_ends_the_same(data, tmp_path, run, monkeypatch):
    from hilum.training import loop

    class StopError(Exception):
        pass

    calls = []

    def stop(self, path):
        save(self, path)
        calls.append(path)
        if len(calls) == 3:
            raise StopError

    save = loop.TrainingState.save
    monkeypatch.setattr(loop.TrainingState, "save", stop)
    with pytest.raises(StopError):
        make_findings_run(data, tmp_path / "run")
    monkeypatch.setattr(loop.TrainingState, "save", save)
    other = [replace(row, extra={**row.extra, column_of("left"): "1"}) for row in data.rows]
    with pytest.raises(RunError) as refused:
        train(replace(data, rows=other), tmp_path / "run", resume=True)
    assert refused.value.code == "other-images"
    again = train(data, tmp_path / "run", resume=True, check=False)
    assert again.environment.weights_sha256 == run.environment.weights_sha256


def test_mean_auroc_chooses_the_checkpoint(data, tmp_path):
    run = make_findings_run(
        data, tmp_path / "run", "monitor=auroc", "save_after=0", "mixup=0.2", "uncertain=soft", "epochs=4"
    )
    history = run.history()
    assert run.environment.best.val_auroc == max(row["val_auroc"] for row in history)
    assert run.recipe.training.uncertain == "soft"


def checked(data, *settings, only=("train", "val")):
    rows = [replace(row, split=only[number % len(only)]) for number, row in enumerate(data.rows)]
    return check_training(replace(data, rows=rows), load_recipe("compact", [*FEW, *COMPACT, *settings]))


@pytest.mark.parametrize(
    ("settings", "error", "code"),
    [
        (["hierarchy=cascade"], RecipeError, "cascade-of-findings"),
        (["monitor=false_negatives"], RecipeError, "no-positive-label"),
        (["positive_label=Hernia"], RecipeError, "no-such-label"),
    ],
)
def test_what_does_not_work_with_findings_is_refused(data, settings, error, code):
    with pytest.raises(error) as refused:
        checked(data, *settings)
    assert refused.value.code == code
    assert "\n" not in str(refused.value)


def test_a_finding_that_cannot_be_learnt_is_named(data):
    rows = [
        replace(row, extra={**row.extra, column_of("left"): "-1" if row.extra["age"] > "40" else "0"})
        for row in data.rows
    ]
    with pytest.raises(SplitError) as refused:
        checked(replace(data, rows=rows))
    assert refused.value.code == "one-sided-finding"
    assert "left" in str(refused.value)
    assert checked(replace(data, rows=rows), "uncertain=positive") == FINDINGS


def test_mean_auroc_is_for_findings(write_dataset, tmp_path):
    with pytest.raises(RecipeError) as refused:
        train(write_dataset(), tmp_path / "run", load_recipe("compact", [*COMPACT, "monitor=auroc"]))
    assert refused.value.code == "no-findings"


def test_a_sweep_chooses_by_mean_auroc(data, tmp_path):
    from hilum.report.sweep_page import choice, sweep_table
    from hilum.training.sweep import sweep

    result = sweep(data, tmp_path / "s", [*FEW, *COMPACT, "epochs=3", "lr=0.00001,0.02"], monitor="auroc")
    assert result.choice == {"training.lr": 0.02}
    means = [group.mean.val_auroc for group in result.groups]
    assert means == sorted(means, reverse=True)
    assert f"{means[0]:.3f}" in choice(result)
    assert sweep_table(result, tmp_path / "s")
    assert "val_auroc" in (tmp_path / "s" / "sweep.csv").read_text().splitlines()[0]


def test_samples_hold_findings_as_torchxrayvision_does(data):
    from hilum.training.torch_dataset import RadiographDataset

    made = RadiographDataset(data)
    assert made.pathologies == list(FINDINGS)
    np.testing.assert_array_equal(made.labels, targets_of(finding_values(data), "ignore"))
    assert made[0]["lab"].shape == (3,)


def test_scikit_learns_estimator_says_that_it_learns_one_label():
    from hilum.errors import UsageError
    from hilum.sklearn import RadiographClassifier

    with pytest.raises(UsageError) as refused:
        RadiographClassifier().fit(["a.png", "b.png"], [[0, 1], [1, 0]])
    assert refused.value.code == "several-findings"
