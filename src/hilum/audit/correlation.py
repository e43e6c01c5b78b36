"""Whether two radiographs are one picture: candidates by their codes, then the fine detail of both, laid over.

Different patients' radiographs correlate as highly as copies do: on 5,856 paediatric radiographs, lookalikes reach a
normalised cross-correlation of 0.98 at 32x32 once crops are allowed, more than some recompressed crops of one image.
What lookalikes do not share is the fine detail (ribs, vessels, noise). So candidates are found with whitened codes
under 17 crops, each is aligned, and the correlation of what is finer than about 1/40 of the side decides.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from hilum.audit.fingerprints.codes import basis
from hilum.audit.fingerprints.views import CROPS, DEEPEST, NO_CROP, Floats, equalised, resampling, unit, view
from hilum.audit.index import MANY, Index, has_faiss
from hilum.progress import Advance

Change = Literal["near", "mirrored", "inverted"]
CHANGES: tuple[Change, ...] = ("near", "mirrored", "inverted")
CANDIDATE = 0.70  # of the codes' correlation
# Of the detail's correlation at 64x64, after alignment; what is above is one picture. Measured on 5,856 children's and
# 1,124 adults' images: two patients reach 0.73, two images of one patient 0.83 (phantoms: 0.80 among 1,191); crops of
# up to 10 % a side, recompressed at JPEG quality 60, have 0.89 and more (99 % of children's; 95 % of adults', whose
# films often have a border).
DETAIL = 0.875
# Compression and enlarging can eat the detail of a smooth picture (0.82 was seen) and leave the rest as it was (0.992
# and more at 32x32, where two patients reach 0.986): then less of it is asked for.
SAME, LESS_DETAIL = 0.99, 0.80
# Alignment: steps in 160ths of the side, and the correlation of detail at 32x32 below which a pair is given up.
STEPS = ((4, 0.45), (2, 0.60), (1, 0.70))
NEAR = 0.65  # of the correlation of codes that are measured among the images themselves
FEW, SMALLEST_SPREAD = 64, 0.05  # images that are too few to learn that from; and standard deviations
ROWS, COLUMNS = 256, 1024  # of a block: 1 MiB, which stays near the processor
BATCH = 512  # pairs that are aligned at once
BLUR = 1.5  # standard deviation, in pixels, of what counts as coarse
# Of a 64x64 view, on each side. Black frames are sharper than ribs, so that two framed patients have most of their
# detail in common (0.90 was seen); within this margin they agree to 0.3 at most. So a copy has to agree there as well.
MARGIN = 8


@dataclass(frozen=True)
class Copies:
    """Pairs of one picture, P of them.

    Attributes:
        first: Positions, of shape (P,).
        second: Positions, of shape (P,): `second` looks like `first` cropped and changed.
        change: Index into `CHANGES`, of shape (P,).
        correlation: Normalised cross-correlation of both at 32x32, equalised and aligned, of shape (P,).
        detail: Correlation of the fine detail at 64x64, of the whole or within the margin, whichever is less, of
            shape (P,).
    """

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    change: NDArray[np.intp]
    correlation: Floats
    detail: Floats

    def take(self, which: NDArray[np.bool_]) -> Copies:
        """Only the pairs marked in `which`, of shape (P,)."""
        return Copies(
            self.first[which], self.second[which], self.change[which], self.correlation[which], self.detail[which]
        )


def find_copies(
    thumbnails: NDArray[np.uint8], advance: Advance = lambda done: None, *, indexed: bool | None = None
) -> Copies:
    """Find the copies among N images.

    Pair by pair the work is N² products of 60 numbers, 51 times; with an index (`hilum.audit.index`) the codes alone
    are searched, and what comes back is compared in the same way. Memory is bounded by blocks, but for the thumbnails
    themselves and their codes.

    Args:
        thumbnails: Bytes of shape (N, S, S), S at least 48.
        advance: Called with the number of images newly done.
        indexed: Whether to use an index; by default from 20,000 images on, where faiss is installed.

    Returns:
        The pairs; one may come twice, once each way.
    """
    images = equalised(thumbnails)
    found: list[Copies] = []
    use = indexed if indexed is not None else len(images) >= MANY and has_faiss()
    starts = range(0, len(images), ROWS)
    # One thread a block: BLAS's own threads wait for each other at every one of these small products, and on a busy
    # machine that makes them up to fifty times slower. An index has threads of its own that do not.
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(1 if use else os.cpu_count()) as pool:
        components = np.concatenate([basis().project(images[start : start + ROWS], NO_CROP) for start in starts])
        codes = basis().codes(components)
        codes[np.ptp(images.reshape(len(images), -1), axis=1) == 0] = 0  # blank images resemble nothing
        among = Among.learn(components)
        search: Callable[[int], Copies] = partial(_search, images, codes, among)
        if use:
            search = partial(_search_index, images, Index(codes), among)
        for copies in pool.map(search, starts):
            found.append(copies)
            advance(min(ROWS, len(images) - ROWS * (len(found) - 1)))
    return _joined(found)


def _search_index(images: NDArray[np.uint8], index: Index, among: Among, start: int) -> Copies:
    """As `_search`, but among the nearest cells of an index only."""
    here = images[start : start + ROWS]
    found = []
    for change in range(len(CHANGES)):
        components, asked = _ask(here, change)
        query, j, fits = index.above(asked.reshape(-1, asked.shape[-1]), CANDIDATE)
        crop, i = np.divmod(query, len(here))
        order = np.lexsort((-fits, j, i))  # the best crop of each pair first
        i, j, crop = i[order], j[order], crop[order]
        best = (i + start != j) & np.r_[True, (np.diff(i) != 0) | (np.diff(j) != 0)][: len(i)]
        i, j, crop = i[best], j[best], crop[best]
        for k in range(0, len(i), BATCH):
            part = slice(k, k + BATCH)
            near = among.near(components[crop[part], i[part]], j[part])
            found.append(compare(images, i[part][near] + start, j[part][near], change, CROPS[crop[part][near]]))
    return _joined(found)


def _search(images: NDArray[np.uint8], codes: Floats, among: Among, start: int) -> Copies:
    """The copies of the images from `start` on, ROWS of them, among all."""
    here = images[start : start + ROWS]
    found = []
    for change in range(len(CHANGES)):
        components, asked = _ask(here, change)
        for left in range(0, len(images), COLUMNS):
            there = np.ascontiguousarray(codes[left : left + COLUMNS].T)
            best = asked[0] @ there
            other = np.empty_like(best)
            for ask in asked[1:]:
                np.maximum(best, np.matmul(ask, there, out=other), out=best)
            i, j = np.nonzero(best >= CANDIDATE)
            apart = i + start != j + left
            i, j = i[apart], j[apart]
            for k in range(0, len(i), BATCH):
                a, b = i[k : k + BATCH], j[k : k + BATCH] + left
                crop = np.argmax(np.einsum("kpd,pd->kp", asked[:, a], codes[b]), axis=0)
                near = among.near(components[crop, a], b)
                found.append(compare(images, a[near] + start, b[near], change, CROPS[crop[near]]))
    return _joined(found)


def _ask(images: NDArray[np.uint8], change: int) -> tuple[Floats, Floats]:
    """Components and codes, (C, N, L) each, of C crops of N changed images."""
    turned = change_images(images, change)
    components = np.stack([basis().project(turned, crop) for crop in CROPS[:, None]])
    return components, np.stack([basis().codes(part) for part in components])


@dataclass(frozen=True)
class Among:
    """How images differ among these ones, where they look more alike than radiographs in general.

    Of phantoms, or of one machine's series, a tenth of all pairs are candidates; measured against their own mean and
    spread, a thirtieth. No candidate that was a copy was lost (240 of each kind of `docs/study/audit_power.py`).

    Attributes:
        mean: Of the components, of shape (L,).
        spread: Their standard deviation, of shape (L,).
        codes: Unit vectors, of shape (N, L); empty where there are too few images to learn from.
    """

    mean: Floats
    spread: Floats
    codes: Floats

    @classmethod
    def learn(cls, components: Floats) -> Among:
        """Learn from components of shape (N, L)."""
        mean, spread = components.mean(axis=0), np.maximum(components.std(axis=0), SMALLEST_SPREAD)
        few = len(components) < FEW
        return cls(mean, spread, np.empty((0, len(mean)), np.float32) if few else _unit((components - mean) / spread))

    def near(self, components: Floats, others: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Whether images with these components (P, L) may be copies of the images at `others` (P,)."""
        if not len(self.codes):
            return np.ones(len(others), bool)
        fits = np.einsum("pd,pd->p", _unit((components - self.mean) / self.spread), self.codes[others])
        near: NDArray[np.bool_] = fits >= NEAR
        return near


