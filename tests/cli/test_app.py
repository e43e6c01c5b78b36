"""The command line as people use it, good input and bad."""

import json
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib

import pytest

from hilum.errors import RecipeError, UsageError
from hilum.training.recipe import load_recipe
from hilum.training.train import train
from random_datasets import write_pictures
from training_runs import copy_with_data
from wording import numbers

pytestmark = pytest.mark.usefixtures("small_evaluation")

TINY = ["--set", "network.options.width=4", "--set", "network.options.blocks=[1,1]", "--set", "preprocessing.size=32"]
FEW = [*TINY, "--set", "max_steps=4", "--set", "batch_size=8"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A dataset, and a run on it."""
    folder = tmp_path_factory.mktemp("app")
    data = write_pictures(folder / "data", splits=("train", "test"))
    train(data, folder / "run", load_recipe("compact", FEW[1::2]))
    return folder


@pytest.fixture
def trained(folder, tmp_path):
    copy_with_data(folder, tmp_path)
    return tmp_path / "run"


def test_the_way_in_steps(trained, hilum):
    result = hilum("evaluate", trained, check=0)
    metrics = json.loads((trained / "evaluation" / "test" / "metrics.json").read_text())
    for name in ("labels", "n_images", "n_patients", "confusion", "accuracy", "balanced_accuracy", "recall"):
        assert name in metrics
    assert metrics["accuracy"]["low"] <= metrics["accuracy"]["value"] <= metrics["accuracy"]["high"]
    assert metrics["ece"].keys() == {"value", "ece_null_mean", "ece_null_q95"}
    assert metrics["n_images"] == 72
    lines = (trained / "evaluation" / "test" / "predictions.csv").read_text().splitlines()
    assert lines[0] == "path,patient_id,label,predicted,p:normal,p:infected/covid,p:infected/non-covid"
    assert len(lines) == 73
    result = hilum("report", trained, check=0)
    assert str(trained / "report.html") in result.stdout
    assert (trained / "report.html").read_text().startswith("<!doctype html>")


def test_json_on_standard_output_is_json_and_nothing_else(trained, hilum):
    result = hilum("evaluate", trained, "--json", check=0)
    assert json.loads(result.stdout)["n_images"] == 72


def test_another_dataset_with_the_same_labels_can_be_evaluated(trained, hilum, write_dataset, tmp_path, one_message):
    other = write_dataset(splits=("",), name="test", patients=5, start=1)
    metrics = json.loads(hilum("evaluate", trained, other, "--json", check=0).stdout)
    assert (metrics["name"].startswith("test-"), metrics["n_images"]) == (True, 30)
    foreign = write_dataset(labels=("normal", "tb"), splits=("",), name="foreign", patients=5)
    result = hilum("evaluate", trained, foreign, check=1)
    one_message(result, 1)


def test_the_runs_own_data_are_known_wherever_they_lie(trained, hilum, write_dataset, tmp_path, one_message):
    """Given explicitly, or moved: the run's splits count, and no training image becomes a test image."""
    (tmp_path / "data").rename(tmp_path / "moved")
    one_message(hilum("evaluate", trained), 1)
    metrics = json.loads(hilum("evaluate", trained, tmp_path / "moved", "--json", check=0).stdout)
    assert (metrics["name"], metrics["n_images"]) == ("test", 72)


def test_other_data_lose_the_images_that_were_trained_on(trained, hilum, tmp_path):
    (tmp_path / "data" / "metadata.csv").unlink()
    (tmp_path / "data" / "test" / "normal" / "te000-0.png").unlink()
    mixed = tmp_path / "data"
    for split in ("train", "test"):
        for label in ("normal", "infected/covid", "infected/non-covid"):
            (mixed / label).mkdir(parents=True, exist_ok=True)
            for file in (mixed / split / label).iterdir():
                file.rename(mixed / label / file.name)
        shutil.rmtree(mixed / split)
    result = hilum("evaluate", trained, mixed, "--json", check=0)
    calibration = sum(",calibration," in line for line in (trained / "split.csv").read_text().splitlines())
    assert json.loads(result.stdout)["n_images"] == 71 + calibration
    assert f"{72 - calibration} images of the run's training" in result.stderr


def test_summary_prints_the_seeds_table(hilum):
    text = hilum("summary", "--recipe", "vgg16-report", check=0).stdout
    assert text.split()[text.split().index("Linear-51") :][:4] == ["Linear-51", "[-1,", "3]", "12,291"]
    assert dict(re.findall(r"^(Total|Trainable|Non-trainable) params: ([\d,]+)$", text, re.MULTILINE)) == {
        "Total": "65,090,499",
        "Trainable": "65,090,499",
        "Non-trainable": "0",
    }
    assert re.findall(r"\(MB\): ([\d.]+)$", text, re.MULTILINE) == ["0.09", "142.46", "248.30", "390.85"]


def test_phantoms_can_be_made_and_read(hilum, tmp_path, snapshot, one_message):
    result = hilum("phantoms", tmp_path / "p", "--patients", "9", "--size", "64", "--inject", "marker:normal", check=0)
    assert "9" in numbers(result.stdout)
    snapshot(result.stdout, numbers=False)
    one_message(hilum("phantoms", tmp_path / "p", "--patients", "9"), 1)
    one_message(hilum("phantoms", tmp_path / "q", "--inject", "nonsense"), 2)


def test_phantoms_with_several_findings(hilum, tmp_path, snapshot, one_message):
    few = ("--patients", "6", "--size", "64")
    several = ("--findings", "--prevalence", "nodule=0.9", "--uncertain", "0.1", "--missing", "0.1", "--no-masks")
    result = hilum("phantoms", tmp_path / "p", *few, *several, check=0)
    snapshot(result.stdout, numbers=False)
    assert "nodule" in (tmp_path / "p" / "metadata.csv").read_text().splitlines()[0].split(",")
    assert not (tmp_path / "p" / "masks").exists()
    one_message(hilum("phantoms", tmp_path / "q", *few, "--missing", "0.1"), 2)
    one_message(hilum("phantoms", tmp_path / "q", *few, "--findings", "--inject", "marker:normal"), 2)
    one_message(hilum("phantoms", tmp_path / "q", *few, "--findings", "--prevalence", "edema=0.1"), 2)
    one_message(hilum("phantoms", tmp_path / "q", *few, "--findings", "--uncertain", "1.5"), 2)
    assert not (tmp_path / "q").exists()


def bad_empty(root):
    shutil.rmtree(root)
    root.mkdir()


def bad_one_class(root):
    for label in ("infected",):
        shutil.rmtree(root / "train" / label)
    (root / "metadata.csv").unlink()


def bad_column(root):
    path = root / "metadata.csv"
    path.write_text(path.read_text().replace("label", "what", 1))


def bad_twice(root):
    path = root / "metadata.csv"
    path.write_text(path.read_text() + path.read_text().splitlines()[1].replace("normal,", "other,") + "\n")


def bad_test_label(root):
    folder = root / "test" / "tuberculosis"
    folder.mkdir(parents=True)
    shutil.copy(next((root / "train").rglob("*.png")), folder / "1.png")
    (root / "metadata.csv").unlink()


@pytest.mark.parametrize(
    "spoil", [bad_empty, bad_one_class, bad_column, bad_twice, bad_test_label], ids=lambda f: f.__name__
)
def test_data_that_cannot_be_used(spoil, write_dataset, hilum, tmp_path, one_message):
    root = write_dataset()
    spoil(root)
    one_message(hilum("train", root, "--out", tmp_path / "run", *FEW), 1)
    assert not (tmp_path / "run").exists()


def claims_50000():
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99))


