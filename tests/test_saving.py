"""Files are whole or as before: errors, kills, links, modes."""

import os
import signal
import stat

import pytest

from hilum.files import save_bytes, save_json, save_text, saving


def test_a_new_file_has_what_was_written_and_the_mode_of_any_new_file(tmp_path):
    save_text(tmp_path / "a.txt", "naïve\r\n")
    (tmp_path / "b.txt").write_text("x")
    assert (tmp_path / "a.txt").read_bytes() == "naïve\r\n".encode()
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "b.txt").stat().st_mode


def names(folder):
    return sorted(file.name for file in folder.iterdir())


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full", "Ctrl-C"])
def test_an_error_leaves_the_file_of_before_and_nothing_else(tmp_path, error):
    save_text(tmp_path / "a.txt", "before")

    def write():
        with saving(tmp_path / "a.txt", text=True) as file:
            file.write("half")
            raise error

    with pytest.raises(type(error)):
        write()
    assert (tmp_path / "a.txt").read_text() == "before"
    assert names(tmp_path) == ["a.txt"]


def test_a_full_disk_leaves_the_file_of_before(tmp_path):
    import resource

    save_bytes(tmp_path / "a.bin", b"before")
    child = os.fork()
    if not child:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            save_bytes(tmp_path / "a.bin", bytes(5000))
        except OSError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert (tmp_path / "a.bin").read_bytes() == b"before"
    assert names(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("kill", range(1, 6))
def test_killed_at_any_step_the_file_is_the_old_or_the_new(tmp_path, kill):
    """Steps: open, write to the disk, rename, and what follows."""
    save_bytes(tmp_path / "a.bin", b"before")
    child = os.fork()
    if not child:
        steps = [0]

        def step(real):
            def counted(*args, **kwargs):
                steps[0] += 1
                if steps[0] == kill:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*args, **kwargs)

            return counted

        for name in ("open", "fsync", "replace", "close"):
            setattr(os, name, step(getattr(os, name)))
        save_bytes(tmp_path / "a.bin", b"after" * 10_000)
        os._exit(0)
    os.waitpid(child, 0)
    assert (tmp_path / "a.bin").read_bytes() in (b"before", b"after" * 10_000)


def test_errors_name_the_file_and_not_the_temporary_one(tmp_path):
    with pytest.raises(OSError) as nowhere:
        save_text(tmp_path / "missing" / "a.txt", "x")
    assert nowhere.value.filename == str(tmp_path / "missing" / "a.txt")

    def write(error):
        with saving(tmp_path / "a.txt"):
            raise error

    for named, expected in ((None, str(tmp_path / "a.txt")), ("input.png", "input.png")):
        with pytest.raises(OSError) as full:
            write(OSError(28, "No space left on device", named))
        assert full.value.filename == expected


def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path):
    (tmp_path / "image.png").write_bytes(b"radiograph")
    (tmp_path / "out.json").symlink_to("image.png")
    save_json(tmp_path / "out.json", {"a": 1})
    assert (tmp_path / "image.png").read_bytes() == b"radiograph"
    assert stat.S_ISREG((tmp_path / "out.json").lstat().st_mode)


def test_a_name_of_255_bytes_can_be_written(tmp_path):
    save_text(tmp_path / ("n" * 251 + ".csv"), "x")
    assert (tmp_path / ("n" * 251 + ".csv")).read_text() == "x"


def test_json_is_json_everywhere(tmp_path):
    with pytest.raises(ValueError):
        save_json(tmp_path / "a.json", {"a": float("nan")})
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_a_day_ago_is_taken_away(tmp_path):
    old, new = tmp_path / ".hilum-1.part", tmp_path / ".hilum-2.part"
    for file in (old, new):
        file.touch()
    os.utime(old, (0, 0))
    save_text(tmp_path / "a", "x")
    assert names(tmp_path) == [".hilum-2.part", "a"]


def test_no_device_and_no_pipe_is_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", tmp_path):
        with pytest.raises(OSError):
            save_text(place, "x")
    assert names(tmp_path) == ["pipe"]
    assert (tmp_path / "pipe").is_fifo()
