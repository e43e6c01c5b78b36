"""What a file is, by its first bytes, whatever its name says."""

from __future__ import annotations

import re
import zlib
from typing import Literal

from PIL import ImageFile

FEW = 512  # bytes that tell nearly everything
ENOUGH = 2**16  # bytes that tell all of this; a JPEG may hold so much before it says how it is coded
VALUE_KINDS = frozenset(b"AE CS DA DT IS LO OB OW SH ST TM UI UL UN US UT".split())
LONG_KINDS = frozenset({b"OB", b"OW", b"UN", b"UT"})
TEXT_CONTROLS = "\t\n\r\f\x1b"

# Offset, bytes found there, what it is: the formats' own specifications, most of them in file(1)'s tables, too.
MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (0, b"GIF8", "a GIF image"),
    (0, b"II*\0", "a TIFF image"),
    (0, b"MM\0*", "a TIFF image"),
    (0, b"II+\0", "a TIFF image"),
    (0, b"MM\0+", "a TIFF image"),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 image"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL image"),
    (0, b"\xff\x0a", "a JPEG XL image"),
    (0, b"II\xbc\x01", "a JPEG XR image"),
    (8, b"WEBP", "a WebP image"),
    (8, b"AVI ", "an AVI video"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"v/1\x01", "an OpenEXR image"),
    (0, b"%PDF-", "a PDF document"),
    (0, b"%!PS", "a PostScript document"),
    (344, b"n+1\0", "a NIfTI volume"),
    (344, b"ni1\0", "a NIfTI volume"),
    (0, b"NRRD000", "an NRRD volume"),
    (0, b"\x93NUMPY", "a NumPy array (.npy)"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (0, b"MATLAB 5.0", "a MATLAB file"),
    (0, b"PAR1", "a Parquet table"),
    (0, b"SQLite format 3\0", "an SQLite database"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document (.doc, .xls)"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (0, b"Rar!\x1a\x07", "a RAR archive"),
    (0, b"\xfd7zXZ\0", "an xz file"),
    (0, b"BZh", "a bzip2 file"),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard file"),
    (257, b"ustar", "a tar archive"),
    (0, b"\0\x05\x16\x07", "a companion file of macOS (AppleDouble)"),
    (0, b"version https://git-lfs.github.com/spec/", "a Git LFS pointer, not the file itself (run git lfs pull)"),
    (0, b"BM", "a BMP image"),
)
# ISO base media files (ISO/IEC 14496-12) name their brand behind "ftyp".
BRANDS = {
    b"avif": "an AVIF image",
    b"avis": "an AVIF image",
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "a HEIC (HEIF) image"),
    b"qt  ": "a QuickTime video",
}
# Frame markers of JPEG (ITU-T T.81 table B.1, T.87), but for the three that all decoders know.
FRAMES = {0xC3: "a lossless JPEG", 0xF7: "a JPEG-LS image"}
BASELINE = (0xC0, 0xC1, 0xC2)
ARITHMETIC = (0xC9, 0xCA)


def kind_of(start: bytes) -> str:
    """Name a file's kind by its content.

    Args:
        start: The first bytes, up to `ENOUGH` of them; `FEW` tell nearly everything.

    Returns:
        A noun with its article, for messages, such as ``a ZIP archive`` or ``an empty file``; ``a file of an unknown
        kind`` where nothing fits.
    """
    if not start:
        return "an empty file"
    if not start.strip(b"\0"):
        return "a file of nothing but zeros"
    if looks_like_dicom(start):
        return "a DICOM object"
    if start.startswith(b"\xff\xd8\xff"):
        return _jpeg(start)
    if start.startswith(b"PK\x03\x04"):
        return "an Excel workbook (.xlsx)" if b"xl/" in start[:4096] else "a ZIP archive"
    if start.startswith(b"\x1f\x8b"):
        return _gzip(start)
    if start[4:8] == b"ftyp":
        return BRANDS.get(start[8:12], "an MP4 video")
    for at, magic, kind in MAGIC:
        if start.startswith(magic, at):
            return kind
    return _text(start) or "a file of an unknown kind"


def looks_like_dicom(start: bytes) -> bool:
    """Whether a file is DICOM: by its preamble (PS3.10, 7.1), or, where that is missing, by its first two elements.

    Args:
        start: At least 132 bytes of it, better 512.
    """
    if start[128:132] == b"DICM":
        return True
    at, before = 0, (0, 0)
    for _ in range(2):
        order: Literal["little", "big"] = "big" if start[:1] == b"\0" else "little"
        tag = int.from_bytes(start[at : at + 2], order), int.from_bytes(start[at + 2 : at + 4], order)
        explicit = start[at + 4 : at + 6] in VALUE_KINDS
        if explicit and start[at + 4 : at + 6] in LONG_KINDS:
            length, head = int.from_bytes(start[at + 8 : at + 12], order), 12
        elif explicit:
            length, head = int.from_bytes(start[at + 6 : at + 8], order), 8
        else:
            length, head = int.from_bytes(start[at + 4 : at + 8], order), 8
        if tag[0] not in (2, 8) or tag <= before or length % 2 or length > 256 or len(start) < at + head:
            return False
        at, before = at + head + length, tag
    return True


def _jpeg(start: bytes) -> str:
    """Which JPEG: walk its segments up to the frame header, which holds the precision."""
    at = 2
    while at + 4 < len(start) and start[at] == 0xFF:
        marker = start[at + 1]
        if marker in FRAMES:
            return FRAMES[marker]
        if marker in ARITHMETIC or marker in BASELINE:
            bits, coded = start[at + 4], " with arithmetic coding" if marker in ARITHMETIC else ""
            return f"a JPEG image{coded}" if bits == 8 else f"a {bits}-bit JPEG"
        # A fill byte stands alone; all else before the frame has a length, which counts itself.
        at += 1 if marker == 0xFF else 2 + max(2, int.from_bytes(start[at + 2 : at + 4], "big"))
    return "a JPEG image"


def _gzip(start: bytes) -> str:
    try:
        inside = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(start, 512)
    except zlib.error:
        return "a gzip file"
    kind = kind_of(inside) if not inside.startswith(b"\x1f\x8b") else ""
    return f"{kind}, compressed by gzip" if kind.startswith(("a NIfTI", "a tar", "a DICOM")) else "a gzip file"


def _text(start: bytes) -> str:
    """Which text, or nothing where it is none."""
    wide = start.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = start.decode("utf-16" if wide else "utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(start) - 3:  # else a letter that was cut in two
            return ""
        text = start[: error.start].decode("utf-16" if wide else "utf-8")
    if any(ord(letter) < 32 and letter not in TEXT_CONTROLS for letter in text):
        return ""
    head = text.lstrip("\ufeff \t\r\n")[:512].lower()
    if head.startswith(("<!doctype html", "<html", "<head", "<body")):
        return "an HTML page"
    if "<svg" in head and head.startswith("<"):
        return "an SVG drawing"
    if head.startswith("<?xml"):
        return "an XML document"
    return "a text file in UTF-16" if wide else "a text file"


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
