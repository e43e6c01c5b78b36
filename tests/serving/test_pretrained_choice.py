"""The pretrained model that answers is the one that was trained on such images."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import ANY

import numpy as np
import pytest
from PIL import Image

import hilum
from hilum.cli import predict_command
from hilum.data.readers.read import read_table
from hilum.errors import ImageError, ModelFileError, UsageError
from hilum.exporting.export import export
from hilum.serving import model_file, pretrained_choice
from hilum.serving.model_file import OF_ADULTS, OF_CHILDREN, shipped_model
from hilum.serving.predictor import Likeness, Predictor
from hilum.serving.pretrained_choice import SAMPLE, choose_pretrained, nearest
from hilum.training.recipe import load_recipe
from hilum.training.train import train
from places import DARKCOVIDNET, with_darkcovidnet
from random_datasets import write_pictures
from training_runs import TINY


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Random pictures of 480 patients: enough for a model that knows what is like its training images."""
    return write_pictures(tmp_path_factory.mktemp("pictures") / "data", patients=160, images=1, side=32)


@pytest.fixture(scope="module")
def of_pictures(pictures, tmp_path_factory):
    """The model file of such a model."""
    folder = tmp_path_factory.mktemp("of_pictures")
    run = train(read_table(pictures), folder / "run", load_recipe("compact", [*TINY, "epochs=1"]))
    export(run, folder / "model.onnx")
    return folder / "model.onnx"


@pytest.fixture
def two_models(of_pictures, tmp_path, monkeypatch):
    """The model of children, and in the place of that of adults the one of random pictures."""
    children, folder = shipped_model(), tmp_path / "models"
    folder.mkdir()
    shutil.copy(children, folder)
    shutil.copy(of_pictures, folder / f"{OF_ADULTS}.onnx")
    monkeypatch.setattr(model_file, "PRETRAINED", folder)
    return folder


