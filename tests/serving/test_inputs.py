"""Which files a folder holds: as deep as it goes, whatever lies there, and what cannot be listed is named."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import typer

from hilum.cli import predict_command
from hilum.errors import TableError
from hilum.serving.inputs import find_files, read_source

pytestmark = pytest.mark.timeout(120)


def names(root, **more):
    return [file.relative_to(root).as_posix() for file in find_files([root], **more)]


@pytest.fixture
def image(squares):
    return next((squares / "test" / "normal").iterdir())


@pytest.fixture
def closed(tmp_path, monkeypatch):
    """A folder that cannot be listed; the super-user may list all."""
    folder = tmp_path / "data" / "closed"
    folder.mkdir(parents=True)
    real = os.scandir

    def scandir(place):
        if Path(place) == folder:
            raise PermissionError(13, "Permission denied", str(place))
        return real(place)

    monkeypatch.setattr(os, "scandir", scandir)
    return folder


@pytest.fixture
def deep(tmp_path):
    """Where a folder may lie that is too deep for pytest to take away."""
    yield tmp_path / "data"
    subprocess.run(["rm", "-rf", str(tmp_path / "data")], check=True)


def test_a_thousand_levels_and_links_in_a_loop(deep, image):
    deepest = deep / Path(*["d"] * 1000)
    above = deep
    for part in [None, *["d"] * 1000]:
        above = above / part if part else above
        above.mkdir()
    shutil.copy(image, deepest / "x.png")
    (deepest / "up").symlink_to(deep)
    (deepest / "self").symlink_to(".")
    (deepest / "one.png").symlink_to("two.png")
    (deepest / "two.png").symlink_to("one.png")
    found = list(find_files([deep]))
    assert [file.name for file in found] == ["one.png", "two.png", "x.png"]
    assert read_source(found[2], "x")[0].pixels.ndim == 2


def test_two_links_to_one_folder_give_its_images_once(tmp_path, image):
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(image, tmp_path / "elsewhere" / "x.png")
    (tmp_path / "data").mkdir()
    for name in ("a", "b"):
        (tmp_path / "data" / name).symlink_to(tmp_path / "elsewhere")
    assert names(tmp_path / "data") == ["a/x.png"]


def test_pipes_and_devices_are_found_as_the_images_that_they_are_called(tmp_path, image):
    shutil.copy(image, tmp_path / "x.png")
    os.mkfifo(tmp_path / "pipe.png")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero.dcm").symlink_to("/dev/zero")
    (tmp_path / "zero").symlink_to("/dev/zero")
    assert names(tmp_path) == ["pipe.png", "x.png", "zero.dcm"]


def test_folders_that_cannot_be_listed_are_named_and_the_others_read(closed, image):
    shutil.copy(image, closed.parent / "x.png")
    unlisted = []
    assert names(closed.parent, unlisted=unlisted.append) == ["x.png"]
    (message,) = unlisted
    assert message.startswith(f"{closed}: ")
    assert list(find_files([closed], unlisted=unlisted.append)) == []
    assert len(unlisted) == 2


def test_predict_answers_about_the_others_and_ends_with_1(closed, image, bundle_of, tmp_path, capsys):
    shutil.copy(image, closed.parent / "x.png")
    os.mkfifo(closed.parent / "pipe.png")
    out = tmp_path / "answers.jsonl"
    with pytest.raises(typer.Exit) as ended:
        predict_command.predict([closed.parent], model=str(bundle_of("flat")), as_json=str(out))
    assert ended.value.exit_code == 1
    pipe, answer = map(json.loads, out.read_text().splitlines())
    assert "error" in pipe
    assert answer["label"]
    assert str(closed) in capsys.readouterr().err


def test_where_nothing_can_be_listed_earlier_answers_stay(closed, tmp_path, refuses):
    out = tmp_path / "answers.jsonl"
    out.write_text('{"path": "old.png"}\n')
    for more in ({}, {"explained": tmp_path / "e"}, {"study": "folder"}):
        with refuses(TableError, "table"):
            predict_command.predict([closed], as_json=str(out), **more)
    assert out.read_text() == '{"path": "old.png"}\n'


def test_a_terminal_of_few_letters_shows_any_name(image, bundle_of, tmp_path, hilum):
    folder = tmp_path / "größe 肺"
    folder.mkdir()
    shutil.copy(image, folder / "ß.png")
    names = folder, folder / "無.png"
    shown = hilum("predict", *names, "--model", bundle_of("flat"), "--csv", "-", check=0, PYTHONIOENCODING="ascii")
    assert len(shown.stdout.splitlines()) == 3
    assert shown.stdout.isascii()
