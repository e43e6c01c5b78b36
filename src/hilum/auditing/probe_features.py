"""What each shortcut probe is shown of an image: never the lungs in any detail."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from hilum.auditing.scan import SIDE, Scan
from hilum.data.multilabel import without_findings
from hilum.data.splits import GROUP_COLUMN

Floats = NDArray[np.float64]
FAINT, CLEAR = 0.05, 0.10  # how much brighter than around it a pixel has to be to count


def marks(grey: Floats, side: int) -> Floats:
    """Describe what stands out in the upper corners, wherever it stands and whatever it says.

    A side marker is in the one corner or the other. So the stronger corner is described, and how much it differs
    from the weaker one: tubes, collars and edges of the film are often in both.

    Args:
        grey: Thumbnails between 0 and 1, of shape (N, S, S).
        side: Of a corner, in pixels.

    Returns:
        Of shape (N, F).
    """
    fine, coarse = (grey - uniform_filter(grey, (0, width, width)) for width in (5, 7))
    parts = [(slice(None), slice(side), columns) for columns in (slice(side), slice(-side, None))]
    left, right = (_describe(fine[part], coarse[part], grey[part]) for part in parts)
    strong, weak = np.maximum(left, right), np.minimum(left, right)
    return np.hstack([strong, strong - weak])


def _describe(fine: Floats, coarse: Floats, grey: Floats) -> Floats:
    """One corner of every image, by its brightest pixels after what is smooth was taken away: (N, F)."""
    sharp, wide, bright = (np.sort(part.reshape(len(part), -1), axis=1) for part in (fine, coarse, grey))

    def top(values: Floats, count: int) -> Floats:
        mean: Floats = values[:, -count:].mean(axis=1)
        return mean

    return np.stack(
        [
            *(top(sharp, count) for count in (1, 4, 12, 24)),
            sharp.std(axis=1),
            *(np.sqrt((sharp > least).sum(axis=1)) for least in (FAINT, CLEAR)),
            *(top(wide, count) for count in (8, 24)),
            top(bright, 1),
            top(bright, 8) - np.median(bright, axis=1),
        ],
        axis=1,
    )


Kind = Literal["container", "pixels"]

THUMBNAIL = "8x8 thumbnail"
BYTES = "size on disk"
LETTERS = "letters"
COLUMN = "column:"
MOST_CATEGORIES = 30
EDGE = round(0.1 * SIDE)  # the outer tenth of a thumbnail
CORNER = SIDE // 4
BLACKED_OUT = 0.62  # share of width and height, as much as covers both lungs
BLOCK = 256  # images
PIXELS = (
    (THUMBNAIL, "A thumbnail of 8x8 pixels predicts"),
    ("frame", "The outer tenth of the image predicts"),
    ("centre blacked out", "The image with its centre blacked out predicts"),
    ("corners", "The four corners predict"),
    (LETTERS, "Small bright marks in the upper corners predict"),
)
ORIGINAL = "original_"
ORIGINAL_SIZE = ("original_width", "original_height")
ORIGINAL_FORMAT = ("original_format", "original_mode")
NAMES_AN_IMAGE = re.compile(r"(^|_)(id|ids|uid|uuid|name|file|filename|path|url|doi|hash|md5|sha1|sha256|index)($|_)")
NAMES_THE_LABEL = re.compile(r"(^|_)(labels?|class|target|diagnosis|etiology|aetiology|findings?|disease)($|_)")


@dataclass(frozen=True)
class Probe:
    """One narrow view of a dataset.

    Attributes:
        name: Such as ``dimensions``; columns of the table are ``column:<name>``.
        kind: ``container``: known without decoding a pixel, so it cannot be pathology; ``pixels``: from pixels so
            few that they can hardly show it.
        words: What it sees, as a student would say it; the start of a sentence, with its verb.
        features: Of shape (N, F), one row an image.
    """

    name: str
    kind: Kind
    words: str
    features: Floats


def probes(scan: Scan) -> tuple[tuple[Probe, ...], tuple[str, ...]]:
    """All probes that a dataset offers.

    Args:
        scan: Of N images.

    Returns:
        The probes, and one remark for each column of the table that was left out for saying the same as the label.
    """
    own = (*_container_probes(scan), *_pixel_probes(scan))
    columns, notes = _column_probes(scan)
    return (*own, *_original_probes(scan), *columns), notes


def _container_probes(scan: Scan) -> tuple[Probe, ...]:
    files = scan.containers
    settings = [
        *(_one_hot([getattr(file, name) for file in files]) for name in ("format", "mode", "quantisation", "dpi")),
        _columns([[file.exif > 0, np.log1p(file.exif), file.profile, file.progressive] for file in files]),
    ]
    area = np.array([file.width * file.height for file in files], float)
    size = np.array([file.size for file in files], float)
    return (
        Probe("container", "container", "The files' format and settings alone predict", np.hstack(settings)),
        Probe(
            "dimensions",
            "container",
            "Width and height alone predict",
            _shape([file.width for file in files], [file.height for file in files]),
        ),
        Probe(
            BYTES,
            "container",
            "The number of bytes of a file alone predicts",
            np.stack([np.log(np.maximum(size, 1)), np.log(np.maximum(size, 1) / area)], axis=1),
        ),
    )


def _pixel_probes(scan: Scan) -> tuple[Probe, ...]:
    # roots of shares: a difference between rare grey levels counts as much as one between frequent ones
    histogram = np.sqrt(scan.histograms.astype(float))
    shown = _in_blocks(scan, _shown)
    return (
        Probe("histogram", "pixels", "The grey-level histogram, without positions, predicts", histogram),
        *(Probe(name, "pixels", words, features) for (name, words), features in zip(PIXELS, shown, strict=True)),
    )


def _shown(grey: Floats) -> tuple[Floats, ...]:
    """What each of `PIXELS` sees of thumbnails (N, 64, 64)."""
    blocks = _means(grey, 4)
    margin = round((1 - BLACKED_OUT) / 2 * blocks.shape[1])
    outside = np.ones(blocks.shape[1:], bool)
    outside[margin:-margin, margin:-margin] = False
    strips = [
        _means(grey[:, :EDGE], 2),
        _means(grey[:, -EDGE:], 2),
        _means(grey[:, :, :EDGE], 2),
        _means(grey[:, :, -EDGE:], 2),
    ]
    corners = [
        grey[:, rows, columns]
        for rows in (slice(CORNER), slice(-CORNER, None))
        for columns in (slice(CORNER), slice(-CORNER, None))
    ]
    extremes = [
        np.stack([corner.max(axis=(1, 2)), corner.std(axis=(1, 2)), np.quantile(corner, 0.95, axis=(1, 2))], axis=1)
        for corner in corners
    ]
    return (
        _flat(_means(grey, SIDE // 8)),
        np.hstack([_flat(strip) for strip in strips]),
        blocks[:, outside],
        np.hstack([*(_flat(_means(corner, 4)) for corner in corners), *extremes]),
        marks(grey, CORNER),
    )


def _original_probes(scan: Scan) -> tuple[Probe, ...]:
    """What a table knows of files that were re-encoded since."""
    names = {name for row in scan.table.rows for name in without_findings(row.extra)}
    made = []
    settings = [name for name in ORIGINAL_FORMAT if name in names]
    if settings:
        features = np.hstack([_one_hot(_column(scan, name)) for name in settings])
        made.append(Probe("original container", "container", "The original file format alone predicts", features))
    if names.issuperset(ORIGINAL_SIZE):
        numbers = [_numbers(_column(scan, name)) for name in ORIGINAL_SIZE]
        if all(found is not None and (found > 0).all() for found in numbers):
            features = _shape(*(list(found) for found in numbers if found is not None))
            made.append(
                Probe("original dimensions", "container", "The original width and height alone predict", features)
            )
    return tuple(made)


def _column_probes(scan: Scan) -> tuple[tuple[Probe, ...], tuple[str, ...]]:
    """Further columns of the table: numbers, or few categories; no identifiers, nothing that restates the label."""
    made, notes = [], []
    labels = [row.label for row in scan.table.rows]
    for name in sorted({name for row in scan.table.rows for name in without_findings(row.extra)}):
        lower = name.lower()
        if (
            lower.startswith(ORIGINAL)
            or lower == GROUP_COLUMN
            or NAMES_AN_IMAGE.search(lower)
            or NAMES_THE_LABEL.search(lower)
        ):
            continue
        values = _column(scan, name)
        present = {value for value in values if value}
        if len(set(values)) < 2:
            continue
        if all(values) and len(set(values)) == len(set(labels)) == len(set(zip(values, labels, strict=True))):
            notes.append(f"the column '{name}' is a synonym of the label: not probed")
            continue
        numbers = _numbers(values)
        if numbers is not None and len(present) > 2:
            known = np.isfinite(numbers)
            features = np.stack([np.where(known, numbers, np.median(numbers[known])), ~known], axis=1)
        elif len(present) <= MOST_CATEGORIES:
            features = _one_hot(values)
        else:
            continue
        made.append(Probe(f"{COLUMN}{name}", "container", f"The table's column '{name}' alone predicts", features))
    return tuple(made), tuple(notes)


def _in_blocks(scan: Scan, look: Callable[[Floats], tuple[Floats, ...]]) -> tuple[Floats, ...]:
    """What is seen of all thumbnails, block by block: as numbers between 0 and 1 all of them take gigabytes."""
    starts = range(0, len(scan.thumbnails), BLOCK)
    seen = [look(scan.thumbnails[begin : begin + BLOCK].astype(np.float64) / 255) for begin in starts]
    return tuple(np.concatenate(parts) for parts in zip(*seen, strict=True))


def _means(images: Floats, side: int) -> Floats:
    """Means over squares of (side, side) pixels of images (N, H, W)."""
    n, height, width = images.shape
    means: Floats = images.reshape(n, height // side, side, width // side, side).mean(axis=(2, 4))
    return means


def _flat(images: Floats) -> Floats:
    return images.reshape(len(images), -1)


def _shape(width: Sequence[float], height: Sequence[float]) -> Floats:
    wide, high = np.log(np.asarray(width, float)), np.log(np.asarray(height, float))
    return np.stack([wide, high, wide - high], axis=1)


def _columns(values: Sequence[Sequence[float]]) -> Floats:
    return np.array(values, dtype=float)


def _one_hot(values: Sequence[str]) -> Floats:
    """A column for each of the most frequent values that occur more than once; the rest share none."""
    frequent = [value for value, count in Counter(values).most_common(MOST_CATEGORIES) if count > 1]
    return np.array([[value == other for other in sorted(frequent)] for value in values], dtype=float)


def _column(scan: Scan, name: str) -> list[str]:
    return [row.extra.get(name, "") for row in scan.table.rows]


def _numbers(values: Sequence[str]) -> Floats | None:
    """Numbers, NaN where empty; None where a value is no finite number, or all are empty."""
    try:
        numbers = np.array([float(value) if value else np.nan for value in values])
    except ValueError:
        return None
    given = np.array([bool(value) for value in values])
    return numbers if given.any() and np.isfinite(numbers[given]).all() else None
