"""The cache: right bytes, once, whoever else writes or is killed."""

import hashlib
import json
import os
import signal
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from hilum.data import cache
from hilum.data import cache_files as decoding
from hilum.data.cache import open_images, thumbnails_of
from hilum.data.images import read_picture, read_radiograph
from hilum.data.preprocessing import Preprocessing
from hilum.data.readers.read import read_table
from hilum.errors import CacheError, PassingImageError, TableError
from hilum.progress import Progress

PLAN = Preprocessing(size=32)


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


def test_unreadable_files_are_named_and_the_rest_goes_on(write_dataset, snapshot):
    root = write_dataset()
    table = read_table(root)
    bad = table.file(table.rows[3])
    bad.write_bytes(bad.read_bytes()[:60])
    table.file(table.rows[5]).unlink()
    for _ in range(2):  # decoded, then from the cache
        images = open_images(table, PLAN)
        assert [item.path for item in images.unreadable] == [table.rows[3].path, table.rows[5].path]
        assert "damaged" in images.unreadable[0].message
        snapshot(images.unreadable[1].message)
        assert len(images.table) == len(table) - 2
        np.testing.assert_array_equal(decoded(images, 3), PLAN.apply(read_picture(table.file(table.rows[4])).pixels))


def test_a_dataset_without_one_readable_file_is_an_error(write_dataset, refuses):
    table = read_table(write_dataset(patients=1, images=1))
    for row in table.rows:
        table.file(row).write_text("nothing")
    with refuses(TableError, "nothing-readable"):
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


def files_in(folder):
    """The arrays and the record of the one cache in a folder."""
    arrays = {"thumbnails" if "-" in file.name else "pixels": file for file in folder.glob("*.npy")}
    return {**arrays, "record": next(folder.glob("*.json"))}


def assert_decoded_anew(table, folder):
    """What is opened is what the files hold, and is kept again."""
    images = open_images(table, PLAN)
    for i in range(0, len(table), 5):
        np.testing.assert_array_equal(decoded(images, i), PLAN.apply(read_picture(table.file(table.rows[i])).pixels))
        shown = read_picture(table.file(table.rows[i])).pixels
        np.testing.assert_array_equal(images.thumbnails[i], Preprocessing(size=64).apply(shown))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "read_radiograph", lambda *a, **k: pytest.fail("decoded again"))
        open_images(table, PLAN)


@pytest.mark.parametrize("which", ["pixels", "thumbnails"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-500] + bytes(500),
        lambda content: content[:-500],
        lambda content: content + b"x" * 100,
        lambda content: content[:20],
        lambda content: b"",
        lambda content: b"{}",
    ],
)
def test_an_array_that_is_not_what_was_written_is_made_again(write_dataset, own_cache, which, damage):
    table = read_table(write_dataset())
    open_images(table, PLAN)
    file = files_in(own_cache)[which]
    status = file.stat()
    file.write_bytes(damage(file.read_bytes()))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))  # as a failing disk changes it
    assert thumbnails_of(open_images(table, Preprocessing(size=40)).digest, PLAN) is None
    assert_decoded_anew(table, own_cache)


@pytest.mark.parametrize(
    "record",
    [
        *("", "[]", "null", "{}", "no json", "[" * 100_000, '{"failures": [], "passing": []}'),
        {"failures": {"99": "x"}},
        {"failures": {"-1": "x"}},
        {"failures": {"9" * 5000: "x"}},
        {"failures": {"x": "x"}},
        {"failures": []},
        {"passing": [2]},
        {"passing": [10**30]},
        {"passing": None},
        {"arrays": []},
        {"arrays": None},
    ],
    ids=lambda record: str(record)[:30],
)
def test_a_record_that_nobody_wrote_is_none(write_dataset, own_cache, record):
    table = read_table(write_dataset())
    open_images(table, PLAN)
    file = files_in(own_cache)["record"]
    whole = json.loads(file.read_text())
    file.write_text(record if isinstance(record, str) else json.dumps({**whole, **record}))
    assert_decoded_anew(table, own_cache)


def test_a_file_that_is_replaced_while_it_is_read_never_gets_another_hash(write_dataset):
    """The race of the review: A was hashed, B was decoded, and A came back."""

    class Replacing(Progress):
        times = 1

        @contextmanager
        def task(self, title, total):
            if title.startswith("Decoding") and self.times:
                self.times -= 1
                first.write_bytes(other)
            yield lambda number: None

    root = write_dataset()
    table = read_table(root)
    first = table.file(table.rows[0])
    own, other = first.read_bytes(), table.file(table.rows[-1]).read_bytes()
    expected = PLAN.apply(read_picture(own).pixels), PLAN.apply(read_picture(other).pixels)
    during = open_images(table, PLAN, progress=Replacing())
    assert during.table.rows[0].sha256 == hashlib.sha256(other).hexdigest()
    np.testing.assert_array_equal(decoded(during, 0), expected[1])
    first.write_bytes(own)
    after = open_images(table, PLAN)
    assert after.table.rows[0].sha256 == hashlib.sha256(own).hexdigest()
    np.testing.assert_array_equal(decoded(after, 0), expected[0])
    # Also where a table states what the file held, and where two rows are about one file.
    first.write_bytes(other)
    stated = open_images(after.table.take([0, 0, 1, 2]), Preprocessing(size=40))
    assert stated.table.rows[0].sha256 == stated.table.rows[1].sha256 == hashlib.sha256(other).hexdigest()


