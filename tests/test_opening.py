"""What is no file, or too much of one, is refused at once."""

import os
import socket
from pathlib import Path

import pytest

from hilum.files import NotAFileError, TooLargeError, open_regular, open_text, read_text, read_whole

pytestmark = pytest.mark.timeout(20)  # what waits for a pipe waits for ever


@pytest.fixture
def special(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    held = socket.socket(socket.AF_UNIX)
    held.bind("socket")
    Path("zero").symlink_to("/dev/zero")
    Path("link").symlink_to("pipe")
    Path("folder").mkdir()
    yield tmp_path
    held.close()


@pytest.mark.parametrize("name", ["pipe", "socket", "zero", "link", "folder", "/dev/null"])
@pytest.mark.parametrize("read", [open_regular, read_whole, read_text, open_text])
def test_what_is_no_file_is_refused(special, name, read):
    with pytest.raises(OSError) as caught:
        read(name)
    assert caught.value.strerror
    if name != "socket":  # the system refuses to open these
        assert isinstance(caught.value, NotAFileError)


def test_a_giant_without_content_is_refused_unread(tmp_path):
    with (tmp_path / "sparse.png").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(TooLargeError):
        read_whole(tmp_path / "sparse.png")


def test_the_limit_is_kept(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    assert read_whole(tmp_path / "a", 5) == b"12345"
    with pytest.raises(TooLargeError):
        read_whole(tmp_path / "a", 4)


def test_a_file_that_states_no_size_is_read_to_the_limit_only():
    assert read_whole("/proc/self/status")  # its size is given as 0
    with pytest.raises(TooLargeError):
        read_whole("/proc/self/status", 10)


def test_text_keeps_its_line_ends(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"a\r\nb\rc\n")
    with open_text(tmp_path / "a.csv") as file:
        assert file.read() == "a\r\nb\rc\n"


def test_links_to_files_are_followed(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "b").symlink_to("a")
    assert read_whole(tmp_path / "b") == b"x"


def test_no_file_stays_open(tmp_path):
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        with pytest.raises(OSError):
            open_regular(tmp_path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
