"""The one way to write a file: whole or not at all, whatever ends the process or fills the disk.

Bytes go to a temporary file in the same folder, then to the disk (fsync), and only then does the file get its name:
afterwards the file of before is there, or the new one, never half of one (the rename of POSIX.1-2017 is atomic). On an
error the temporary file is taken away; after SIGKILL or a power failure it stays, begins with ``.hilum-`` and ends with
``.part``, is read by nothing, and is taken away when the same folder is written to a day later.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

PREFIX, SUFFIX = ".hilum-", ".part"
_swept: set[Path] = set()  # by this process
STALE = 24 * 3600.0  # seconds after which a temporary file has no writer any more


@contextmanager
def saving(path: Path | str, *, text: bool = False, errors: str = "strict") -> Iterator[IO[Any]]:
    """Write a file piece by piece; it has its name when the block ends, and nothing has happened if that fails.

    A symbolic link of that name is replaced, not followed. The file gets the mode that any new file gets.

    Args:
        path: The file to write.
        text: Whether it is text, in UTF-8 and with the line ends that are written; else bytes.
        errors: What becomes of letters that UTF-8 cannot hold, as `open`.

    Raises:
        OSError: It cannot be written: no folder, no permission, no room, or a folder, a device or a pipe in its place.
    """
    path = Path(path)
    if path.exists() and not path.is_symlink() and not path.is_file():  # a rename would take a device away
        raise OSError(errno.EINVAL, "there is something else than a file", str(path))
    part = path.parent / f"{PREFIX}{secrets.token_hex(8)}{SUFFIX}"
    try:
        handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        kind: dict[str, Any] = {"mode": "w", "encoding": "utf-8", "errors": errors, "newline": ""}
        with os.fdopen(handle, **(kind if text else {"mode": "w+b"})) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            part.unlink()
        if isinstance(error, OSError) and error.filename in (None, str(part)):
            error.filename, error.filename2 = str(path), None  # nobody knows the temporary one
        raise
    to_disk(path.parent)
    if path.parent not in _swept:  # once, since a folder may hold many files
        _swept.add(path.parent)
        sweep(path.parent, SUFFIX)


def save_bytes(path: Path | str, content: bytes) -> None:
    """Write bytes; see `saving`."""
    with saving(path) as file:
        file.write(content)


def save_text(path: Path | str, content: str) -> None:
    """Write text; see `saving`."""
    save_bytes(path, content.encode())


def save_json(path: Path | str, values: Mapping[str, Any] | list[Any], *, indent: int | None = 2) -> None:
    """Write JSON that every reader takes: in ASCII, without NaN and infinity; see `saving`.

    Raises:
        ValueError: A number is not finite.
        OSError: See `saving`.
    """
    save_text(path, json_text(values, indent=indent) + "\n")


@contextmanager
def locked(file: Path, busy: Callable[[], None], *, silence: float = 0.0, mode: int = 0o644) -> Iterator[None]:
    """Hold a lock that ends with its process (``flock``, where the system has it).

    Args:
        file: The file that stands for the lock; made where there is none, and left there.
        busy: Called when another process has held the lock for `silence` seconds, and every second from then on. To
            give up, it raises an error; else this waits on.
        silence: Seconds to wait before.
        mode: Permissions of a file that is made.

    Raises:
        OSError: The file cannot be made or locked.
    """
    from filelock import FileLock, Timeout  # which takes asyncio with it

    lock = FileLock(file, mode=mode)
    while not lock.is_locked:
        try:
            lock.acquire(timeout=silence, poll_interval=min(0.1, max(silence, 0.05)))
        except Timeout:
            busy()
            silence = 1.0
    try:
        yield
    finally:
        lock.release()


def append(file: Path, content: bytes) -> None:
    """Write behind what a file holds, whole or not at all; it is on the disk when this returns.

    Raises:
        OSError: It cannot be written; the file is as it was.
    """
    handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        size = os.fstat(handle).st_size
        write_whole(handle, content, size)
        try:
            os.fsync(handle)
        except OSError:
            os.ftruncate(handle, size)
            raise
    finally:
        os.close(handle)


def write_whole(handle: int, content: bytes, size: int) -> None:
    """Write behind the `size` bytes of an open file, whole or not at all.

    Raises:
        OSError: There is no room.
    """
    try:
        written = 0
        while written < len(content):
            written += os.write(handle, content[written:])
    except BaseException:  # Ctrl-C included
        os.ftruncate(handle, size)
        raise


def json_text(values: Any, *, indent: int | None = None) -> str:
    """JSON that every reader takes and no terminal obeys: in ASCII, without NaN, infinity and control characters.

    Raises:
        ValueError: A number is not finite.
    """
    return json.dumps(values, indent=indent, allow_nan=False).replace("\x7f", "\\u007f")  # which ASCII has, too


def to_disk(folder: Path) -> None:
    """Make renames in a folder survive a power failure, where the system can do that."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sweep(folder: Path, suffix: str) -> None:
    """Take away what killed processes have left under temporary names, files and folders."""
    for left in folder.glob(f"{PREFIX}*{suffix}"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > STALE:
                shutil.rmtree(left) if left.is_dir() else left.unlink()
