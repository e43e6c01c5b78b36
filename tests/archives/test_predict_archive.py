"""Archives are answered in Parquet files, each written once, with the same content whoever answers."""

import csv
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext, suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

from hilum.archives.predict_archive import predict_archive
from hilum.archives.shards import LIST, MANIFEST, Shards
from hilum.data.ray_pool import Wanted
from hilum.errors import DataError, EngineError, ExtraError, TableError, UsageError
from killing import digests, in_child

SHARD = 4
HILUM = [sys.executable, "-m", "hilum", "predict"]


def draw(folder, number, size=64):
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(number):
        pixels = np.random.default_rng(k).normal(40 + 9 * (k % 17), 20, (size, size)).clip(0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{k:04d}.png")
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Ten images and one that is none."""
    folder = draw(tmp_path_factory.mktemp("archive") / "images", 10)
    (folder / "0004b.png").write_bytes(b"none")
    return folder


@pytest.fixture(scope="module")
def answered(images):
    folder = images.parent / "answers"
    counted = predict_archive([str(images)], folder, threads=1, shard_size=SHARD)
    assert (counted.images, counted.errors) == (11, 1)
    return folder


def parts(folder):
    return {name: digest for name, digest in digests(folder).items() if name.startswith("part-")}


def check_rows(folder, images):
    """Every image once, in the order of their names."""
    table = parquet.read_table(folder)
    assert table["path"].to_pylist() == [str(path) for path in sorted(images.iterdir())]
    return table


def test_columns_are_those_of_the_csv(images, answered):
    table = check_rows(answered, images)
    target = images.parent / "answers.csv"
    subprocess.run([*HILUM, str(images), "--csv", str(target)], check=True, capture_output=True, timeout=60)
    with target.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == table.column_names
    for row, other in zip(rows, table.to_pylist(), strict=True):
        for head, text in row.items():
            if head.startswith("p:") and text:
                assert other[head] == pytest.approx(float(text), abs=1e-8)
            elif head == "p_in_distribution" and text:
                assert other[head] == pytest.approx(float(text), abs=1e-6)
            else:
                assert (other[head] or "") == text
    assert [bool(row["error"]) for row in table.to_pylist()].count(True) == 1


def test_a_shard_that_is_gone_cut_short_or_damaged_is_done_again(images, answered):
    before, files = parts(answered), sorted(answered.glob("part-*"))
    assert len(files) == 3
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:-100])
    content = bytearray(files[2].read_bytes())
    content[40] ^= 1
    files[2].write_bytes(content)
    assert [Shards(answered).finished(k) for k in range(3)] == [None] * 3
    predict_archive([str(images)], answered, threads=1, shard_size=SHARD)
    assert parts(answered) == before


def test_what_is_there_is_not_done_again(images, answered):
    times = [file.stat().st_mtime_ns for file in sorted(answered.glob("part-*"))]
    predict_archive([str(images)], answered, threads=1, shard_size=SHARD)
    assert [file.stat().st_mtime_ns for file in sorted(answered.glob("part-*"))] == times


def test_a_list_names_the_same_images(images, answered, tmp_path):
    names = [path.name for path in sorted(images.iterdir())]
    (images.parent / "list.txt").write_text("\n".join(f"images/{name}" for name in names) + "\n\n")
    (images.parent / "list.csv").write_text("patient,path\n" + "".join(f"1,images/{name}\n" for name in names))
    for place in ("list.txt", "list.csv"):
        folder = tmp_path / place
        predict_archive([str(images.parent / place)], folder, threads=1, shard_size=SHARD)
        assert parts(folder) == parts(answered)
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    with pytest.raises(TableError):
        predict_archive([str(tmp_path / "bad.csv")], tmp_path / "bad")
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(DataError) as found:
        predict_archive([str(tmp_path / "empty.txt")], tmp_path / "bad")
    assert found.value.code == "no-images"


def test_other_work_is_not_mixed_in(images, answered, tmp_path, refuses):
    with refuses(UsageError, "in-the-way", answered):
        predict_archive([str(images)], answered, shard_size=SHARD + 1)
    with refuses(UsageError, "in-the-way", answered):
        predict_archive([str(images / "0000.png")], answered, shard_size=SHARD)
    with refuses(UsageError, "in-the-way", images):
        predict_archive([str(images)], images)
    with refuses(UsageError, "in-the-way"):
        (tmp_path / MANIFEST).write_text("{")
        predict_archive([str(images)], tmp_path)


@pytest.mark.parametrize("event", [1, 4, 6, 8, 12])
def test_killed_before_any_write_it_goes_on(images, answered, tmp_path, event):
    folder = tmp_path / "out"

    def work():
        predict_archive([str(images)], folder, threads=1, shard_size=SHARD)

    assert in_child(work, tmp_path, kill=event).killed
    work()
    assert parts(folder) == parts(answered)
    assert {path.name for path in folder.iterdir() if not path.name.startswith((".", "part-"))} >= {MANIFEST, LIST}


def test_an_engine_that_is_not_there(images, tmp_path):
    with pytest.raises(UsageError):
        predict_archive([str(images)], tmp_path / "out", engine="spark")
    begin = time.monotonic()
    with pytest.raises(EngineError):
        predict_archive([str(images)], tmp_path / "out", engine="ray", address="127.0.0.1:9")
    assert time.monotonic() - begin < 15


def test_without_ray_the_message_names_the_extra(images, tmp_path, monkeypatch):
    monkeypatch.setattr("hilum.extras.find_spec", lambda name: None if name == "ray" else name)
    with pytest.raises(ExtraError) as found:
        predict_archive([str(images)], tmp_path / "out", engine="ray")
    assert "pip install 'hilum[ray]'" in str(found.value)
    assert not (tmp_path / "out").exists()


def test_nodes_are_asked_for_the_first_file_that_is_missing_an_answer(images, tmp_path, monkeypatch):
    """Of a list that begins with an object of a store and a file that is not here."""
    listed = tmp_path / "list.txt"
    file = images / "0001.png"
    listed.write_text(f"s3://bucket/1.png\n{images / 'none.png'}\n{file}\n")
    asked = []
    monkeypatch.setattr("hilum.archives.predict_archive.check_engine", lambda *_: None)
    monkeypatch.setattr("hilum.archives.predict_archive.connect", lambda *_: nullcontext("cluster"))
    monkeypatch.setattr("hilum.archives.predict_archive.check_nodes", lambda *given: asked.append(given))
    monkeypatch.setattr("hilum.archives.predict_archive.answer_by_actors", lambda *_: iter(()))
    predict_archive([str(listed)], tmp_path / "out", engine="ray", address="10.0.0.1:6379", shard_size=1)
    assert asked == [("cluster", "10.0.0.1:6379", Wanted(str(file)))]


def command(images, folder):
    line = [*HILUM, str(images), "--parquet", str(folder), "--shard-size", "8", "--engine", "ray", "--threads", "2"]
    return subprocess.Popen(line, stderr=subprocess.PIPE, text=True, start_new_session=True)


def wait_for(found, seconds=120):
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return value


def workers(session):
    """Processes of a session that are actors of hilum."""
    found = []
    for process in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            if (process / "cmdline").read_bytes().startswith(b"ray::_Worker"):
                found += [int(process.name)] * (os.getsid(int(process.name)) == session)
    return found


@pytest.mark.peers
def test_a_worker_and_the_driver_are_killed(tmp_path):
    images = draw(tmp_path / "images", 400, size=256)
    (images / "0004b.png").write_bytes(b"none")
    alone, folder = tmp_path / "alone", tmp_path / "ray"
    predict_archive([str(images)], alone, threads=1, shard_size=8)
    first = command(images, folder)
    wait_for(lambda: list(folder.glob("part-*")))
    before = {file.name: file.stat().st_mtime_ns for file in folder.glob("part-*")}
    first.kill()
    first.communicate(timeout=60)
    assert len(before) < 51
    second = command(images, folder)
    wait_for(lambda: len(list(folder.glob("part-*"))) > len(before) + 1)
    killed = workers(second.pid)
    assert killed
    os.kill(killed[0], signal.SIGKILL)
    told = second.communicate(timeout=200)[1]
    assert second.returncode == 0, told
    assert "Traceback" not in told
    assert parts(folder) == parts(alone)
    check_rows(folder, images)
    assert before.items() <= {file.name: file.stat().st_mtime_ns for file in folder.glob("part-*")}.items()
