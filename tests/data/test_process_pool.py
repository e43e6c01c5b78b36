"""A pool: everything once, whoever does it, whoever dies."""

import os
import pickle
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from hilum.data import process_pool as crew_module
from hilum.data.cache import open_images
from hilum.data.cache_files import decode_files, hash_files
from hilum.data.images import read_picture
from hilum.data.preprocessing import Preprocessing
from hilum.data.process_pool import ProcessPool
from hilum.data.readers.read import read_table

PLAN = Preprocessing(size=48, equalise=True)


@pytest.fixture
def at_once(monkeypatch):
    """Helpers are called whenever anything is left, and get little at a time."""
    monkeypatch.setattr(crew_module, "PAYS", 0)
    monkeypatch.setattr(crew_module, "SECONDS", 0.001)


def everything(pool, work, items):
    found = dict(pool.map(work, items))
    return [value for first in sorted(found) for value in found[first]]


def process_of(paths):
    """Who did it; slowly enough for others to start."""
    time.sleep(0.02 * len(paths))
    return [os.getpid() for _ in paths]


def test_helpers_do_a_part(at_once, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, str(Path(__file__).parent)])  # a helper imports where this one does
    monkeypatch.setattr(process_of, "__module__", "test_process_pool")
    with ProcessPool(cores=3) as pool:
        who = everything(pool, process_of, ["x"] * 200)
        assert len(who) == 200
        assert set(who) == {os.getpid(), *(helper.pid for helper in pool.helpers)}
    assert all(helper.poll() is not None for helper in pool.helpers)


def test_decoding_by_helpers_gives_the_same_bytes_failures_and_order(write_dataset, at_once, own_cache):
    root = write_dataset(patients=60)
    table = read_table(root)
    table.file(table.rows[100]).write_text("nothing")
    table.file(table.rows[200]).unlink()
    images = open_images(table, PLAN)
    assert [item.path for item in images.unreadable] == [table.rows[100].path, table.rows[200].path]
    for i in range(0, len(images.table), 5):
        expected = PLAN.apply(read_picture(root / images.table.rows[i].path).pixels)
        np.testing.assert_array_equal(images.pixels[images.positions[i]], expected)


def test_what_a_killed_helper_had_is_done_here(write_dataset, at_once):
    table = read_table(write_dataset(patients=40))
    paths = [row.path for row in table.rows]
    found = {}
    with ProcessPool(cores=3) as pool:
        for first, digests in pool.map(partial(hash_files, table.root), paths):
            for helper in pool.helpers:
                helper.send_signal(signal.SIGKILL)
            found[first] = digests
    assert [value for first in sorted(found) for value in found[first]] == hash_files(table.root, paths)


def test_without_a_python_to_start_everything_is_done_here(write_dataset, at_once, monkeypatch):
    table = read_table(write_dataset())
    paths = [row.path for row in table.rows]
    for executable in ("", "/no/such/python", "/bin/false"):
        monkeypatch.setattr(sys, "executable", executable)
        with ProcessPool(cores=2) as pool:
            assert everything(pool, partial(hash_files, table.root), paths) == hash_files(table.root, paths)


def test_an_unexpected_error_is_raised_here(at_once):
    with ProcessPool(cores=2) as pool, pytest.raises(TypeError):
        list(pool.map(partial(decode_files, Path(), PLAN), [0] * 50))


def test_few_files_call_nobody(write_dataset):
    table = read_table(write_dataset())
    with ProcessPool(cores=8) as pool:
        list(pool.map(partial(decode_files, table.root, PLAN), [row.path for row in table.rows]))
        assert not pool.helpers


def test_a_script_without_a_guard_runs_once_and_its_helpers_end_with_it(write_dataset, tmp_path):
    root = write_dataset(patients=150)
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, torch\n"  # its threads are running: a fork would be dangerous now
        "torch.ones(2000, 2000) @ torch.ones(2000, 2000)\n"
        "from pathlib import Path\n"
        "from hilum.data import process_pool\n"
        "process_pool.PAYS = 0\n"
        "from hilum.data.process_pool import ProcessPool\n"
        "from hilum.data.cache_files import hash_files\n"
        "from hilum.data.readers.read import read_table\n"
        "from functools import partial\n"
        "table = read_table(Path(sys.argv[1]))\n"
        "print('once', flush=True)\n"
        "with ProcessPool(cores=3) as pool:\n"
        "    paths = [row.path for row in table.rows] * 1000\n"
        "    for number, _ in enumerate(pool.map(partial(hash_files, table.root), paths)):\n"
        "        if number == 5:\n"
        "            print(*[helper.pid for helper in pool.helpers], flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, str(script), str(root)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "once\n"
    helpers = [int(number) for number in process.stdout.readline().split()]
    assert len(helpers) == 2
    process.send_signal(signal.SIGKILL)
    assert process.communicate()[0] == ""
    end = time.monotonic() + 20
    while any(is_alive(pid) for pid in helpers) and time.monotonic() < end:
        time.sleep(0.05)
    assert not [pid for pid in helpers if is_alive(pid)]


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return " Z " not in Path(f"/proc/{pid}/stat").read_text() if Path("/proc").is_dir() else True


def test_modules_of_the_working_directory_are_not_run(tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("open('ran', 'w').close()\n")
    monkeypatch.chdir(tmp_path)
    with ProcessPool(2) as some:
        some._call(1)
        (helper,) = some.helpers
        pickle.dump((pickle.dumps(len), "abc"), helper.stdin)
        helper.stdin.flush()
        assert pickle.load(helper.stdout) == (True, 3)
    assert not (tmp_path / "ran").exists()
