"""Every image decoded once, into memory-mapped arrays of bytes.

A cache is three files, ``<key>.npy`` (N, size, size), ``<key>-64.npy`` (N, 64, 64), thumbnails by which copies are
found, and ``<key>.json``, which describes both (`hilum.data.cache_files`); the key is a hash of the files' contents, in
order, and of the preprocessing. Whoever holds the lock has arrays written under other names
(`hilum.data.cache_writing`), and renames them when they are complete: a process that is killed leaves nothing that
looks finished, and a second process waits.

The bytes that are decoded are hashed once more: pixels never get under the hash of another file, whoever replaces files
meanwhile. Whatever is in doubt about a cache that is there, it is made again.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from hilum.data.cache_files import (
    THUMBNAIL,
    cache_folder,
    files_of,
    hash_files,
    make_private,
    read_kept,
    remark,
    write_record,
)
from hilum.data.cache_writing import begin_part, decode_into, remove_parts, write_into
from hilum.data.dataset import Dataset
from hilum.data.preprocessing import Preprocessing
from hilum.data.process_pool import Pool, ProcessPool
from hilum.errors import CacheError, TableError
from hilum.files import locked
from hilum.progress import Progress


def release(pixels: NDArray[np.uint8]) -> None:
    """Take a map's pages out of this process; the system keeps them in its cache, and memory does not grow.

    Args:
        pixels: A memory map or a view of one; of any other array nothing happens.
    """
    mapped = pixels
    while isinstance(mapped.base, np.ndarray):
        mapped = mapped.base
    if isinstance(mapped.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        mapped.base.madvise(mmap.MADV_DONTNEED)


TRIES = 3  # where files are replaced while they are read
SILENCE = 2.0  # seconds for which nobody has to be told why nothing happens


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
        pixels: All bytes, of shape (M, *preprocessing.shape), memory-mapped; M counts unreadable files too.
        positions: Where each row of `table` lies in `pixels`, shape (N,).
        unreadable: What was left out.
        digest: Hash of the contents of all files, in order: the identity of the data.
        thumbnails: Bytes of shape (M, 64, 64), memory-mapped, stretched and not equalised: the same for every
            preprocessing, so that what is concluded from them is the same for every recipe.
    """

    table: Dataset
    pixels: NDArray[np.uint8]
    positions: NDArray[np.int64]
    unreadable: tuple[Unreadable, ...]
    digest: str
    thumbnails: NDArray[np.uint8]

    def select(self, rows: Iterable[int]) -> Images:
        """Only these rows; nothing is copied."""
        chosen = np.fromiter(rows, dtype=np.int64)
        return replace(self, table=self.table.take(chosen), positions=self.positions[chosen])


def open_images(
    table: Dataset,
    preprocessing: Preprocessing,
    *,
    folder: Path | None = None,
    pool: Pool | None = None,
    progress: Progress | None = None,
) -> Images:
    """Decode a table's images, or map them if they were decoded before.

    Args:
        table: What to decode.
        preprocessing: How.
        folder: Where caches are kept; `cache_folder` by default.
        pool: Who reads, decodes and writes, not entered yet; by default this process, and others on this machine. The
            bytes are the same, whoever does it.
        progress: Told while files are hashed and decoded.

    Raises:
        TableError: Not one file of the table could be read.
        CacheError: The cache cannot be written, for example because the disk is full; or files are replaced all the
            time.
        EngineError: A cluster does not answer, or its processes end.
    """
    progress = progress or Progress()
    if not folder:
        folder = cache_folder()
        if unusual := remark():
            progress.line(unusual)
    root = table.root
    with pool or ProcessPool() as workers:
        for _ in range(TRIES):
            table = _with_hashes(table, workers, progress)
            found = _open_images(table, preprocessing, folder, workers, progress)
            if isinstance(found, Images):
                return found
            table = found  # files are others than those that were hashed
    msg = f"{root}: files change while they are read. Start again when no other process writes to them."
    raise CacheError(msg)


def hashed(table: Dataset, *, pool: Pool | None = None, progress: Progress | None = None) -> Dataset:
    """A table with the SHA-256 of each file, for several calls of `open_images`; empty where a file cannot be opened.

    Args:
        table: What to read; hashes that are there are kept.
        pool: Who reads, not entered yet; as for `open_images`.
        progress: Told while files are read.

    Raises:
        EngineError: A cluster does not answer, or its processes end.
    """
    with pool or ProcessPool() as workers:
        return _with_hashes(table, workers, progress or Progress())


def _open_images(
    table: Dataset, preprocessing: Preprocessing, folder: Path, pool: Pool, progress: Progress
) -> Images | Dataset:
    """The images; or the table with the hashes that its files have now, where these are others."""
    hashes = hashlib.sha256()
    for number, row in enumerate(table.rows):
        hashes.update((b"\n" if number else b"") + row.sha256.encode())
    digest = hashes.hexdigest()
    arrays = files_of(folder, digest, preprocessing)
    try:
        make_private(folder)
        with one_at_a_time(arrays[0].with_suffix(".lock"), "decodes", progress):
            kept = read_kept(arrays, len(table))
            if kept is None or kept.passing:
                changed = _decode(table, preprocessing, arrays, pool, progress)
                if changed:
                    return changed
                kept = read_kept(arrays, len(table))
    except OSError as error:
        raise CacheError(_disk_message(folder, table, preprocessing, error), code="unwritable") from error
    if kept is None:
        msg = f"{arrays[0]}: does not hold what was just written. Set HILUM_CACHE to a folder on another disk."
        raise CacheError(msg)
    # Failures are kept by position: equal contents may lie at several paths, and a table may have moved.
    unreadable = tuple(
        Unreadable(path := table.rows[i].path, f"{path}: {reason}") for i, reason in kept.failures.items()
    )
    readable = np.delete(np.arange(len(table)), list(kept.failures))
    if not len(readable):
        first = f" The first: {unreadable[0].message}" if unreadable else ""
        msg = f"{table.root}: none of the {len(table)} images can be read.{first}"
        raise TableError(msg, code="nothing-readable", path=table.root)
    left = table.take(readable) if kept.failures else table
    return Images(left, kept.pixels, readable, unreadable, digest, kept.thumbnails)


