"""The whole training: what a run holds, and that interruptions leave no trace."""

from pathlib import Path

import numpy as np
import pytest
import torch

from hilum.data.cache import open_images
from hilum.data.labels import fair_shares
from hilum.data.readers.read import read_table
from hilum.errors import CheckpointError, DivergenceError, RecipeError, RunError, SplitError
from hilum.evaluation.evaluate import evaluate
from hilum.models.compact import Compact
from hilum.training.loop import precision_of
from hilum.training.loss import decision_weights
from hilum.training.module import learning_rate_factor
from hilum.training.recipe import load_recipe
from hilum.training.run import open_run
from hilum.training.split_part import select_part
from hilum.training.train import train
from short_trainings import forget, make_unfinished, tiny

pytestmark = pytest.mark.usefixtures("small_evaluation")

AS_THEY_ARE = ("equalise=false", "local_contrast=0", "gamma=0", "epochs=8")  # grey levels are left to be learnt


def test_a_run_holds_what_others_rely_on(write_dataset, tmp_path):
    run = train(write_dataset(splits=("train", "test")), tmp_path / "run", tiny())
    assert open_run(tmp_path / "run").recipe == tiny()
    splits = {row.split for row in run.rows}
    assert splits == {"train", "val", "calibration", "test"}
    history = run.history()
    assert list(history[0]) == [
        "epoch",
        "step",
        "train_loss",
        "val_loss",
        "val_accuracy",
        "lr",
        "seconds",
        "val_false_negatives",
    ]
    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert [row["step"] for row in history] == [8, 16, 24]  # 60 images in batches of 8
    best = min(history, key=lambda row: row["val_loss"])
    assert run.environment.best.step == best["step"]
    assert run.best.exists()
    assert run.last.exists()
    assert run.labels == ("normal", "infected/covid", "infected/non-covid")
    assert run.positive_label == "infected/covid"


@pytest.mark.slow
def test_it_learns_what_can_be_learnt(write_dataset, tmp_path):
    """The labels differ in brightness, which equalisation would remove, and local contrast does remove."""
    root = write_dataset(splits=("train", "test"), patients=20)
    metrics = evaluate(train(root, tmp_path / "run", tiny(*AS_THEY_ARE))).metrics
    assert metrics.accuracy.value > 0.9
    assert metrics.n_patients == 60
    blind = train(root, tmp_path / "blind", tiny(*AS_THEY_ARE, "local_contrast=0.067"))
    assert evaluate(blind).metrics.accuracy.value < 0.6


def test_the_chosen_weights_are_those_of_the_best_validation(write_dataset, tmp_path):
    run = train(write_dataset(splits=("train", "test")), tmp_path / "run", tiny("precision=float32"))
    result = evaluate(run, split="val")
    plain = result.metrics.calibration.before  # training knows nothing of temperatures
    assert plain.log_loss == pytest.approx(run.environment.best.val_loss, abs=1e-4)
    assert result.metrics.accuracy.value == pytest.approx(run.environment.best.val_accuracy, abs=1e-6)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(write_dataset, tmp_path):
    root = write_dataset()
    hashes = [
        train(root, tmp_path / f"run{i}", tiny(f"training.seed={seed}")).environment.weights_sha256
        for i, seed in enumerate((0, 0, 1))
    ]
    assert hashes[0] == hashes[1] != hashes[2]


def test_test_images_have_no_influence_on_the_weights(write_dataset, tmp_path):
    root = write_dataset(splits=("train", "test"))
    first = train(root, tmp_path / "one", tiny())
    for file in (root / "test").rglob("*.png"):
        file.write_bytes(next((root / "train").rglob("*.png")).read_bytes())
    second = train(root, tmp_path / "two", tiny())
    assert first.environment.weights_sha256 == second.environment.weights_sha256


def test_weights_of_another_architecture_are_refused_by_evaluate(write_dataset, tmp_path, refuses):
    run = train(write_dataset(splits=("train", "test")), tmp_path / "run", tiny("max_steps=3"))
    text = (run.path / "recipe.toml").read_text().replace("width = 4", "width = 8")
    (run.path / "recipe.toml").write_text(text)
    forget(run, "files")  # versions before named no files
    with refuses(CheckpointError, "other-architecture"):
        evaluate(open_run(run.path))