@pytest.fixture
def stripes(tmp_path):
    """Three images that no model knows."""
    files = [tmp_path / f"stripes-{width}.png" for width in (4, 12, 24)]
    for width, file in zip((4, 12, 24), files, strict=True):
        rows = (np.arange(96) // width % 2 * 255).astype(np.uint8)
        Image.fromarray(np.repeat(rows[:, None], 96, axis=1)).save(file)
    return files


def test_images_are_answered_by_the_model_that_was_trained_on_such(two_models, pictures):
    files = sorted(pictures.rglob("*.png"))
    found = choose_pretrained(files, threads=1)
    assert found.name == OF_ADULTS
    assert found.predictor.model_file.sha256 == Predictor(two_models / f"{OF_ADULTS}.onnx").model["sha256"]
    assert found.n_images == min(SAMPLE, len(files))
    assert found.votes[OF_ADULTS] > 0.8 * found.n_images
    assert OF_CHILDREN not in found.votes


def test_what_no_model_knows_is_left_to_that_of_children(two_models, stripes):
    found = choose_pretrained(stripes, threads=1)
    assert (found.name, found.votes, found.n_images) == (OF_CHILDREN, {}, 3)


def test_files_that_cannot_be_read_count_for_none(two_models, pictures, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"nothing")
    found = choose_pretrained([broken, broken, *sorted(pictures.rglob("*.png"))[:1]], threads=1)
    assert (found.name, found.n_images) == (OF_ADULTS, 1)
    assert choose_pretrained([broken], threads=1).n_images == 0


def test_the_command_says_who_answers_and_a_name_overrules_it(two_models, pictures, tmp_path, capsys):
    file, out = sorted(pictures.rglob("*.png"))[0], tmp_path / "answers.jsonl"
    predict_command.predict([file], as_json=str(out))
    assert json.loads(out.read_text())["model"]["sha256"] == Predictor(OF_ADULTS).model["sha256"]
    assert f"model: {OF_ADULTS}" in capsys.readouterr().err
    predict_command.predict([file], model=OF_CHILDREN, as_json=str(out))
    assert json.loads(out.read_text())["model"]["name"] == OF_CHILDREN
    assert "model:" not in capsys.readouterr().err


def test_the_larger_p_value_counts_of_models_that_are_in_distribution():
    def told(**found):
        return nearest({name: Likeness(abs(p), "unlike" if p < 0 else "") for name, p in found.items()})

    assert told(a=0.2, b=0.7) == "b"
    assert told(a=0.7, b=0.2) == "a"
    assert told(a=0.2, b=-0.7) == "a"
    assert told(a=-0.2, b=-0.7) == ""
    assert told(a=float("nan"), b=0.1) == "b"


class Stub:
    """A predictor that knows only images whose grey value is the first letter of its name."""

    def __init__(self, file, threads=None):
        self.letter, self.threads = ord(file.stem[0]), 2
        self.model_file = SimpleNamespace(reduce=lambda pixels: pixels)

    def judge(self, pixels):
        for each in pixels:
            yield None, Likeness(0.5, "" if each == self.letter else "unlike")


@pytest.fixture
def stubs(tmp_path, monkeypatch):
    """Two such models; files are called by the letter that their images show, and ``!`` cannot be read."""

    def read(file, name):
        if file.name[0] == "!":
            raise ImageError(name)
        return SimpleNamespace(pixels=np.uint8(ord(file.name[0]))), ()

    for name in (OF_ADULTS, OF_CHILDREN):
        (tmp_path / f"{name}.onnx").touch()
    monkeypatch.setattr(model_file, "PRETRAINED", tmp_path)
    monkeypatch.setattr(pretrained_choice, "Predictor", Stub)
    monkeypatch.setattr(pretrained_choice, "read_source", read)


@pytest.mark.parametrize(
    ("letters", "name", "votes", "warned"),
    [
        ("aaappppppp", OF_CHILDREN, {OF_ADULTS: 3, OF_CHILDREN: 7}, True),
        ("ppp" + "a" * 37, OF_ADULTS, {OF_ADULTS: 37, OF_CHILDREN: 3}, False),
        ("aaappp", OF_CHILDREN, {OF_ADULTS: 3, OF_CHILDREN: 3}, True),  # a tie
        ("axxx", OF_ADULTS, {OF_ADULTS: 1}, False),
        ("x", OF_CHILDREN, {}, False),
    ],
)
@pytest.mark.usefixtures("stubs")
def test_the_model_of_most_images_is_taken(letters, name, votes, warned):
    files = [Path(f"{letter}{number}") for number, letter in enumerate(letters)]
    found = choose_pretrained(files)
    assert (found.name, found.votes, found.n_images) == (name, votes, len(files))
    assert ("WARNING" in found.reason()) == warned
    assert name in found.reason()
    assert choose_pretrained(files[::-1]) == replace(found, predictor=ANY)


@pytest.mark.usefixtures("stubs")
def test_neither_order_nor_pattern_of_many_files_matters():
    """In one of three files there is a child, and in another of three none that can be read."""
    files = [Path(f"{'apa'[number % 3]}{number}") for number in range(190)]
    assert choose_pretrained(files).name == OF_ADULTS
    broken = [Path(f"{'!a'[number % 3 > 0]}{number}") for number in range(190)]
    assert choose_pretrained(broken).votes == {OF_ADULTS: SAMPLE}


def test_one_model_that_is_there_is_taken(two_models, stripes):
    (two_models / f"{OF_CHILDREN}.onnx").unlink()
    assert choose_pretrained(stripes, threads=1).name == OF_ADULTS


def test_studies_are_answered_by_it_and_it_opens_by_its_name(two_models, pictures, tmp_path):
    file, out = sorted(pictures.rglob("*.png"))[0], tmp_path / "studies.jsonl"
    predict_command.predict([file], study="folder", as_json=str(out))
    sha256 = Predictor(OF_ADULTS).model["sha256"]
    assert json.loads(out.read_text())["model"]["sha256"] == sha256
    assert hilum.load(OF_ADULTS).sha256 == sha256


@pytest.mark.parametrize("study", [None, "folder"])
def test_what_cannot_be_written_is_found_before_images_are_compared(pictures, monkeypatch, refuses, study):
    monkeypatch.delattr(pretrained_choice, "choose_pretrained")
    file = sorted(pictures.rglob("*.png"))[0]
    with refuses(UsageError, "two-outputs"):
        predict_command.predict([file], study=study, as_json="-", as_csv="-")


def test_a_file_of_that_name_comes_first(two_models, bundle_of, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(bundle_of("cascade"), OF_CHILDREN)
    assert Predictor(OF_CHILDREN).model["sha256"] == Predictor(bundle_of("cascade")).model["sha256"]


def test_a_folder_without_a_model_does_not_hide_the_name(tmp_path, monkeypatch, refuses):
    monkeypatch.chdir(tmp_path)
    (tmp_path / OF_CHILDREN).mkdir()
    assert Predictor(OF_CHILDREN).model_file.name == OF_CHILDREN
    with refuses(ModelFileError, "malformed-name"):
        Predictor("")


@with_darkcovidnet
def test_children_and_adults_get_their_own_model(seed_cxr):
    """The official test images of children, and adults with COVID-19, whom neither model has seen."""
    children = sorted((seed_cxr / "test").rglob("*.jpg"))
    adults = sorted((DARKCOVIDNET / "covid").iterdir())
    assert len(children) == 615
    assert len(adults) == 124
    of_children, of_adults = choose_pretrained(children), choose_pretrained(adults)
    assert of_children.votes == {OF_CHILDREN: of_children.votes[OF_CHILDREN]}
    assert of_children.votes[OF_CHILDREN] >= 56  # of 64; at a rate of false abstentions of 5 %
    assert of_adults.name == OF_ADULTS
