"""Kinds of files, told from bytes that other programs wrote."""

import gzip
import io
import tarfile
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hilum.data.file_kinds import ENOUGH, kind_of


def encoded(kind, **options):
    buffer = io.BytesIO()
    Image.new("RGB", (40, 40)).save(buffer, kind, **options)
    return buffer.getvalue()


def with_frame(marker, precision):
    """A JPEG whose frame header is another one's, behind a fill byte."""
    content = encoded("JPEG")
    at = content.index(b"\xff\xc0")
    return (
        content[:at] + b"\xff\xff" + bytes([marker]) + content[at + 2 : at + 4] + bytes([precision]) + content[at + 5 :]
    )


def archive():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a.png", b"x")
    return buffer.getvalue()


def tar():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        file.addfile(tarfile.TarInfo("a.png"))
    return buffer.getvalue()


def array():
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    return buffer.getvalue()


NIFTI = bytes([92, 1, 0, 0]) + bytes(340) + b"n+1\0" + bytes(100)
KINDS = {
    "a PNG image": encoded("PNG"),
    "a JPEG image": encoded("JPEG"),
    "a TIFF image": encoded("TIFF"),
    "a BMP image": encoded("BMP"),
    "a GIF image": encoded("GIF"),
    "a WebP image": encoded("WEBP"),
    "a JPEG 2000 image": encoded("JPEG2000"),
    "a PDF document": encoded("PDF"),
    "a PostScript document": encoded("EPS"),
    "a lossless JPEG": with_frame(0xC3, 12),
    "a JPEG-LS image": with_frame(0xF7, 8),
    "a 12-bit JPEG": with_frame(0xC1, 12),
    "a JPEG image with arithmetic coding": with_frame(0xC9, 8),
    "a HEIC (HEIF) image": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "an MP4 video": b"\0\0\0\x18ftypisom\0\0\0\0isom",
    "a JPEG XL image": b"\xff\x0a\xfa\x7f\x01",
    "a ZIP archive": archive(),
    "a gzip file": gzip.compress(b"hello"),
    "a NIfTI volume, compressed by gzip": gzip.compress(NIFTI),
    "a NIfTI volume": NIFTI,
    "a tar archive": tar(),
    "a NumPy array (.npy)": array(),
    "a DICOM object": bytes(128) + b"DICM",
    "an HTML page": b"\n<!DOCTYPE html>\n<html><body>404</body></html>",
    "a text file": "Röntgenbild, Größe unbekannt\n".encode(),
    "a text file in UTF-16": "path,label".encode("utf-16"),
    "a Git LFS pointer, not the file itself (run git lfs pull)": b"version https://git-lfs.github.com/spec/v1\noid",
    "an empty file": b"",
    "a file of nothing but zeros": bytes(700),
    "a file of an unknown kind": bytes(range(255, 0, -1)) * 4,
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_named(kind):
    assert kind_of(KINDS[kind][:ENOUGH]) == kind


def test_avif_is_named():
    if "AVIF" not in Image.SAVE:
        Image.init()
    try:
        content = encoded("AVIF")
    except (KeyError, OSError):
        pytest.skip("this Pillow writes no AVIF")
    assert kind_of(content) == "an AVIF image"


def test_text_that_is_cut_in_the_middle_of_a_letter_is_text():
    assert kind_of("aé".encode()[:-1]) == "a text file"


@given(st.binary(max_size=600))
def test_any_bytes_have_a_kind(content):
    for prefix in (b"", b"\xff\xd8\xff", b"\x1f\x8b\x08\0\0\0\0\0\0\0", b"PK\x03\x04"):
        assert kind_of(prefix + content).split()[0] in {"a", "an"}