def test_a_recipe_that_was_cut_or_changed_is_not_the_runs(write_dataset, tmp_path):
    """Half a recipe is a recipe: the defaults would fill it up, and other pixels be shown to the network."""
    run = train(write_dataset(splits=("train", "test")), tmp_path / "run", tiny("max_steps=3"))
    recipe = run.path / "recipe.toml"
    whole = recipe.read_bytes()
    for cut in (b"", b"".join(whole.splitlines(keepends=True)[:4]), whole + b"\n"):
        recipe.write_bytes(cut)
        with pytest.raises(RunError):
            evaluate(open_run(run.path))
    make_unfinished(run)
    with pytest.raises(RunError):
        train(write_dataset(splits=("train", "test")), run.path, resume=True)
    recipe.write_bytes(whole)
    assert open_run(run.path).recipe == run.recipe


@pytest.mark.parametrize("content", ["[1]", "3", '{"data": 3}', '{"files": [1]}', '{"labels": "x"}', "[" * 100_000])
def test_an_environment_of_another_kind_is_one_error(tmp_path, content):
    (tmp_path / "recipe.toml").touch()
    (tmp_path / "environment.json").write_text(content)
    with pytest.raises(RunError):
        _ = open_run(tmp_path).environment


def test_a_loss_that_is_no_number_stops_with_the_remedy(write_dataset, tmp_path, refuses):
    recipe = tiny("optimiser=sgd", "schedule=constant", "lr=1e30", "precision=float32")
    with refuses(DivergenceError, "divergence"):
        train(write_dataset(), tmp_path / "run", recipe)


def test_the_very_last_step_is_validated_whatever_the_interval(write_dataset, tmp_path):
    run = train(write_dataset(), tmp_path / "run", tiny("max_steps=10", "validate_every=6", "epochs=9"))
    assert [row["step"] for row in run.history()] == [6, 10]


def test_without_validation_images_nothing_could_choose(write_dataset, tmp_path, refuses):
    with refuses(SplitError, "empty-split"):
        train(write_dataset(), tmp_path / "run", tiny('splits.val="none"'))


def test_a_protected_label_that_does_not_exist_is_refused_before_training(write_dataset, tmp_path, refuses):
    with refuses(RecipeError, "no-such-label"):
        train(write_dataset(), tmp_path / "run", tiny("protected=tb"))


@pytest.mark.slow
def test_the_seeds_recipe_trains_the_seeds_way_on_the_real_data(seed_cxr, tmp_path):
    """Its protocol on a narrow network; the full one takes minutes a step here."""
    settings = [
        "network.options.width=0.02",
        "preprocessing.size=32",
        "training.max_steps=2",
        "validate_every=1",
    ]
    run = train(seed_cxr, tmp_path / "run", load_recipe("vgg16-report", settings))
    assert [row["step"] for row in run.history()] == [1, 2]
    assert {row["lr"] for row in run.history()} == {0.01}
    assert evaluate(run).metrics.n_images == 25
    assert evaluate(run, split="val").metrics.n_images == 615


def test_balanced_weights_make_every_label_weigh_the_same(write_dataset):
    images = open_images(read_table(write_dataset(patients=3)), tiny().preprocessing)
    part, targets = select_part(images, "train", ("normal", "infected/covid", "infected/non-covid"))
    targets[:4] = 2  # unequal now
    plan = tiny("class_weights=balanced").training
    weights = decision_weights(plan, targets, 3)
    totals = [weights[k].item() * (targets == k).sum() for k in range(3)]
    assert totals == pytest.approx([len(part.table) / 3] * 3)
    assert torch.equal(decision_weights(tiny("class_weights=none").training, targets, 3), torch.ones(3))


def test_tree_weights_make_normal_weigh_as_much_as_all_that_is_infected():
    targets = np.array([0] * 4 + [1] * 6 + [2] * 10)
    plan = tiny("class_weights=hierarchical").training
    weights = decision_weights(plan, targets, 3, fair_shares(("normal", "infected/covid", "infected/non-covid")))
    assert [weights[k].item() * (targets == k).sum() for k in range(3)] == pytest.approx([10, 5, 5])


