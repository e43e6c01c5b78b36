"""What costs more than a radiograph does is decoded within bounds, and gives the same pixels or one line."""

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hilum.data import bounded, images
from hilum.data import file_kinds as costs
from hilum.data import grey_values as pillow_decoding
from hilum.data.file_kinds import has_slow_header, is_costly_file
from hilum.data.images import WARNED, read_picture, read_radiograph
from hilum.errors import ImageError, PassingImageError

GREY = np.add.outer(np.arange(70), np.arange(90)).astype(np.uint8)
COLOURS = np.stack([GREY, GREY.T[:1].repeat(70, 0)[:, :1].repeat(90, 1), 255 - GREY], 2)


def encoded(pixels, kind, **more):
    buffer = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(buffer, kind, **more)
    return buffer.getvalue()


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(side, *, bits=8, colour=0, before=b""):
    """A PNG of one value."""
    channels = {0: 1, 2: 3, 6: 4}[colour]
    line = b"\0" + b"\x55" * (side * channels * bits // 8)
    packed = zlib.compressobj(1)
    content = b"".join(packed.compress(line) for _ in range(side)) + packed.flush()
    header = struct.pack(">IIBBBBB", side, side, bits, colour, 0, 0, 0)
    parts = chunk(b"IHDR", header) + before + chunk(b"IDAT", content) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def tiff(count):
    """A valid TIFF of so many frames, each of which is the same."""
    strip = GREY.tobytes()
    tags = ((256, 90), (257, 70), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 70), (279, len(strip)))
    size = 2 + 12 * len(tags) + 4
    directories = b"".join(
        struct.pack("<H", len(tags))
        + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
        + struct.pack("<I", 8 + len(strip) + (k + 1) * size if k + 1 < count else 0)
        for k in range(count)
    )
    return b"II*\0" + struct.pack("<I", 8 + len(strip)) + strip + directories


JPEG = encoded(GREY, "JPEG")
ORDINARY = {
    "png": encoded(GREY, "PNG"),
    "png, 16 bits": encoded(GREY.astype(np.uint16) * 16, "PNG"),
    "jpeg": JPEG,
    "progressive": encoded(GREY, "JPEG", progressive=True),
    "colours": encoded(COLOURS, "JPEG"),
    "bmp": encoded(GREY, "BMP"),
    "pgm": encoded(GREY, "PPM"),
    "pgm with a remark": b"P5\n# made by hand\n90 70\n255\n" + GREY.tobytes(),
    "gif": encoded(GREY, "GIF"),
    "webp": encoded(GREY, "WEBP"),
    "tiff": encoded(GREY, "TIFF"),
    "many segments": JPEG[:2] + (b"\xff\xe1\xff\xff" + bytes(65533)) * 400 + JPEG[2:],
}
COSTLY = {
    "padding": JPEG[:2] + b"\xff" * 10**6 + JPEG[2:],
    "junk": JPEG[:20] + b"\0" * 10**6 + JPEG[20:],
    "card_intro": JPEG[:2] + b"\xff\xfe\0\2" * 10**5 + JPEG[2:],
    "texts": png(40, before=chunk(b"tEXt", b"k\0v") * 20_000),
    "texts behind": png(40)[:-12] + chunk(b"tEXt", b"k\0v") * 20_000 + chunk(b"IEND", b""),
    "remark": b"P5\n#" + b"x" * 10**6 + b"\n90 70\n255\n" + GREY.tobytes(),
    "large": encoded(GREY, "BMP") + bytes(costs.BYTES),
    "blocks": encoded(GREY, "GIF")[:-1] + b"\x21\xfe" + b"\1x" * 10**6 + b"\0;",
}


@pytest.mark.parametrize("kind", ORDINARY)
def test_ordinary_files_are_decoded_here(kind, monkeypatch):
    monkeypatch.setattr(bounded, "read_bounded", lambda *a: pytest.fail("in another process"))
    assert not is_costly_file(ORDINARY[kind])
    assert read_picture(ORDINARY[kind]).pixels.shape == (70, 90)


@pytest.mark.parametrize("kind", COSTLY)
@pytest.mark.timeout(120)
def test_costly_files_are_opened_elsewhere(kind, monkeypatch):
    monkeypatch.setattr(pillow_decoding, "decode", lambda *a, **k: pytest.fail("in this process"))
    assert is_costly_file(COSTLY[kind])
    assert has_slow_header(COSTLY[kind]) == (kind != "large")
    read_picture(COSTLY[kind])


def test_costly_pixels_are_known_by_their_header(monkeypatch):
    """No pixel is decoded here of what is large, of many scans, or libtiff's."""
    monkeypatch.setattr(bounded, "read_bounded", lambda content, name: "elsewhere")
    scans = encoded(np.tile(GREY, (20, 20)), "JPEG", progressive=True)
    last = scans[scans.rfind(b"\xff\xda") : -2]
    for content in (
        png(5001),
        png(2300, bits=16, colour=6),
        scans[:-2] + last * 300 + scans[-2:],
        encoded(GREY, "TIFF", compression="tiff_lzw"),
        b"P2\n700 700\n255\n" + b"9 " * 490_000,
        encoded(np.zeros((2600, 2600), np.uint8), "WEBP"),
    ):
        assert read_picture(content) == "elsewhere"
    assert read_picture(scans).pixels.shape == (1400, 1800)


