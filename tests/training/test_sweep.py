"""A sweep: every trial a run, the choice by validation, interruptions without loss."""

import csv
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from hilum.data.process_pool import ProcessPool
from hilum.data.readers.read import read_table
from hilum.errors import RecipeError, RunError, SplitError
from hilum.progress import Progress
from hilum.training import multirun as series
from hilum.training.parallel import Engine
from hilum.training.recipe import load_recipe
from hilum.training.run import open_run
from hilum.training.sweep import _decoded, sweep


def test_every_trial_is_a_run_and_the_best_on_validation_is_chosen(write_dataset, tmp_path, tiny):
    result = sweep(write_dataset(), tmp_path / "sweep", [*tiny, "lr=0.000001,0.01"])
    assert [trial.settings for trial in result.trials] == [{"training.lr": 1e-6}, {"training.lr": 0.01}]
    for trial in result.trials:
        run = open_run(tmp_path / "sweep" / "trials" / trial.name)
        assert run.finished
        assert run.recipe.training.lr == trial.settings["training.lr"]
        assert trial.best.as_json() == run.environment.best.as_json()
        assert not run.evaluations()  # no test image is looked at
    assert result.choice == {"training.lr": 0.01}
    losses = {group.settings["training.lr"]: group.mean.val_loss for group in result.groups}
    assert losses[0.01] == min(losses.values())
    assert json.loads((tmp_path / "sweep" / "sweep.json").read_text()) == result.to_json()
    rows = list(csv.DictReader((tmp_path / "sweep" / "sweep.csv").read_text().splitlines()))
    assert [row["training.lr"] for row in rows] == ["1e-06", "0.01"]
    assert float(rows[1]["val_loss"]) == result.trials[1].best.val_loss


def test_seeds_are_repetitions_and_nothing_to_choose(write_dataset, tmp_path, tiny):
    result = sweep(write_dataset(), tmp_path / "sweep", [*tiny, "training.seed=0,1", "lr=0.0001,0.01", "epochs=1"])
    assert len(result.trials) == 4
    assert {json.dumps(group.settings) for group in result.groups} == {
        '{"training.lr": 0.0001}',
        '{"training.lr": 0.01}',
    }
    of = {trial.name: trial for trial in result.trials}
    for group in result.groups:
        values = [of[name].best.val_accuracy for name in group.trials]
        assert group.mean.val_accuracy == pytest.approx(sum(values) / 2)


def test_a_trial_that_diverges_is_reported_and_the_others_go_on(write_dataset, tmp_path, tiny, snapshot):
    # SGD multiplies a gradient by the rate: 1e38 overflows float32 in the first step.
    root, settings = write_dataset(), [*tiny, "optimiser=sgd", "lr=1e38,0.01"]
    result = sweep(root, tmp_path / "sweep", settings)
    assert [trial.status for trial in result.trials] == ["diverged", "finished"]
    snapshot(result.trials[0].message)
    assert result.choice == {"training.lr": 0.01}
    again = sweep(root, tmp_path / "sweep", settings, resume=True)
    assert again == result


def test_if_everything_diverges_nothing_is_chosen(write_dataset, tmp_path, tiny):
    result = sweep(write_dataset(), tmp_path / "sweep", [*tiny, "optimiser=sgd", "lr=1e37,1e38"])
    assert result.choice is None


def pretend(monkeypatch, outcomes, seen):
    """Trials whose validation is known beforehand, by the recipe's name."""

    def finish(data, folder, recipe, progress):
        seen.append(recipe.training.monitor)
        folder.mkdir(parents=True)
        best = {"epoch": 1, "step": 1, **outcomes[recipe.name]}
        facts = {"best": best, "seconds": 1.0, "weights_sha256": "0"}
        (folder / "environment.json").write_text(json.dumps(facts))

    monkeypatch.setattr("hilum.training.sweep.train_member", finish)


@pytest.mark.parametrize(("monitor", "chosen"), [("loss", "b"), ("accuracy", "c"), ("false_negatives", "a")])
def test_the_choice_is_by_what_was_asked_for(write_dataset, tmp_path, tiny, monkeypatch, monitor, chosen):
    """a misses least, b has the smallest loss, c is right most often, and d is second in everything."""
    outcomes = {
        "a": {"val_loss": 0.9, "val_accuracy": 0.6, "val_false_negatives": 1},
        "b": {"val_loss": 0.3, "val_accuracy": 0.7, "val_false_negatives": 5},
        "c": {"val_loss": 0.5, "val_accuracy": 0.8, "val_false_negatives": 4},
        "d": {"val_loss": 0.4, "val_accuracy": 0.75, "val_false_negatives": 2},
    }
    seen = []
    pretend(monkeypatch, outcomes, seen)
    result = sweep(write_dataset(), tmp_path / "s", [*tiny, "name=a,b,c,d"], monitor=monitor)
    assert result.choice == {"name": chosen}
    assert set(seen) == {monitor}  # checkpoints are kept by it, too


