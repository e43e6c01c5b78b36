"""What hilum 0.1.0 wrote, and what its users type, is understood: its files lie in ``formats``."""

import csv
import json
import shutil
import tarfile
import tomllib
from pathlib import Path

import numpy as np
import pytest

from hilum.data.cache import open_images
from hilum.data.readers.read import read_table
from hilum.earlier import KEYS, OPTIONS, RECIPE, VALUES, arguments_of_today, current
from hilum.errors import RunError
from hilum.evaluation.certificate_check import open_certificate
from hilum.evaluation.comparison import Comparison
from hilum.evaluation.crossval_schema import CrossValidation
from hilum.evaluation.predictions import read_predictions
from hilum.training.recipe import load_recipe
from hilum.training.run import HISTORY, open_run
from hilum.training.sweep import Sweep

ARCHIVE = Path(__file__).parent / "formats" / "0.1.0.tar.xz"
SWEPT = "lr=0.01,0.001 select=misses reflect=true smallest_val=5 epochs=2 validate_every=1 batch_size=16"
SWEPT += " preprocessing.size=32 network.options.width=4"

COMMANDS = ("audit", "certify", "compare", "evaluate", "export", "phantoms", "predict", "sweep", "train")


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    from hilum.phantoms.generate import write_phantoms

    data = write_phantoms(tmp_path_factory.mktemp("of") / "data", patients=60, size=64, seed=5).out
    then = tmp_path_factory.mktemp("then")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(then, filter="data")
    run = open_run(then / "run")
    if open_images(read_table(data), run.recipe.preprocessing).digest != run.environment.data.digest:
        pytest.skip("this processor draws phantoms that differ in the last bit from those of then (AVX-512)")
    return data


