"""What several rooms' tests share: real data where they are, small datasets, the command line."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import traceback
import warnings
from collections import Counter

# One process a core: threads of each would wait for the others'. And a forked child (`killing`) has none of its
# parent's threads, and would wait for them for ever.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from filelock import FileLock

from places import REAL, shared_folder
from random_datasets import write_pictures

# A shell starts what runs in its background with Ctrl-C ignored, and so would be what the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["wording"]
SECONDS = {"slow": 25, "peers": 10, "ci": 9}  # that a test of this mark takes, roughly


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Begin with the modules that take long, and end with those that take seconds: no process waits for the other.

    pytest-xdist keeps this order with ``--no-loadscope-reorder`` only.
    """
    seconds = Counter()
    for item in items:
        seconds[item.path] += max((SECONDS.get(mark.name, 0) for mark in item.iter_markers()), default=0) or 0.4
    items.sort(key=lambda item: -seconds[item.path])


@pytest.fixture(autouse=True, scope="module")
def cache_of_module(tmp_path_factory):
    """Fixtures of a module have a cache and a ledger of their own, too: the same pictures are made for many modules."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HILUM_CACHE", str(folder))
        environment.setenv("HILUM_LEDGER", str(folder / "ledger.jsonl"))
        yield


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """No test reads or leaves anything in the user's own cache or ledger."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("HILUM_CACHE", str(folder))
    monkeypatch.setenv("HILUM_LEDGER", str(folder / "ledger.jsonl"))
    return folder


@pytest.fixture
def record_property(record_property):
    """Refuse, in one process too, what pytest-xdist cannot send to another: a number of NumPy ends all tests there."""

    def record(name, value):
        json.dumps(value)
        record_property(name, value)

    return record


@pytest.fixture
def seed_cxr():
    if not (REAL / "seed-cxr").is_dir():
        pytest.skip("the real radiographs (../shared/data/seed-cxr) are not on this machine")
    return REAL / "seed-cxr"


@pytest.fixture
def write_dataset(tmp_path):
    """Write a dataset of random pictures (`random_datasets.write_pictures`) into a folder of this name."""
    return lambda *labels, name="data", **more: write_pictures(tmp_path / name, *labels, **more)


@pytest.fixture
def tiny():
    """Settings of a training of seconds, on images of 40 pixels; brightness is what `write_dataset` differs in."""
    from training_runs import TINY

    return list(TINY)


@pytest.fixture(scope="module")
def small_evaluation():
    """Evaluations with shortcut baselines of few trees and rounds, and reliance on as few patients as give p-values.

    For modules about something else: both take most of the time of a small evaluation.
    """
    with pytest.MonkeyPatch.context() as small:
        small.setattr("hilum.evaluation.shortcut_baselines.TREES", 5)
        small.setattr("hilum.auditing.probe_classifier.ROUNDS", 5)
        small.setattr("hilum.evaluation.reliance.BLOCKS", 1)
        small.setattr("hilum.evaluation.reliance.IMAGES", 1)
        yield


@pytest.fixture
def hilum(monkeypatch):
    """Run the command line: in this process, which has imported what is slow to import, or in one of its own.

    It gets a process of its own where environment variables are given, or ``alone`` is asked for.
    """

    def run(*arguments, timeout=300, check=None, alone=False, **environment):
        words = [str(argument) for argument in arguments]
        if alone or environment:
            result = subprocess.run(
                [sys.executable, "-m", "hilum", *words],
                capture_output=True,
                text=True,
                timeout=timeout,
                env={**os.environ, "COLUMNS": "120", **environment},
            )
        else:
            result = called(words, monkeypatch)
        assert "Traceback" not in result.stderr, result.stderr
        if check is not None:
            assert result.returncode == check, f"{result.returncode}: {result.stdout}\n{result.stderr}"
        return result

    return run


def called(words, monkeypatch):
    """The command line in this process, with streams of its own."""
    from hilum.cli.app import main

    streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2)]
    code = 0
    with monkeypatch.context() as patched, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patched.setattr(sys, "argv", ["hilum", *words])
        patched.setattr(sys, "stdout", streams[0])
        patched.setattr(sys, "stderr", streams[1])
        patched.setenv("COLUMNS", "120")
        try:
            main()
        except SystemExit as error:
            code = error.code or 0
        except BaseException:
            traceback.print_exc()
            code = 1
    texts = [stream.buffer.getvalue().decode() for stream in streams]
    return subprocess.CompletedProcess(words, code, *texts)


@pytest.fixture(scope="session")
def once(tmp_path_factory):
    """Make a folder or a file, which nobody changes, once for all processes of the tests; and where it is."""
    home = shared_folder(tmp_path_factory)

    def made(name, make):
        with FileLock(home / f"{name}.lock"):
            if not (home / f"{name}.made").exists():
                make(home / name)
                (home / f"{name}.made").touch()
        return home / name

    return made


@pytest.fixture(scope="session")
def squares(once):
    """A dataset whose labels can be told by where a bright square is. Tests only read it."""
    from training_runs import write_squares

    return once("squares", lambda folder: write_squares(folder / "data")) / "data"


@pytest.fixture(scope="session")
def run_of(once, squares, tmp_path_factory):
    """Finished runs by kind (`training_runs.KINDS`): each is trained once, and each process gets a copy."""
    from hilum.training.run import Run
    from training_runs import make_run

    made = {}

    def run(kind):
        if kind not in made:
            name = kind.replace(" ", "-")
            trained = once(f"run-{name}", lambda folder: make_run(kind, squares, folder))
            made[kind] = Run(shutil.copytree(trained, tmp_path_factory.mktemp("runs") / name))
        return made[kind]

    return run


@pytest.fixture(scope="session")
def bundle_of(once, run_of, tmp_path_factory):
    """Files of model files by kind of run."""
    from hilum.exporting.export import export

    made = {}

    def model_file(kind):
        if kind not in made:
            name = f"{kind.replace(' ', '-')}.onnx"
            exported = once(name, lambda file: export(run_of(kind), file))
            made[kind] = shutil.copy(exported, tmp_path_factory.mktemp("model_files") / name)
        return made[kind]

    return model_file
