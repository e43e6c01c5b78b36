"""Files are opened in one way and written in one way: regular files only, within limits; whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, TextIO

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
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    part = path.parent / f"{PREFIX}{secrets.token_hex(8)}{SUFFIX}"
    try:
        handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        with (
            os.fdopen(handle, "w", encoding="utf-8", errors=errors, newline="") if text else os.fdopen(handle, "w+b")
        ) as file:
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


def save_json(path: Path | str, values: Mapping[str, object] | list[Any], *, indent: int | None = 2) -> None:
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


JOURNAL = ".hilum-set.json"
NEXT = ".next"  # the end of temporary names; `hilum.files` takes away others after a day


@contextmanager
def saving_together(folder: Path) -> Iterator[Callable[[str, bytes], None]]:
    """Write several files; they have their names when the block ends, and nothing has happened if that fails.

    Args:
        folder: That exists.

    Yields:
        A function that takes a name and the content. The order is that in which the files get their names.

    Raises:
        OSError: They cannot be written.
    """
    settle(folder)
    sweep(folder, NEXT)
    parts: dict[str, str] = {}

    def save(name: str, content: bytes) -> None:
        part = f"{PREFIX}{secrets.token_hex(8)}{NEXT}"
        parts[part] = name
        handle = os.open(folder / part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    try:
        yield save
        save_json(folder / JOURNAL, parts)
    except BaseException:
        settle(folder)  # where the journal was there already, and Ctrl-C came then
        for part in parts:
            with contextlib.suppress(OSError):
                (folder / part).unlink(missing_ok=True)
        raise
    _settle(folder)


def settle(folder: Path) -> None:
    """Give the files of a killed process their names; where one may not write, all stays as it is."""
    with contextlib.suppress(OSError, ValueError, AttributeError, TypeError, RecursionError):
        _settle(folder)


def _settle(folder: Path) -> None:
    journal = folder / JOURNAL
    try:
        text = read_text(journal)
    except FileNotFoundError:  # there is nothing to do, or somebody else has done it
        return
    for part, name in json.loads(text).items():
        if part.startswith(PREFIX) and part.endswith(NEXT) and {Path(part).name, Path(name).name} == {part, name}:
            with contextlib.suppress(FileNotFoundError):  # it has its name already
                (folder / part).replace(folder / name)
    to_disk(folder)
    journal.unlink(missing_ok=True)


def as_bytes(values: Mapping[str, object]) -> bytes:
    """JSON as `hilum.files.save_json` writes it.

    Raises:
        ValueError: A number is not finite.
    """
    return f"{json_text(values, indent=2)}\n".encode()
