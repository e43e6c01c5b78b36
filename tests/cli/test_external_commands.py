"""`hilum evaluate` and `hilum compare` for models that hilum did not train, and `hilum env`."""

import json

import numpy as np
import pandas as pd
import pytest

import hilum as library
from hilum.evaluation.schema import Metrics

pytestmark = pytest.mark.usefixtures("small_evaluation")

LABELS = ["normal", "covid"]


@pytest.fixture
def tables(tmp_path):
    """Predictions of two models for the same images; the second one always answers normal."""
    generator = np.random.default_rng(3)
    truth = generator.integers(0, 2, 80)
    share = np.where(truth == 1, 0.7, 0.3) + generator.uniform(-0.29, 0.29, 80)
    frame = pd.DataFrame({"path": [f"{n}.png" for n in range(80)], "label": np.array(LABELS)[truth]})
    for name, stated in (("one", share), ("two", np.full(80, 0.1))):
        frame.assign(normal=1 - stated, covid=stated).to_csv(tmp_path / f"{name}.csv", index=False)
    return tmp_path


def test_a_table_of_predictions_is_evaluated_and_reported(hilum, tables):
    out = tables / "out"
    found = hilum("evaluate", "--predictions", tables / "one.csv", "--out", out, "--positive-label", "covid", check=0)
    assert sorted(file.name for file in out.iterdir()) == ["metrics.json", "predictions.csv", "report.html"]
    metrics = Metrics.read(out / "metrics.json", "")
    same = library.evaluate(predictions=tables / "one.csv", positive_label="covid").metrics
    assert metrics.accuracy == same.accuracy
    assert metrics.positive_label == "covid"
    assert f"{100 * metrics.accuracy.value:.1f} %" in found.stdout
    printed = hilum("evaluate", "--predictions", tables / "one.csv", "--out", out, "--json", check=0)
    assert json.loads(printed.stdout) == json.loads((out / "metrics.json").read_text())


def test_two_tables_are_compared(hilum, tables):
    out = tables / "out"
    hilum("compare", tables / "one.csv", tables / "two.csv", "--out", out, check=0)
    found = json.loads((out / "comparison.json").read_text())
    assert (out / "comparison.html").is_file()
    assert found["rules"]["argmax"]["accuracy"]["difference"]["high"] < 0
    assert [run["name"] for run in found["runs"]] == ["one.csv", "two.csv"]


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "--predictions", "one.csv", "--split", "test", "--label-column", "x"],
        ["evaluate", "--predictions", "one.csv", "--map-label", "a=b"],
        ["evaluate", "--predictions", "one.csv", "--ledger", "ledger.jsonl"],
        ["evaluate", "images", "--model", "model.onnx", "--ledger", "ledger.jsonl"],
        ["evaluate", "run", "--positive-label", "covid"],
        ["evaluate", "run", "--patients", "none"],
        ["certify", "run", "--map-label", "a=b"],
        ["compare", "one.csv", "two.csv", "--also-first", "run", "--split", "val"],
        ["predict", "one.png", "--explain-method", "occlusion"],
    ],
    ids=lambda words: " ".join(words),
)
def test_an_option_without_effect_is_refused(hilum, tables, run_of, words, one_message):
    words = [str(tables / word) if word.endswith(".csv") else word for word in words]
    words = [str(run_of("flat").path) if word == "run" and words[0] == "certify" else word for word in words]
    one_message(hilum(*words), 2)


def test_a_table_and_a_run_are_not_compared(hilum, tables, one_message):
    for words in ((tables / "one.csv", "run"), ("run", tables / "one.csv")):
        one_message(hilum("compare", *words), 2)


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate"],
        ["evaluate", "run", "--predictions", "one.csv"],
        ["evaluate", "--model", "net.toml"],
        ["evaluate", "data", "--model", "net.toml", "--predictions", "one.csv"],
    ],
)
def test_what_is_to_be_evaluated_has_to_be_clear(hilum, words):
    assert hilum(*words, check=2).stderr.startswith("usage: ")


@pytest.mark.parametrize("content", ["", "label\nnormal\n", "label,normal,covid\nnormal,0.5,0.6\n", "\0\1"])
def test_what_cannot_be_read_is_one_message(hilum, tmp_path, content):
    (tmp_path / "bad.csv").write_text(content)
    said = hilum("evaluate", "--predictions", tmp_path / "bad.csv", "--out", tmp_path / "out", check=1).stderr
    assert len(said.strip().splitlines()) == 1
    assert "bad.csv" in said
    assert not (tmp_path / "out").exists()


def test_an_evaluation_replaces_no_other_file(hilum, tables):
    out = tables / "out"
    out.mkdir()
    (out / "metrics.json").write_text("mine")
    hilum("evaluate", "--predictions", tables / "one.csv", "--out", out, check=2)
    assert (out / "metrics.json").read_text() == "mine"


def test_env_names_versions_and_nothing_of_the_user(hilum):
    lines = hilum("env", check=0).stdout.splitlines()
    found = {line.split()[0]: line for line in lines}
    assert found["hilum"].endswith(library.__version__)
    assert found["numpy"].endswith(np.__version__)
    assert "[train]" in found
    assert not [line for line in lines if "/home" in line or "/root" in line]
