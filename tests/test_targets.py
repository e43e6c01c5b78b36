"""What may be written to, and what would be lost by it."""

import gzip
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hilum import outputs as targets
from hilum.errors import UsageError
from hilum.outputs import LINES, MODEL, PAGE, ROWS, check_folder, check_target, descriptor_of, is_stream, open_stream
from hilum.serving.model_file import shipped_model

PNG = b"\x89PNG\r\n\x1a\n"


def refused(*arguments, **options):
    with pytest.raises(UsageError) as caught:
        check_target(*arguments, **options)
    return str(caught.value)


def test_new_names_and_earlier_outputs_are_free(tmp_path):
    check_target(tmp_path / "new.json", LINES)
    for name, content, kind in (
        ("empty.json", b"", LINES),
        ("a.json", b'{"path": "x.png", "label": "a"}\n', LINES),
        ("s.json", b'{"study": "1"}\n', LINES),
        ("a.csv", b"path,label,display,decision,reason\r\n", ROWS),
        ("a.html", b'\n<!doctype html>\n<meta name="generator" content="hilum">', PAGE),
    ):
        (tmp_path / name).write_bytes(content)
        check_target(tmp_path / name, kind)
    check_target(shipped_model(), MODEL)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (PNG, LINES),
        (b"\0" * 128 + b"DICM", LINES),
        (b'{"name": "my own"}', LINES),
        (b"name,age\n", ROWS),
        (b"\x08\x08\x12\x07pytorch", MODEL),
        (b"r" + PNG, MODEL),
        (b"<!doctype html><p>mine", PAGE),
    ],
)
def test_what_hilum_did_not_write_is_not_replaced(tmp_path, content, kind):
    (tmp_path / "x").write_bytes(content)
    assert str(tmp_path / "x") in refused(tmp_path / "x", kind, option="--json")
    assert (tmp_path / "x").read_bytes() == content


def test_inputs_are_known_by_what_they_are(tmp_path):
    image = tmp_path / "IM1"
    image.write_bytes(b"")  # of any kind
    (tmp_path / "folder").symlink_to(tmp_path, target_is_directory=True)
    check_target(image, LINES, inputs=[tmp_path / "other", tmp_path])
    assert "input" in refused(tmp_path / "folder" / "IM1", LINES, inputs=[tmp_path / "none", image])
    os.link(image, tmp_path / "hard")
    assert "input" in refused(tmp_path / "hard", LINES, inputs=[image])


def test_folders_links_and_other_outputs_are_refused(tmp_path):
    assert "folder" in refused(tmp_path, LINES)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert "link" in refused(tmp_path / "link", LINES)
    assert "--csv" in refused(tmp_path / "a", LINES, outputs={"--csv": tmp_path / "." / "a"})
    refused(tmp_path / "file-less" / "a" / "\0", LINES)
    (tmp_path / "file").touch()
    refused(tmp_path / "file" / "a", LINES)


def test_folders_are_judged_by_the_names_that_will_be_written(tmp_path):
    check_folder(tmp_path / "none", {"audit.html": PAGE})
    (tmp_path / "file").touch()
    (tmp_path / "lost").symlink_to(tmp_path / "nowhere")
    for name in ("file", "lost"):
        with pytest.raises(UsageError):
            check_folder(tmp_path / name, {"audit.html": PAGE})
    (tmp_path / "notes.txt").write_text("mine")
    check_folder(tmp_path, {"audit.html": PAGE})
    (tmp_path / "audit.html").write_text("<p>mine")
    with pytest.raises(UsageError):
        check_folder(tmp_path, {"audit.html": PAGE})
    (tmp_path / "audit.html").unlink()
    (tmp_path / "audit.html").symlink_to(tmp_path / "notes.txt")  # is replaced, and notes.txt stays
    check_folder(tmp_path, {"audit.html": PAGE})


def test_devices_pipes_and_open_files_are_streams(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in ("/dev/null", "/dev/stdout", "/dev/stderr", tmp_path / "pipe"):
        assert is_stream(tmp_path / name)
        check_target(tmp_path / name, LINES, streams=True)
        assert "not a file" in refused(tmp_path / name, MODEL)
    assert (descriptor_of(tmp_path / "/dev/stdout"), descriptor_of(tmp_path / "/dev/stderr")) == (1, 2)
    with (tmp_path / "log").open("w+") as file:
        file.write("before\n")
        file.flush()
        link = tmp_path / "link"
        link.symlink_to(f"/dev/fd/{file.fileno()}")
        assert descriptor_of(link) == file.fileno()
        with open_stream(link) as stream:
            stream.write("after\n")
    assert (tmp_path / "log").read_text() == "before\nafter\n"
    assert not is_stream(tmp_path / "log")
    assert not is_stream(tmp_path / "none")
    assert descriptor_of(tmp_path) is None


@pytest.mark.timeout(30)
def test_a_device_stays_a_device_and_a_pipe_is_written_to(tmp_path):
    with open_stream(tmp_path / "/dev/null") as stream:
        stream.write("x")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    os.mkfifo(tmp_path / "pipe")
    got = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_text()))
    reader.start()
    with open_stream(tmp_path / "pipe") as stream:
        stream.write("line\n")
    reader.join()
    assert got == ["line\n"]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


@pytest.mark.timeout(30)
def test_nobody_waits_for_ever_for_a_reader(tmp_path, monkeypatch):
    monkeypatch.setattr(targets, "PATIENCE", 0.2)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError):
        open_stream(tmp_path / "pipe")


@pytest.mark.timeout(60)
def test_process_substitution_gets_all(tmp_path):
    out = tmp_path / "out.gz"
    code = "from pathlib import Path; import sys; from hilum.outputs import open_stream; "
    code += "stream = open_stream(Path(sys.argv[1])); stream.write('all'); stream.close()"
    shell = f'{sys.executable} -c "{code}" >(gzip > {out}); until gzip -t {out} 2> {tmp_path}/said; do sleep 0.1; done'
    subprocess.run(["bash", "-c", shell], check=True, env=os.environ)
    assert gzip.decompress(out.read_bytes()) == b"all"
