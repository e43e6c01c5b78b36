"""The copies among many images: candidates by their codes, each then laid over its original.

Three kinds of codes propose candidates: of the whole image under 17 crops; of its inner part, turned by up to ten
degrees; and of its inner part after it was moved over the mean radiograph, which finds what was turned and shifted and
zoomed at once. Quarter turns cost nothing: every image stands upright before (`register.quarter_turns`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from hilum.auditing.near_duplicates.align import Fit, compare_crops, compare_mapped
from hilum.auditing.near_duplicates.codes import (
    CROPS,
    LENGTH,
    MANY,
    NO_CROP,
    SIDE,
    Among,
    Floats,
    Index,
    basis,
    equalised,
    has_faiss,
    unit,
    view,
)
from hilum.auditing.near_duplicates.register import (
    QUARTERS,
    Maps,
    chain,
    inverse,
    maps,
    mirrored,
    points,
    pose,
    quarter_turns,
    sample,
    turn,
)
from hilum.progress import Advance

Change = Literal["near", "mirrored", "inverted", "turned_90", "turned_180", "upside_down", "transposed", "rotated"]
CHANGES: tuple[Change, ...] = (
    "near",
    "mirrored",
    "inverted",
    "turned_90",
    "turned_180",
    "upside_down",
    "transposed",
    "rotated",
)
# By quarter turns, counterclockwise; then of what is mirrored left to right before.
ORIENTATIONS: tuple[Change, ...] = (
    *("near", "turned_90", "turned_180", "turned_90"),
    *("mirrored", "transposed", "upside_down", "transposed"),
)
ROTATED = 1.0  # degrees from which a copy is called rotated
CANDIDATE = 0.70  # of the codes' correlation
NEAR = 0.65  # of the correlation of codes that are measured among the images themselves
MIN_PATIENTS = (
    0.95  # of the codes' correlation: where most images are one picture, they differ among themselves by noise
)
MAPPED = 0.80  # as NEAR, of the inner part
INNER = 0.85  # of half the side: at ten degrees, no corner comes in
VIEW = 32  # pixels a side from which turned views are sampled
ZOOMS = maps(np.zeros(4), np.array([0.87, 0.93, 1.0, 1.07]))
_ANGLES = np.array([-10, -5, 5, 10.0])
_CUT = 1 / (np.cos(np.deg2rad(_ANGLES)) + np.sin(np.deg2rad(np.abs(_ANGLES))))  # the largest square without corners
TILTS = np.concatenate([maps(_ANGLES, np.ones(4)), maps(_ANGLES, _CUT)])
ROWS, COLUMNS = 256, 1024  # of a block: 1 MiB, which stays near the processor
# Candidates of an image, each way it is asked about: those whose codes are most alike. Of 651 copies that were
# found among 8,300 images, the original was one of the best five; of thousands that are nearly one picture, all are.
# The first image of a block asks all of them: what is one picture with it need not be asked about again.
MOST = 16
BATCH, MIN_BATCH = 512, 32  # pairs that are aligned at once, by all threads and by one
HINTED_STARTS = 3  # maps from which a pair whose names hint at a copy is aligned
Space = Literal["whole", "inner", "posed"]
SPACES: tuple[Space, ...] = ("whole", "inner", "posed")
# Views of P images in C ways, as `unit` scales them, of shape (C, P, SIDE * SIDE); and these ways: crops of shape
# (C, 4), or maps of shape (C, P, 2, 3).
_Looks = tuple[Floats, NDArray[np.intp] | Maps]


@dataclass(frozen=True)
class Copies:
    """Pairs of one picture, P of them: enough to connect all of one picture, not every two of them.

    Attributes:
        first: Positions, of shape (P,).
        second: Positions, of shape (P,).
        change: Index into `CHANGES`, of shape (P,).
        correlation: Normalised cross-correlation of both at 32x32, equalised and aligned, of shape (P,).
        detail: Correlation of the fine detail at 64x64, of the whole or within a margin, whichever is less, of
            shape (P,).
        orientation: What makes `second` of `first`, of shape (P,): quarter turns, counterclockwise, and 4 if it is
            mirrored left to right before.
    """

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    change: NDArray[np.intp]
    correlation: Floats
    detail: Floats
    orientation: NDArray[np.intp]


def find_copies(
    thumbnails: NDArray[np.uint8],
    advance: Advance = lambda done: None,
    *,
    indexed: bool | None = None,
    hints: Sequence[tuple[int, int]] = (),
) -> Copies:
    """Find the copies among N images.

    Pair by pair the work is N² products of 60 numbers, 75 times; with an index (`hilum.auditing.near_duplicates.codes`)
    the codes alone
    are searched, and what comes back is compared in the same way. What is known to be one picture with another is not
    compared with it again. Memory is bounded by blocks, but for the thumbnails themselves and their codes.

    Args:
        thumbnails: Bytes of shape (N, S, S), S at least 48.
        advance: Called with the number of images newly done.
        indexed: Whether to use an index; by default from 20,000 images on, where faiss is installed.
        hints: Pairs that are compared in any case, at all orientations.

    Returns:
        Pairs, none twice.
    """
    use = indexed if indexed is not None else len(thumbnails) >= MANY and has_faiss()
    # One thread a block: BLAS's own threads wait for each other at every one of these small products, and on a busy
    # machine that makes them up to fifty times slower. An index has threads of its own that do not.
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(1 if use else os.cpu_count()) as pool:
        search = _Search(thumbnails, pool, use)
        for start in range(0, len(search.images), ROWS):
            search.search(search.rows_of(start, start + ROWS))
            advance(min(ROWS, len(search.images) - start))
        search.take_hints(hints)
    return search.found()


@dataclass(frozen=True)
class _Way:
    """One way to ask for copies: in which codes, and how an image is changed before."""

    space: Space
    mirrored: bool = False
    inverted: bool = False

    def change(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        images = images[:, :, ::-1] if self.mirrored else images
        return np.uint8(255) - images if self.inverted else images


WAYS = (
    _Way("whole"),
    _Way("whole", mirrored=True),
    _Way("whole", inverted=True),
    *(_Way(space, mirrored=flipped) for space in ("inner", "posed") for flipped in (False, True)),
)


@dataclass(frozen=True)
class _Rows:
    """Images that ask, P of them: one comes again for each quarter turn that might stand it upright as well.

    Attributes:
        image: Positions, of shape (P,).
        quarters: How far each is turned from how it was given, of shape (P,).
        pixels: Of shape (P, S, S), upright.
        poses: Of shape (P, 2, 3).
    """

    image: NDArray[np.intp]
    quarters: NDArray[np.intp]
    pixels: NDArray[np.uint8]
    poses: Maps


@dataclass(frozen=True)
class _Question:
    """What rows ask in one way.

    Attributes:
        codes: What is looked for, of shape (C, P, L): unit vectors.
        own: The same, measured among these images, of shape (C, P, L).
        starts: Crops of shape (C, 4), or maps of shape (C, P, 2, 3) to the rows' pixels.
    """

    codes: Floats
    own: Floats
    starts: NDArray[np.intp] | Maps


class _Search:
    """The images, their codes, and what is known of them so far."""

    def __init__(self, thumbnails: NDArray[np.uint8], pool: ThreadPoolExecutor, indexed: bool) -> None:
        self.images = equalised(thumbnails)
        self.blank = np.ptp(self.images.reshape(len(self.images), -1), axis=1) == 0
        self.pool = pool
        parts = pool.map(self._stand_upright, range(0, len(self.images), ROWS))
        joined = [np.concatenate(part) for part in zip(*parts, strict=True)]
        self.quarters, self.doubtful, self.poses, whole, inner, posed = joined
        self.among = {space: Among.learn(part) for space, part in zip(SPACES, (whole, inner, posed), strict=True)}
        self.codes = {
            "whole": basis().codes(whole),
            **{space: self.among[space].codes.copy() for space in ("inner", "posed")},
        }
        for codes in self.codes.values():
            codes[self.blank] = 0  # blank images resemble nothing
        self.index = {space: Index(codes) for space, codes in self.codes.items()} if indexed else {}
        self.picture = np.arange(len(self.images))  # the first image known to be the same
        self.parts: list[Copies] = []

    def _stand_upright(self, start: int) -> tuple[NDArray[np.generic], ...]:
        """Turn the images from `start` on, and describe them: quarters, doubts, poses, three times components."""
        here = self.images[start : start + ROWS]
        quarters, doubtful = quarter_turns(here)
        here[:] = turn(here, quarters)
        views = view(here, NO_CROP, VIEW)
        poses = pose(views)
        still = np.broadcast_to(np.eye(2, 3, dtype=np.float32), poses.shape)
        inner = (basis().describe(_inner(views, some)) for some in (still, poses))
        return quarters, doubtful, poses, basis().project(here, NO_CROP), *inner

    def rows_of(self, start: int, stop: int) -> _Rows:
        """The images from `start` to `stop`, all ways up that are in doubt."""
        image, other = np.nonzero(self.doubtful[start:stop])
        further = turn(self.images[start:stop][image], other - self.quarters[start:stop][image])
        return _Rows(
            np.concatenate([np.arange(start, min(stop, len(self.images))), image + start]),
            np.concatenate([self.quarters[start:stop], other]),
            np.concatenate([self.images[start:stop], further]),
            np.concatenate([self.poses[start:stop], pose(view(further, NO_CROP, VIEW))]),
        )

    def search(self, rows: _Rows) -> None:
        """Find the copies of rows among all images."""
        looks = dict(zip(SPACES, self.pool.map(partial(_look, rows), SPACES), strict=True))
        questions = [self._ask(looks[way.space], way) for way in WAYS]
        proposed = self.pool.map(partial(self._propose, rows), WAYS, questions)
        for way, question, (i, j) in zip(WAYS, questions, proposed, strict=True):
            while len(i):
                new = self.picture[rows.image[i]] != self.picture[j]
                i, j = i[new], j[new]
                self._confirm(rows, way, question, i[:BATCH], j[:BATCH])
                i, j = i[BATCH:], j[BATCH:]

    def _ask(self, looks: _Looks, way: _Way) -> _Question:
        views, starts = looks
        if way.mirrored:
            views = views.reshape(*views.shape[:2], SIDE, SIDE)[..., ::-1].reshape(views.shape)
            starts = starts[:, [1, 0, 2, 3]] if way.space == "whole" else mirrored(np.asarray(starts, np.float32))
        components = basis().describe(-views if way.inverted else views)
        own = self.among[way.space].measure(components)
        return _Question(basis().codes(components) if way.space == "whole" else own, own, starts)

    def _propose(self, rows: _Rows, way: _Way, question: _Question) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Candidates: rows and images whose codes are most alike, and that are not known to be one picture."""
        least = CANDIDATE if way.space == "whole" else MAPPED
        codes, asked = self.codes[way.space], question.codes
        found = []
        if self.index:
            query, j, fits = self.index[way.space].above(asked.reshape(-1, LENGTH), least)
            i = query % len(rows.image)
            new = self.picture[rows.image[i]] != self.picture[j]
            found.append((i[new], j[new], fits[new]))
        for left in () if self.index else range(0, len(codes), COLUMNS):
            there = np.ascontiguousarray(codes[left : left + COLUMNS].T)
            best = asked[0] @ there
            other = np.empty_like(best)
            for ask in asked[1:]:
                np.maximum(best, np.matmul(ask, there, out=other), out=best)
            best[self.picture[rows.image, None] == self.picture[left : left + COLUMNS]] = -1
            if best.shape[1] > MOST:  # the best of this block are enough, and there may be very many
                rest = best[1:]
                np.copyto(rest, -1, where=rest < -np.partition(-rest, MOST, axis=1)[:, [MOST]])
            i, j = np.nonzero(best >= least)
            found.append((i, j + left, best[i, j]))
        i, j, fits = (np.concatenate(part) for part in zip(*found, strict=True))
        order = np.lexsort((-fits, i))  # the first image's copies first: the more are known at the second
        i, j = i[order], j[order]
        # An index finds one several times, in several crops: the best of them counts.
        once = np.unique(np.stack([i, j]), axis=1, return_index=True)[1] if self.index else np.arange(len(i))
        i, j = i[np.sort(once)], j[np.sort(once)]
        near = (i == 0) | (np.arange(len(i)) - np.searchsorted(i, i) < MOST)
        return i[near], j[near]

    def _confirm(self, rows: _Rows, way: _Way, question: _Question, i: NDArray[np.intp], j: NDArray[np.intp]) -> None:
        """Compare rows `i` with images `j`, and keep what is one picture."""
        fits = np.einsum("cpl,pl->cp", question.codes[:, i], self.codes[way.space][j])
        which = np.argmax(fits, axis=0)
        if way.space == "whole":
            own = np.einsum("pl,pl->p", question.own[which, i], self.among["whole"].codes[j])
            near = (own >= NEAR) | (fits.max(axis=0, initial=-1) >= MIN_PATIENTS)
            i, j, which = i[near], j[near], which[near]

        def compare(part: slice) -> Fit:
            one, other = way.change(rows.pixels[i[part]]), self.images[j[part]]
            if way.space == "whole":
                return compare_crops(one, other, question.starts[which[part]])
            return compare_mapped(one, other, self._start(question.starts[which[part], i[part]], way, j[part]))

        each = max(MIN_BATCH, -(-len(i) // (os.cpu_count() or 1)))
        parts = [slice(k, k + each) for k in range(0, len(i), each)]
        for part, fit in zip(parts, self.pool.map(compare, parts), strict=True):
            self._keep(rows, way, i[part][fit.kept], j[part][fit.kept], fit)

    def _start(self, starts: Maps, way: _Way, j: NDArray[np.intp]) -> Maps:
        """Maps from images `j` (P,) to what asked, where `starts` (P, 2, 3) lead there from the common frame."""
        return chain(starts, inverse(self.poses[j])) if way.space == "posed" else starts

    def _keep(self, rows: _Rows, way: _Way, i: NDArray[np.intp], j: NDArray[np.intp], fit: Fit) -> None:
        """Note which rows `i` and images `j`, P of each, are one picture, unless that is known."""
        new = np.zeros(len(i), bool)
        for k, pair in enumerate(zip(rows.image[i], j, strict=True)):
            first, second = sorted(self.picture[list(pair)])
            if first != second:
                new[k] = True
                self.picture[self.picture == second] = first
        asked, given = rows.quarters[i], self.quarters[j]
        orientation = np.where(way.mirrored, (-given - asked) % QUARTERS + QUARTERS, (asked - given) % QUARTERS)
        change = np.array([CHANGES.index(name) for name in ORIENTATIONS], np.intp)[orientation]
        change[(orientation == 0) & (np.abs(fit.turned) >= ROTATED)] = CHANGES.index("rotated")
        if way.inverted:
            change[:] = CHANGES.index("inverted")
        found = Copies(rows.image[i], j, change, fit.correlation, fit.detail, orientation)
        self.parts.append(Copies(*(getattr(found, field.name)[new] for field in fields(Copies))))

    def found(self) -> Copies:
        """All pairs so far."""
        none = Copies(*(np.zeros(0, np.intp),) * 3, *(np.zeros(0, np.float32),) * 2, np.zeros(0, np.intp))
        parts = [none, *self.parts]
        return Copies(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Copies)))

    def take_hints(self, hints: Sequence[tuple[int, int]]) -> None:
        """Compare pairs whose names hint at a copy, all ways up, from where their codes are most alike."""
        for first, second in hints:
            if self.picture[first] == self.picture[second]:
                continue
            further = np.arange(QUARTERS)
            pixels = turn(np.repeat(self.images[[first]], QUARTERS, axis=0), further)
            rows = _Rows(
                np.full(QUARTERS, first),
                (self.quarters[first] + further) % QUARTERS,
                pixels,
                pose(view(pixels, NO_CROP, VIEW)),
            )
            looks = {space: _look(rows, space) for space in SPACES if space != "whole"}
            asked = [(way, self._ask(looks[way.space], way)) for way in WAYS if way.space in looks]
            fits = [(question.codes @ self.codes[way.space][second], way, question) for way, question in asked]
            best = sorted(
                ((fit[c, row], c, row, k) for k, (fit, _, _) in enumerate(fits) for c, row in np.ndindex(fit.shape)),
                reverse=True,
            )
            for _, c, row, k in best[:HINTED_STARTS]:
                _, way, question = fits[k]
                i, j = np.array([row]), np.array([second])
                start = self._start(question.starts[c, i], way, j)
                fit = compare_mapped(way.change(rows.pixels[i]), self.images[j], start)
                self._keep(rows, way, i[fit.kept], j[fit.kept], fit)


def _look(rows: _Rows, space: Space) -> _Looks:
    """How rows look in all crops, or turned or zoomed."""
    if space == "whole":
        return np.stack([unit(view(rows.pixels, crop, SIDE)) for crop in CROPS[:, None]]), CROPS
    tilted = np.broadcast_to(TILTS[:, None], (len(TILTS), *rows.poses.shape))
    starts = chain(rows.poses, ZOOMS[:, None]) if space == "posed" else tilted
    views = view(rows.pixels, NO_CROP, VIEW)
    return np.stack([_inner(views, some) for some in starts]), starts


def _inner(views: Floats, some: Maps) -> Floats:
    """The inner part of views (N, S, S), mapped, of shape (N, SIDE * SIDE)."""
    return unit(sample(views, some, points(SIDE, INNER))[0])
