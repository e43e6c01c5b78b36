"""Wrong labels that are injected must be listed first, by out-of-sample probabilities only."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from hilum.auditing.checks.label_issues import OutOfSample, find_label_errors, findings, require_cleanlab
from hilum.data.dataset import Dataset, Row
from hilum.errors import ExtraError

LABELS = ("normal", "infected/covid", "infected/non-covid")


def judged(*, wrong, n=600, seed=0, sharp=3.0):
    """A table with `wrong` labels changed, and what a decent classifier says of the images."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 3, n)
    logits = generator.normal(size=(n, 3)) + sharp * np.eye(3)[truth]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    injected = generator.choice(n, wrong, replace=False)
    filed = truth.copy()
    filed[injected] = (truth[injected] + generator.integers(1, 3, wrong)) % 3
    table = Dataset(Path("data"), tuple(Row(f"{i}.png", LABELS[k]) for i, k in enumerate(filed)))
    return (
        table,
        OutOfSample(LABELS, np.arange(n), probabilities, "RUN", "which was not trained on them"),
        set(injected),
    )


@pytest.mark.parametrize("seed", range(5))
def test_planted_wrong_labels_are_listed_first(seed):
    table, opinion, injected = judged(wrong=30, seed=seed)
    found = find_label_errors(table, opinion)
    listed = [suspect.position for suspect in found.label_issues]
    assert len(injected & set(listed)) >= 0.8 * len(injected)
    assert len(injected & set(listed[:20])) >= 16  # by chance 1
    assert all(suspect.label == table.rows[suspect.position].label != suspect.likely for suspect in found.label_issues)
    (finding,) = findings(found, table)
    assert finding.severity == "warning"
    assert table.rows[listed[0]].path in finding.message


def test_right_labels_of_a_sure_classifier_are_not_accused():
    table, opinion, _ = judged(wrong=0, sharp=12)
    found = find_label_errors(table, opinion)
    assert found.label_issues == ()
    (finding,) = findings(found, table)
    assert (finding.severity, finding.evidence.label_issues) == ("info", 0)


def test_only_judged_images_and_occurring_labels_count():
    table, opinion, _ = judged(wrong=30)
    some = np.array([i for i in range(100, 300) if table.rows[i].label != LABELS[1]])
    part = OutOfSample(LABELS, some, opinion.probabilities[some], "RUN", "")
    found = find_label_errors(table, part)
    assert found.judged == len(some)
    assert {suspect.position for suspect in found.label_issues} <= set(some.tolist())


def test_without_cleanlab_it_says_what_to_install(monkeypatch, refuses):
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    with refuses(ExtraError, "extra"):
        require_cleanlab()


def mislabel(root, paths):
    """Give some images another label in the table; the files stay where they are."""
    table = root / "metadata.csv"
    rows = list(csv.DictReader(table.read_text().splitlines()))
    for row in rows:
        if row["path"] in paths:
            row["label"] = paths[row["path"]]
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.slow
def test_a_run_and_a_cross_validation_judge_what_they_have_not_seen(
    write_dataset, tiny, hilum, tmp_path, one_message, snapshot
):
    root = write_dataset(labels=("normal", "covid"), patients=25, images=2, splits=("train", "test"))
    settings = [part for setting in (*tiny, "epochs=8") for part in ("--set", setting)]
    wrong = {
        "train/normal/tr003-0.png": "covid",
        "test/covid/te004-1.png": "normal",
        "test/normal/te011-0.png": "covid",
    }
    mislabel(root, wrong)
    hilum("train", root, "--out", tmp_path / "run", *settings, check=0)
    hilum("crossval", root, "--folds", 3, "--out", tmp_path / "folds", *settings, check=0)

    facts = json.loads(
        hilum("audit", root, "--run", tmp_path / "run", "--out", tmp_path / "a", "--json", check=0).stdout
    )
    errors = facts["label_errors"]
    listed = [suspect["path"] for suspect in errors["label_issues"]]
    in_training = {
        row["path"]
        for row in csv.DictReader((tmp_path / "run" / "split.csv").read_text().splitlines())
        if row["split"] == "train"
    }
    assert errors["judged"] == facts["n_images"] - len(in_training)
    assert not in_training & set(listed)
    assert {path for path in wrong if path.startswith("test")} <= set(listed[:4])
    (finding,) = [finding for finding in facts["findings"] if finding["check"] == "labels"]
    snapshot(finding["remedy"])

    result = hilum("audit", root, "--run", tmp_path / "folds", "--out", tmp_path / "b", check=0)
    errors = json.loads((tmp_path / "b" / "audit.json").read_text())["label_errors"]
    assert errors["judged"] == 200
    assert set(wrong) == {suspect["path"] for suspect in errors["label_issues"][:3]}
    snapshot(result.stdout.partition("The most suspicious")[0], numbers=False)
    assert "train/normal/tr003-0.png" in (tmp_path / "b" / "audit.html").read_text()

    other = write_dataset(name="other", start=7)
    one_message(hilum("audit", other, "--run", tmp_path / "folds"), 1)
    one_message(hilum("audit", root, "--run", tmp_path / "none"), 1)
