"""The files of a cache: where they lie, whether they are what was written, and the work that makes them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from hilum.data.images import LARGEST_FILE, read_bytes, read_radiograph, reduce
from hilum.data.preprocessing import Preprocessing
from hilum.errors import CacheError, ImageError, PassingImageError
from hilum.files import open_regular, read_text, read_whole, save_json

THUMBNAIL = 64  # side, in pixels


@dataclass(slots=True)
class Decoded:
    """Some consecutive files, n of them.

    Attributes:
        pixels: Bytes of shape (n, *preprocessing.shape), zeros where a file could not be read; of shape (0, ...) once
            they are written.
        thumbnails: Bytes of shape (n, 64, 64), stretched to a square, the same whatever the preprocessing; (0, 64, 64)
            once they are written.
        hashes: SHA-256 of the very bytes that were decoded, as `hash_files` gives them.
        failures: Why not, by position among the n.
        passing: Those of them that may be readable another time.
        warned: How many their decoder complained of, and read all the same.
    """

    pixels: NDArray[np.uint8]
    thumbnails: NDArray[np.uint8]
    hashes: list[str] = field(default_factory=list)
    failures: dict[int, str] = field(default_factory=dict)
    passing: list[int] = field(default_factory=list)
    warned: int = 0

    @property
    def written(self) -> bool:
        """Whether the bytes are where they belong, and not here any more."""
        return not len(self.pixels)

    def without_bytes(self) -> Decoded:
        """The rest, where the bytes are written."""
        return replace(self, pixels=self.pixels[:0].copy(), thumbnails=self.thumbnails[:0].copy())


def hash_files(root: Path, paths: Sequence[str]) -> list[str]:
    """SHA-256 of each file's bytes, in hexadecimal; empty where it cannot be read, which decoding reports."""
    return [_hash_file(root / path) for path in paths]


def _hash_file(path: Path) -> str:
    try:
        return hashlib.sha256(read_whole(path, LARGEST_FILE)).hexdigest()
    except (OSError, ValueError, MemoryError):
        return ""


def decode_files(root: Path, preprocessing: Preprocessing, paths: Sequence[str]) -> Decoded:
    """Read and preprocess files; one that cannot be read does not stop the others.

    Args:
        root: What the paths are relative to.
        preprocessing: Makes the bytes.
        paths: Of n files; messages call them so.

    Raises:
        ExtraError: One is a DICOM object, and the extra that reads those is not installed.
    """
    pixels, thumbnails = (
        np.zeros((len(paths), *shape), np.uint8) for shape in (preprocessing.shape, (THUMBNAIL, THUMBNAIL))
    )
    found = Decoded(pixels, thumbnails)
    for number, path in enumerate(paths):
        found.hashes.append("")
        try:  # read once: it may be changed meanwhile, and what is decoded must be what is hashed
            content = read_bytes(root / path, path)
            found.hashes[-1] = hashlib.sha256(content).hexdigest()
            picture = read_radiograph(content, name=path)[0]
            pixels[number] = preprocessing.apply(picture.pixels)
            thumbnails[number] = reduce(picture.pixels, THUMBNAIL)
            found.warned += picture.warned
        except ImageError as error:
            found.failures[number] = str(error).removeprefix(f"{path}: ")
            if isinstance(error, PassingImageError):
                found.passing.append(number)
    return found


FORMAT = 4  # raise it when the files are laid out, or images read, otherwise: older ones are then left alone
VARIABLE = "HILUM_CACHE"
PRIVATE = 0o700  # the arrays are radiographs
OWN = frozenset({".bin", ".npy", ".npz", ".json", ".lock", ".onnx", ".part"})
FOLDERS = frozenset({"audits", "encoders", "features", "groups"})
BLOCK, BLOCKS = 2**20, 1024  # bytes; of a larger array so many blocks are checked, evenly spaced
_checksums: dict[tuple[int, ...], int] = {}  # of files that this process has checked


@dataclass(frozen=True)
class Kept:
    """What a cache holds.

    Attributes:
        pixels: Bytes of shape (M, *preprocessing.shape), memory-mapped.
        thumbnails: Bytes of shape (M, 64, 64), memory-mapped.
        failures: Why files were left out, by position among the M.
        passing: Whether some of them may be readable another time.
    """

    pixels: NDArray[np.uint8]
    thumbnails: NDArray[np.uint8]
    failures: Mapping[int, str]
    passing: bool


def cache_folder() -> Path:
    """``$HILUM_CACHE``, or ``hilum`` below ``$XDG_CACHE_HOME`` or ``~/.cache``.

    Without a home folder, as in containers, ``hilum-<user>`` below the folder of temporary files.

    Raises:
        CacheError: That one is another user's.
    """
    if chosen := os.environ.get(VARIABLE):
        return Path(chosen)
    if above := os.environ.get("XDG_CACHE_HOME"):
        return Path(above) / "hilum"
    try:
        return Path.home() / ".cache" / "hilum"
    except RuntimeError:
        return _temporary()


def remark() -> str:
    """A sentence about the place, where it is an unusual one; else empty."""
    if os.environ.get(VARIABLE) or os.environ.get("XDG_CACHE_HOME"):
        return ""
    try:
        Path.home()
    except RuntimeError:
        return f"this user has no home folder: decoded images are cached in {cache_folder()} (set {VARIABLE})"
    return ""


