"""Whether a file costs more to decode than a radiograph does: such a file is decoded in a process with bounds.

Decided by its bytes and its header alone. Pillow reads headers in Python, byte by byte or chunk by chunk, and a few
hundred kilobytes can ask for gigabytes or for minutes.
"""

from __future__ import annotations

import re

from PIL import ImageFile

BYTES = 30 * 2**20  # of a file; a radiograph of 15 million pixels and 16 bits, uncompressed
PIXELS = 25_000_000  # the largest digital radiographs have about 20 million
SMALL = 2**20  # bytes of a file of a format that is no usual one for radiographs
JUNK = 2**16  # bytes of a JPEG's header that say nothing
SEGMENTS, CHUNKS = 1000, 10_000  # of a JPEG before its pixels, and of a PNG: usual are 10, and one for 8 KiB
SCANS = 16  # of a progressive JPEG; usual are 6 to 10
SCAN = b"\xff\xda"  # ITU-T T.81, B.2.3
ALONE = frozenset({0x00, 0x01, *range(0xD0, 0xDA)})  # markers without a length (T.81, table B.1)
# How many pixels of a plain 8-bit image take as much time or memory as one of these.
FORMATS = {"WEBP": 4, "JPEG2000": 8, "AVIF": 8, "GIF": 4}
CODECS = {"ppm_plain": 64, "bmp_rle": 64}  # in Python
COLOURS_16 = 5
PNM = re.compile(rb"P[1-6](?:(?:\s|#[^\r\n]*[\r\n])+\d+){2}")


def is_costly_file(content: bytes) -> bool:
    """Whether a file is large, or opening it may take long already.

    Args:
        content: All of the file.
    """
    return len(content) > BYTES or has_slow_header(content)


def has_slow_header(content: bytes) -> bool:
    """Whether reading what stands before the pixels may take long.

    Args:
        content: All of the file.
    """
    if content.startswith(b"\xff\xd8"):
        return _is_long_jpeg(content)
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return _is_long_png(content)
    if re.match(rb"P[1-6]", content):
        return not PNM.match(content[:4096])
    return len(content) > SMALL and not content.startswith((b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"))


def is_costly_image(image: ImageFile.ImageFile, content: bytes, *, sixteen_bits: bool) -> bool:
    """Whether decoding may take long, or more memory than a radiograph does.

    What libtiff decodes counts in any case: a file of its kind can hold any other decoder's, and what it has to say of
    damage it prints.

    Args:
        image: Opened, not loaded.
        content: All of the file.
        sixteen_bits: Whether it holds colours of 16 bits.
    """
    codec = image.tile[0].codec_name if image.tile else ""
    weight = float(FORMATS.get(image.format or "", CODECS.get(codec, 1)))
    if sixteen_bits:
        weight *= COLOURS_16
    if codec == "jpeg":
        weight = max(1.0, content.count(SCAN) / SCANS)
    return codec == "libtiff" or image.width * image.height * weight > PIXELS


def _is_long_jpeg(content: bytes) -> bool:
    at, junk = 2, 0
    for _ in range(SEGMENTS):
        start = content.find(b"\xff", at)
        if start < 0:
            return len(content) - at > JUNK
        rest = content[start : start + JUNK]
        marker = start + len(rest) - len(rest.lstrip(b"\xff"))
        junk += marker - at - 1
        if junk > JUNK:
            return True
        kind = content[marker : marker + 1]
        if not kind or kind == SCAN[1:]:
            return False
        at = marker + 1
        if kind[0] not in ALONE:
            at += max(2, int.from_bytes(content[at : at + 2], "big"))
    return True


def _is_long_png(content: bytes) -> bool:
    at = 8
    for _ in range(CHUNKS):
        if at >= len(content):
            return False
        at += 12 + int.from_bytes(content[at : at + 4], "big")  # length, type and checksum beside the content
    return True