def _unit(vectors: Floats) -> Floats:
    scaled: Floats = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    return scaled


def change_images(images: NDArray[np.uint8], change: int) -> NDArray[np.uint8]:
    """The images (N, H, W) as they are, mirrored left to right, or with black and white exchanged."""
    if CHANGES[change] == "mirrored":
        return images[:, :, ::-1]
    return np.uint8(255) - images if CHANGES[change] == "inverted" else images


def compare(
    images: NDArray[np.uint8],
    first: NDArray[np.intp],
    second: NDArray[np.intp],
    change: int,
    crops: NDArray[np.intp],
    threshold: float = DETAIL,
    less: float = LESS_DETAIL,
) -> Copies:
    """Lay pairs over each other and keep those that are one picture.

    Args:
        images: Equalised thumbnails, of shape (N, S, S).
        first: Positions, of shape (P,).
        second: Positions, of shape (P,).
        change: Index into `CHANGES`, done to `first`.
        crops: Of `first`, at which to begin, of shape (P, 4): left, right, top, bottom, in 160ths of the side.
        threshold: Of the detail's correlation.
        less: The same, where the correlation of the whole is at least `SAME`.
    """
    one, other = change_images(images[first], change), images[second]
    crops, score = _align(one, other, crops)
    keep = score >= STEPS[-1][1]
    one, other, crops = one[keep], other[keep], crops[keep]
    found = Copies(
        first[keep],
        second[keep],
        np.full(len(one), change, np.intp),
        np.einsum("pd,pd->p", unit(view(one, crops, 32)), unit(view(other, NO_CROP, 32))),
        np.minimum(_same_detail(one, other, crops, 0), _same_detail(one, other, crops, MARGIN)),
    )
    return found.take(found.detail >= np.where(found.correlation >= SAME, min(less, threshold), threshold))


