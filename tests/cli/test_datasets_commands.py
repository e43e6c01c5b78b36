"""`hilum datasets`, and the options by which every command reads a dataset."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from hilum.cli.app import app
from hilum.data.catalogue.entries import catalogue


@pytest.fixture
def hilum(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words):
        return CliRunner().invoke(app, list(map(str, words)))

    return run


def test_all_datasets_are_listed_and_one_is_shown_in_full(hilum):
    listed = hilum("datasets")
    assert listed.exit_code == 0
    assert all(key in listed.stdout for key in catalogue())
    full = hilum("datasets", "nih").stdout
    entry = catalogue()["nih"]
    assert all(text in full for text in (entry.licence, entry.citation, "30,805", entry.problems[1].text))


def test_entries_for_programs(hilum):
    entries = json.loads(hilum("datasets", "--json").stdout)
    assert [entry["key"] for entry in entries] == list(catalogue())


def test_unknown_names_are_refused(hilum, tmp_path):
    assert hilum("datasets", "imagenet").exception.code == "no-such-dataset"
    assert hilum("datasets", "--rebuild", tmp_path, tmp_path / "out").exception.code == "no-such-recipe"


@pytest.mark.parametrize("command", ["audit", "train", "evaluate", "crossval", "sweep", "demo"])
def test_every_command_that_reads_a_dataset_takes_the_options(hilum, command):
    shown = hilum(command, "--help").stdout
    assert "--layout" in shown
    assert "--map-label" in shown or command == "demo"


def test_an_audit_cites_the_dataset_and_maps_labels(hilum, tmp_path):
    generator = np.random.default_rng(0)
    for kind, name in (
        ("COVID", "COVID-{}.png"),
        ("Normal", "Normal-{}.png"),
        ("Viral Pneumonia", "Viral Pneumonia-{}.png"),
    ):
        folder = tmp_path / "COVID-19_Radiography_Dataset" / kind / "images"
        folder.mkdir(parents=True)
        for n in range(4):
            Image.fromarray(generator.integers(0, 256, (64, 64), np.uint8)).save(folder / name.format(n))
    done = hilum("audit", tmp_path, "--map-label", "viral pneumonia=", "--out", tmp_path / "out", "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert set(report["labels"]) == {"COVID-19", "normal"}
    cited = [
        found for found in report["findings"] if found["evidence"].get("dataset") == catalogue()["radiography"].name
    ]
    assert {found["severity"] for found in cited} == {"error", "info"}
