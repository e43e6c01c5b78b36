"""A sweep: every trial a run, the choice by validation, interruptions without loss."""

import csv
import json
import signal
import subprocess
import sys
import time

import pytest

from hilum.errors import DivergenceError, RecipeError, RunError, SplitError
from hilum.training import series
from hilum.training.run import open_run
from hilum.training.sweep import sweep


def test_every_trial_is_a_run_and_the_best_on_validation_is_chosen(write_dataset, tmp_path, tiny):
    result = sweep(write_dataset(), tmp_path / "sweep", [*tiny, "lr=0.000001,0.01"])
    assert [trial["settings"] for trial in result["trials"]] == [{"training.lr": 1e-6}, {"training.lr": 0.01}]
    for trial in result["trials"]:
        run = open_run(tmp_path / "sweep" / "trials" / trial["name"])
        assert run.finished
        assert run.recipe.training.lr == trial["settings"]["training.lr"]
        assert trial["best"] == run.environment["best"]
        assert not run.evaluations()  # no test image is looked at
    assert result["choice"] == {"training.lr": 0.01}
    losses = {group["settings"]["training.lr"]: group["mean"]["val_loss"] for group in result["groups"]}
    assert losses[0.01] == min(losses.values())
    assert json.loads((tmp_path / "sweep" / "sweep.json").read_text()) == result
    rows = list(csv.DictReader((tmp_path / "sweep" / "sweep.csv").read_text().splitlines()))
    assert [row["training.lr"] for row in rows] == ["1e-06", "0.01"]
    assert float(rows[1]["val_loss"]) == result["trials"][1]["best"]["val_loss"]


def test_seeds_are_repetitions_and_nothing_to_choose(write_dataset, tmp_path, tiny):
    result = sweep(write_dataset(), tmp_path / "sweep", [*tiny, "training.seed=0,1", "lr=0.0001,0.01", "epochs=1"])
    assert len(result["trials"]) == 4
    assert {json.dumps(group["settings"]) for group in result["groups"]} == {
        '{"training.lr": 0.0001}',
        '{"training.lr": 0.01}',
    }
    of = {trial["name"]: trial for trial in result["trials"]}
    for group in result["groups"]:
        values = [of[name]["best"]["val_accuracy"] for name in group["trials"]]
        assert group["mean"]["val_accuracy"] == pytest.approx(sum(values) / 2)


def test_a_trial_that_diverges_is_reported_and_the_others_go_on(write_dataset, tmp_path, tiny):
    # SGD multiplies a gradient by the rate: 1e38 overflows float32 in the first step.
    root, settings = write_dataset(), [*tiny, "optimiser=sgd", "lr=1e38,0.01"]
    result = sweep(root, tmp_path / "sweep", settings)
    assert [trial["status"] for trial in result["trials"]] == ["diverged", "finished"]
    assert "no longer a finite number" in result["trials"][0]["message"]
    assert result["choice"] == {"training.lr": 0.01}
    again = sweep(root, tmp_path / "sweep", settings, resume=True)
    assert again == result


def test_if_everything_diverges_nothing_is_chosen(write_dataset, tmp_path, tiny):
    result = sweep(write_dataset(), tmp_path / "sweep", [*tiny, "optimiser=sgd", "lr=1e37,1e38"])
    assert result["choice"] is None


@pytest.mark.parametrize(("select", "chosen"), [("loss", "b"), ("accuracy", "c"), ("misses", "a")])
def test_the_choice_is_by_what_was_asked_for(write_dataset, tmp_path, tiny, monkeypatch, select, chosen):
    """Trials whose validation is known: a misses least, b has the smallest loss, c is right most often."""
    outcomes = {
        "a": {"val_loss": 0.9, "val_accuracy": 0.6, "val_misses": 1},
        "b": {"val_loss": 0.3, "val_accuracy": 0.7, "val_misses": 5},
        "c": {"val_loss": 0.5, "val_accuracy": 0.8, "val_misses": 4},
        "d": {"val_loss": 0.4, "val_accuracy": 0.7, "val_misses": 1},
    }
    outcomes["d"]["val_misses"] = 1 if select != "misses" else 2
    seen = []

    class Done:
        def __init__(self, recipe):
            seen.append(recipe.training.select)
            self.environment = {"best": {"epoch": 1, "step": 1, **outcomes[recipe.name]}, "seconds": 1.0}

    monkeypatch.setattr("hilum.training.sweep.train_member", lambda data, folder, recipe, progress: Done(recipe))
    result = sweep(write_dataset(), tmp_path / "s", [*tiny, "name=a,b,c,d"], select=select)
    assert result["choice"] == {"name": chosen}
    assert set(seen) == {select}  # checkpoints are kept by it, too


