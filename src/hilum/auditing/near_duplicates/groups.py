"""Which images are one picture, for splitting: found once by their thumbnails, and kept beside the decoded images."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from hilum.auditing.near_duplicates.codes import MANY, has_faiss
from hilum.auditing.near_duplicates.copy_pairs import CHANGES
from hilum.auditing.near_duplicates.search import find_copies
from hilum.data.cache import Images, one_at_a_time, release
from hilum.data.cache_files import cache_folder, make_private
from hilum.data.dataset import Dataset, Row
from hilum.data.splits import components
from hilum.extras import install
from hilum.files import open_regular, saving
from hilum.progress import Progress

VERSION = 2  # raise it when find_copies would find other pairs of the same changes: kept ones are then left alone
PIXELS = "pixels"
BLOCK = 1000  # thumbnails looked at before their pages are given back
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Thumbnails:
    """Some images of a dataset.

    Attributes:
        pixels: Bytes of shape (M, 64, 64).
        positions: Which of them, of shape (N,).
        digest: Of the contents of the M files.
    """

    pixels: NDArray[np.uint8]
    positions: Ints
    digest: str


@dataclass(frozen=True)
class Groups:
    """Images of one picture, among N.

    Attributes:
        numbers: One number an image, equal for one picture; shape (N,).
        looked_for: What makes two images one picture: ``pixels``, equal thumbnails, and the names of
            `hilum.auditing.near_duplicates.copy_pairs.CHANGES`.
        note: What has to be known about it, such as that too many images were compared by equal pixels only.
        equal: As `numbers`, for equal thumbnails alone.
    """

    numbers: tuple[int, ...]
    looked_for: tuple[str, ...]
    note: str = ""
    equal: tuple[int, ...] = ()

    def notes(self, table: Dataset) -> list[str]:
        """What has to be known: that images have duplicates, or that these were searched less thoroughly.

        Nearly equal images of one patient, split and label are repeated exposures, no duplicates, as for
        `hilum.auditing.checks.duplicates.find_duplicates`.

        Args:
            table: The N rows.
        """
        members = defaultdict(list)
        for i, number in enumerate(self.numbers):
            members[number].append(i)
        groups = [group for group in members.values() if len(group) > 1]
        copies = [group for group in groups if not self._exposures([table.rows[i] for i in group], group)]
        if not copies:
            return [self.note] if self.note else []
        images = sum(map(len, copies))
        occur = "1 image occurs" if len(copies) == 1 else f"{len(copies):,} images occur"
        but = "; repeated exposures of a patient do not count" if len(copies) < len(groups) else ""
        told = (
            f"{occur} more than once ({images:,} of {len(self.numbers):,} files{but}); duplicates stay together when "
            "images are held out from train"
        )
        return [told, *filter(None, [self.note])]

    def _exposures(self, rows: Sequence[Row], places: Sequence[int]) -> bool:
        whose = {(row.patient_id, row.split, row.label) for row in rows}
        return len(whose) == 1 and bool(rows[0].patient_id) and len({self.equal[i] for i in places}) == len(places)


def find_groups(images: Images, how: Literal["near", "identical"], progress: Progress | None = None) -> Groups:
    """Find the images that are the same picture, whatever preprocessing the images were decoded for.

    What was found is kept in the cache, by the contents of the images: each later training, trial and fold reads it.

    Args:
        images: N decoded images.
        how: ``near`` looks for copies that were changed, as `hilum.auditing.near_duplicates.search.find_copies` does,
            where there are fewer than 20,000 different images or faiss is installed; ``identical`` for equal pixels.
        progress: Told while images are compared.
    """
    return _group([Thumbnails(images.thumbnails, images.positions, images.digest)], how, progress or Progress())


def find_known(
    images: Images, known: Thumbnails, how: Literal["near", "identical"], progress: Progress | None = None
) -> tuple[dict[int, int], Groups]:
    """Find the images that are the same picture as one of another dataset.

    Args:
        images: N decoded images.
        known: Of the other dataset.
        how: As for `find_groups`.
        progress: Told while images are compared.

    Returns:
        The place of one of `known.positions` for each place among the N images that is the same picture; and the groups
        of the images and of the known ones behind them.
    """
    mine = Thumbnails(images.thumbnails, images.positions, images.digest)
    groups = _group([mine, known], how, progress or Progress())
    count = len(images.positions)
    where = {number: place for place, number in enumerate(groups.numbers[count:])}
    return {i: where[number] for i, number in enumerate(groups.numbers[:count]) if number in where}, groups


def _group(parts: Sequence[Thumbnails], how: Literal["near", "identical"], progress: Progress) -> Groups:
    first = _equal(parts)
    if how == "identical":
        return Groups(tuple(first.tolist()), (PIXELS,), equal=tuple(first.tolist()))
    alone = np.unique(first)
    if len(alone) >= MANY and not has_faiss():
        note = (
            f"only equal pixels count as duplicates here: near-duplicates among {len(alone):,} images need faiss "
            f"({install('faiss')})"
        )
        return Groups(tuple(first.tolist()), (PIXELS,), note, tuple(first.tolist()))
    pairs = alone[_kept_pairs(parts, alone, progress)]
    a, b = np.concatenate([np.stack([np.arange(len(first)), first]), pairs.T], axis=1)
    return Groups(tuple(components(len(first), a, b).tolist()), (PIXELS, *CHANGES), equal=tuple(first.tolist()))


def _equal(parts: Sequence[Thumbnails]) -> Ints:
    """For each image of all parts the first with equal thumbnails, shape (N,); blank images are like no other."""
    content = np.empty(sum(len(part.positions) for part in parts), np.uint64)
    i = 0
    for part in parts:
        for position in part.positions:
            image = part.pixels[position]
            # A blank one gets a hash of its own: by chance two of a million agree once in 30 million times.
            told = str(i).encode() if image.min() == image.max() else image.tobytes()
            content[i] = int.from_bytes(hashlib.blake2b(told, digest_size=8).digest(), "big")
            i += 1
            if i % BLOCK == 0:
                release(part.pixels)
        release(part.pixels)
    _, first, which = np.unique(content, return_index=True, return_inverse=True)
    equal: Ints = first[which]
    return equal


def _kept_pairs(parts: Sequence[Thumbnails], alone: Ints, progress: Progress) -> Ints:
    """Pairs (P, 2) of near-duplicates among the images at `alone`, as places in it, if possible from the cache."""
    told = hashlib.sha256(f"pairs:{VERSION}:{CHANGES}:".encode() + alone.tobytes())
    for part in parts:
        told.update(part.digest.encode() + part.positions.tobytes())
    folder = cache_folder()
    make_private(folder)
    file = folder / f"{told.hexdigest()[:32]}-pairs.npy"
    with one_at_a_time(file.with_suffix(".lock"), "compares", progress):
        pairs = _read(file, len(alone))
        if pairs is None:
            with progress.task("Comparing images", len(alone)) as advance:
                found = find_copies(_taken(parts, alone), advance)
            pairs = np.unique(np.sort(np.stack([found.first, found.second], axis=1).astype(np.int64)), axis=0)
            with suppress(OSError), saving(file) as target:  # on a full disk they are found anew the next time
                np.save(target, pairs)
    return pairs


def _taken(parts: Sequence[Thumbnails], places: Ints) -> NDArray[np.uint8]:
    """The thumbnails at some ascending places, counted through all parts."""
    starts = np.cumsum([0, *(len(part.positions) for part in parts)])
    return np.concatenate(
        [
            part.pixels[part.positions[places[(places >= start) & (places < end)] - start]]
            for part, start, end in zip(parts, starts[:-1], starts[1:], strict=True)
        ]
    )


def _read(file: Path, count: int) -> Ints | None:
    """Pairs that were kept; None where there are none, or where they are damaged."""
    try:
        with open_regular(file) as kept:
            pairs: Ints = npy.read_array(kept, allow_pickle=False)
    except (OSError, ValueError):
        return None
    sound = pairs.dtype == np.int64 and pairs.ndim == 2 and pairs.shape[1] == 2
    return pairs if sound and not ((pairs < 0) | (pairs >= count)).any() else None


_STRONG = (
    r"rot(?:at(?:ed?|ion|ing))?|turned|flip(?:ped)?|mirror(?:ed)?|transposed?|aug(?:ment(?:ed|ation)?)?|copy|copie|kopie|"
    r"copia|duplicate|bright(?:er|ness|ened)?|dark(?:er|ened)|contrast(?:ed)?|nois[ey]|blur(?:red)?|zoom(?:ed)?|"
    r"shift(?:ed)?|shear(?:ed)?|crop(?:ped)?|gamma|invert(?:ed)?|resized|rescaled|equali[sz]ed|clahe|jitter|"
    r"sharp(?:en(?:ed)?)?|elastic|distort(?:ed)?|translat(?:ed|ion)|hflip|vflip"
)
_WEAK = r"horizontal(?:ly)?|vertical(?:ly)?|random|gaussian|left|right|lr|ud|cw|ccw|deg(?:rees?)?|h|v"
_WORD = re.compile(rf"\d{{0,3}}(?:{_WEAK})*(?:{_STRONG})(?:{_STRONG}|{_WEAK})*\d{{0,4}}")
_BESIDE = re.compile(
    rf"(?:{_WEAK})|\d{{1,4}}(?:{_WEAK})?"
)  # what belongs to the word beside it: rot_90, flip_h, aug_0_12
_NUMBERED = re.compile(r"\s*\(\d+\)$")
_ROBOFLOW = re.compile(r"(?:_(?:jpe?g|png|bmp))?\.rf\.[0-9a-z]{16,}$", re.IGNORECASE)
_BETWEEN = re.compile(r"[\s_\-.+]+")
MOST_ORIGINALS = 4  # of one stem, in different folders, with which a file is compared
MOST_ALIKE = 64  # files of one stem that are compared: more are a way of counting (`COVID (1).png`), not copies


def is_altered(path: str) -> bool:
    """Whether a file's name says that it was made from another file, or numbers it as a second one."""
    return bool(_stems(path)[1])


