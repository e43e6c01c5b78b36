"""Series on Ray: the same results as alone, killed workers, and clusters that cannot do the work."""

import csv
import json
import os
import signal
import socket
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from hilum import __version__, ray_engine
from hilum.data.ray_pool import RayPool, Wanted, look_around, wanted_by
from hilum.data.readers.read import read_table
from hilum.errors import EngineError, ExtraError, UsageError
from hilum.evaluation.crossval import crossval
from hilum.files import locked
from hilum.ray_engine import LOCK, _own_folder, check_engine, connect, remove_left
from hilum.training.early_stopping import score
from hilum.training.parallel import Engine
from hilum.training.recipe import load_recipe
from hilum.training.sweep import sweep
from hilum.training.train import train

RAY = Engine("ray", cpus=1)


@pytest.fixture
def one_thread():
    """As many threads as a worker has: sums of another number of threads differ in the last bit."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def without_times(folder):
    with (folder / "sweep.csv").open(newline="") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def weights(out):
    kept = {file.parent.relative_to(out): json.loads(file.read_text()) for file in out.rglob("environment.json")}
    return {str(folder): facts["weights_sha256"] for folder, facts in kept.items()}


def kill_first_worker(out, killed):
    """SIGKILL the process that trains the first trial, once it has validated."""
    end = time.monotonic() + 600  # as long as a test may take
    while not killed and time.monotonic() < end:
        for file in out.glob("trials/*/checkpoints/last.safetensors"):
            held = file.parents[1] / ".hilum-in-use.json"
            try:
                found = json.loads(held.read_text())["pid"]
            except (OSError, ValueError):
                continue
            if found != os.getpid():
                os.kill(found, signal.SIGKILL)
                killed.append(found)
                return
        time.sleep(0.005)


@pytest.mark.peers
@pytest.mark.usefixtures("one_thread")
def test_a_sweep_on_ray_is_that_of_one_process_also_if_a_worker_is_killed(write_dataset, tmp_path, tiny):
    root, settings = write_dataset(patients=40), [*tiny, "epochs=6", "batch_size=4", "lr=0.001,1e38", "optimiser=sgd"]
    settings.append("training.seed=0,1")
    alone = sweep(root, tmp_path / "alone", settings)
    killed = []
    watcher = threading.Thread(target=kill_first_worker, args=(tmp_path / "ray", killed), daemon=True)
    watcher.start()
    together = sweep(root, tmp_path / "ray", settings, engine=RAY)
    watcher.join(1)
    assert killed, "killed too late"
    assert without_times(tmp_path / "ray") == without_times(tmp_path / "alone")
    assert together.choice == alone.choice
    assert together.groups == alone.groups
    assert [trial.status for trial in together.trials] == ["finished", "finished", "diverged", "diverged"]
    for trial, other in zip(alone.trials, together.trials, strict=True):
        assert (trial.message, trial.best) == (other.message, other.best)
        if trial.best:
            one, two = (weights(tmp_path / out / "trials" / trial.name) for out in ("alone", "ray"))
            assert one == two


@pytest.mark.peers
@pytest.mark.usefixtures("one_thread")
def test_a_cross_validation_on_ray_is_that_of_one_process(write_dataset, tmp_path, tiny, small_evaluation, monkeypatch):
    root, recipe = write_dataset(patients=20), load_recipe("compact", [*tiny, "epochs=1"])
    alone = crossval(root, tmp_path / "alone", recipe, folds=2)
    asked = asked_of_a_cluster(monkeypatch)
    together = crossval(root, tmp_path / "ray", recipe, folds=2, engine=RAY)
    assert asked == ["hash_files", "start"]  # the local one has decoded them
    assert together == alone
    assert weights(tmp_path / "ray") == weights(tmp_path / "alone")
    for name in ("predictions.csv", "crossval.json"):
        assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()


def asked_of_a_cluster(monkeypatch):
    """Notes each start of a cluster, and each kind of work that it does on files."""
    asked, start, work_on = [], ray_engine._start, RayPool.map

    def noted_start(*given):
        asked.append("start")
        start(*given)

    def noted_map(pool, work, items):
        asked.append(work.func.__name__)
        return work_on(pool, work, items)

    monkeypatch.setattr(ray_engine, "_start", noted_start)
    monkeypatch.setattr(RayPool, "map", noted_map)
    return asked


@pytest.mark.peers
@pytest.mark.usefixtures("one_thread")
def test_a_training_whose_images_a_cluster_decodes(write_dataset, tmp_path, tiny, monkeypatch):
    root, recipe = write_dataset(patients=20), load_recipe("compact", [*tiny, "epochs=1"])
    asked = asked_of_a_cluster(monkeypatch)
    train(root, tmp_path / "ray", recipe, engine="ray")
    assert asked == ["hash_files", "start", "decode_into"]
    monkeypatch.setenv("HILUM_CACHE", str(tmp_path / "cache"))
    train(root, tmp_path / "alone", recipe)
    assert weights(tmp_path / "ray") == weights(tmp_path / "alone")
    for out, given in (("spark", {"engine": "spark"}), ("local", {"address": "127.0.0.1:6379"})):
        with pytest.raises(UsageError):
            train(root, tmp_path / out, recipe, **given)
        assert not (tmp_path / out).exists()


@pytest.mark.peers
@pytest.mark.usefixtures("one_thread")
def test_trials_that_fall_behind_are_stopped_and_never_chosen(write_dataset, tmp_path, tiny):
    settings = [*tiny, "epochs=4", "lr=0.01,0.000001,0.0000011,0.0000012"]
    found = sweep(write_dataset(), tmp_path / "sweep", settings, engine=RAY, early_stopping=True)
    states = [trial.status for trial in found.trials]
    assert set(states) == {"finished", "stopped"}
    assert all((trial.best is None) == (trial.status == "stopped") for trial in found.trials)
    assert found.choice is not None
    assert all(group.mean is None for group in found.groups if found.members(group)[0].status == "stopped")
    again = sweep(tmp_path / "data", tmp_path / "sweep", settings, engine=RAY, early_stopping=True, resume=True)
    assert again == found  # nothing is left to train


def test_measures_that_grow_are_turned_round():
    row = {"val_loss": 0.5, "val_accuracy": 0.9, "val_false_negatives": 3, "val_auroc": 0.8}
    assert [score(row, name) for name in ("loss", "accuracy", "false_negatives", "auroc")] == [0.5, -0.9, 3, -0.8]


def test_an_address_where_nothing_answers_is_a_message(monkeypatch):
    pytest.importorskip("ray")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(EngineError) as found, connect(f"127.0.0.1:{port}"):
        pass
    assert found.value.code == "no-answer"
    with pytest.raises(UsageError) as found, connect("ray://somewhere"):
        pass
    assert found.value.code == "no-address"


@pytest.mark.peers
def test_an_address_where_something_else_answers_is_a_message_in_time():
    pytest.importorskip("ray")
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        pytest.raises(EngineError) as found,
        connect(f"127.0.0.1:{server.getsockname()[1]}"),
    ):
        pass
    assert found.value.code == "no-answer"


def test_what_cannot_be_used_is_found_before_any_work(write_dataset, tmp_path, tiny, monkeypatch):
    with pytest.raises(UsageError) as found:
        check_engine("cluster")
    assert found.value.code == "no-such-engine"
    with pytest.raises(UsageError) as found:
        check_engine("local", "127.0.0.1:6379")
    assert found.value.code == "ignored-option"
    with pytest.raises(UsageError):
        sweep(tmp_path / "missing", tmp_path / "sweep", tiny, early_stopping=True)
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr("hilum.extras.find_spec", lambda name: None)
    for series, given in ((crossval, ()), (sweep, (tiny,))):
        with pytest.raises(ExtraError) as found:
            series(tmp_path / "missing", tmp_path / "series", *given, engine=RAY)
        assert "pip install 'hilum[ray]'" in str(found.value)
        assert not (tmp_path / "series").exists()


def test_folders_of_killed_processes_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for name in ("hilum-ray-left", "hilum-ray-held", "hilum-ray-young", "other"):
        (tmp_path / name / "session").mkdir(parents=True)
        (tmp_path / name / LOCK).touch()
        if "young" not in name:
            os.utime(tmp_path / name / LOCK, (0, 0))
    (tmp_path / "hilum-ray-unlocked").mkdir()
    (tmp_path / "hilum-ray-link").symlink_to(tmp_path / "other")
    with locked(tmp_path / "hilum-ray-held" / LOCK, lambda: None):
        remove_left()
    assert {path.name.removeprefix("hilum-ray-") for path in tmp_path.iterdir()} == {
        "held", "young", "other", "unlocked", "link",
    }  # fmt: skip


def test_a_node_says_what_it_does_not_see(write_dataset, tmp_path):
    table, plan = read_table(write_dataset()), tmp_path / "plan.json"
    image = table.file(table.rows[0])
    plan.write_text("{}")
    wanted = wanted_by(table, plan)
    assert look_around(wanted) == ""
    image.unlink()
    assert str(image) in look_around(wanted)
    assert str(image) in look_around(Wanted(str(image)))
    plan.write_text("{ }")
    assert str(tmp_path) in look_around(wanted)
    assert __version__ in look_around(replace(wanted, version="0.0.0"))


def test_what_a_cluster_leaves_on_the_disk_is_private():
    with _own_folder() as folder:
        Path(folder).mkdir(mode=0o777)  # as Ray does
        assert Path(folder).parent.stat().st_mode & 0o777 == 0o700
    assert not Path(folder).parent.exists()
