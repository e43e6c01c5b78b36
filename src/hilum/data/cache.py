"""Every image decoded once, into one memory-mapped array of bytes.

A cache is two files, ``<key>.npy`` (N, size, size) and ``<key>.json``; the key is a hash of the files' contents,
in order, and of the preprocessing. The array is written under another name by whoever holds the lock, and renamed
when it is complete: a process that is killed leaves nothing that looks finished, and a second process waits.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.lib import format as npy
from numpy.typing import NDArray

from hilum.data.images import read_grayscale
from hilum.data.preprocessing import Preprocessing
from hilum.data.table import Row, Table
from hilum.errors import CacheError, ImageError, PassingImageError, TableError
from hilum.progress import Progress

FORMAT = 2  # raise it when the files are laid out otherwise: older ones are then left alone
CHUNK = 64  # images a thread takes at a time


@dataclass(frozen=True)
class Unreadable:
    """A file that was left out, and why."""

    path: str
    message: str


@dataclass(frozen=True)
class Images:
    """The readable part of a table, decoded.

    Attributes:
        table: Only the rows that could be read, each with its SHA-256.
        pixels: All bytes, of shape (M, size, size), memory-mapped; M counts unreadable files too.
        positions: Where each row of `table` lies in `pixels`, shape (N,).
        unreadable: What was left out.
        digest: Hash of the contents of all files, in order: the identity of the data.
    """

    table: Table
    pixels: NDArray[np.uint8]
    positions: NDArray[np.int64]
    unreadable: tuple[Unreadable, ...]
    digest: str

    def select(self, rows: Iterable[int]) -> Images:
        """Only these rows; nothing is copied."""
        chosen = np.fromiter(rows, dtype=np.int64)
        return replace(self, table=self.table.take(chosen.tolist()), positions=self.positions[chosen])

    def alike(self) -> list[int]:
        """One number a row, equal where the decoded pixels are: other files, but to a network the same image.

        Blank images are like no other.
        """
        first: dict[bytes, int] = {}
        numbers = []
        for i, position in enumerate(self.positions):
            image = self.pixels[position]
            blank = image.min() == image.max()
            numbers.append(i if blank else first.setdefault(hashlib.sha256(image.tobytes()).digest(), i))
        return numbers


def cache_folder() -> Path:
    """``$HILUM_CACHE``, or ``hilum`` below ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    if chosen := os.environ.get("HILUM_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hilum"


def open_images(
    table: Table,
    preprocessing: Preprocessing,
    *,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Images:
    """Decode a table's images, or map them if they were decoded before.

    Args:
        table: What to decode.
        preprocessing: How.
        folder: Where caches are kept; `cache_folder` by default.
        progress: Told while files are hashed and decoded.

    Raises:
        TableError: Not one file of the table could be read.
        CacheError: The cache cannot be written, for example because the disk is full.
    """
    progress = progress or Progress()
    folder = folder or cache_folder()
    table = _with_hashes(table, progress)
    digest = hashlib.sha256("\n".join(row.sha256 for row in table.rows).encode()).hexdigest()
    key = hashlib.sha256(f"{FORMAT}:{digest}:{preprocessing.digest()}".encode()).hexdigest()[:32]
    array, record = folder / f"{key}.npy", folder / f"{key}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{key}.lock"):
            if not (array.exists() and record.exists() and not json.loads(record.read_text())["passing"]):
                _decode(table, preprocessing, array, record, progress)
        kept = json.loads(record.read_text())
        pixels = np.load(array, mmap_mode="r")
    except OSError as error:
        raise CacheError(_disk_message(folder, table, preprocessing, error)) from error
    except (ValueError, KeyError) as error:
        msg = f"{array}: a damaged cache ({error}). Delete it; it will be made again."
        raise CacheError(msg) from error
    # Failures are kept by position: equal contents may lie at several paths, and a table may have moved.
    failures: dict[str, str] = kept["failures"]
    unreadable = tuple(
        Unreadable(path := table.rows[int(i)].path, f"{path}: {reason}") for i, reason in failures.items()
    )
    readable = np.array([i for i in range(len(table)) if str(i) not in failures], dtype=np.int64)
    if not len(readable):
        msg = f"{table.root}: none of the {len(table)} images can be read. The first: {unreadable[0].message}"
        raise TableError(msg)
    return Images(table.take(readable.tolist()), pixels, readable, unreadable, digest)


def _with_hashes(table: Table, progress: Progress) -> Table:
    """Fill the column ``sha256``; a file that cannot be opened gets an empty one and is reported later."""

    def digest(row: Row) -> Row:
        if row.sha256:
            return row
        try:
            with table.file(row).open("rb") as file:
                return replace(row, sha256=hashlib.file_digest(file, "sha256").hexdigest())
        except OSError:
            return row

    rows: list[Row] = []
    with progress.task("Reading files", len(table)) as advance, ThreadPoolExecutor() as pool:
        for row in pool.map(digest, table.rows, chunksize=CHUNK):
            rows.append(row)
            if len(rows) % CHUNK == 0:
                advance(CHUNK)
        advance(len(rows) % CHUNK)
    return replace(table, rows=tuple(rows))


def _decode(table: Table, preprocessing: Preprocessing, array: Path, record: Path, progress: Progress) -> None:
    """Write the array with ordinary writes: on a full disk these fail cleanly, where a memory map is killed."""
    part = array.with_suffix(".part")
    side = preprocessing.size
    failures: dict[int, str] = {}
    passing: list[int] = []  # files that may be readable another time: a reason to decode again
    try:
        with part.open("wb") as file:
            shape = (len(table), side, side)
            npy.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
            file.flush()
            start, each = file.tell(), side * side
            if sys.platform == "linux":
                os.posix_fallocate(file.fileno(), 0, start + len(table) * each)

            def decode(first: int) -> int:
                last = min(first + CHUNK, len(table))
                for number in range(first, last):
                    row = table.rows[number]
                    try:
                        pixels = preprocessing.apply(read_grayscale(table.file(row), name=row.path))
                    except ImageError as error:
                        failures[number] = str(error).removeprefix(f"{row.path}: ")
                        if isinstance(error, PassingImageError):
                            passing.append(number)
                        pixels = np.zeros((side, side), np.uint8)
                    os.pwrite(file.fileno(), pixels.tobytes(), start + number * each)
                return last - first

            with progress.task("Decoding images", len(table)) as advance, ThreadPoolExecutor() as pool:
                for done in pool.map(decode, range(0, len(table), CHUNK)):
                    advance(done)
            file.flush()
            os.fsync(file.fileno())
        listing = part.with_suffix(".part.json")
        listing.write_text(
            json.dumps({"failures": {str(i): failures[i] for i in sorted(failures)}, "passing": sorted(passing)})
        )
        listing.replace(record)
        part.replace(array)
    finally:
        part.unlink(missing_ok=True)


def _disk_message(folder: Path, table: Table, preprocessing: Preprocessing, error: OSError) -> str:
    needed = len(table) * preprocessing.size**2 / 2**20
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return (
            f"{folder}: the disk is full; {len(table)} decoded images take {needed:.0f} MiB. "
            "Free some space, or set HILUM_CACHE to a folder on another disk."
        )
    return f"{folder}: the cache cannot be written or read ({error}). Set HILUM_CACHE to a folder you may write to."