def hints(paths: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Pairs of files of which the name of the second says that it was made from the first, or both from a third.

    Args:
        paths: Relative to the dataset.
    """
    stems = [_stems(path) for path in paths]
    plain: defaultdict[str, list[int]] = defaultdict(list)
    altered: defaultdict[str, list[int]] = defaultdict(list)
    for position, (whole, shorter) in enumerate(stems):
        plain[whole].append(position)
        for stem in shorter:
            altered[stem].append(position)
    for stem, copies in altered.items():
        originals = [position for position in plain.get(stem, []) if position not in copies]
        if len(copies) > MOST_ALIKE:
            continue
        for copy in copies if originals else copies[1:]:
            beside = [position for position in originals if _folder(paths[position]) == _folder(paths[copy])]
            yield from ((original, copy) for original in (beside or originals or copies[:1])[:MOST_ORIGINALS])


def say_so(paths: Sequence[str]) -> list[int]:
    """Which of the files of one picture, by position, bear the name of another one of them with a word added."""
    stems = [_stems(path) for path in paths]
    named = []
    for position, (_, shorter) in enumerate(stems):
        others = {stem for k, (whole, parts) in enumerate(stems) if k != position for stem in (whole, *parts)}
        if shorter & others:
            named.append(position)
    return named


def _folder(path: str) -> str:
    return PurePosixPath(path).parent.as_posix()


def _stems(path: str) -> tuple[str, frozenset[str]]:
    """A file's stem, in one spelling, and what remains of it without what says that it is a copy, if anything does."""
    stem = PurePosixPath(path).stem
    found = set()
    bare = _ROBOFLOW.sub("", _NUMBERED.sub("", stem))
    if bare != stem:
        found.add(_spelt(bare))
    words = _words(bare)
    beside = False
    short, shorter = [], []  # without the words; without the numbers beside them, too
    for word in words:
        if _WORD.fullmatch(word):
            beside = True
            continue
        if not (beside and _BESIDE.fullmatch(word)):
            beside = False
            shorter.append(word)
        short.append(word)
    if len(short) < len(words):
        found |= {"_".join(short), "_".join(shorter)}
    return _spelt(stem), frozenset(found - {""})


def _words(stem: str) -> list[str]:
    return [word.lower() for word in _BETWEEN.split(stem) if word]


def _spelt(stem: str) -> str:
    return "_".join(_words(stem))