def _align(
    one: NDArray[np.uint8], other: NDArray[np.uint8], crops: NDArray[np.intp]
) -> tuple[NDArray[np.intp], Floats]:
    """Improve the crops (P, 4) of `one`, across and down in turn, in ever smaller steps; also how well they fit."""
    fine = _detail(other, NO_CROP, 32)
    score: Floats = np.einsum("pd,pd->p", _detail(one, crops, 32), fine)
    for step, enough in STEPS:
        for axis in (0, 2):
            promising = np.flatnonzero(score >= enough)
            if len(promising):
                crops[promising], score[promising] = _shift(
                    one[promising], fine[promising], crops[promising], score[promising], axis, step
                )
    return crops, score


def _shift(
    one: NDArray[np.uint8], fine: Floats, crops: NDArray[np.intp], score: Floats, axis: int, step: int
) -> tuple[NDArray[np.intp], Floats]:
    """Try the neighbouring crops (P, 4) along one axis; the other axis is resized and blurred only once for all."""
    matrices, blurred = resampling(32, one.shape[-1]), _blurred(one.shape[-1])
    fixed = (crops[:, 2], crops[:, 3]) if axis == 0 else (crops[:, 0], crops[:, 1])
    turned = (0, 1, 2) if axis == 0 else (0, 2, 1)
    pixels = one.astype(np.float32).transpose(turned)
    plain: Floats = matrices[fixed] @ pixels
    smooth: Floats = blurred[fixed] @ pixels
    wanted: Floats = fine.reshape(-1, 32, 32).transpose(turned).reshape(fine.shape)
    middle = crops
    for a, b in product((-step, 0, step), repeat=2):
        if a or b:
            tried = middle.copy()
            tried[:, axis : axis + 2] = np.clip(tried[:, axis : axis + 2] + (a, b), 0, DEEPEST)
            moved = tried[:, axis], tried[:, axis + 1]
            seen: Floats = plain @ matrices[moved].transpose(0, 2, 1) - smooth @ blurred[moved].transpose(0, 2, 1)
            fit: Floats = np.einsum("pd,pd->p", unit(seen), wanted)
            better = fit > score
            crops, score = np.where(better[:, None], tried, crops), np.where(better, fit, score)
    return crops, score


@cache
def _blurred(given: int) -> Floats:
    """The matrices of `resampling` to 32 pixels, each followed by the blur."""
    matrices: Floats = _blur(32, BLUR) @ resampling(32, given)
    return matrices


def _same_detail(one: NDArray[np.uint8], other: NDArray[np.uint8], crops: NDArray[np.intp], margin: int) -> Floats:
    """Correlation (P,) of the fine detail of crops of `one` (P, S, S) and of `other`, at 64x64, without a margin."""
    inside = slice(margin, 64 - margin)
    a, b = (
        _sharp(view(images, part, 64), BLUR)[:, inside, inside] for images, part in ((one, crops), (other, NO_CROP))
    )
    agreement: Floats = np.einsum("pd,pd->p", unit(a), unit(b))
    return agreement


def _detail(images: NDArray[np.uint8], crops: NDArray[np.intp], side: int) -> Floats:
    return unit(_sharp(view(images, crops, side), BLUR))


def _sharp(views: Floats, blur: float) -> Floats:
    """What a Gaussian blur would take away."""
    weights = _blur(views.shape[-1], blur)
    return np.asarray(views - weights @ views @ weights.T, np.float32)


@cache
def _blur(side: int, blur: float) -> Floats:
    place = np.arange(side)
    weights = np.exp(-0.5 * ((place[:, None] - place[None]) / blur) ** 2)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def _joined(parts: Sequence[Copies]) -> Copies:
    names = ("first", "second", "change", "correlation", "detail")
    empty = Copies(*(np.zeros(0, np.intp),) * 3, *(np.zeros(0, np.float32),) * 2)
    return Copies(*(np.concatenate([getattr(part, name) for part in (empty, *parts)]) for name in names))
