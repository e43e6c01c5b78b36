"""The cache under processes that work at once, are killed, or have no room on the disk."""

import errno
import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np

from hilum.data.cache import open_images
from hilum.data.images import read_picture
from hilum.data.preprocessing import Preprocessing
from hilum.data.readers.read import read_table
from hilum.errors import CacheError

OPEN = """
import sys
from pathlib import Path
from hilum.data.cache import open_images
from hilum.data.readers.read import read_table
from hilum.data.preprocessing import Preprocessing
images = open_images(read_table(Path(sys.argv[1])), Preprocessing(size=int(sys.argv[2])))
print(images.pixels.sum())
"""


def test_two_processes_at_once_both_get_the_images(write_dataset, own_cache):
    root = write_dataset(patients=60)
    arguments = [sys.executable, "-c", OPEN, str(root), "48"]
    both = [subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    sums = {process.communicate(timeout=120)[0] for process in both}
    assert sums == {f"{open_images(read_table(root), Preprocessing(size=48)).pixels.sum()}\n"}
    assert len(list(own_cache.glob("*.npy"))) == 2  # pixels and thumbnails


def test_a_process_killed_while_it_decodes_leaves_nothing_that_looks_finished(write_dataset, own_cache):
    root = write_dataset(patients=40, side=200)
    process = subprocess.Popen([sys.executable, "-c", OPEN, str(root), "1024"])
    end = time.monotonic() + 60
    while not any(f.stat().st_blocks for f in own_cache.glob("*.part")) and time.monotonic() < end:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(own_cache.glob("*.part")), "killed too late: nothing was being written"
    assert not list(own_cache.glob("*.npy"))
    images = open_images(read_table(root), Preprocessing(size=1024))
    np.testing.assert_array_equal(
        np.asarray(images.pixels[images.positions[-1]]),
        Preprocessing(size=1024).apply(read_picture(images.table.file(images.table.rows[-1])).pixels),
    )
    assert not list(own_cache.glob("*.part"))


def limit_file_size():
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))


def test_no_room_for_the_cache_is_one_message_and_leaves_nothing_behind(write_dataset, own_cache, snapshot):
    root = write_dataset(patients=60)
    code = OPEN.replace("images =", "from hilum.errors import CacheError\ntry: images =").replace(
        "print(images.pixels.sum())", "except CacheError as error: print(error.code, error)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(root), "64"],
        capture_output=True,
        text=True,
        preexec_fn=limit_file_size,
        check=False,
    )
    assert result.stdout.startswith("unwritable "), result.stderr
    snapshot(result.stdout)
    assert not list(own_cache.glob("*.part"))


def test_a_disk_that_fills_up_while_images_are_written(write_dataset, own_cache, monkeypatch, refuses):
    calls = []

    def full(file, content, offset):
        calls.append(offset)
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(file, content, offset)

    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", full)
    with refuses(CacheError, "unwritable"):
        open_images(read_table(write_dataset(patients=60)), Preprocessing(size=32))
    assert not list(own_cache.glob("*.part"))
    assert not list(own_cache.glob("*.npy"))