def _temporary() -> Path:
    """A folder that anybody could have made before, so that its owner is looked at."""
    folder = Path(tempfile.gettempdir()) / f"hilum-{os.geteuid()}"
    with contextlib.suppress(OSError):
        folder.mkdir(mode=PRIVATE, exist_ok=True)
    try:
        found = folder.lstat()
    except OSError as error:
        msg = f"{folder}: cannot be created ({error.strerror}). Set {VARIABLE} to a folder that you may write to."
        raise CacheError(msg) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        msg = f"{folder}: belongs to another user. Set {VARIABLE} to a folder of your own."
        raise CacheError(msg)
    return folder


def make_private(folder: Path) -> None:
    """Make a folder that only its owner may enter; also of one that holds nothing but caches of this user.

    A folder in which a group may write, or that is set to keep its group, is a team's and stays as it is.

    Raises:
        OSError: It cannot be made.
    """
    folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    found = folder.stat()
    shared = found.st_mode & (stat.S_ISGID | stat.S_IWGRP)  # by a team, on purpose
    if not hasattr(os, "geteuid") or found.st_uid != os.geteuid() or shared or not found.st_mode & 0o077:
        return
    with os.scandir(folder) as entries:  # whoever names a folder of other things wants it as it is
        if all(Path(entry.name).suffix in OWN or entry.name in FOLDERS for entry in entries):
            folder.chmod(PRIVATE)


def files_of(folder: Path, digest: str, preprocessing: Preprocessing) -> tuple[Path, Path]:
    """Where the pixels lie, and the thumbnails.

    Args:
        folder: Of all caches.
        digest: Of the contents of all files, in order.
        preprocessing: That made the pixels.
    """
    key = hashlib.sha256(f"{FORMAT}:{digest}:{preprocessing.digest_of_bytes()}".encode()).hexdigest()[:32]
    return folder / f"{key}.npy", folder / f"{key}-{THUMBNAIL}.npy"


def write_record(arrays: Sequence[Path], failures: Mapping[int, str], passing: Sequence[int]) -> None:
    """Describe arrays that are complete and have their names.

    Args:
        arrays: Files of the pixels and of the thumbnails.
        failures: Why files were left out, by position.
        passing: Those of them that may be readable another time.

    Raises:
        OSError: It cannot be written.
    """
    described = [asdict(_map(array)[1]) for array in arrays]
    kept = {str(i): failures[i] for i in sorted(failures)}
    told = {"arrays": described, "failures": kept, "passing": sorted(passing)}
    save_json(_record(arrays), {**told, "sha256": _digest(told)}, indent=None)


def read_kept(arrays: Sequence[Path], count: int | None = None) -> Kept | None:
    """What was written, if there is no doubt about it.

    Args:
        arrays: Files of the pixels and of the thumbnails.
        count: How many files it has to be about.
    """
    try:
        found = json.loads(read_text(_record(arrays)))
        if found.pop("sha256") != _digest(found):
            return None
        (pixels, first), (thumbnails, second) = map(_map, arrays)
        failures = {int(key): str(reason) for key, reason in found["failures"].items()}
        passing = found["passing"]
        same = found["arrays"] == [asdict(first), asdict(second)]
        fits = same and len(pixels) == len(thumbnails) == (count or len(pixels))
        if fits and failures.keys() <= set(range(len(pixels))) and failures.keys() >= set(passing):
            return Kept(pixels, thumbnails, failures, bool(passing))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        pass  # whatever it is, it is not what was written
    return None


def _digest(told: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _record(arrays: Sequence[Path]) -> Path:
    return arrays[0].with_suffix(".json")


@dataclass(frozen=True)
class _ArrayFile:
    """What is written down of the file of an array."""

    bytes: int
    shape: list[int]
    mtime_ns: int
    crc32: int


def _map(file: Path) -> tuple[NDArray[np.uint8], _ArrayFile]:
    """Map an array, and describe the file that it is in."""
    with open_regular(file) as opened:
        version = npy.read_magic(opened)
        if version != (1, 0):
            msg = f"{file}: not as it is written here"
            raise ValueError(msg)
        shape, _, kind = npy.read_array_header_1_0(opened)
        status = os.fstat(opened.fileno())
        start = opened.tell()
        if kind != np.uint8 or len(shape) not in (3, 4) or status.st_size != start + int(np.prod(shape)):
            msg = f"{file}: not of the size that it states"
            raise ValueError(msg)
        described = _ArrayFile(status.st_size, list(shape), status.st_mtime_ns, _checksum_once(opened, status))
        return np.memmap(opened, np.uint8, "r", start, shape), described


def _checksum_once(file: BinaryIO, status: os.stat_result) -> int:
    """`_checksum`, once a process for a file that nobody has touched since: its time of change cannot be set back."""
    key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    if key not in _checksums:
        _checksums[key] = _checksum(file, status.st_size)
    return _checksums[key]


def _checksum(file: BinaryIO, size: int) -> int:
    """CRC-32 of a file; 0.04 s for 150 MB. Of more than 1 GiB evenly spaced blocks are taken, the last one included."""
    count = -(-size // BLOCK)
    chosen = range(count) if count <= BLOCKS else np.linspace(0, count - 1, BLOCKS).astype(int).tolist()
    found = 0
    for number in chosen:
        found = zlib.crc32(os.pread(file.fileno(), BLOCK, number * BLOCK), found)
    return found
