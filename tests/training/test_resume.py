"""Interrupted trainings: resumed they end the same, with their own recipe and data only."""

import json
import shutil
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

from hilum.errors import RecipeError, RunError
from hilum.training.recipe import load_recipe
from hilum.training.run import open_run
from hilum.training.train import train
from short_trainings import forget, make_unfinished, tiny

pytestmark = pytest.mark.usefixtures("small_evaluation")


START = "import sys; from hilum.cli.app import main; sys.argv[0] = 'hilum'; main()"


@pytest.mark.slow
@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_killed_in_the_middle_of_an_epoch_and_resumed_the_weights_are_the_same(write_dataset, tmp_path, optimiser):
    root = write_dataset(patients=80)
    # Validation within epochs: the continued history has to agree, too.
    recipe = tmp_path / "recipe.toml"
    settings = (
        "epochs=6",
        "batch_size=4",
        "validate_every=25",
        f"optimiser={optimiser}",
        "network.options.width=8",
    )
    recipe.write_text(tiny(*settings).to_toml())
    uninterrupted = train(root, tmp_path / "whole", load_recipe(recipe))

    out = tmp_path / "killed"
    command = [sys.executable, "-c", START, "train", root, "--out", out, "--recipe", recipe]
    process = subprocess.Popen([str(part) for part in command], stderr=subprocess.DEVNULL)
    end = time.monotonic() + 120
    last = out / "checkpoints" / "last.safetensors"
    while not last.exists() and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.15)  # into the next epoch
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert "weights_sha256" not in json.loads((out / "environment.json").read_text()), "killed too late"

    resumed = train(root, out, resume=True)
    assert resumed.environment.weights_sha256 == uninterrupted.environment.weights_sha256
    assert resumed.last.exists()

    def without_time(run):
        return [{key: value for key, value in row.items() if key != "seconds"} for row in run.history()]

    assert without_time(resumed) == without_time(uninterrupted)
    assert resumed.environment.best == uninterrupted.environment.best


def test_resuming_what_is_complete_changes_nothing(write_dataset, tmp_path):
    root = write_dataset()
    run = train(root, tmp_path / "run", tiny())
    before = run.best.read_bytes(), run.environment
    again = train(root, tmp_path / "run", resume=True)
    assert (again.best.read_bytes(), again.environment) == before


def test_a_run_in_the_way_is_not_touched(write_dataset, tmp_path, refuses):
    root = write_dataset()
    run = train(root, tmp_path / "run", tiny("max_steps=3"))
    with refuses(RunError, "in-the-way"):
        train(root, tmp_path / "run", tiny())
    assert run.best.exists()


def test_resuming_with_another_recipe_or_other_data_is_refused(write_dataset, tmp_path, refuses):
    root = write_dataset()
    run = train(root, tmp_path / "run", tiny("max_steps=3"))
    make_unfinished(run)
    with refuses(RecipeError, "other-choices"):
        train(root, tmp_path / "run", tiny("max_steps=4"), resume=True)
    with refuses(RunError, "other-images"):
        train(write_dataset(name="other", patients=13), tmp_path / "run", resume=True)
    with refuses(RunError, "no-run"):
        train(root, tmp_path / "nothing", resume=True)
    relabelled = shutil.copytree(root, tmp_path / "relabelled") / "metadata.csv"
    relabelled.write_text(relabelled.read_text().replace("normal,", "healthy,", 1))
    with refuses(RunError, "other-images"):
        train(relabelled.parent, tmp_path / "run", resume=True)


def test_a_training_that_another_version_began_goes_on_with_its_own_splits(write_dataset, tmp_path):
    """Version 0.1.0 held out mirrored copies apart, and its recipe does not say what counts as one picture."""
    root = write_dataset(metadata=False, labels=("normal", "covid"))
    for file in sorted((root / "train" / "covid").iterdir())[:8]:
        Image.open(file).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(file.with_stem(f"{file.stem}-mirrored"))
    recipe = tiny("splits.duplicates=identical", "max_steps=2", "validate_every=1")
    run = train(root, tmp_path / "run", recipe)
    before = run.rows
    forget(run, "weights_sha256", "files")
    text = (run.path / "recipe.toml").read_text()
    (run.path / "recipe.toml").write_text(text.replace('duplicates = "identical"\n', ""))
    assert open_run(run.path).recipe.splits.duplicates == "near"
    again = train(root, tmp_path / "run", resume=True)
    assert again.finished
    assert again.rows == before
    assert again.environment.data.notes == run.environment.data.notes


def test_resuming_with_changed_pixels_is_refused(write_dataset, tmp_path, refuses):
    root = write_dataset()
    run = train(root, tmp_path / "run", tiny("max_steps=3"))
    make_unfinished(run)
    files = sorted((root / "train" / "normal").iterdir())
    files[0].write_bytes(files[1].read_bytes())
    with refuses(RunError, "other-images"):
        train(root, tmp_path / "run", resume=True)
