"""A cache that a cluster of Ray decodes is that of one machine: the same bytes, hashes and failures."""

import os
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hilum import ray_engine
from hilum.data import cache
from hilum.data.cache import open_images
from hilum.data.cache_files import hash_files
from hilum.data.dataset import Dataset
from hilum.data.preprocessing import Preprocessing
from hilum.data.ray_pool import Wanted, check_nodes, in_tasks, look_around, pool_of, wanted_by
from hilum.data.readers.read import read_table
from hilum.errors import EngineError, RecipeError, TableError
from hilum.progress import Progress
from hilum.ray_engine import connect, one_connection
from hilum.training.recipe import load_recipe
from worker_kills import kill_worker

PLAN = Preprocessing(size=32)


@pytest.fixture(scope="module")
def cluster():
    """One for all tests."""
    pytest.importorskip("ray")
    with one_connection(), connect(cpus=2) as found:
        yield found


def by_cluster(table, plan, folder, progress=None):
    return open_images(table, plan, folder=folder, pool=pool_of("ray", "", table), progress=progress)


def check_same(images, others, folder, other):
    names = {file.name for file in folder.glob("*.npy")}
    assert names == {file.name for file in other.glob("*.npy")}
    assert len(names) == 2
    assert all((folder / name).read_bytes() == (other / name).read_bytes() for name in names)
    assert list(others.table.rows) == list(images.table.rows)
    assert (others.digest, others.unreadable) == (images.digest, images.unreadable)
    np.testing.assert_array_equal(others.positions, images.positions)


class Replacing(Progress):
    """Another file is put in a file's place after it was hashed, before it is decoded."""

    def __init__(self, file, content):
        self.file, self.content = file, content

    @contextmanager
    def task(self, title, total):
        if title.startswith("Decoding"):
            self.file.write_bytes(self.content)
        yield lambda number: None


class Killing(Progress):
    """The first process that is seen to work once there is a result gets SIGKILL."""

    killed = 0

    @contextmanager
    def task(self, title, total):
        yield self.kill if title.startswith("Decoding") else lambda number: None

    def kill(self, number):
        self.killed = self.killed or kill_worker("_do")


@pytest.mark.peers
def test_bytes_hashes_and_failures_are_those_of_one_machine(write_dataset, tmp_path, cluster, monkeypatch):
    table = read_table(write_dataset(patients=30))
    files = [table.file(row) for row in table.rows]
    files[3].write_bytes(b"none")
    alone, other = tmp_path / "alone", tmp_path / "ray"
    images = open_images(table, PLAN, folder=alone)
    assert [item.path for item in images.unreadable] == [table.rows[3].path]
    check_same(images, by_cluster(table, PLAN, other), alone, other)
    # Also where a file is another one after all were hashed.
    with monkeypatch.context() as patch:
        patch.setattr(cache, "write_into", lambda *_: pytest.fail("the processes of the cluster write by themselves"))
        found = by_cluster(table, PLAN, tmp_path / "new", Replacing(files[0], files[1].read_bytes()))
    images = open_images(table, PLAN, folder=tmp_path / "later")
    check_same(images, found, tmp_path / "later", tmp_path / "new")
    assert found.table.rows[0].sha256 == found.table.rows[1].sha256


@pytest.mark.peers
def test_a_killed_process_leaves_a_complete_and_equal_cache(write_dataset, tmp_path, cluster):
    table, plan = read_table(write_dataset(patients=60, side=200)), Preprocessing(size=512)
    killing = Killing()
    found = by_cluster(table, plan, tmp_path / "ray", killing)
    assert killing.killed, "killed too late: nothing was being decoded"
    check_same(open_images(table, plan, folder=tmp_path / "alone"), found, tmp_path / "alone", tmp_path / "ray")


def test_a_node_needs_the_links_by_which_files_are_opened(write_dataset, tmp_path, monkeypatch):
    """The work opens files below the link: a node that has the link's target alone cannot do it."""
    write_dataset(name="kept")
    (tmp_path / "link").symlink_to("kept")
    monkeypatch.chdir(tmp_path)
    table = read_table(Path("link"))
    wanted = wanted_by(table)
    monkeypatch.chdir("/")  # where a node works
    assert look_around(wanted) == ""
    (tmp_path / "link").unlink()
    assert (tmp_path / "kept" / table.rows[0].path).is_file()
    assert wanted.image in look_around(wanted)
    assert not hash_files(Path(wanted.image).parent, [Path(wanted.image).name])[0]


def test_a_file_that_misses_here_is_asked_of_no_node(write_dataset):
    table = read_table(write_dataset())
    files = [table.file(row) for row in table.rows]
    files[0].unlink()
    assert wanted_by(table).image == str(files[1])
    for file in files[1:]:
        file.unlink()
    assert look_around(wanted_by(table)) == ""
    nothing = Dataset(table.root, ())
    assert wanted_by(nothing).image == ""
    with pytest.raises(TableError):
        by_cluster(nothing, PLAN, None)


@pytest.mark.peers
def test_nodes_are_asked_before_the_work(write_dataset, tmp_path, cluster):
    """Of a cluster that was not started here: this one, whose node has what this machine has."""
    given = replace(cluster, local=False)
    wanted = wanted_by(read_table(write_dataset()))
    check_nodes(given, "auto", wanted)
    check_nodes(given, "auto", Wanted())
    with pytest.raises(EngineError) as found:
        check_nodes(given, "auto", replace(wanted, image=str(tmp_path / "none.png")))
    assert (found.value.code, found.value.path) == ("node-without-data", tmp_path / "none.png")


@pytest.mark.peers
def test_errors_of_a_process(cluster, monkeypatch):
    with pytest.raises(RecipeError):
        list(in_tasks(cluster, load_recipe, ["compact", "no-such-recipe"]))
    with pytest.raises(EngineError) as ended:
        list(in_tasks(cluster, os._exit, [1]))  # each process that gets this chunk
    assert ended.value.code == "no-worker"
    monkeypatch.setattr(ray_engine, "_start", None)  # nobody connects twice
    assert list(in_tasks(cluster, len, ["abc", ""])) == [3, 0]
    with connect() as again:
        assert again is cluster