def test_equal_misses_are_decided_by_the_loss(write_dataset, tmp_path, tiny, monkeypatch):
    class Done:
        def __init__(self, recipe):
            loss = {"a": 0.9, "b": 0.3}[recipe.name]
            best = {"epoch": 1, "step": 1, "val_loss": loss, "val_accuracy": 0.5, "val_misses": 2}
            self.environment = {"best": best, "seconds": 1.0}

    monkeypatch.setattr("hilum.training.sweep.train_member", lambda data, folder, recipe, progress: Done(recipe))
    result = sweep(write_dataset(), tmp_path / "s", [*tiny, "name=a,b"], select="misses")
    assert result["choice"] == {"name": "b"}


def test_interrupted_and_continued_it_ends_the_same(write_dataset, tmp_path, tiny):
    root, settings = write_dataset(), [*tiny, "epochs=4", "training.seed=0,1,2"]
    whole = sweep(root, tmp_path / "whole", settings)
    out = tmp_path / "killed"
    options = [option for setting in settings for option in ("--set", setting)]
    command = [sys.executable, "-m", "hilum", "sweep", root, "--out", out, *options]
    process = subprocess.Popen([str(part) for part in command], stderr=subprocess.DEVNULL)
    second, end = out / "trials" / whole["trials"][1]["name"], time.monotonic() + 120
    while not (second / "recipe.toml").exists() and time.monotonic() < end:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    first = out / "trials" / whole["trials"][0]["name"] / "environment.json"
    assert not (out / "trials" / whole["trials"][2]["name"]).exists(), "killed too late"
    finished = first.stat().st_mtime_ns

    resumed = sweep(root, out, settings, resume=True)
    assert first.stat().st_mtime_ns == finished  # what was finished is not trained again
    for trial, other in zip(whole["trials"], resumed["trials"], strict=True):
        assert trial["best"] == other["best"]
        hashes = [
            open_run(folder / "trials" / trial["name"]).environment["weights_sha256"]
            for folder in (tmp_path / "whole", out)
        ]
        assert hashes[0] == hashes[1]
    assert resumed["choice"] == whole["choice"]


def test_a_wrong_value_is_found_before_anything_is_trained(write_dataset, tmp_path, tiny):
    root = write_dataset()
    with pytest.raises(RecipeError, match=r"training\.lr"):
        sweep(root, tmp_path / "sweep", [*tiny, "lr=0.01,-1"])
    with pytest.raises(RecipeError, match="unknown key 'learnrate'"):
        sweep(root, tmp_path / "sweep", [*tiny, "learnrate=0.01,0.1"])
    with pytest.raises(SplitError, match="takes val from split 'dev'"):
        sweep(root, tmp_path / "sweep", [*tiny, "splits.val=auto,dev"])
    assert not (tmp_path / "sweep").exists()


def test_a_folder_in_the_way_and_another_sweep_are_refused(write_dataset, tmp_path, tiny):
    root, out = write_dataset(), tmp_path / "sweep"
    settings = [*tiny, "max_steps=2"]
    sweep(root, out, [*settings, "lr=0.01,0.02"])
    with pytest.raises(RunError, match="holds a sweep already"):
        sweep(root, out, [*settings, "lr=0.01,0.02"])
    with pytest.raises(RecipeError, match="differs in: swept"):
        sweep(root, out, [*settings, "lr=0.01,0.03"], resume=True)
    with pytest.raises(RecipeError, match="differs in: digest"):
        sweep(write_dataset(name="other", start=1), out, [*settings, "lr=0.01,0.02"], resume=True)
    with pytest.raises(RunError, match="no sweep to continue"):
        sweep(root, tmp_path / "none", [*settings, "lr=0.01,0.02"], resume=True)
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "file").touch()
    with pytest.raises(RunError, match="is in the way"):
        sweep(root, tmp_path / "else", [*settings, "lr=0.01,0.02"])


def test_a_training_that_cannot_go_on_stops_the_series(write_dataset, tmp_path, tiny, monkeypatch):
    """Only divergence belongs to a trial; a full disk or lost data concern all of them."""

    def lost(*arguments, **more):
        msg = "the images are gone"
        raise RunError(msg)

    monkeypatch.setattr(series, "train", lost)
    with pytest.raises(RunError, match="gone"):
        sweep(write_dataset(), tmp_path / "sweep", [*tiny, "lr=0.01,0.02"])
    assert issubclass(DivergenceError, Exception)