@pytest.mark.parametrize("kind", ["png", "png, 16 bits", "progressive", "colours", "webp", "gif", "tiff"])
def test_both_ways_give_the_same(kind, monkeypatch):
    here = read_picture(ORDINARY[kind])
    there = bounded.read_bounded(ORDINARY[kind], "x")
    np.testing.assert_array_equal(here.pixels, there.pixels)
    assert here.chroma == there.chroma
    with monkeypatch.context() as patch:  # and whatever the number of rows that are taken at a time
        from hilum.data import grey_values

        patch.setattr(grey_values, "AT_ONCE", 7 * 90)
        np.testing.assert_array_equal(read_picture(ORDINARY[kind]).pixels, here.pixels)


@pytest.mark.parametrize("shape", [(301, 470), (470, 301), (32, 2000), (40, 50)])
@pytest.mark.parametrize("fit", ["stretch", "pad", "crop"])
def test_a_large_image_is_reduced_to_the_same_bytes_in_strips(shape, fit, monkeypatch):
    from hilum.data import grey_values
    from hilum.data import images as reduction

    pixels = np.random.default_rng(0).random(shape, np.float32)
    for size in (40, 64, 301):
        height, width = shape
        side = min(shape)
        left, top = ((width - side) / 2, (height - side) / 2) if fit == "crop" else (0.0, 0.0)
        box = (left, top, width - left, height - top)
        whole = reduction._resized(pixels, (size, size), box), reduction.reduce(pixels, size, fit)
        with monkeypatch.context() as patch:
            patch.setattr(reduction, "LARGE", 0)
            patch.setattr(grey_values, "AT_ONCE", 7 * shape[1])
            np.testing.assert_array_equal(reduction._resized(pixels, (size, size), box), whole[0])
            np.testing.assert_array_equal(reduction.reduce(pixels, size, fit), whole[1])


@pytest.mark.timeout(60)
def test_whether_there_is_a_second_frame_is_asked_and_not_counted(refuses):
    assert read_picture(tiff(1)).pixels.shape == (70, 90)
    for count in (2, 150_000):
        with refuses(ImageError, "several-frames"):
            read_picture(tiff(count))


@pytest.mark.timeout(60)
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts a process's data")
def test_what_takes_too_much_memory_is_one_line():
    code = (
        "import re, resource, sys\n"
        "from pathlib import Path\n"
        "from hilum.data.images import read_picture\n"
        "from hilum.errors import ImageError\n"
        "try: read_picture(Path(sys.argv[1]))\n"
        "except ImageError as error: print(error)\n"
        "from hilum.data import bounded; bounded._workers.end()\n"
        "print(re.findall(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[0])\n"  # not that of who began it
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
    )
    bomb = Path(os.environ["HILUM_CACHE"]) / "bomb.png"
    bomb.write_bytes(png(9_400, bits=16, colour=6))
    found = subprocess.run([sys.executable, "-c", code, str(bomb)], capture_output=True, text=True, check=True)
    message, *peaks = found.stdout.splitlines()
    assert message.startswith(f"{bomb}: ")
    assert max(map(int, peaks)) < 600_000  # KiB


@pytest.mark.timeout(60)
def test_what_takes_too_long_is_one_line(monkeypatch, refuses):
    """Processor time ends it, and nobody tries again."""
    pytest.importorskip("resource")
    code = bounded.START.replace("from hilum", "import hilum.data.bounded as b; b.SECONDS = 1; from hilum", 1)
    monkeypatch.setattr(bounded, "START", code)
    bounded._workers.end()
    scans = encoded(np.full((4000, 4000), 99, np.uint8), "JPEG", progressive=True, quality=1)
    last = scans[scans.rfind(b"\xff\xda") : -2]
    for _ in range(2):
        with refuses(ImageError, "too-slow"):
            read_picture(scans[:-2] + last * 2000 + scans[-2:])
    monkeypatch.undo()
    bounded._workers.end()
    assert bounded.read_bounded(ORDINARY["png"], "x").pixels.shape == (70, 90)


@pytest.mark.timeout(60)
def test_what_this_machine_is_the_reason_for_is_tried_another_time(monkeypatch, refuses):
    """Its clock, and a program of which Python is only a part: the file is not to blame."""
    monkeypatch.setattr(bounded, "PATIENCE", 0.2)
    monkeypatch.setattr(bounded, "START", "import time; time.sleep(30)")
    bounded._workers.end()
    with pytest.raises(PassingImageError):
        bounded.read_bounded(ORDINARY["png"], "x")
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with refuses(PassingImageError, "no-process"):
        bounded.read_bounded(ORDINARY["png"], "x")


def test_what_a_decoder_prints_is_noted_once_and_not_shown(capfd):
    content = bytearray(encoded(np.tile(GREY, (3, 3)) > 80, "TIFF", compression="group3"))
    for at in (271, 308, 641):
        content[at] ^= 0x55
    picture, notes = read_radiograph(bytes(content))
    assert picture.warned
    assert notes == (WARNED,)
    assert capfd.readouterr().err == ""
    assert read_radiograph(ORDINARY["tiff"])[1] == ()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["pipe", "zero", "socket", "folder", "sparse", "nowhere"])
def test_what_is_no_file_is_one_line(kind, tmp_path):
    import socket

    place = tmp_path / "real"
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "zero":
        place = Path("/dev/zero")
    elif kind == "folder":
        place.mkdir()
    elif kind == "sparse":
        with place.open("wb") as file:
            file.truncate(40 * 2**30)
    link = tmp_path / "x.png"
    link.symlink_to(place)
    with socket.socket(socket.AF_UNIX) as listening:
        if kind == "socket":
            listening.bind(str(place))
        for path in {link, place}:
            with pytest.raises(ImageError) as caught:
                read_radiograph(path)
            assert str(caught.value).startswith(f"{path}: ")
            assert not images.is_dicom(path)
