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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import overload

import numpy as np
from filelock import FileLock
from numpy.lib import format as npy
from numpy.typing import NDArray

from hilum.data.crew import Crew
from hilum.data.decoding import decode_files, hash_files
from hilum.data.mapped import release
from hilum.data.preprocessing import Preprocessing
from hilum.data.table import Table
from hilum.errors import CacheError, TableError
from hilum.progress import Progress

FORMAT = 3  # raise it when the files are laid out, or images read, otherwise: older ones are then left alone
RELEASE = 1000  # images looked at before their pages are given back


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
        return replace(self, table=self.table.take(chosen), positions=self.positions[chosen])

    def alike(self) -> list[int]:
        """One number a row, equal where the decoded pixels are: other files, but to a network the same image.

        Blank images are like no other.
        """
        content = np.empty(len(self.positions), np.uint64)
        for i, position in enumerate(self.positions):
            image = self.pixels[position]
            # A blank one gets a hash of its own: by chance two of a million agree once in 30 million times.
            told = str(i).encode() if image.min() == image.max() else image.tobytes()
            content[i] = int.from_bytes(hashlib.blake2b(told, digest_size=8).digest(), "big")
            if i % RELEASE == 0:
                release(self.pixels)
        release(self.pixels)
        _, first, which = np.unique(content, return_index=True, return_inverse=True)
        numbers: list[int] = first[which].tolist()
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
    with Crew() as crew:
        return _open_images(_with_hashes(table, crew, progress), preprocessing, folder, crew, progress)


def _open_images(table: Table, preprocessing: Preprocessing, folder: Path, crew: Crew, progress: Progress) -> Images:
    hashes = hashlib.sha256()
    for number, row in enumerate(table.rows):
        hashes.update((b"\n" if number else b"") + row.sha256.encode())
    digest = hashes.hexdigest()
    key = hashlib.sha256(f"{FORMAT}:{digest}:{preprocessing.digest_of_bytes()}".encode()).hexdigest()[:32]
    array, record = folder / f"{key}.npy", folder / f"{key}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{key}.lock"):
            if not (array.exists() and record.exists() and not json.loads(record.read_text())["passing"]):
                _decode(table, preprocessing, array, record, crew, progress)
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
    readable = np.delete(np.arange(len(table)), [int(i) for i in failures])
    if not len(readable):
        msg = f"{table.root}: none of the {len(table)} images can be read. The first: {unreadable[0].message}"
        raise TableError(msg)
    return Images(table.take(readable) if failures else table, pixels, readable, unreadable, digest)


def _with_hashes(table: Table, crew: Crew, progress: Progress) -> Table:
    """Fill the column ``sha256``; a file that cannot be opened gets an empty one and is reported later."""
    digests = np.fromiter((row.sha256.encode() for row in table.rows), "S64", len(table))
    missing = np.flatnonzero(digests == b"")
    with progress.task("Reading files", len(missing)) as advance:
        for first, found in crew.map(partial(hash_files, table.root), _Paths(table, missing)):
            digests[missing[first : first + len(found)]] = found
            advance(len(found))
    return table.with_values("sha256", (digest.decode() for digest in digests)) if len(missing) else table


class _Paths(Sequence[str]):
    """The paths of some rows of a table, made when they are asked for."""

    def __init__(self, table: Table, positions: NDArray[np.int64]) -> None:
        self.table, self.positions = table, positions

    def __len__(self) -> int:
        return len(self.positions)

    @overload
    def __getitem__(self, number: int) -> str: ...
    @overload
    def __getitem__(self, number: slice) -> list[str]: ...
    def __getitem__(self, number: int | slice) -> str | list[str]:
        if isinstance(number, slice):
            return [self.table.rows[int(position)].path for position in self.positions[number]]
        return self.table.rows[int(self.positions[number])].path


def _decode(
    table: Table, preprocessing: Preprocessing, array: Path, record: Path, crew: Crew, progress: Progress
) -> None:
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
            paths = _Paths(table, np.arange(len(table)))
            work = partial(decode_files, table.root, preprocessing)
            with progress.task("Decoding images", len(table)) as advance:
                for first, decoded in crew.map(work, paths):
                    os.pwrite(file.fileno(), decoded.pixels.tobytes(), start + first * each)
                    failures |= {first + number: reason for number, reason in decoded.failures.items()}
                    passing += [first + number for number in decoded.passing]
                    advance(len(decoded.pixels))
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
