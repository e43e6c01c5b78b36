"""Every image decoded once, into memory-mapped arrays of bytes.

A cache is three files, ``<key>.npy`` (N, size, size), ``<key>-64.npy`` (N, 64, 64), thumbnails by which copies are
found, and ``<key>.json``; the key is a hash of the files' contents, in order, and of the preprocessing. Arrays are
written under another name by whoever holds the lock, and renamed when they are complete: a process that is killed
leaves nothing that looks finished, and a second process waits.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, overload

import numpy as np
from filelock import FileLock
from numpy.lib import format as npy
from numpy.typing import NDArray

from hilum.data.crew import Crew
from hilum.data.decoding import THUMBNAIL, decode_files, hash_files
from hilum.data.preprocessing import Preprocessing
from hilum.data.table import Table
from hilum.errors import CacheError, TableError
from hilum.progress import Progress

FORMAT = 3  # raise it when the files are laid out, or images read, otherwise: older ones are then left alone


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
        thumbnails: Bytes of shape (M, 64, 64), memory-mapped, stretched and not equalised: the same for every
            preprocessing, so that what is concluded from them is the same for every recipe.
    """

    table: Table
    pixels: NDArray[np.uint8]
    positions: NDArray[np.int64]
    unreadable: tuple[Unreadable, ...]
    digest: str
    thumbnails: NDArray[np.uint8]

    def select(self, rows: Iterable[int]) -> Images:
        """Only these rows; nothing is copied."""
        chosen = np.fromiter(rows, dtype=np.int64)
        return replace(self, table=self.table.take(chosen), positions=self.positions[chosen])


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
    arrays = pixels_file, thumbnails_file = _files(folder, digest, preprocessing)
    record = pixels_file.with_suffix(".json")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(pixels_file.with_suffix(".lock")):
            complete = all(file.exists() for file in (*arrays, record))
            if not (complete and not json.loads(record.read_text())["passing"]):
                _decode(table, preprocessing, arrays, record, crew, progress)
        kept = json.loads(record.read_text())
        pixels, thumbnails = _map(pixels_file), _map(thumbnails_file)
    except OSError as error:
        raise CacheError(_disk_message(folder, table, preprocessing, error)) from error
    except (ValueError, KeyError) as error:
        msg = f"{pixels_file}: a damaged cache ({error}). Delete {pixels_file.stem}*; it will be made again."
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
    return Images(table.take(readable) if failures else table, pixels, readable, unreadable, digest, thumbnails)


def thumbnails_of(digest: str, preprocessing: Preprocessing) -> NDArray[np.uint8] | None:
    """Thumbnails of data that were decoded before, by the `digest` of the data; None where they are not kept any more.

    Returns:
        Bytes of shape (M, 64, 64), memory-mapped; M counts unreadable files, which are blank, too.
    """
    try:
        return _map(_files(cache_folder(), digest, preprocessing)[1])
    except (OSError, ValueError):
        return None


def _files(folder: Path, digest: str, preprocessing: Preprocessing) -> tuple[Path, Path]:
    """Where the pixels lie, and the thumbnails."""
    key = hashlib.sha256(f"{FORMAT}:{digest}:{preprocessing.digest_of_bytes()}".encode()).hexdigest()[:32]
    return folder / f"{key}.npy", folder / f"{key}-{THUMBNAIL}.npy"


def _map(file: Path) -> NDArray[np.uint8]:
    mapped: NDArray[np.uint8] = np.load(file, mmap_mode="r")
    return mapped


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
    table: Table, preprocessing: Preprocessing, arrays: Sequence[Path], record: Path, crew: Crew, progress: Progress
) -> None:
    """Write the arrays with ordinary writes: on a full disk these fail cleanly, where a memory map is killed."""
    parts = [array.with_suffix(".part") for array in arrays]
    failures: dict[int, str] = {}
    passing: list[int] = []  # files that may be readable another time: a reason to decode again
    try:
        with ExitStack() as stack:
            files = [stack.enter_context(part.open("wb")) for part in parts]
            starts = [
                _begin(file, len(table), side)
                for file, side in zip(files, (preprocessing.size, THUMBNAIL), strict=True)
            ]
            paths = _Paths(table, np.arange(len(table)))
            work = partial(decode_files, table.root, preprocessing)
            with progress.task("Decoding images", len(table)) as advance:
                for first, decoded in crew.map(work, paths):
                    for file, start, found in zip(files, starts, (decoded.pixels, decoded.thumbnails), strict=True):
                        os.pwrite(file.fileno(), found.tobytes(), start + first * found[0].nbytes)
                    failures |= {first + number: reason for number, reason in decoded.failures.items()}
                    passing += [first + number for number in decoded.passing]
                    advance(len(decoded.pixels))
            for file in files:
                file.flush()
                os.fsync(file.fileno())
        listing = record.with_suffix(".part.json")
        listing.write_text(
            json.dumps({"failures": {str(i): failures[i] for i in sorted(failures)}, "passing": sorted(passing)})
        )
        listing.replace(record)
        for part, array in zip(parts, arrays, strict=True):
            part.replace(array)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)


def _begin(file: BinaryIO, count: int, side: int) -> int:
    """Write an array's header and, where that can be done, take the room for it; returns where the bytes begin."""
    npy.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (count, side, side)})
    file.flush()
    start = file.tell()
    if sys.platform == "linux":
        os.posix_fallocate(file.fileno(), 0, start + count * side**2)
    return start


def _disk_message(folder: Path, table: Table, preprocessing: Preprocessing, error: OSError) -> str:
    needed = len(table) * (preprocessing.size**2 + THUMBNAIL**2) / 2**20
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return (
            f"{folder}: the disk is full; {len(table)} decoded images take {needed:.0f} MiB. "
            "Free some space, or set HILUM_CACHE to a folder on another disk."
        )
    return f"{folder}: the cache cannot be written or read ({error}). Set HILUM_CACHE to a folder you may write to."