def reopened(digest: str, preprocessing: Preprocessing) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Pixels and thumbnails of data that were decoded before, memory-mapped, in another process.

    Args:
        digest: That of `Images`.
        preprocessing: With which they were opened.

    Raises:
        CacheError: They are not kept any more, or on another machine.
    """
    kept = read_kept(files_of(folder := cache_folder(), digest, preprocessing))
    if kept is None:
        msg = f"{folder}: the decoded images are not here any more. Make the dataset again, from its table."
        raise CacheError(msg, code="not-kept", path=folder)
    return kept.pixels, kept.thumbnails


def thumbnails_of(digest: str, preprocessing: Preprocessing) -> NDArray[np.uint8] | None:
    """Thumbnails of data that were decoded before, by the `digest` of the data; None where they are not kept any more.

    Returns:
        Bytes of shape (M, 64, 64), memory-mapped; M counts unreadable files, which are blank, too.
    """
    kept = read_kept(files_of(cache_folder(), digest, preprocessing))
    return kept.thumbnails if kept else None


def one_at_a_time(file: Path, does: str, progress: Progress) -> AbstractContextManager[None]:
    """Hold a lock of the cache; who waits for it is told so.

    Args:
        file: The lock's file.
        does: What whoever holds it does with images, such as ``decodes``.
        progress: Told once.
    """
    told = iter([f"waiting for another process, which {does} the same images (it holds {file})"])

    def busy() -> None:
        for line in told:
            progress.line(line)

    return locked(file, busy, silence=SILENCE)


def _with_hashes(table: Dataset, pool: Pool, progress: Progress) -> Dataset:
    """Fill the column ``sha256``; a file that cannot be opened gets an empty one and is reported later."""
    digests = np.fromiter((row.sha256.encode() for row in table.rows), "S64", len(table))
    missing = np.flatnonzero(digests == b"")
    with progress.task("Reading files", len(missing)) as advance:
        for first, found in pool.map(partial(hash_files, table.root.absolute()), _Paths(table, missing)):
            digests[missing[first : first + len(found)]] = found
            advance(len(found))
    return table.with_values("sha256", (digest.decode() for digest in digests)) if len(missing) else table


class _Paths(Sequence[str]):
    """The paths of some rows of a table, made when they are asked for."""

    def __init__(self, table: Dataset, positions: NDArray[np.int64]) -> None:
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


class _Numbered(Sequence[tuple[int, str]]):
    """The paths of a table, each with its position, made when they are asked for."""

    def __init__(self, table: Dataset) -> None:
        self.rows = table.rows

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, number: int) -> tuple[int, str]: ...
    @overload
    def __getitem__(self, number: slice) -> list[tuple[int, str]]: ...
    def __getitem__(self, number: int | slice) -> tuple[int, str] | list[tuple[int, str]]:
        if isinstance(number, slice):
            return [(position, self.rows[position].path) for position in range(len(self.rows))[number]]
        return number, self.rows[number].path


def _decode(
    table: Dataset, preprocessing: Preprocessing, arrays: Sequence[Path], pool: Pool, progress: Progress
) -> Dataset | None:
    """Write the arrays, by all processes of the pool that reach their files.

    Returns:
        None where that was done; or the table with other hashes, where a file is not the one that was hashed.
    """
    digests = np.empty(len(table), "S64")
    failures: dict[int, str] = {}
    passing: list[int] = []  # files that may be readable another time: a reason to decode again
    warned = 0
    remove_parts(arrays[0])
    try:
        shapes = preprocessing.shape, (THUMBNAIL, THUMBNAIL)
        parts = [begin_part(array, (len(table), *shape)) for array, shape in zip(arrays, shapes, strict=True)]
        work = partial(decode_into, parts, table.root.absolute(), preprocessing)
        with progress.task("Decoding images", len(table)) as advance:
            for first, decoded in pool.map(work, _Numbered(table)):
                if not decoded.written:
                    write_into(parts, first, decoded)
                digests[first : first + len(decoded.hashes)] = decoded.hashes
                failures |= {first + number: reason for number, reason in decoded.failures.items()}
                passing += [first + number for number in decoded.passing]
                warned += decoded.warned
                advance(len(decoded.hashes))
        for part in parts:
            with part.file.open("rb") as file:
                os.fsync(file.fileno())
        if any(row.sha256.encode() != digest for row, digest in zip(table.rows, digests.tolist(), strict=True)):
            return table.with_values("sha256", (digest.decode() for digest in digests.tolist()))
        for part, array in zip(parts, arrays, strict=True):
            part.file.replace(array)
        write_record(arrays, failures, passing)
    finally:
        remove_parts(arrays[0])
    if warned:
        progress.line(f"{warned:,} file{'s' * (warned > 1)} read despite decoder warnings")
    return None


def _disk_message(folder: Path, table: Dataset, preprocessing: Preprocessing, error: OSError) -> str:
    needed = len(table) * (prod(preprocessing.shape) + THUMBNAIL**2) / 2**20
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return (
            f"{folder}: the disk is full; {len(table)} decoded images take {needed:.0f} MiB. "
            "Free some space, or set HILUM_CACHE to a folder on another disk."
        )
    return f"{folder}: the cache cannot be written or read ({error}). Set HILUM_CACHE to a folder you may write to."
