"""One process at a time in a run: the second is refused or waits, and no dead one is in the way."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from hilum.data.dataset import Dataset, Row
from hilum.errors import RunError, TableError
from hilum.evaluation.certify import certify
from hilum.evaluation.evaluate import evaluate
from hilum.evaluation.ood_reference import fit_reference
from hilum.evaluation.temperature import calibrate
from hilum.progress import Progress
from hilum.training import lock
from hilum.training.environment import Environment
from hilum.training.lock import HOLDER, LOCK, contents, occupied, only_process
from hilum.training.multirun import series
from hilum.training.recipe import load_recipe
from hilum.training.run import Run, open_run
from hilum.training.train import train

pytestmark = pytest.mark.timeout(120)
HOLD = """
import sys, time
from pathlib import Path
from hilum.training.lock import only_process
with only_process(Path(sys.argv[1]), sys.argv[2], wait=sys.argv[3] == "wait"):
    print("held", flush=True)
    sys.stdin.read()
"""


class Collected(Progress):
    def __init__(self):
        self.lines = []

    def line(self, text):
        self.lines.append(text)


@pytest.fixture
def holder():
    """Another process that holds a folder until it is told to let go."""
    started = []

    def hold(folder, what, how="refuse"):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(folder), what, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        started.append(process)
        assert process.stdout.readline() == b"held\n"
        return process

    yield hold
    for process in started:
        process.kill()
        process.stdin.close()
        process.stdout.close()
        process.wait()


def never():
    """A check that finds nothing."""


def test_the_second_process_is_refused_at_once_and_told_who_holds_the_folder(holder, tmp_path):
    first = holder(tmp_path, "train")
    begin = time.monotonic()
    with pytest.raises(RunError) as caught, only_process(tmp_path, "evaluate", wait=True):
        pass
    assert time.monotonic() - begin < 2
    said = json.loads((tmp_path / HOLDER).read_text())
    assert said["pid"] == first.pid
    for fact in (str(tmp_path), str(first.pid), os.uname().nodename, "train", said["since"]):
        assert fact in str(caught.value)


def test_a_killed_process_is_not_in_the_way(holder, tmp_path):
    first = holder(tmp_path, "train")
    first.kill()
    first.wait()
    assert (tmp_path / HOLDER).exists()  # it could not take it away
    with only_process(tmp_path, "train"):
        assert json.loads((tmp_path / HOLDER).read_text())["pid"] == os.getpid()
    assert not (tmp_path / HOLDER).exists()
    assert contents(tmp_path) == set()


def test_what_is_soon_done_is_waited_for(holder, tmp_path, refuses):
    first, progress = holder(tmp_path, "evaluate", "wait"), Collected()
    threading.Timer(0.5, first.stdin.close).start()
    with only_process(tmp_path, "certify", wait=True, progress=progress):
        assert first.wait(timeout=10) == 0
    assert len(progress.lines) == 1
    assert str(first.pid) in progress.lines[0]
    second = holder(tmp_path, "evaluate", "wait")
    with refuses(RunError, "in-use", tmp_path) as caught, only_process(tmp_path, "train"):
        pass
    assert str(second.pid) in caught.value.message


def test_who_holds_a_folder_may_enter_it_again_and_another_thread_may_not(tmp_path):
    refused = []

    def other():
        try:
            with only_process(tmp_path, "evaluate"):
                pass
        except RunError as error:
            refused.append(error)

    with only_process(tmp_path, "train"):
        with only_process(tmp_path, "evaluate", wait=True):
            pass
        assert (tmp_path / HOLDER).exists()
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert len(refused) == 1


def test_a_folder_made_for_nothing_goes_away_and_nothing_else_does(tmp_path):
    out = tmp_path / "a" / "b"

    def fail(file=None):
        if file:
            file.touch()
        raise TableError

    with pytest.raises(TableError), occupied(out, "train", never):
        fail()
    assert not (tmp_path / "a").exists()
    with pytest.raises(TableError), occupied(out, "train", fail):
        pass
    assert not (tmp_path / "a").exists()
    with pytest.raises(TableError), occupied(out, "train", never):
        fail(out / "file")
    assert contents(out) == {"file"}
    with pytest.raises(KeyboardInterrupt), occupied(tmp_path / "c", "train", never):
        raise KeyboardInterrupt
    assert (tmp_path / "c").exists()  # --resume goes on there


def test_who_is_refused_takes_no_folder_away(holder, tmp_path, monkeypatch):
    """Another process has entered the folder that this one has just made."""
    out, real = tmp_path / "run", lock._locked

    def late(folder, **how):
        holder(folder, "train")
        return real(folder, **how)

    monkeypatch.setattr(lock, "_locked", late)
    with pytest.raises(RunError), occupied(out, "train", never):
        pass
    assert (out / LOCK).exists()
    assert (out / HOLDER).exists()


def test_a_foreign_folder_is_not_touched(tmp_path, refuses):
    (tmp_path / "thesis.txt").touch()
    before = tmp_path.stat().st_mtime_ns
    with refuses(RunError, "in-the-way"):
        train(tmp_path / "data", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    assert tmp_path.stat().st_mtime_ns == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_only_be_read_is_not_locked(tmp_path):
    tmp_path.chmod(0o500)
    with only_process(tmp_path, "evaluate"):
        assert not (tmp_path / LOCK).exists()


def test_a_mistake_leaves_no_run_behind_and_the_same_command_works_after_it(write_dataset, tmp_path, tiny, refuses):
    recipe, out = load_recipe("compact", [*tiny, "max_steps=2"]), tmp_path / "runs" / "one"
    with pytest.raises(TableError):
        train(tmp_path / "typo", out, recipe)
    assert not out.parent.exists()
    out.mkdir(parents=True)
    with pytest.raises(TableError):
        train(tmp_path / "typo", out, recipe)
    assert contents(out) == set()
    with refuses(RunError, "nothing-to-continue", out):
        train(write_dataset(), out, resume=True)
    assert train(tmp_path / "data", out, recipe, resume=True).finished  # the recipe says what to begin


def test_a_second_training_is_refused_while_the_first_goes_on(holder, write_dataset, tmp_path, tiny, refuses):
    out = tmp_path / "run"
    out.mkdir()
    first = holder(out, "train")
    for resume in (False, True):
        with refuses(RunError, "in-use", out) as caught:
            train(write_dataset() if not resume else tmp_path / "data", out, resume=resume)
        assert str(first.pid) in caught.value.message
    assert contents(out) == set()


def test_a_series_is_held_while_it_works(holder, tmp_path, refuses):
    (tmp_path / "sweep").mkdir()
    first = holder(tmp_path / "sweep", "sweep")

    @series("sweep")
    def made(data, out, **choices):
        raise AssertionError

    for resume in (False, True):
        with refuses(RunError, "in-use", tmp_path / "sweep") as caught:
            made(tmp_path, tmp_path / "sweep", resume=resume)
        assert str(first.pid) in caught.value.message


@pytest.mark.ci
def test_an_evaluation_waits_for_another_and_is_refused_by_a_training(holder, run_of, tmp_path, refuses):
    run, progress = Run(shutil.copytree(run_of("flat").path, tmp_path / "run")), Collected()
    training = holder(run.path, "train")
    for command in (evaluate, calibrate, fit_reference, lambda run: certify(run, false_negative_rate=0.2)):
        with refuses(RunError, "in-use", run.path) as caught:
            command(run)
        assert str(training.pid) in caught.value.message
    training.kill()
    training.wait()
    other = holder(run.path, "evaluate", "wait")
    threading.Timer(0.5, other.stdin.close).start()
    result = evaluate(run, progress=progress)
    assert other.poll() == 0
    assert str(other.pid) in progress.lines[0]
    assert result.metrics.n_images == 72
    assert not (run.path / HOLDER).exists()


@pytest.mark.parametrize("name", ["split.csv", "history.csv"])
def test_a_table_that_is_cut_or_of_another_run_is_found(write_dataset, tmp_path, tiny, name, refuses):
    run = train(write_dataset(), tmp_path / "run", load_recipe("compact", [*tiny, "max_steps=8", "validate_every=2"]))
    read = {"split.csv": lambda run: run.rows, "history.csv": Run.history}[name]
    whole = (run.path / name).read_bytes()
    assert read(open_run(run.path))
    for cut in {len(whole) * k // 12 for k in range(12)} | {len(whole) - 1} | {whole[:-2].rfind(b"\n") + 1}:
        (run.path / name).write_bytes(whole[:cut])
        with refuses(RunError, "other-file", run.path / name):
            read(open_run(run.path))
    (run.path / name).write_bytes(whole.replace(b"1", b"2", 1))
    with refuses(RunError, "other-file", run.path / name):
        read(open_run(run.path))


def test_a_split_holds_no_formula_and_is_read_as_it_was(tmp_path):
    run = Run(tmp_path)
    run.write_environment(Environment())
    more = {"=HYPERLINK(1)": "+1", "label": "another", "extra:label": "", "age": "41"}  # columns of the dataset
    rows = [
        Row("-1/a.png", "=1+1", "train", "@SUM(A1)", "-site", "0" * 64, more),
        Row("'=x.png", "normal", "test", "'p'", "", "1" * 64),
    ]
    run.write_table(Dataset(tmp_path, tuple(rows)))
    assert not re.search(r"(^|,)[=+@-]", (tmp_path / "split.csv").read_text(), re.MULTILINE)
    assert list(run.rows) == [rows[0], replace(rows[1], extra=dict.fromkeys(more, ""))]
    (tmp_path / "split.csv").write_text("path,label,patient_id,split,sha256\na.png,normal\n")
    with pytest.raises(RunError):
        len(Run(tmp_path).rows)