def test_equal_misses_are_decided_by_the_loss(write_dataset, tmp_path, tiny, monkeypatch):
    outcomes = {
        "a": {"val_loss": 0.9, "val_accuracy": 0.5, "val_false_negatives": 2},
        "b": {"val_loss": 0.3, "val_accuracy": 0.5, "val_false_negatives": 2},
    }
    pretend(monkeypatch, outcomes, [])
    result = sweep(write_dataset(), tmp_path / "s", [*tiny, "name=a,b"], monitor="false_negatives")
    assert result.choice == {"name": "b"}


@pytest.mark.slow
def test_interrupted_and_continued_it_ends_the_same(write_dataset, tmp_path, tiny):
    """Killed in the second of three trials, after its first validation: that one goes on, the first stays."""
    root, settings = write_dataset(patients=40), [*tiny, "epochs=6", "batch_size=4", "training.seed=0,1,2"]
    whole = sweep(root, tmp_path / "whole", settings)
    out = tmp_path / "killed"
    options = [option for setting in settings for option in ("--set", setting)]
    command = [sys.executable, "-m", "hilum", "sweep", root, "--out", out, *options]
    process = subprocess.Popen([str(part) for part in command], stderr=subprocess.DEVNULL)
    first, second, third = (out / "trials" / trial.name for trial in whole.trials)
    end = time.monotonic() + 120
    while not (second / "checkpoints" / "last.safetensors").exists() and time.monotonic() < end:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert "weights_sha256" not in json.loads((second / "environment.json").read_text()), "killed too late"
    assert not third.exists()
    finished = (first / "environment.json").stat().st_mtime_ns

    resumed = sweep(root, out, settings, resume=True)
    assert (first / "environment.json").stat().st_mtime_ns == finished  # what was finished is not trained again
    assert open_run(second).environment.resumed
    for trial, other in zip(whole.trials, resumed.trials, strict=True):
        assert trial.best == other.best
        hashes = [
            open_run(folder / "trials" / trial.name).environment.weights_sha256 for folder in (tmp_path / "whole", out)
        ]
        assert hashes[0] == hashes[1]
    assert resumed.choice == whole.choice


def test_a_finished_trial_without_its_last_checkpoint_is_finished(write_dataset, tmp_path, tiny):
    root, settings = write_dataset(), [*tiny, "epochs=1", "lr=0.01,0.02"]
    result = sweep(root, tmp_path / "sweep", settings)
    run = open_run(tmp_path / "sweep" / "trials" / result.trials[0].name)
    run.last.unlink()
    (run.path / "note.txt").write_text("mine")
    assert sweep(root, tmp_path / "sweep", settings, resume=True) == result
    assert (run.path / "note.txt").exists()


def test_a_wrong_value_is_found_before_anything_is_trained(write_dataset, tmp_path, tiny, refuses):
    root = write_dataset()
    with refuses(RecipeError, "impossible-value"):
        sweep(root, tmp_path / "sweep", [*tiny, "lr=0.01,-1"])
    with refuses(RecipeError, "unknown-key"):
        sweep(root, tmp_path / "sweep", [*tiny, "learnrate=0.01,0.1"])
    with refuses(SplitError, "no-such-split"):
        sweep(root, tmp_path / "sweep", [*tiny, "splits.val=auto,dev"])
    for settings, code in (
        (["architecture=flat,cascade"], "flat-labels"),
        (["protected=auto,zzz"], "no-such-label"),
        (["network.architecture=compact,foo"], "unknown-network"),
        (["lr=0.1,inf"], "impossible-value"),
    ):
        with refuses(RecipeError, code):
            sweep(write_flat(write_dataset), tmp_path / "sweep", [*tiny, *settings])
    with refuses(RecipeError, "no-positive-label"):
        sweep(write_flat(write_dataset), tmp_path / "sweep", [*tiny, "lr=0.1,0.2"], monitor="false_negatives")
    assert not (tmp_path / "sweep").exists()


