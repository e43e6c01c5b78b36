"""The cache: right bytes, once, whoever else writes or is killed."""

import errno
import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from hilum.data import decoding
from hilum.data.cache import open_images, thumbnails_of
from hilum.data.images import read_picture
from hilum.data.preprocessing import Preprocessing
from hilum.data.readers.read import read_table
from hilum.data.reading import read_radiograph
from hilum.errors import CacheError, PassingImageError, TableError

PLAN = Preprocessing(size=32)
OPEN = """
import sys
from pathlib import Path
from hilum.data.cache import open_images
from hilum.data.readers.read import read_table
from hilum.data.preprocessing import Preprocessing
images = open_images(read_table(Path(sys.argv[1])), Preprocessing(size=int(sys.argv[2])))
print(images.pixels.sum())
"""


def decoded(images, i):
    return np.asarray(images.pixels[images.positions[i]])


def test_every_row_has_the_bytes_of_its_own_file(write_dataset):
    table = read_table(write_dataset())
    images = open_images(table, PLAN)
    for i in range(0, len(table), 7):
        np.testing.assert_array_equal(decoded(images, i), PLAN.apply(read_picture(table.file(table.rows[i])).pixels))


def test_images_are_decoded_once(write_dataset, monkeypatch):
    table = read_table(write_dataset())
    first = open_images(table, PLAN)
    monkeypatch.setattr(decoding, "read_radiograph", lambda *a, **k: pytest.fail("decoded again"))
    second = open_images(table, PLAN)
    np.testing.assert_array_equal(first.pixels, second.pixels)
    assert isinstance(second.pixels, np.memmap)


def test_other_contents_and_other_preprocessing_are_other_caches(write_dataset):
    root = write_dataset()
    before = open_images(read_table(root), PLAN)
    file = read_table(root).file(before.table.rows[0])
    file.write_bytes(read_table(root).file(before.table.rows[-1]).read_bytes())
    after = open_images(read_table(root), PLAN)
    assert after.digest != before.digest
    np.testing.assert_array_equal(decoded(after, 0), decoded(before, -1))
    assert open_images(read_table(root), Preprocessing(size=40)).pixels.shape[1:] == (40, 40)


def test_thumbnails_are_the_same_for_every_preprocessing(write_dataset):
    table = read_table(write_dataset())
    small = open_images(table, PLAN)
    padded = open_images(table, Preprocessing(size=75, equalise=True, fit="pad"))
    np.testing.assert_array_equal(small.thumbnails, padded.thumbnails)
    shown = read_picture(table.file(table.rows[3])).pixels
    np.testing.assert_array_equal(small.thumbnails[3], Preprocessing(size=64).apply(shown))
    assert isinstance(small.thumbnails, np.memmap)
    np.testing.assert_array_equal(thumbnails_of(small.digest, PLAN), small.thumbnails)
    assert thumbnails_of("another", PLAN) is None


def test_unreadable_files_are_named_and_the_rest_goes_on(write_dataset):
    root = write_dataset()
    table = read_table(root)
    bad = table.file(table.rows[3])
    bad.write_bytes(bad.read_bytes()[:60])
    table.file(table.rows[5]).unlink()
    for _ in range(2):  # decoded, then from the cache
        images = open_images(table, PLAN)
        assert [item.path for item in images.unreadable] == [table.rows[3].path, table.rows[5].path]
        assert "damaged" in images.unreadable[0].message
        assert "no such file" in images.unreadable[1].message
        assert len(images.table) == len(table) - 2
        np.testing.assert_array_equal(decoded(images, 3), PLAN.apply(read_picture(table.file(table.rows[4])).pixels))


def test_a_dataset_without_one_readable_file_is_an_error(write_dataset):
    table = read_table(write_dataset(patients=1, images=1))
    for row in table.rows:
        table.file(row).write_text("nothing")
    with pytest.raises(TableError, match="none of the 3 images can be read"):
        open_images(table, PLAN)


def test_a_failure_that_was_the_machines_is_tried_again(write_dataset, monkeypatch):
    table = read_table(write_dataset())

    def no_memory(path, name):
        if name == table.rows[3].path:
            msg = f"{name}: there is not enough memory"
            raise PassingImageError(msg)
        return read_radiograph(path, name)

    monkeypatch.setattr(decoding, "read_radiograph", no_memory)
    assert [item.path for item in open_images(table, PLAN).unreadable] == [table.rows[3].path]
    monkeypatch.undo()
    assert not open_images(table, PLAN).unreadable


def test_a_renamed_file_is_reported_by_its_new_name(write_dataset):
    root = write_dataset(metadata=False)
    bad = read_table(root).file(read_table(root).rows[0])
    bad.write_text("text")
    open_images(read_table(root), PLAN)
    bad.rename(bad.with_stem(bad.stem + "0"))
    (item,) = open_images(read_table(root), PLAN).unreadable
    assert item.path.endswith("00.png")
    assert item.message.startswith(f"{item.path}: a text file")


@pytest.mark.parametrize("which", ["pixels", "thumbnails", "record"])
def test_a_damaged_cache_is_named_with_the_remedy(write_dataset, own_cache, which):
    table = read_table(write_dataset())
    open_images(table, PLAN)
    files = {"pixels" if "-" not in file.name else "thumbnails": file for file in own_cache.glob("*.npy")}
    file = (files | {"record": next(own_cache.glob("*.json"))})[which]
    file.write_text("{}")
    with pytest.raises(CacheError, match=r"damaged cache.*Delete [0-9a-f]{32}\*"):
        open_images(table, PLAN)


def test_two_processes_at_once_both_get_the_images(write_dataset, own_cache):
    root = write_dataset(patients=60)
    arguments = [sys.executable, "-c", OPEN, str(root), "48"]
    both = [subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    sums = {process.communicate(timeout=120)[0] for process in both}
    assert sums == {f"{open_images(read_table(root), Preprocessing(size=48)).pixels.sum()}\n"}
    assert len(list(own_cache.glob("*.npy"))) == 2  # pixels and thumbnails


def test_a_process_killed_while_it_decodes_leaves_nothing_that_looks_finished(write_dataset, own_cache):
    root = write_dataset(patients=200, side=200)
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
        decoded(images, -1),
        Preprocessing(size=1024).apply(read_picture(images.table.file(images.table.rows[-1])).pixels),
    )
    assert not list(own_cache.glob("*.part"))


def limit_file_size():
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))


def test_no_room_for_the_cache_is_one_message_and_leaves_nothing_behind(write_dataset, own_cache):
    root = write_dataset(patients=60)
    code = OPEN.replace("images =", "from hilum.errors import CacheError\ntry: images =").replace(
        "print(images.pixels.sum())", "except CacheError as error: print(error)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(root), "64"],
        capture_output=True,
        text=True,
        preexec_fn=limit_file_size,
        check=False,
    )
    assert "the disk is full" in result.stdout, result.stderr
    assert "HILUM_CACHE" in result.stdout
    assert not list(own_cache.glob("*.part"))


def test_a_disk_that_fills_up_while_images_are_written(write_dataset, own_cache, monkeypatch):
    calls = []

    def full(file, content, offset):
        calls.append(offset)
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(file, content, offset)

    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(CacheError, match="the disk is full"):
        open_images(read_table(write_dataset(patients=60)), PLAN)
    assert not list(own_cache.glob("*.part"))
    assert not list(own_cache.glob("*.npy"))