@pytest.fixture
def old(tmp_path):
    """The files of the archive, in a folder that may be written to."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path / "old", filter="data")
    return tmp_path / "old"


def probabilities(file):
    found = read_predictions(file)
    return found.paths, found.probabilities


def keys_of(value):
    """Every key within a document of JSON."""
    if isinstance(value, dict):
        return set(value) | {key for item in value.values() for key in keys_of(item)}
    return {key for item in value for key in keys_of(item)} if isinstance(value, list) else set()


def test_a_run_is_opened(old):
    run = open_run(old / "run")
    assert run.finished
    assert (run.positive_label, run.healthy) == ("infected/covid", ("normal",))
    assert run.labels == ("normal", "infected/covid", "infected/non-covid")
    recipe = run.recipe
    assert (recipe.hierarchy, recipe.network.architecture, recipe.network.ensemble_size) == ("cascade", "compact", 1)
    assert (recipe.training.monitor, recipe.augmentation.hflip) == ("false_negatives", 1.0)
    assert (recipe.training.save_after, recipe.splits.min_val_patients) == (1.0, 5)
    assert {tuple(row) for row in run.history()} == {HISTORY}
    with (old / "run" / "history.csv").open() as file:
        assert [row["val_false_negatives"] for row in run.history()] == [
            float(row["val_misses"]) for row in csv.DictReader(file)
        ]
    assert run.environment.data.data_argument == "/tmp/fmt/data"
    certificate = open_certificate(old / "run" / "certificate.json", run)
    assert (certificate.false_negative_rate, certificate.threshold) == (0.5, 0.2234)


def test_a_run_is_evaluated_with_the_probabilities_of_then(old, phantoms, hilum):
    folder = old / "run" / "evaluation" / "test"
    paths, before = probabilities(folder / "predictions.csv")
    metrics = json.loads((folder / "metrics.json").read_text())
    log = folder / "access_log.json"
    log.write_text(log.read_text().replace('"access": 1', '"access": 3'))
    hilum("evaluate", old / "run", phantoms, check=0)
    again, after = probabilities(folder / "predictions.csv")
    assert again == paths
    np.testing.assert_array_equal(after, before)
    now = json.loads((folder / "metrics.json").read_text())
    assert not keys_of(now) & (KEYS.keys() - {"architecture"})
    for key in ("accuracy", "balanced_accuracy", "recall", "precision", "f1", "confusion"):
        assert now[key] == metrics[key]
    assert json.loads(log.read_text())["access"] == 3  # an earlier count is not forgotten in another ledger


@pytest.mark.parametrize("audited", [False, True])
def test_a_report_is_made_of_what_was_evaluated(audited, old, hilum):
    if not audited:
        shutil.rmtree(old / "audit")  # which is looked for beside the run
    hilum("report", old / "run", check=0)
    page = (old / "run" / "report.html").read_text()
    assert "40.0" in page  # the accuracy of then
    assert ("groups of copies, none across splits" in page) is audited


def test_runs_are_compared_and_an_earlier_comparison_is_replaced(old, hilum):
    other = old / "other"
    shutil.copytree(old / "run", other)
    kept = other / "comparison" / "old"
    kept.parent.mkdir()
    (old / "compare").rename(kept)
    (kept / "comparison.json").write_text((kept / "comparison.json").read_text().replace('"run"', f'"{old}/run"'))
    result = hilum("compare", old / "run", other, "--second-split", "test", check=0)
    assert [line for line in result.stderr.splitlines() if "--second-split" in line] == [
        "note: --second-split was renamed to --split-b; the old name works until version 0.3."
    ]
    now = json.loads((kept / "comparison.json").read_text())
    assert now["positive_label"] == "infected/covid"
    assert [run["hierarchy"] for run in now["runs"]] == ["cascade", "cascade"]


def test_a_certificate_is_made_with_the_option_of_before(old, phantoms, hilum):
    result = hilum("certify", old / "run", phantoms, "--miss-rate", 0.5, "--confidence=0.5", check=0)
    assert sum("--miss-rate" in line for line in result.stderr.splitlines()) == 1
    made = open_certificate(old / "run" / "certificate.json", open_run(old / "run"))
    assert (made.false_negative_rate, made.threshold) == (0.5, 0.2234)


def test_a_model_file_gives_the_answers_of_then(old, phantoms, hilum):
    before = [json.loads(line) for line in (old / "answers.jsonl").read_text().splitlines()]
    files = [phantoms.parent / answer["path"] for answer in before]
    out = hilum("predict", *files, "--model", old / "model.onnx", "--json", "-", check=0).stdout
    after = [json.loads(line) for line in out.splitlines()]
    for then, now in zip(before, after, strict=True):
        assert now["probabilities"] == pytest.approx(then["probabilities"], abs=1e-6)
        same = ("label", "decision", "reason", "notes", "model")
        assert {key: now[key] for key in same} == {key: then[key] for key in same}
        assert (now["label_name"], now["p_in_distribution"]) == (then["display"], then["p_familiar"])


@pytest.mark.parametrize("option", ["--json", "--csv"])
def test_earlier_answers_are_written_over(option, old, phantoms, hilum):
    file = old / ("answers.jsonl" if option == "--json" else "answers.csv")
    hilum("predict", phantoms / "test", "--model", old / "model.onnx", option, file, check=0)
    assert "label_name" in file.read_text()


def test_a_sweep_is_continued_under_the_names_of_then(old, phantoms, hilum):
    settings = [word for setting in SWEPT.split() for word in ("--set", setting)]
    before = json.loads((old / "sweep" / "sweep.json").read_text())
    words = ("--out", old / "sweep", "--resume", "--recipe", "phantoms")
    hilum("sweep", phantoms, *words, *settings, check=0)  # both are finished: nothing is trained
    now = json.loads((old / "sweep" / "sweep.json").read_text())
    assert (now["choice"], now["swept"]) == (before["choice"], before["swept"])
    assert [trial["best"]["val_false_negatives"] for trial in now["trials"]] == [
        trial["best"]["val_misses"] for trial in before["trials"]
    ]


def test_comparisons_sweeps_and_cross_validations_are_read(old):
    compared = Comparison.read(old / "compare" / "comparison.json", "hilum compare")
    assert (compared.positive_label, compared.runs[0].hierarchy) == ("infected/covid", "cascade")
    assert compared.rules["argmax"].accuracy.first.value == 0.4
    swept = Sweep.read(old / "sweep" / "sweep.json", "hilum sweep")
    assert (swept.monitor, swept.choice) == ("false_negatives", {"training.lr": 0.001})
    assert swept.groups[0].mean.val_false_negatives == 1
    pooled = CrossValidation.read(old / "cv" / "crossval.json", "hilum crossval").pooled
    assert (pooled.n_images, pooled.positive_label) == (86, "infected/covid")


def test_predictions_of_a_cross_validation_are_read_and_known_to_be_whole(old):
    table = old / "cv" / "predictions.csv"
    assert len(read_predictions(table).paths) == 86
    table.write_text("\n".join(table.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(RunError):
        read_predictions(table)


def test_a_recipe_of_then_is_the_same_recipe(old, tmp_path):
    then = load_recipe(old / "run" / "recipe.toml")
    (tmp_path / "now.toml").write_text(then.to_toml())
    assert load_recipe(tmp_path / "now.toml") == then
    assert not keys_of(tomllib.loads(then.to_toml())) & (
        {name.rsplit(".", 1)[-1] for name in RECIPE} - {"architecture", "name"}
    )


def test_every_earlier_key_and_value_of_a_recipe_can_be_set():
    settings = {
        "protected": "infected/covid",
        "architecture": "cascade",
        "network.name": "vgg16-bn",
        "network.members": 3,
        "training.select": "misses",
        "training.keep_from": 0.5,
        "training.early_size": 64,
        "training.early_share": 0.25,
        "augmentation.reflect": 0.5,
        "splits.smallest_val": 7,
    }
    assert settings.keys() == RECIPE.keys()
    found = load_recipe("compact", [f"{key}={value}" for key, value in settings.items()]).model_dump()
    for old, new in RECIPE.items():
        value = found
        for part in new.split("."):
            value = value[part]
        assert value == VALUES.get(new, {}).get(settings[old], settings[old])
    short = load_recipe("compact", ["select=misses", "class_weights=tree", "val=carve", "members=3"])
    assert (short.training.monitor, short.training.class_weights) == ("false_negatives", "hierarchical")
    assert (short.splits.val, short.network.ensemble_size) == ("hold_out", 3)


def test_the_recipe_of_the_original_report_has_its_earlier_name():
    assert load_recipe("seed") == load_recipe("vgg16-report")


@pytest.mark.parametrize("option", sorted(OPTIONS))
def test_every_earlier_option_is_an_option_with_one_note(option, hilum):
    """Which of today's commands has it does not matter here: one of them must."""
    value = "0.05" if option == "--miss-rate" else "x"
    words, notes = arguments_of_today(["evaluate", option, value])
    new = words[1].partition("=")[0]
    assert len(notes) == 1
    assert option in notes[0]
    assert new == OPTIONS[option]
    helped = [hilum(command, "--help", check=0).stdout for command in COMMANDS]
    assert any(f"{new} " in text for text in helped)


def test_keys_of_today_stay_what_they_are():
    today = {"schema_version": 1, "counts": {"unit": 3, "drop": 4}}
    assert current(today) == today