def write_flat(write_dataset):
    return write_dataset(labels=("a", "b"), name="flat")


@pytest.mark.ci
def test_validations_of_different_images_are_remarked_upon(write_dataset, tmp_path, tiny, snapshot):
    root, few = write_dataset(patients=30), [*tiny, "max_steps=2"]
    result = sweep(root, tmp_path / "seeds", [*few, "splits.seed=0,1"])
    assert len(result.groups) == 1  # a repetition, not a choice
    result = sweep(root, tmp_path / "fractions", [*few, "fraction=0.1,0.2"])
    snapshot(result.notes[0])
    result = sweep(root, tmp_path / "labels", [*few, "protected=normal,infected/covid"], monitor="false_negatives")
    snapshot(result.notes[0])


def test_relabelled_data_are_other_data(write_dataset, tmp_path, tiny, refuses):
    """The same files, another label or another patient: nothing may be continued, or ranked beside it."""
    root, settings = write_dataset(), [*tiny, "max_steps=2", "lr=0.01,0.02"]
    sweep(root, tmp_path / "sweep", settings)
    table = root / "metadata.csv"
    text = table.read_text()
    table.write_text(text.replace("train-normal-3", "train-normal-2"))
    with refuses(RecipeError, "other-choices"):
        sweep(root, tmp_path / "sweep", settings, resume=True)


def test_a_folder_in_the_way_and_another_sweep_are_refused(write_dataset, tmp_path, tiny, refuses):
    root, out = write_dataset(), tmp_path / "sweep"
    settings = [*tiny, "max_steps=2"]
    sweep(root, out, [*settings, "lr=0.01,0.02"])
    with refuses(RunError, "in-the-way"):
        sweep(root, out, [*settings, "lr=0.01,0.02"])
    with refuses(RecipeError, "other-choices"):
        sweep(root, out, [*settings, "lr=0.01,0.03"], resume=True)
    with refuses(RecipeError, "other-choices"):
        sweep(write_dataset(name="other", start=1), out, [*settings, "lr=0.01,0.02"], resume=True)
    with refuses(RunError, "nothing-to-continue"):
        sweep(root, tmp_path / "none", [*settings, "lr=0.01,0.02"], resume=True)
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "file").touch()
    with refuses(RunError, "in-the-way"):
        sweep(root, tmp_path / "else", [*settings, "lr=0.01,0.02"])


def test_a_training_that_cannot_go_on_stops_the_series(write_dataset, tmp_path, tiny, monkeypatch):
    """Only divergence belongs to a trial; a full disk or lost data concern all of them."""

    stop = RunError("the images are gone")

    def lost(*arguments, **more):
        raise stop

    monkeypatch.setattr(series, "train", lost)
    with pytest.raises(RunError) as caught:
        sweep(write_dataset(), tmp_path / "sweep", [*tiny, "lr=0.01,0.02"])
    assert caught.value is stop


def test_a_cluster_hashes_each_file_once_whatever_the_preprocessings(write_dataset, own_cache, monkeypatch):
    """Processes of this machine stand for the cluster; the first preprocessing comes again with the last recipe."""
    table = read_table(write_dataset())
    table.file(table.rows[3]).write_bytes(b"none")
    recipes = [load_recipe("compact", [f"size={size}", f"lr={lr}"]) for size, lr in ((40, 1), (32, 1), (40, 0.1))]
    hashed, decoded, work_on = [], [], ProcessPool.map

    def noted(pool, work, items):
        {"hash_files": hashed, "decode_into": decoded}[work.func.__name__].extend(items[:])
        return work_on(pool, work, items)

    monkeypatch.setattr(ProcessPool, "map", noted)
    monkeypatch.setattr("hilum.training.sweep.pool_of", lambda *_: ProcessPool(1))
    found = _decoded(table, recipes, Engine("ray"), Progress())
    paths = [row.path for row in table.rows]
    assert hashed == paths
    assert sorted(decoded) == sorted(2 * [*enumerate(paths)])
    alone = _decoded(table, recipes[:1], Engine(), Progress())
    assert hashed == 2 * paths  # the local one hashes, too, and finds all decoded
    assert sorted(decoded) == sorted(2 * [*enumerate(paths)])
    assert [item.path for item in found.unreadable] == [paths[3]]
    assert (found.digest, list(found.table.rows)) == (alone.digest, list(alone.table.rows))
    np.testing.assert_array_equal(found.pixels, alone.pixels)
