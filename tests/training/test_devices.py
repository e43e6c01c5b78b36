"""Several devices: the same training as on one, and an end for all where one ends."""

import os
import signal
import subprocess
import sys
import time
from itertools import chain

import numpy as np
import pytest
import torch

from hilum.data.cache import open_images
from hilum.data.process_pool import usable_cores
from hilum.data.readers.read import read_table
from hilum.errors import RecipeError, RunError, SplitError, UsageError
from hilum.training.augmentation import draw
from hilum.training.batches import Batches
from hilum.training.devices import Devices, Place, check_devices, find_place
from hilum.training.ranks import joined, lost
from hilum.training.recipe import load_recipe
from hilum.training.run import RECIPE, Run
from hilum.training.train import train
from hilum.training.trainable import check_shares
from short_trainings import tiny

TORCHRUN = {"TORCHELASTIC_RUN_ID": "1", "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
SLURM = {"SLURM_STEP_ID": "0", "SLURM_NTASKS": "4", "SLURM_NNODES": "2", "SLURM_PROCID": "2", "SLURM_LOCALID": "0"}
two_cores = pytest.mark.skipif(usable_cores() < 2, reason="needs two cores")
PLAIN = ("augmentation={}", "precision=float32", "validate_every=1")


@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_the_parts_of_each_batch_are_disjoint_and_cover_the_epoch(write_dataset, world):
    table = read_table(write_dataset())
    images = open_images(table, tiny().preprocessing)
    numbers = np.arange(len(table))
    whole = [targets.tolist() for _, targets in Batches(images, numbers, 16, (0, 1))]
    parts = [
        [targets.tolist() for _, targets in Batches(images, numbers, 16, (0, 1), place=Place(rank, world))]
        for rank in range(world)
    ]
    joined = [list(chain(*batches)) for batches in zip(*parts, strict=True)]
    assert joined == whole
    assert sorted(chain(*joined)) == numbers.tolist()
    sizes = [[len(part) for part in batches] for batches in zip(*parts, strict=True)]
    assert max(max(found) - min(found) for found in sizes) <= 1


def test_random_changes_of_a_part_are_those_of_the_whole():
    plan = load_recipe("compact").augmentation
    whole = draw(plan, 7, torch.Generator().manual_seed(3))
    parts = [whole.part(Place(rank, 3).share(7)) for rank in range(3)]
    assert torch.equal(torch.cat([part.affine for part in parts]), whole.affine)


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (Devices(devices=4096), "too-many-devices"),
        (Devices(devices=0), "no-device"),
        (Devices(nodes=-1), "no-device"),
        (Devices(strategy="fsdp"), "no-such-strategy"),
    ],
)
def test_what_cannot_be_meant_is_refused(asked, code, refuses, monkeypatch):
    monkeypatch.setattr("hilum.training.devices.usable_cores", lambda: 2)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with refuses(UsageError, code):
        check_devices(asked)


def test_places_are_found_in_what_starts_processes(refuses):
    assert find_place(Devices(), {}) == Place()
    assert find_place(Devices(2), {}) is None
    assert find_place(Devices(), TORCHRUN) == find_place(Devices(2, 2), TORCHRUN) == Place(3, 4, 1, 2)
    assert find_place(Devices(2, 2), SLURM) == Place(2, 4, 0, 2)
    assert find_place(Devices(), SLURM) == Place()  # one process was asked for
    assert find_place(Devices(2, 2), {**SLURM, "SLURM_NTASKS": "1"}) is None
    with refuses(UsageError, "other-processes"):
        find_place(Devices(3), TORCHRUN)


@pytest.mark.parametrize(("settings", "error"), [(["batch_size=7"], RecipeError), ([], SplitError)])
def test_a_part_without_images_is_refused(settings, error, write_dataset, refuses):
    """Three validation images, and eight devices."""
    recipe = load_recipe("compact", ["batch_size=8", *settings])
    table = read_table(write_dataset(splits=("train",)))
    splits = ["val"] * 3 + ["train"] * (len(table) - 3)
    check_shares(recipe, 3, table.with_splits(splits))
    with refuses(error, "fewer-than-devices"):
        check_shares(recipe, 8, table.with_splits(splits))


@pytest.mark.parametrize("step", ["init_process_group", "new_group"])
@pytest.mark.parametrize("local", [1, 2])
def test_machines_that_do_not_find_each_other_are_told_of_their_networks(tmp_path, monkeypatch, refuses, local, step):
    def fails(*arguments, **more):
        msg = "Gloo connectFullMesh failed"
        raise torch.distributed.DistBackendError(msg)

    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *arguments, **more: None)
    monkeypatch.setattr(torch.distributed, step, fails)
    monkeypatch.setattr(Place, "export", lambda place: None)
    with refuses(RunError, "rank-lost"), joined(Place(1, 2, 0, local), tmp_path, Devices()):
        pass


def test_only_a_run_that_exists_is_to_be_continued(tmp_path):
    assert "--resume" not in str(lost(tmp_path, "rank 1"))
    (tmp_path / RECIPE).touch()
    assert "--resume" in str(lost(tmp_path, "rank 1"))


