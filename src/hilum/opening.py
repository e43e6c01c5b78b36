"""The one way to open a file that somebody else made: regular files only, never waiting, never without a limit.

A named pipe would wait for a writer for ever, a device such as ``/dev/zero`` would never end, and a sparse file of
40 GiB takes 4 KiB on the disk. All of them lie under names of images in somebody's folder.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path
from typing import BinaryIO, TextIO

LARGEST_TABLE = 2**30  # bytes of a CSV, JSON or TOML file; a table of ten million images has about half of that
LARGEST_RECORD = 2**28  # bytes of a file that hilum wrote for itself
STEP = 2**20

KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISDIR, "a folder"),
)


class NotAFileError(OSError):
    """A name leads to a pipe, socket, device or folder; ``strerror`` says which."""


class TooLargeError(OSError):
    """A file is larger than allowed; ``strerror`` says how large."""


def open_regular(path: Path | str, *, limit: int | None = None) -> BinaryIO:
    """Open a file for reading, if it is one.

    Args:
        path: What to open; symbolic links are followed, and what they lead to is judged.
        limit: Bytes that it may have; any number by default, for those who read it piece by piece.

    Raises:
        NotAFileError: It is no regular file.
        TooLargeError: It has more bytes.
        OSError: It cannot be opened. All three have `strerror`.
        ValueError: The name holds a null byte.
    """
    # A pipe without a writer would wait here for one, were it not for O_NONBLOCK; regular files do not care.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            kind = next((name for is_kind, name in KINDS if is_kind(found.st_mode)), "something else")
            raise NotAFileError(errno.EINVAL, f"it is {kind}, not a file", str(path))
        if limit is not None and found.st_size > limit:
            raise _too_large(path, f"{found.st_size:,}", limit)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_whole(path: Path | str, limit: int = LARGEST_RECORD) -> bytes:
    """The bytes of a regular file.

    Args:
        path: What to read.
        limit: Bytes that it may have.

    Raises:
        OSError: As `open_regular`; also of a file that grows past the limit meanwhile.
        ValueError: The name holds a null byte.
    """
    with open_regular(path, limit=limit) as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(size + 1)
        # Sizes lie: files of /proc state none, and others grow meanwhile.
        while len(content) <= limit and (more := file.read(STEP)):
            content += more
    if len(content) > limit:
        raise _too_large(path, f"over {limit:,}", limit)
    return content


def read_text(path: Path | str, limit: int = LARGEST_RECORD, *, encoding: str = "utf-8") -> str:
    """The text of a regular file, line ends as they are.

    Raises:
        OSError: As `read_whole`.
        UnicodeDecodeError: It is no such text.
    """
    return read_whole(path, limit).decode(encoding)


def open_text(
    path: Path | str, limit: int = LARGEST_TABLE, *, encoding: str = "utf-8", errors: str = "strict"
) -> TextIO:
    """Open a regular file as text for a reader of CSV: read piece by piece, line ends as they are.

    Raises:
        OSError: As `open_regular`.
        ValueError: The name holds a null byte.
    """
    return io.TextIOWrapper(open_regular(path, limit=limit), encoding=encoding, errors=errors, newline="")


def _too_large(path: Path | str, found: str, limit: int) -> TooLargeError:
    return TooLargeError(errno.EFBIG, f"{found} bytes; at most {limit:,} are read", str(path))
