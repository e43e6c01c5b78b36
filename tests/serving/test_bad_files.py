"""What is no radiograph: one line that says so, in little memory, while the others go on."""

import io
import json
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from wording import numbers


def png(width, height, rows=b""):
    """A PNG whose header claims a size; `rows` is its compressed content."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def jpeg():
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (300, 300), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, "JPEG")
    return buffer.getvalue()


def animation():
    buffer = io.BytesIO()
    frames = [Image.new("L", (64, 64), shade) for shade in (0, 100, 200)]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def constant():
    buffer = io.BytesIO()
    Image.fromarray(np.full((200, 200), 1234, np.uint16)).save(buffer, "PNG")
    return buffer.getvalue()


BAD = {
    "empty.png": (b"", "an empty file"),
    "words.jpg": (b"This is not an image.\n", "a text file"),
    "cut.jpg": (jpeg()[:4000], "damaged"),
    "animated.gif": (animation(), "holds several frames"),
    "constant.png": (constant(), "every pixel has the same value"),
    "bomb.png": (png(50_000, 50_000, zlib.compress(bytes(2**20))), "not read"),
    "hollow.png": (png(9_000, 9_000), "damaged"),
    "saved.png": (b"<!DOCTYPE html>\n<html><body>404</body></html>", "an HTML page"),
    "pointer.jpg": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
    "archive.png": (b"PK\x03\x04" + bytes(100), "a ZIP archive"),
    "phone.jpg": (b"\0\0\0\x18ftypheic" + bytes(100), "a HEIC (HEIF) image"),
    "volume.dcm": (bytes(344) + b"n+1\0" + bytes(100), "a NIfTI volume"),
    "noise.png": (bytes(range(255, 0, -1)) * 4, "a file of an unknown kind"),
}


@pytest.fixture
def bad_files(tmp_path):
    for name, (content, _) in BAD.items():
        (tmp_path / name).write_bytes(content)
    return [tmp_path / name for name in BAD]


def test_each_is_one_line_and_the_others_go_on(bad_files, bundle_of, squares, hilum, tmp_path):
    good = sorted((squares / "test" / "normal").iterdir())[: len(BAD)]
    mixed = [file for pair in zip(good, bad_files, strict=True) for file in pair]
    result = hilum("predict", *mixed, tmp_path, "--model", bundle_of("flat"), "--json", "-", check=0)
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    by_path = {row["path"]: row for row in rows}
    for file in good:
        assert by_path[str(file)]["label"]
    for name, (_, expected) in BAD.items():
        error = by_path[str(tmp_path / name)]["error"]
        assert expected in error, name
        assert "\n" not in error
        assert error.endswith(".")


def test_bombs_take_no_memory(bundle_of, bad_files, squares):
    """The whole command, the interpreter and the runtime included, in 400 MB of address space beyond its libraries."""
    resource = pytest.importorskip("resource")
    bomb = next(file for file in bad_files if file.name == "bomb.png")
    code = (
        "import resource, sys\n"
        "from hilum.serving.predictor import Predictor\n"
        "predictor = Predictor(sys.argv[1])\n"
        "predictor.predict(sys.argv[2])\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "(answer,) = predictor.predict_many([sys.argv[3]])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, answer.error)"
    )
    good = next((squares / "test" / "normal").iterdir())
    arguments = [sys.executable, "-c", code, str(bundle_of("flat")), str(good), str(bomb)]
    result = subprocess.run(arguments, capture_output=True, text=True, check=True, env=os.environ)
    grown, error = result.stdout.split(maxsplit=1)
    assert int(grown) * (1 if sys.platform != "darwin" else 1 / 1024) < 20_000  # KiB
    assert "not read" in error
    assert resource


def test_what_is_no_file_is_said_so(bundle_of, squares, hilum, tmp_path, snapshot):
    unreadable = tmp_path / "secret.png"
    unreadable.write_bytes(jpeg())
    unreadable.chmod(0)
    good = next((squares / "test" / "normal").iterdir())
    given = [good, unreadable, tmp_path / "none.png"]
    result = hilum("predict", *given, "--model", bundle_of("flat"), "--json", "-", check=0)
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    if os.geteuid():  # root may read everything
        assert "cannot be read" in rows[1]["error"]
    snapshot(rows[2]["error"])


def test_a_bundle_given_as_an_image_is_refused_as_one(bundle_of, hilum, snapshot):
    result = hilum("predict", bundle_of("flat"), "--model", bundle_of("flat"), "--json", "-", check=1)
    snapshot(json.loads(result.stdout)["error"])


def test_masks_and_what_systems_leave_are_not_predicted_unless_named(tmp_path, snapshot):
    from hilum.serving.inputs import find_files

    real = ["set/COVID/0.png", "set/COVID/1.png", "set/images/0.png", "set/images/trashy.png"]
    aside = ["set/COVID_masks/0.png", "set/masks/COVID/0.png", "set/annotations/0.png", "set/COVID/0_mask.png"]
    hidden = ["set/@eaDir/0.png", "set/COVID/@eaDir/0/SYNO.png", "__MACOSX/set/0.png", ".cache/0.png"]
    for name in (*real, *aside, *hidden):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    said = []
    found = [file.relative_to(tmp_path).as_posix() for file in find_files([tmp_path], say=said.append)]
    assert found == sorted(real)
    assert len(said) == 1
    assert {str(len(aside)), str(len(real + aside))} <= numbers(said[0])
    snapshot(said[0])
    masks = tmp_path / "set" / "masks"
    assert list(find_files([masks, tmp_path / aside[3]])) == [masks / "COVID" / "0.png", tmp_path / aside[3]]


def test_folders_are_searched_for_objects_without_an_ending(tmp_path):
    pytest.importorskip("pydicom")
    from dicom_objects import encoded, radiograph
    from hilum.serving.inputs import find_files, read_source

    content = encoded(radiograph())
    for name in ("IM000001", "1.2.840.1", "x.png", "y.dcm", ".hidden", "DICOMDIR"):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "bare").write_bytes(content[132:])
    (tmp_path / "notes.txt").write_text("none")
    found = list(find_files([tmp_path]))
    assert [file.name for file in found] == ["1.2.840.1", "IM000001", "bare", "x.png", "y.dcm"]
    pictures = [read_source(file, file.name) for file in found]
    assert all(np.array_equal(picture.pixels, pictures[0][0].pixels) for picture, _ in pictures)
    assert [file.name for file, (_, notes) in zip(found, pictures, strict=True) if notes] == ["x.png"]
