"""``hilum predict`` as people and programs use it."""

import csv
import json
import re
import subprocess
import sys

import numpy as np
import pytest

from hilum.serving.predictor import Predictor
from wording import numbers


@pytest.fixture
def files(squares):
    return sorted((squares / "test").rglob("*.png"))


def test_json_on_standard_output_is_one_object_a_line_and_nothing_else(hilum, bundle_of, files, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"")
    result = hilum("predict", *files[:20], tmp_path / "bad.png", "--model", bundle_of("flat"), "--json", "-", check=0)
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["path"] for row in rows] == [*map(str, files[:20]), str(tmp_path / "bad.png")]
    assert rows[0].keys() >= {"path", "label", "probabilities", "decision", "reason", "model"}
    assert rows[0]["decision"] == "undecided"  # nobody has certified it
    assert rows[0]["label_name"] == rows[0]["label"]
    predictor = Predictor(bundle_of("flat"))
    assert rows[0]["model"] == predictor.model
    expected = [list(answer.probabilities.values()) for answer in predictor.predict_many(files[:20])]
    np.testing.assert_allclose([list(row["probabilities"].values()) for row in rows[:20]], expected, atol=1e-6)
    assert rows[20].keys() == {"path", "error", "model", "schema_version"}
    assert "an empty file" in rows[20]["error"]


def test_folders_are_searched_and_csv_is_a_table(hilum, bundle_of, squares, tmp_path, snapshot):
    result = hilum("predict", squares / "test", "--model", bundle_of("flat"), "--csv", tmp_path / "t.csv", check=0)
    with (tmp_path / "t.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 72
    assert all(float(row["p:normal"]) >= 0 and row["label"] for row in rows)
    assert "72" in numbers(result.stdout)
    # Which images are shown, and the folder that they have in common, go by the weights.
    said = [line for line in result.stdout.splitlines() if ".png" not in line and not line.startswith("in ")]
    snapshot("\n".join(said), numbers=False)


def test_a_few_images_are_shown_in_a_table(hilum, bundle_of, files):
    result = hilum("predict", *files[:3], "--model", bundle_of("flat"), check=0)
    for text in ("normal", "covid", "non-covid", "decision", files[0].name, "3 images: 3 undecided", "no operating"):
        assert text in result.stdout
    assert not re.search("clear |flag ", result.stdout)


def test_bad_input_ends_in_one_message(hilum, bundle_of, files, tmp_path, one_message, snapshot):
    model = bundle_of("flat")
    one_message(hilum("predict", files[0], "--model", tmp_path / "m.onnx"), 1)
    one_message(hilum("predict", tmp_path, "--model", model), 2)
    one_message(hilum("predict", files[0], "--model", model, "--json", "-", "--csv", "-"), 2)
    one_message(hilum("predict", files[0], "--model", model, "--json", tmp_path / "no" / "x"), 2)
    result = hilum("predict", tmp_path / "none.png", "--model", model)
    one_message(result, 1)
    assert result.stdout == ""  # no summary of nothing
    one_message(hilum("predict", "--explain", files[0]), 2)
    one_message(hilum("predict", files[0], "--model", model, "--csv", tmp_path / "b.png"), 2)
    result = hilum("predict", files[0], tmp_path / "none.png", "--model", model, "--json", "-", check=0)
    snapshot(result.stderr)


def test_a_closed_pipe_is_no_accident(bundle_of, files):
    command = [sys.executable, "-m", "hilum", "predict", *map(str, files * 20), "--model", str(bundle_of("flat"))]
    process = subprocess.Popen([*command, "--json", "-"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.readline()
    process.stdout.close()
    with process.stderr:
        assert "Traceback" not in process.stderr.read()
    process.wait()


def test_the_command_imports_nothing_heavy(bundle_of, files):
    code = (
        "import sys, runpy, json\n"
        f"sys.argv = ['hilum', 'predict', {str(files[0])!r}, '--model', {str(bundle_of('flat'))!r}]\n"
        "try: runpy.run_module('hilum', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'lightning', 'monai', 'matplotlib', 'sklearn', 'scipy', 'pandas', 'onnx', 'pydicom'}\n"
        "print('HEAVY:', sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "HEAVY: []" in result.stdout