def test_bad_files_among_good_ones_are_named_counted_and_left_out(write_dataset, hilum, tmp_path, snapshot):
    from PIL import Image

    root = write_dataset(metadata=False)
    files = sorted((root / "train" / "normal").iterdir())
    Image.open(files[0]).resize((300, 300)).save(files[0].with_suffix(".jpg"))
    whole = files[0].with_suffix(".jpg").read_bytes()
    files[0].with_suffix(".jpg").write_bytes(whole[: len(whole) // 2])
    files[1].write_text("I am a text file")
    Image.new("L", (1, 1)).save(files[2])
    files[3].write_bytes(claims_50000())
    result = hilum("train", root, "--out", tmp_path / "run", *FEW, check=0)
    bad = [files[0].with_suffix(".jpg"), *files[1:4]]
    for file in bad:
        assert sum(file.name in line for line in result.stderr.splitlines()) == 1, file
    snapshot("\n".join(line for line in result.stderr.splitlines() if "left out" in line or line.count(".png: ")))
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    unreadable = environment["data"]["unreadable"]
    assert sorted(item["path"] for item in unreadable) == sorted(file.relative_to(root).as_posix() for file in bad)
    snapshot("\n".join(item["message"] for item in unreadable))
    splits = (tmp_path / "run" / "split.csv").read_text()
    assert splits.count(",unreadable,") == 4


def test_wrong_usage(hilum, write_dataset, tmp_path, one_message):
    root = write_dataset()
    one_message(hilum("train", root, "--out", tmp_path / "r", "--set", "lrr=1"), 2)
    one_message(hilum("train", root, "--out", tmp_path / "r", "--recipe", "nowhere"), 2)
    one_message(hilum("train", root, "--out", tmp_path / "r", "--set", "network.architecture=vgg16"), 2)
    one_message(hilum("train", root, "--out", tmp_path / "r", "--set", "splits.val=foo"), 1)
    one_message(hilum("train", root, "--out", tmp_path / "r", "--set", "training.seed=99999999999999"), 2)
    assert not (tmp_path / "r").exists(), "a mistake leaves no run behind that is in the way"
    (tmp_path / "file").write_text("")
    one_message(hilum("train", root, "--out", tmp_path / "file" / "r", *FEW), 1)
    assert hilum("train", root).returncode == 2
    one_message(hilum("train", tmp_path / "nothing", "--out", tmp_path / "r"), 1)
    one_message(hilum("evaluate", tmp_path / "nothing"), 1)
    one_message(hilum("report", tmp_path), 1)


MISTAKEN = {
    ("--epochs", "5"): "--set epochs=5",
    ("--lr=0.1",): "--set lr=0.1",
    ("--batch-size", "8"): "--set batch_size=8",
    ("--learning-rate", "0.1"): "--set lr=0.1",
    ("--random-seed", "3"): "--set training.seed=3",
    ("--image-size", "224"): "--set size=224",
    ("--device", "cuda"): "GPU",
    ("--wibble", "1"): "--help",
}


@pytest.mark.parametrize("given", MISTAKEN, ids=lambda given: given[0])
def test_an_option_that_is_a_key_of_the_recipe_is_answered_with_how_to_set_it(given, capsys, monkeypatch, one_message):
    from hilum.cli.app import main

    for command in ("train", "sweep", "crossval"):
        monkeypatch.setattr(sys, "argv", ["hilum", command, "DATA", "--out", "RUN", *given])
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capsys.readouterr()
        result = subprocess.CompletedProcess([], stop.value.code, out, err)
        one_message(result, 2)


@pytest.mark.parametrize("command", ["train", "sweep", "crossval"])
def test_a_wrong_network_is_refused_before_any_file_is_read(command, hilum, write_dataset, tmp_path, one_message):
    root = write_dataset(splits=("train", "test"))
    swept = ["--set", "lr=0.1,0.2"] if command == "sweep" else []
    for setting in ("network.architecture=monai/foo", "network.options.widht=4"):
        result = hilum(command, root, "--out", tmp_path / "r", *swept, "--set", setting)
        one_message(result, 2)
        assert result.stderr.count("\n") == 1, "nothing was read or decoded before"


def test_weights_that_cannot_be_downloaded_are_said_to_be_that(write_dataset, tmp_path, monkeypatch, refuses):
    import urllib.request
    from urllib.error import URLError

    def offline(*arguments, **options):
        raise URLError(OSError(101, "no network here"))

    monkeypatch.setattr(urllib.request, "urlopen", offline)
    monkeypatch.setattr("torch.hub.urlopen", offline)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    settings = ["network.architecture=monai/densenet121", "network.options.pretrained=true"]
    with refuses(RecipeError, "no-download"):
        train(write_dataset(), tmp_path / "r", load_recipe("compact", settings))


def test_help_of_every_command(hilum, snapshot):
    from typer.main import get_command

    from hilum.cli.app import app

    for command in ([], *([name] for name in sorted(get_command(app).commands))):
        snapshot(f"$ hilum {' '.join([*command, '--help'])}\n{hilum(*command, '--help', check=0).stdout}")


def test_help_lists_all_recipes(hilum):
    from hilum.training.recipe import recipe_names

    text = hilum("train", "--help", check=0).stdout
    assert all(name in text for name in recipe_names())


def test_a_run_in_the_way_and_a_split_that_is_not_there(trained, hilum, write_dataset, one_message):
    one_message(hilum("train", trained, "--out", trained), 1)
    one_message(hilum("evaluate", trained, "--split", "nope"), 1)


def test_output_that_cannot_be_written_is_one_message(trained, hilum, tmp_path, one_message):
    (tmp_path / "file").write_text("")
    one_message(hilum("evaluate", trained, "--out", tmp_path / "file"), 2)
    one_message(hilum("phantoms", tmp_path / "file" / "p", "--patients", "6"), 1)


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on_and_an_unfinished_run_is_not_evaluated(write_dataset, tmp_path, one_message):
    root, out = write_dataset(patients=60), tmp_path / "run"
    command = [sys.executable, "-m", "hilum", "train", root, "--out", out, *TINY, "--set", "epochs=500"]
    process = subprocess.Popen([str(part) for part in command], stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while not (out / "history.csv").exists() and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume" in errors.splitlines()[-1]
    assert "Traceback" not in errors
    result = subprocess.run([*command[:3], "evaluate", out], capture_output=True, text=True, check=False)
    one_message(result, 1)


def test_a_checkpoint_of_another_architecture(trained, hilum, one_message):
    recipe = trained / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("width = 4", "width = 16"))
    one_message(hilum("evaluate", trained), 1)
    facts = trained / "environment.json"
    facts.write_text(json.dumps({key: value for key, value in json.loads(facts.read_text()).items() if key != "files"}))
    one_message(hilum("evaluate", trained), 1)


@pytest.mark.slow
def test_a_cache_that_cannot_be_written(write_dataset, hilum, tmp_path, one_message):
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where a folder should be")
    result = hilum("train", write_dataset(), "--out", tmp_path / "r", *FEW, HILUM_CACHE=str(blocked))
    one_message(result, 1)


def test_an_object_for_programs_is_not_lost_without_a_word(monkeypatch):
    from hilum.cli.arguments import print_json

    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(UsageError):
        print_json({"a": 1})