def test_the_first_steps_see_smaller_images(write_dataset, tmp_path, monkeypatch):
    seen = []
    plain = Compact.forward
    monkeypatch.setattr(Compact, "forward", lambda self, images: seen.append(images.shape[-1]) or plain(self, images))
    run = train(write_dataset(), tmp_path / "run", tiny("early_size=20", "early_share=0.5", "epochs=2"))
    total = run.history()[-1]["step"]
    assert seen.count(20) == 2 + total / 2  # before and after decoding, whether the network can take them
    assert seen[-1] == 32


def test_a_network_of_fixed_size_cannot_begin_small(write_dataset, tmp_path, refuses):
    recipe = load_recipe("vgg16-report", ["network.options.width=0.02", "early_size=64", "splits={}"])
    with refuses(RecipeError, "fixed-size"):
        train(write_dataset(), tmp_path / "run", recipe)


def test_schedules_begin_peak_and_end_where_they_should():
    one_cycle = tiny("schedule=one-cycle", "warmup=0.25").training
    curve = [learning_rate_factor(one_cycle, step, 100) for step in range(101)]
    assert curve[0] == pytest.approx(0.04)
    assert max(curve) == curve[25] == pytest.approx(1)
    assert curve[100] == pytest.approx(0, abs=1e-9)
    cosine = tiny("schedule=cosine").training
    assert [learning_rate_factor(cosine, step, 100) for step in (0, 50, 100)] == pytest.approx([1, 0.5, 0])
    constant = tiny("schedule=constant").training
    assert {learning_rate_factor(constant, step, 100) for step in range(101)} == {1.0}


@pytest.mark.skipif(torch.cuda.is_available(), reason="the GPU decides where there is one")
def test_bfloat16_is_used_where_the_processor_says_that_it_has_it():
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        pytest.skip("needs Linux's /proc/cpuinfo")
    flags = set(cpuinfo.read_text().split())
    has_it = bool({"avx512_bf16", "amx_bf16"} & flags)
    assert precision_of(tiny("precision=auto").training) == ("bfloat16" if has_it else "float32")


def test_precision_can_be_forced():
    assert precision_of(tiny("precision=float32").training) == "float32"
    assert precision_of(tiny("precision=bfloat16").training) == "bfloat16"


def test_a_cascade_is_one_run_like_any_other(write_dataset, tmp_path):
    root = write_dataset(splits=("train", "test"), patients=20)
    run = train(root, tmp_path / "run", tiny("architecture=cascade", *AS_THEY_ARE))
    result = evaluate(run)
    assert result.metrics.accuracy.value > 0.9
    assert result.predictions.probabilities.sum(axis=1) == pytest.approx(1)


def test_the_kept_checkpoint_is_the_one_with_the_fewest_misses(write_dataset, tmp_path):
    root = write_dataset(splits=("train", "test"))
    run = train(root, tmp_path / "run", tiny("monitor=false_negatives", "epochs=6", "precision=float32"))
    fewest = min(run.history(), key=lambda row: (row["val_false_negatives"], row["val_loss"]))
    assert run.environment.best.step == fewest["step"]
    confusion = evaluate(run, split="val").metrics.confusion
    assert sum(confusion[1]) - confusion[1][1] == fewest["val_false_negatives"]


def test_no_checkpoint_is_kept_before_its_time(write_dataset, tmp_path):
    root = write_dataset()
    late = train(root, tmp_path / "late", tiny("epochs=6", "keep_from=0.8", "precision=float32"))
    allowed = [row for row in late.history() if row["step"] >= 0.8 * late.history()[-1]["step"]]
    assert len(allowed) == 2
    assert late.environment.best.step == min(allowed, key=lambda row: row["val_loss"])["step"]
    assert evaluate(late, split="val").metrics.log_loss == pytest.approx(late.environment.best.val_loss, abs=1e-4)


def test_misses_need_a_protected_label(write_dataset, tmp_path, refuses):
    with refuses(RecipeError, "no-positive-label"):
        train(write_dataset(labels=("a", "b")), tmp_path / "run", tiny("monitor=false_negatives"))
