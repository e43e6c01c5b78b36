"""Writing the arrays of a cache: every process that decodes writes a range of its own into the same two files.

So one process is never what the others wait for, and nothing but hashes and failures goes between them. A process that
does not see the files, as on a machine of a cluster without a shared cache, hands its bytes over instead.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from numpy.lib import format as npy

from hilum.data.cache_files import Decoded, decode_files
from hilum.data.preprocessing import Preprocessing

WORD = 8  # random bytes in a name: what a killed process has left running does not find the file of a later one


@dataclass(frozen=True)
class Part:
    """An array's file while it is written.

    Attributes:
        file: It has its room, and its header.
        start: Where the bytes of the first image begin.
        image: Bytes an image.
    """

    file: Path
    start: int
    image: int


def begin_part(array: Path, shape: tuple[int, ...]) -> Part:
    """Write an array's header and, where that can be done, take the room for it.

    Args:
        array: The file's name once it is complete; others open the part by its absolute path.
        shape: Of the array.

    Raises:
        OSError: It cannot be written, for example because the disk is full.
    """
    part = array.absolute().with_suffix(f".{secrets.token_hex(WORD)}.part")
    with part.open("xb") as file:
        npy.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        start = file.tell()
        file.flush()
        if sys.platform == "linux":
            os.posix_fallocate(file.fileno(), 0, start + prod(shape))
    return Part(part, start, prod(shape[1:]))


def remove_parts(array: Path) -> None:
    """Take away what processes that were killed have left of a cache, whose lock is held; `array` is of its pixels."""
    for part in array.parent.glob(f"{array.stem}*.part"):
        part.unlink(missing_ok=True)


def decode_into(
    parts: Sequence[Part], root: Path, preprocessing: Preprocessing, files: Sequence[tuple[int, str]]
) -> Decoded:
    """Read, preprocess and write files (`decode_files`).

    Args:
        parts: Of pixels and thumbnails.
        root: What the paths are relative to.
        preprocessing: Makes the bytes.
        files: Consecutive ones, each with its position.

    Returns:
        What was found, without pixels and thumbnails where these are written.

    Raises:
        ExtraError: One is a DICOM object, and the extra that reads those is not installed.
    """
    decoded = decode_files(root, preprocessing, [path for _, path in files])
    with contextlib.suppress(OSError):  # no file here, or no room: whoever gets the answer writes, or says why not
        write_into(parts, files[0][0], decoded)
        return decoded.without_bytes()
    return decoded


def write_into(parts: Sequence[Part], first: int, decoded: Decoded) -> None:
    """Write what was decoded, with ordinary writes: on a full disk these fail cleanly, where a memory map is killed.

    Args:
        parts: Of pixels and thumbnails.
        first: Position of the first image.
        decoded: Some consecutive ones.

    Raises:
        OSError: It cannot be written.
    """
    for part, found in zip(parts, (decoded.pixels, decoded.thumbnails), strict=True):
        with part.file.open("r+b") as file:  # closed, a shared file system has it
            left, at = found.tobytes(), part.start + first * part.image
            while left:
                count = os.pwrite(file.fileno(), left, at)
                left, at = left[count:], at + count
