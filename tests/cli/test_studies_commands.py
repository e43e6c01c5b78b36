"""Comparing, sweeping and cross-validating on the command line, good input and bad."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.usefixtures("small_evaluation")

SMALL = ["network.options.width=4", "network.options.blocks=[1,1]", "preprocessing.size=32", "batch_size=8"]


def options(*settings):
    return [option for setting in (*SMALL, *settings) for option in ("--set", setting)]


@pytest.mark.slow
def test_both_architectures_are_trained_and_compared(write_dataset, hilum, tmp_path, one_message):
    root = write_dataset(splits=("train", "test"), patients=6)
    for name in ("flat", "cascade"):
        hilum("train", root, "--out", tmp_path / name, *options("max_steps=4", f"architecture={name}"), check=0)
    result = hilum("compare", tmp_path / "flat", tmp_path / "cascade", check=0)
    for text in ("second - first", "McNemar", "36 images", "top-down", "36 images of 18 patients"):
        assert text in result.stdout.replace("\n", " ")
    said = " ".join(result.stdout.split())
    assert "smallest difference of accuracy" in said or "too few for any difference" in said or "tells the two" in said
    folder = tmp_path / "cascade" / "comparison" / "flat"
    facts = json.loads((folder / "comparison.json").read_text())
    page = (folder / "comparison.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "cascade" in page
    printed = hilum("compare", tmp_path / "flat", tmp_path / "cascade", "--json", "--out", tmp_path / "here", check=0)
    assert json.loads(printed.stdout) == facts
    assert (tmp_path / "here" / "comparison.html").exists()

    itself = json.loads(hilum("compare", tmp_path / "flat", tmp_path / "flat", "--json", check=0).stdout)
    difference = itself["rules"]["argmax"]["accuracy"]["difference"]
    assert [difference[end] for end in ("value", "low", "high")] == [0, 0, 0]
    assert itself["rules"]["argmax"]["mcnemar"]["p_value"] == 1

    other = write_dataset(name="other", splits=("train", "test"), patients=5)
    hilum("train", other, "--out", tmp_path / "elsewhere", *options("max_steps=2"), check=0)
    result = hilum("compare", tmp_path / "flat", tmp_path / "elsewhere")
    one_message(result, 1)
    one_message(hilum("compare", tmp_path / "flat", tmp_path / "none"), 1)
    one_message(hilum("compare", tmp_path / "flat", tmp_path), 1)
    result = hilum("compare", tmp_path / "flat", tmp_path / "cascade", "--split", "tset")
    one_message(result, 1)


def test_a_sweep_from_end_to_end(write_dataset, hilum, tmp_path, one_message, snapshot):
    root, out = write_dataset(), tmp_path / "sweep"
    some = options("max_steps=6", "optimiser=sgd", "lr=0.01,1e38")
    result = hilum("sweep", root, "--out", out, *some, check=0)
    assert json.loads((out / "sweep.json").read_text())["choice"] == {"training.lr": 0.01}
    snapshot(result.stdout, numbers=False)
    assert [row["status"] for row in csv.DictReader((out / "sweep.csv").read_text().splitlines())] == [
        "finished",
        "diverged",
    ]
    assert (out / "sweep.html").read_text().startswith("<!doctype html>")
    printed = hilum("sweep", root, "--out", out, *some, "--resume", "--json", check=0)
    assert json.loads(printed.stdout) == json.loads((out / "sweep.json").read_text())

    one_message(hilum("sweep", root, "--out", out, *some), 1)
    other = tmp_path / "other"
    one_message(hilum("sweep", root, "--out", other, "--set", "learing_rate=1,2"), 2)
    one_message(hilum("sweep", root, "--out", other, "--set", "lr=0.1"), 2)
    one_message(hilum("sweep", root, "--out", other, "--set", "lr=0.1,fast"), 2)
    result = hilum("sweep", root, "--out", other, "--set", "lr=1,2", "--monitor", "auc")
    one_message(result, 2)
    assert not other.exists()


@pytest.mark.slow
def test_a_cross_validation_from_end_to_end(write_dataset, hilum, tmp_path, one_message, snapshot):
    root, out = write_dataset(patients=6), tmp_path / "cv"
    with (root / "metadata.csv").open() as file:
        rows = list(csv.DictReader(file))
    with (root / "metadata.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "source"])
        writer.writeheader()
        writer.writerows(row | {"source": "B" if row["label"] == "infected/covid" else "A"} for row in rows)
    few = options("max_steps=3", "class_weights=hierarchical", "mixup=0.3")  # whose wording does not go by rounding
    result = hilum("crossval", root, "--folds", 3, "--out", out, *few, check=0)
    snapshot(result.stdout, numbers=False)
    facts = json.loads((out / "crossval.json").read_text())
    assert "sources" in {found["check"] for found in facts["audit"]["findings"] if found["severity"] == "error"}
    assert "training data: ERROR sources" in result.stdout
    assert [fold["n_images"] for fold in facts["per_fold"]] == [12, 12, 12]
    page = (out / "crossval.html").read_text()
    assert 'class="note error" role="alert"' in page
    again = hilum("crossval", root, "--folds", 3, "--out", out, *few, "--resume", "--json", check=0)
    assert json.loads(again.stdout) == facts

    result = hilum("crossval", root, "--folds", 7, "--out", tmp_path / "many", *options("max_steps=3"))
    one_message(result, 1)
    one_message(hilum("crossval", tmp_path / "no", "--out", tmp_path / "many"), 1)
    result = hilum("crossval", root, "--out", tmp_path / "sweep", "--resume")
    one_message(result, 1)
    assert hilum("crossval", root, "--folds", 1, "--out", tmp_path / "many").returncode == 2
    assert not (tmp_path / "many").exists()


@pytest.mark.slow
def test_ctrl_c_in_a_sweep_says_how_to_go_on(write_dataset, tmp_path):
    out, some = tmp_path / "sweep", options("epochs=400", "lr=0.01,0.02")
    command = [sys.executable, "-m", "hilum", "sweep", write_dataset(), "--out", out, *some]
    process = subprocess.Popen(
        [str(part) for part in command], stderr=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "120"}
    )
    end = time.monotonic() + 100
    while not list(out.glob("trials/*/history.csv")) and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "--resume" in said
    assert "Traceback" not in said
