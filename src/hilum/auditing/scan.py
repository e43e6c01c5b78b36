"""One pass over all files: what each says about itself, and what its pixels look like from afar.

Every check of the audit works on a scan, so that each file is opened once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from hilum.data.cache import Unreadable
from hilum.data.dataset import Dataset, Row
from hilum.data.file_kinds import PIXELS, has_slow_header, looks_like_dicom
from hilum.data.grey_values import open_image, strips
from hilum.data.images import read_bytes, read_radiograph
from hilum.data.preprocessing import Preprocessing
from hilum.errors import ImageError, TableError
from hilum.progress import Progress

SIDE = 64
LEVELS = 32
CHUNK = 32


@dataclass(frozen=True, slots=True)
class Container:
    """What can be known of a file without decoding a pixel.

    Attributes:
        size: Bytes on disk.
        format: As Pillow names it, such as ``JPEG``; or ``DICOM``; empty where reading the header takes too long.
        mode: As Pillow names it, such as ``L`` or ``RGB``; empty for DICOM.
        width: In pixels.
        height: In pixels.
        quantisation: A short hash of a JPEG's quantisation tables, which tell the program that wrote it; else empty.
        exif: Number of EXIF tags.
        dpi: The resolution that the file claims, rounded, such as ``72x72``; else empty.
        profile: Whether it carries a colour profile.
        progressive: Whether it is a progressive JPEG.
    """

    size: int
    format: str
    mode: str
    width: int
    height: int
    quantisation: str = ""
    exif: int = 0
    dpi: str = ""
    profile: bool = False
    progressive: bool = False


@dataclass(frozen=True)
class Scan:
    """All readable files of a dataset, N of them.

    Attributes:
        table: Their rows, each with its SHA-256.
        containers: What each file says about itself.
        thumbnails: Bytes of shape (N, 64, 64), stretched to a square, antialiased.
        histograms: Shares of 32 grey levels at full size, of shape (N, 32); each row sums to one.
        pixels: A hash of each image's decoded pixels: equal where only the file differs.
        unreadable: What was left out.
    """

    table: Dataset
    containers: tuple[Container, ...]
    thumbnails: NDArray[np.uint8]
    histograms: NDArray[np.float32]
    pixels: tuple[str, ...]
    unreadable: tuple[Unreadable, ...]

    def __len__(self) -> int:
        return len(self.table)

    def take(self, kept: NDArray[np.int64]) -> Scan:
        """The files at some positions."""
        return replace(
            self,
            table=self.table.take(kept),
            containers=tuple(self.containers[i] for i in kept),
            thumbnails=self.thumbnails[kept],
            histograms=self.histograms[kept],
            pixels=tuple(self.pixels[i] for i in kept),
        )


def scan(table: Dataset, *, looks: Looks | None = None, progress: Progress | None = None) -> Scan:
    """Open every file once.

    Args:
        table: A dataset.
        looks: Who opens them: a function of a dataset and of chunks of its rows that yields what was seen of each
            chunk, in their order; by default threads of this process.
        progress: Told while files are read.

    Raises:
        TableError: Not one file can be read.
        ExtraError: One is a DICOM object, and the extra that reads those is not installed.
    """
    progress = progress or Progress()
    chunks = [table.rows[first : first + CHUNK] for first in range(0, len(table), CHUNK)]
    found: list[Seen | Unreadable] = []
    with progress.task("Scanning files", len(table)) as advance:
        for part in (looks or _look_by_threads)(table, chunks):
            found += part
            advance(len(part))
    seen = [item for item in found if isinstance(item, Seen)]
    unreadable = tuple(item for item in found if isinstance(item, Unreadable))
    if warned := sum(item.warned for item in seen):
        progress.line(f"{warned:,} file{'s' * (warned > 1)} read despite decoder warnings")
    if not seen:
        first = f" The first: {unreadable[0].message}" if unreadable else ""
        msg = f"{table.root}: none of the {len(table)} images can be read.{first}"
        raise TableError(msg)
    return Scan(
        table=replace(table, rows=tuple(item.row for item in seen)),
        containers=tuple(item.container for item in seen),
        thumbnails=np.stack([item.thumbnail for item in seen]),
        histograms=np.stack([item.histogram for item in seen]),
        pixels=tuple(item.pixels for item in seen),
        unreadable=unreadable,
    )


@dataclass(frozen=True, slots=True)
class Seen:
    """What is kept of one file; see `Scan`."""

    row: Row
    container: Container
    thumbnail: NDArray[np.uint8]
    histogram: NDArray[np.float32]
    pixels: str
    warned: bool


Looks = Callable[[Dataset, Sequence[Sequence[Row]]], Iterable[list[Seen | Unreadable]]]


def _look_by_threads(table: Dataset, chunks: Sequence[Sequence[Row]]) -> Iterator[list[Seen | Unreadable]]:
    with ThreadPoolExecutor() as pool:
        yield from pool.map(partial(look, table), chunks)


def look(table: Dataset, rows: Sequence[Row]) -> list[Seen | Unreadable]:
    """Open the files of some rows of a dataset."""
    return [_look(table, row) for row in rows]


def _look(table: Dataset, row: Row) -> Seen | Unreadable:
    try:  # read once: a file may be changed or taken away meanwhile
        content = read_bytes(table.file(row), row.path)
        picture = read_radiograph(content, name=row.path)[0]
    except ImageError as error:
        return Unreadable(row.path, str(error))
    pixels = picture.pixels
    container = _container(content, pixels.shape)
    digest, counts = hashlib.sha256(repr(pixels.shape).encode()), np.zeros(LEVELS, np.int64)
    for rows in strips(*pixels.shape):
        fine = np.clip(np.rint(pixels[rows] * 65535), 0, 65535).astype(np.uint16)
        counts += np.bincount((fine.ravel() // (65536 // LEVELS)), minlength=LEVELS)
        digest.update(fine.tobytes())
    return Seen(
        row=replace(row, sha256=hashlib.sha256(content).hexdigest()),
        container=container,
        thumbnail=Preprocessing(size=SIDE).apply(pixels),
        histogram=(counts / pixels.size).astype(np.float32),
        pixels=digest.hexdigest(),
        warned=picture.warned,
    )


def _container(content: bytes, shape: tuple[int, ...]) -> Container:
    if looks_like_dicom(content[:512]):
        return Container(len(content), "DICOM", "", width=shape[1], height=shape[0])
    if has_slow_header(content):
        return Container(len(content), "", "", width=shape[1], height=shape[0])
    with open_image(content) as image:
        tables: dict[int, Sequence[int]] = getattr(image, "quantization", None) or {}
        written = repr(sorted((key, list(values)) for key, values in tables.items()))
        try:
            dpi = "x".join(str(round(float(value))) for value in image.info.get("dpi", ()))
        except (TypeError, ValueError, ZeroDivisionError, OverflowError):
            dpi = "odd"
        return Container(
            size=len(content),
            format=image.format or "",
            mode=image.mode,
            width=image.width,
            height=image.height,
            quantisation=hashlib.sha256(written.encode()).hexdigest()[:12] if tables else "",
            exif=len(image.getexif()) if image.width * image.height <= PIXELS else 0,  # Pillow decodes a PNG for it
            dpi=dpi,
            profile="icc_profile" in image.info,
            progressive=bool(image.info.get("progressive") or image.info.get("progression")),
        )