def losses(run):
    rows = run.history()
    return np.array([[row["train_loss"], row["val_loss"]] for row in rows])


@pytest.mark.peers
@two_cores
@pytest.mark.parametrize("settings", [(), ("mixup=0.4", "label_smoothing=0.1"), ("hierarchy=cascade",)])
def test_two_ranks_have_the_losses_of_one_for_20_steps(write_dataset, tmp_path, settings):
    """Batch normalisation over both ranks, batches of 9 and a last one that is smaller."""
    root = write_dataset()
    recipe = tiny(*PLAIN, "epochs=4", "max_steps=20", "batch_size=9", *settings)
    one = train(root, tmp_path / "one", recipe)
    two = train(root, tmp_path / "two", recipe, devices=Devices(2))
    assert len(losses(two)) == 20
    assert np.abs(losses(one) - losses(two)).max() < 1e-4
    found = two.environment
    assert (found.devices, found.nodes, found.world_size, found.strategy) == (2, 1, 2, "ddp")
    assert one.environment.world_size is None


@pytest.mark.peers
@two_cores
def test_a_training_goes_on_with_another_number_of_devices(write_dataset, tmp_path, start):
    root, out = write_dataset(), tmp_path / "run"
    recipe = tiny(*PLAIN, "epochs=20", "max_steps=30")
    whole = train(root, tmp_path / "whole", recipe)
    process = start("train", root, "--out", out, "--devices", "2", recipe=recipe)
    wait_for_checkpoint(out, process)
    process.kill()
    process.communicate()  # until the system has ended the others, too, who hold the pipes
    resumed = train(root, out, resume=True)
    assert [row["step"] for row in resumed.history()] == list(range(1, 31))
    assert np.abs(losses(resumed) - losses(whole)).max() < 1e-3


@pytest.mark.peers
@two_cores
def test_where_one_rank_is_killed_the_others_end(write_dataset, tmp_path, start):
    out = tmp_path / "run"
    recipe = tiny(*PLAIN, "max_steps=20000", "epochs=20000")
    process = start("train", write_dataset(), "--out", out, "--devices", "2", recipe=recipe)
    wait_for_checkpoint(out, process)
    started = children(process.pid)
    assert len(started) == 2
    os.kill(started[1], signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in err
    assert str(out) in err
    assert not children(process.pid)


@pytest.mark.peers
@two_cores
def test_torchrun_starts_it_and_ranks_with_other_data_stop(write_dataset, tmp_path):
    root, other = write_dataset(), write_dataset(name="other", patients=13)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(tiny(*PLAIN, "max_steps=5").to_toml())
    code = (
        "import os, sys; from hilum.cli.app import main\n"
        "sys.argv = ['hilum', 'train', sys.argv[1 + int(os.environ['RANK'])], *sys.argv[3:]]\nmain()"
    )
    script = tmp_path / "start.py"
    script.write_text(code)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", script]
    options = ["--recipe", recipe]
    done = run(*torchrun, root, root, "--out", tmp_path / "run", *options)
    assert done.returncode == 0, done.stderr
    assert Run(tmp_path / "run").environment.world_size == 2
    assert done.stdout.count("weights sha256") == 1
    done = run(*torchrun, root, other, "--out", tmp_path / "differing", *options)
    assert done.returncode
    assert "different data" in done.stderr


@pytest.mark.peers
@two_cores
def test_two_ranks_learn_as_well_as_one_with_augmentation(write_dataset, tmp_path):
    root = write_dataset(patients=40)
    settings = ("equalise=false", "local_contrast=0", "gamma=0", "epochs=8")
    ones = [train(root, tmp_path / f"one{s}", tiny(*settings, f"training.seed={s}")).environment.best for s in (0, 1)]
    two = train(root, tmp_path / "two", tiny(*settings), devices=Devices(2)).environment.best
    found = [best.val_accuracy for best in ones]
    assert min(found) - 0.1 <= two.val_accuracy <= max(found) + 0.1


@pytest.mark.peers
@two_cores
def test_an_error_of_the_first_rank_reaches_whoever_asked(write_dataset, tmp_path, refuses):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with refuses(RunError, "in-the-way"):
        train(write_dataset(), tmp_path / "run", tiny(), devices=Devices(2))


@pytest.fixture
def start(tmp_path):
    """Start a command with a recipe; whatever becomes of the test, the command ends with it."""
    started = []

    def run(*command, recipe):
        started.append(begin(*command, recipe=recipe, folder=tmp_path))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


def begin(*command, recipe, folder):
    file = folder / "given.toml"
    file.write_text(recipe.to_toml())
    words = [sys.executable, "-m", "hilum", *command, "--recipe", file]
    return subprocess.Popen(list(map(str, words)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(*command):
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, check=False)


def wait_for_checkpoint(out, process):
    end = time.monotonic() + 240
    while not (out / "checkpoints" / "last.safetensors").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)


def children(pid):
    """Processes of spawned ranks; Python's tracker of resources is a child, too."""
    found = subprocess.run(["ps", "-wweo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    lines = [line.split(None, 2) for line in found.splitlines()[1:]]
    return sorted(int(own) for own, parent, words in lines if int(parent) == pid and "spawn_main" in words)
