"""The worked examples of CONTRIBUTING, followed to the letter in a copy of the package."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import jaccard_score

pytestmark = pytest.mark.ci

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
TITLES = ("Add a metric", "Add a check", "Add a dataset reader", "Add a network")


def blocks(title):
    """The code below a heading, as pairs of a language and a text."""
    (section,) = re.findall(rf"^### {title}\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return re.findall(r"^```(\w+)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def follow(block, root):
    """Do what one block says: write a new file, or add lines to one that is there."""
    first, body = block.split("\n", 1)
    if first.startswith("# "):
        file = root / first.removeprefix("# ")
        assert not file.exists()
        file.write_text(body)
        return
    file = root / first.removeprefix("--- ")
    for hunk in body.split("@@\n"):
        lines = hunk.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if line[0] != "+")
        after = "".join(line[1:] for line in lines if line[0] != "-")
        text = file.read_text()
        assert text.count(before) == 1, f"{first}: {before}"
        file.write_text(text.replace(before, after))


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the package in which all four examples were followed."""
    root = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for title in TITLES:
        for _, block in blocks(title):
            follow(block, root)
    return root


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Files named as those of the JSRT: most with a nodule are brighter, the last is blank."""
    folder = tmp_path_factory.mktemp("jsrt")
    generator = np.random.default_rng(0)
    for number in range(80):
        label = number % 2
        bright = label != (number % 9 == 0)
        pixels = generator.normal(80 + 60 * bright, 25, (40, 40)) if number < 79 else np.full((40, 40), 90)
        file = folder / f"JPC{'NL'[label]}N{number:03d}.png"
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file)
    return folder


COMMANDS = """
import contextlib, io, json, sys
from hilum.cli.app import main
from hilum.auditing import probe_classifier
from hilum.evaluation import reliance, shortcut_baselines
probe_classifier.ROUNDS, shortcut_baselines.TREES, reliance.BLOCKS, reliance.IMAGES = 5, 5, 1, 1
said = {}
for words in json.loads(sys.argv[1]):
    sys.argv = ["hilum", *words]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
    if code:
        sys.exit(out.getvalue())
    said[words[0]] = out.getvalue()
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def done(copy, dataset):
    """What an audit, a training of the new network, evaluation and report say: by command, of one process.

    The data are read by the new reader, and the new check has seen them before the training.
    """
    settings = ["network.architecture=plain", "network.options.width=8", "preprocessing.size=32", "epochs=8"]
    settings += ["batch_size=16", "mixup=0", "equalise=false", "local_contrast=0", "gamma=0"]
    commands = [
        ["audit", dataset, "--out", copy / "audit"],
        ["train", dataset, "--out", copy / "run", *(word for setting in settings for word in ("--set", setting))],
        ["evaluate", copy / "run", "--split", "train"],
        ["report", copy / "run"],
    ]
    environment = {**os.environ, "PYTHONPATH": str(copy / "src"), "COLUMNS": "120"}
    environment |= {"HILUM_CACHE": str(copy / "cache"), "HILUM_LEDGER": str(copy / "ledger.jsonl")}
    words = [sys.executable, "-c", COMMANDS, json.dumps([list(map(str, command)) for command in commands])]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_examples_can_be_copied():
    for title in TITLES:
        for language, block in blocks(title):
            assert len(block.splitlines()) <= 40, title
            assert block.startswith({"python": "# src/hilum/", "diff": "--- src/hilum/"}[language]), title
    new = [block for title in TITLES for language, block in blocks(title) if language == "python"]
    assert len(new) == 3
    for text in new:
        compile(text, "CONTRIBUTING.md", "exec")


def test_the_new_reader_opens_its_layout_and_no_other(copy, dataset, write_dataset):
    code = (
        "import sys; from pathlib import Path; from hilum.data.readers.read import read_table\n"
        "for name in sys.argv[1:]:\n"
        "    table = read_table(Path(name)); print(len(table), *table.labels, table.layout)"
    )
    environment = {**os.environ, "PYTHONPATH": str(copy / "src")}
    other = write_dataset(labels=("a", "b"), patients=2, metadata=False)
    command = [sys.executable, "-c", code, dataset, other]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.splitlines() == ["80 normal nodule jsrt", "8 a b "]


def test_the_finding_of_the_new_check_is_in_the_audit(done, copy):
    folder = copy / "audit"
    findings = json.loads((folder / "audit.json").read_text())["findings"]
    (finding,) = (found for found in findings if found["check"] == "blank")
    assert finding["evidence"]["paths"] == ["JPCLN079.png"]
    assert finding["severity"] == "warning"
    assert finding["message"] in " ".join(done["audit"].split())
    assert finding["message"] in (folder / "audit.html").read_text()


def test_a_training_repeats_the_finding_of_the_new_check(done, copy):
    findings = json.loads((copy / "run" / "environment.json").read_text())["audit"]["findings"]
    assert "blank" in {found["check"] for found in findings}


def test_the_new_network_learns(done, copy):
    import torch
    from safetensors.torch import load_file

    trained = copy / "run"
    with (trained / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert int(rows[0]["step"]) >= 2
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
    weights = load_file(trained / "checkpoints" / "best.safetensors")
    (head,) = (value for name, value in weights.items() if name.endswith("head.weight"))
    assert head.shape == (2, 8)
    assert torch.isfinite(head).all()


def test_the_new_metric_is_in_the_file_on_the_terminal_and_in_the_report(done, copy):
    trained = copy / "run"
    (folder,) = (trained / "evaluation").iterdir()
    measured = json.loads((folder / "metrics.json").read_text())["jaccard"]
    with (folder / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    truth, predicted = ([row[name] for row in rows] for name in ("label", "predicted"))
    for label in ("normal", "nodule"):
        assert measured[label]["value"] == pytest.approx(jaccard_score(truth, predicted, pos_label=label), abs=1e-12)
        assert 0 < measured[label]["low"] < measured[label]["value"] < measured[label]["high"] < 1
    assert "Jaccard index" in done["evaluate"]
    assert "Jaccard index" in (trained / "report.html").read_text()
