"""Files that belong together are all old ones or all new ones, whatever ends the process."""

import json

import pytest

from hilum.files import JOURNAL, saving_together, settle
from killing import in_child

OLD, NEW = {"a.csv": b"old a", "b.json": b"old b"}, {"a.csv": b"new a", "b.json": b"new b"}


def write(folder, files):
    with saving_together(folder) as save:
        for name, content in files.items():
            save(name, content)


def files(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir() if not file.name.startswith(".hilum-")}


def test_they_are_written_and_nothing_else_is_left(tmp_path):
    write(tmp_path, OLD)
    assert files(tmp_path) == OLD
    write(tmp_path, NEW)
    assert {file.name for file in tmp_path.iterdir()} == set(NEW)
    assert files(tmp_path) == NEW


@pytest.mark.timeout(60)
def test_killed_anywhere_they_are_old_or_new_together(tmp_path):
    (tmp_path / "0").mkdir()
    events = len(in_child(lambda: write(tmp_path / "0", NEW), tmp_path).events)
    assert events >= 6  # two files, the journal, two names and the journal's end
    seen = set()
    for kill in range(1, events + 1):
        folder = tmp_path / str(kill)
        folder.mkdir()
        write(folder, OLD)
        assert in_child(lambda folder=folder: write(folder, NEW), tmp_path, kill=kill).killed
        settle(folder)
        assert files(folder) in (OLD, NEW)
        seen.add(files(folder) == NEW)
        write(folder, NEW)
        assert files(folder) == NEW
    assert seen == {True, False}


def test_an_error_leaves_all_as_it_was(tmp_path):
    write(tmp_path, OLD)

    def fail():
        with saving_together(tmp_path) as save:
            save("a.csv", b"new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == OLD


@pytest.mark.parametrize(
    "journal",
    [
        "",
        "[]",
        "null",
        '{"a": 1}',
        json.dumps({".hilum-1.next": "../stolen"}),
        json.dumps({"a.csv": "b.json"}),
        json.dumps({"../.hilum-1.next": "x"}),
    ],
)
def test_a_journal_of_others_moves_nothing(tmp_path, journal):
    folder = tmp_path / "folder"
    folder.mkdir()
    write(folder, OLD)
    (folder / ".hilum-1.next").touch()
    (folder / JOURNAL).write_text(journal)
    settle(folder)
    assert files(folder) == OLD
    assert not (tmp_path / "stolen").exists()


def test_names_that_cannot_be_given_are_an_error(tmp_path):
    (tmp_path / "b.json" / "inside").mkdir(parents=True)
    with pytest.raises(OSError):
        write(tmp_path, NEW)
    (tmp_path / "b.json" / "inside").rmdir()
    (tmp_path / "b.json").rmdir()
    settle(tmp_path)
    assert files(tmp_path) == NEW