def test_files_that_change_all_the_time_are_an_error(write_dataset):
    class Replacing(Progress):
        turn = 0

        @contextmanager
        def task(self, title, total):
            if title.startswith("Decoding"):
                self.turn += 1
                first.write_bytes(others[self.turn])
            yield lambda number: None

    table = read_table(write_dataset())
    first = table.file(table.rows[0])
    others = [table.file(row).read_bytes() for row in table.rows]
    with pytest.raises(CacheError):
        open_images(table, PLAN, progress=Replacing())


@pytest.mark.timeout(120)
@pytest.mark.parametrize("suffix", ["-64.npy", ".npy", ".json"])
def test_a_process_killed_between_two_files_leaves_no_black_image(write_dataset, own_cache, monkeypatch, suffix):
    """The order of the review: an array of a first pass with a failure, and the record of a second one without."""
    table = read_table(write_dataset())

    def no_memory(path, name):
        if name == table.rows[0].path:
            msg = f"{name}: there is not enough memory"
            raise PassingImageError(msg)
        return read_radiograph(path, name)

    monkeypatch.setattr(decoding, "read_radiograph", no_memory)
    assert len(open_images(table, PLAN).unreadable) == 1
    monkeypatch.undo()
    monkeypatch.setenv("HILUM_CACHE", str(own_cache))
    child = os.fork()
    if not child:
        real = Path.replace

        def killing(self, target):
            real(self, target)
            if str(target).endswith(suffix) and ("-" in Path(target).name) == ("-" in suffix):
                os.kill(os.getpid(), signal.SIGKILL)

        Path.replace = killing
        with suppress(BaseException):
            open_images(table, PLAN)
        os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert not open_images(table, PLAN).unreadable
    assert_decoded_anew(table, own_cache)


@pytest.mark.timeout(120)
def test_a_pipe_instead_of_an_image_or_an_array_keeps_nobody_waiting(write_dataset, own_cache):
    root = write_dataset()
    table = read_table(root)
    file = table.file(table.rows[0])
    file.unlink()
    os.mkfifo(file)
    with table.file(table.rows[1]).open("wb") as sparse:
        sparse.truncate(40 * 2**30)
    table.file(table.rows[2]).unlink()
    table.file(table.rows[2]).symlink_to("/dev/zero")
    assert [item.path for item in open_images(table, PLAN).unreadable] == [row.path for row in table.rows[:3]]
    array = files_in(own_cache)["pixels"]
    array.unlink()
    os.mkfifo(array)
    assert len(open_images(table, PLAN).unreadable) == 3


def test_the_folder_is_private_unless_it_holds_other_things(write_dataset, tmp_path):
    table = read_table(write_dataset())
    open_images(table, PLAN, folder=tmp_path / "new" / "cache")
    assert (tmp_path / "new" / "cache").stat().st_mode & 0o777 == 0o700
    (tmp_path / "new" / "cache").chmod(0o755)
    open_images(table, PLAN, folder=tmp_path / "new" / "cache")
    assert (tmp_path / "new" / "cache").stat().st_mode & 0o777 == 0o700
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    (shared / "thesis.tex").touch()
    open_images(table, PLAN, folder=shared)
    assert shared.stat().st_mode & 0o777 == 0o755


@pytest.mark.timeout(60)
def test_who_waits_for_a_lock_is_told(write_dataset, own_cache, monkeypatch):
    class Telling(Progress):
        def line(self, text):
            lines.append(text)
            lock.release()

    lines = []
    table = read_table(write_dataset())
    open_images(table, PLAN)
    monkeypatch.setattr(cache, "SILENCE", 0.1)
    lock = FileLock(files_in(own_cache)["pixels"].with_suffix(".lock"), thread_local=False)
    lock.acquire()
    open_images(table, PLAN, progress=Telling())
    assert len(lines) == 1


def test_without_a_home_folder_the_cache_is_temporary(tmp_path, monkeypatch, write_dataset):
    def homeless():
        msg = "Could not determine home directory."
        raise RuntimeError(msg)

    lines = []
    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.setattr(Progress, "line", lambda self, text: lines.append(text))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("HILUM_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    open_images(read_table(write_dataset()), PLAN)
    (folder,) = tmp_path.glob("hilum-*")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert len(lines) == 1
    assert str(folder) in lines[0]
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    folder.symlink_to(tmp_path / "data")  # made by somebody else, to lead elsewhere
    with pytest.raises(CacheError):
        open_images(read_table(tmp_path / "data"), PLAN)
