"""The copies among many images: candidates by their codes, each then laid over its original.

Three kinds of codes propose candidates: of the whole image under 17 crops; of its inner part, turned by up to ten
degrees; and of its inner part after it was moved over the mean radiograph, which finds what was turned and shifted and
zoomed at once. Quarter turns cost nothing: every image stands upright before (`register.quarter_turns`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from hilum.auditing.near_duplicates.align import STEPS, Fit, compare_crops, compare_mapped, fine_detail
from hilum.auditing.near_duplicates.cells import Cells, joined
from hilum.auditing.near_duplicates.codes import (
    LENGTH,
    MANY,
    NO_CROP,
    Among,
    Floats,
    basis,
    equalised,
    has_faiss,
    view,
)
from hilum.auditing.near_duplicates.copy_pairs import CHANGES, ORIENTATIONS, Copies, Ints
from hilum.auditing.near_duplicates.described_images import ROWS, Described, Rows, describe, learn
from hilum.auditing.near_duplicates.looks import SPACES, VIEW, Looks, Space, inverted, look
from hilum.auditing.near_duplicates.register import (
    QUARTERS,
    Maps,
    chain,
    inverse,
    mirrored,
    pose,
    turn,
)
from hilum.progress import Advance

ROTATED = 1.0  # degrees from which a copy is called rotated
CANDIDATE = 0.70  # of the codes' correlation
NEAR = 0.65  # of the correlation of codes that are measured among the images themselves
ALIKE = 0.95  # of the codes' correlation: where most images are one picture, they differ among themselves by noise
MAPPED = 0.80  # as NEAR, of the inner part
COLUMNS = 1024  # of a block of `ROWS` rows: 1 MiB, which stays near the processor
ROWS_ASKED = 1024  # of a block that asks an index: of fewer, too few visit a cell at once
ROUNDING = 1e-3  # more than halves of the details' bits can cost of the correlation of two unit vectors (2 ** -11)
AT_ONCE = 2048  # pairs of details that are compared at once
# Candidates of an image, each way it is asked about: those whose codes are most alike. Of 651 copies that were
# found among 8,300 images, the original was one of the best five; of thousands that are nearly one picture, all are.
# The first image of a block asks all of them: what is one picture with it need not be asked about again.
MOST = 16
BATCH, MIN_BATCH = 512, 32  # pairs that are aligned at once, by all threads and by one
HINTED_STARTS = 3  # maps from which a pair whose names hint at a copy is aligned


def find_copies(
    thumbnails: NDArray[np.uint8],
    advance: Advance = lambda done: None,
    *,
    indexed: bool | None = None,
    hints: Sequence[tuple[int, int]] = (),
) -> Copies:
    """Find the copies among N images.

    Pair by pair the work is N² products of 60 numbers, 75 times; with an index (`hilum.auditing.near_duplicates.cells`)
    the codes alone are searched, and what comes back is compared in the same way. What is known to be one picture with
    another is not compared with it again. Memory is bounded by blocks, but for the thumbnails themselves, their codes
    and their fine detail, about 7 kB an image.

    Args:
        thumbnails: Bytes of shape (N, S, S), S at least 48.
        advance: Called with the number of images newly done.
        indexed: Whether to use an index; by default from 20,000 images on, where faiss is installed.
        hints: Pairs that are compared in any case, at all orientations.

    Returns:
        Pairs, none twice.
    """
    with searchers() as pool:
        known = describe(equalised(thumbnails), pool)
        use = use_index(len(thumbnails)) if indexed is None else indexed
        search = Search(known, learn(known.components), pool, use)
        search.search_all(known, advance)
        search.take_hints(hints)
    return search.found()


@contextmanager
def searchers(threads: int | None = None) -> Iterator[ThreadPoolExecutor]:
    """Threads that describe and search, by default as many as there are cores.

    One thread a block: BLAS's own threads wait for each other at every one of these small products, and on a busy
    machine that makes them up to fifty times slower. faiss starts threads by OpenMP, each of whose callers is asked.
    """
    alone = partial(threadpool_limits, 1, user_api="openmp")
    with (
        threadpool_limits(1, user_api="blas"),
        ThreadPoolExecutor(threads or os.cpu_count(), initializer=alone) as pool,
    ):
        yield pool


def use_index(count: int) -> bool:
    """Whether so many images are searched with an index."""
    return count >= MANY and has_faiss()


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
class _Question:
    """What rows ask in one way.

    Attributes:
        codes: What is looked for, of shape (C, P, L): unit vectors.
        own: The same, measured among these images, of shape (C, P, L).
        starts: Crops of shape (C, 4), or maps of shape (C, P, 2, 3) to the rows' pixels.
    """

    codes: Floats
    own: Floats
    starts: Ints | Maps


def _best(i: Ints, j: Ints, fits: Floats, count: int) -> tuple[Ints, Ints, Floats]:
    """Each pair of a row and one of `count` images once, with the best of its fits."""
    if not len(i):
        return i, j, fits
    key = i * count + j
    order = np.argsort(key)
    firsts = np.flatnonzero(np.diff(key[order], prepend=-1))
    i, j = np.divmod(key[order][firsts], count)
    return i, j, np.maximum.reduceat(fits[order], firsts)


def _nearest(i: Ints, j: Ints, fits: Floats) -> tuple[Ints, Ints, Floats]:
    """The pairs of each row whose codes are most alike, of the first row all; of equally alike ones the first."""
    order = np.lexsort((-fits, i))  # the first image's copies first: the more are known at the second
    i, j, fits = i[order], j[order], fits[order]
    near = (i == 0) | (np.arange(len(i)) - np.searchsorted(i, i) < MOST)
    return i[near], j[near], fits[near]


class Search:
    """The images that answer, their codes, and what is known of them so far.

    Args:
        answering: The images.
        among: How images differ, by what was described.
        pool: Threads.
        indexed: Whether to use an index.
    """

    def __init__(
        self, answering: Described, among: Mapping[Space, Among], pool: ThreadPoolExecutor, indexed: bool
    ) -> None:
        self.images, self.details = answering.images, answering.details
        self.quarters, self.poses = answering.quarters, answering.poses
        self.pool, self.among = pool, among
        self.own = among["whole"].measure(answering.components["whole"])
        self.codes: dict[Space, Floats] = {
            "whole": basis().codes(answering.components["whole"]),
            **{space: among[space].measure(answering.components[space]) for space in SPACES if space != "whole"},
        }
        for codes in self.codes.values():
            codes[answering.blank] = 0  # blank images resemble nothing
        self.index = {space: Cells(codes) for space, codes in self.codes.items()} if indexed else {}
        self.picture = np.arange(len(self.images))  # the first image known to be the same
        self.parts: list[Copies] = []

    def search_all(self, asking: Described, advance: Advance, beyond: int = 0) -> None:
        """Find the copies of described images among all.

        Args:
            asking: What was described.
            advance: Called with the number of images newly done.
            beyond: The position of the first of them: 0 if they are those that answer; else behind these.
        """
        self.picture = np.arange(max(len(self.images), beyond + len(asking.images)))
        step = ROWS_ASKED if self.index else ROWS
        for start in range(0, len(asking.images), step):
            self.search(asking.rows(start, start + step, beyond))
            advance(min(step, len(asking.images) - start))

    def search(self, rows: Rows) -> None:
        """Find the copies of rows among all images."""
        looks = {space: self._look(rows, space) for space in SPACES}
        questions = [self._ask(looks[way.space], way) for way in WAYS]
        proposed = self.pool.map(partial(self._propose, rows), WAYS, questions)
        for way, question, pairs in zip(WAYS, questions, list(proposed), strict=True):
            i, j, which = pairs
            while len(i):
                new = self.picture[rows.image[i]] != self.picture[j]
                i, j, which = i[new], j[new], which[new]
                self._confirm(rows, way, question, i[:BATCH], j[:BATCH], which[:BATCH])
                i, j, which = i[BATCH:], j[BATCH:], which[BATCH:]

    def _look(self, rows: Rows, space: Space) -> Looks:
        """How rows look, a part of them by each thread."""
        parts = [slice(start, start + ROWS) for start in range(0, len(rows.image), ROWS)]
        looks = list(self.pool.map(lambda part: look(rows.pixels[part], rows.poses[part], space), parts))
        starts = looks[0].starts if space == "whole" else np.concatenate([part.starts for part in looks], axis=1)
        return Looks(np.concatenate([part.components for part in looks], axis=2), starts)

    def _ask(self, looks: Looks, way: _Way) -> _Question:
        components, starts = looks.components[int(way.mirrored)], looks.starts
        if way.mirrored:
            starts = starts[:, [1, 0, 2, 3]] if way.space == "whole" else mirrored(np.asarray(starts, np.float32))
        if way.inverted:
            components = inverted(components)
        own = self.among[way.space].measure(components)
        return _Question(basis().codes(components) if way.space == "whole" else own, own, starts)

    def _propose(self, rows: Rows, way: _Way, question: _Question) -> tuple[Ints, Ints, Ints]:
        """Candidates: rows and images whose codes are most alike and that are not known to be one picture; also how."""
        least = CANDIDATE if way.space == "whole" else MAPPED
        codes, asked = self.codes[way.space], question.codes
        found = [self._from_index(rows, way, asked, least)] if self.index else []
        for left in () if self.index else range(0, len(codes), COLUMNS):
            there = np.ascontiguousarray(codes[left : left + COLUMNS].T)
            best = asked[0] @ there
            other = np.empty_like(best)
            for ask in asked[1:]:
                np.maximum(best, np.matmul(ask, there, out=other), out=best)
            best[self.picture[rows.image, None] == self.picture[left : left + best.shape[1]]] = -1
            if best.shape[1] > MOST:  # the best of this block are enough, and there may be very many
                rest = best[1:]
                np.copyto(rest, -1, where=rest < -np.partition(-rest, MOST, axis=1)[:, [MOST]])
            i, j = np.nonzero(best >= least)
            found.append((i, j + left, best[i, j]))
        i, j, _ = _nearest(*joined(found))
        ends = [slice(k, k + AT_ONCE) for k in range(0, max(len(i), 1), AT_ONCE)]
        parts = [self._promising(rows, way, question, i[part], j[part]) for part in ends]
        i, j, which = (np.concatenate(part) for part in zip(*parts, strict=True))
        return i, j, which

    def _from_index(self, rows: Rows, way: _Way, asked: Floats, least: float) -> tuple[Ints, Ints, Floats]:
        """What `_nearest` keeps of all that the index finds, a part at a time.

        The index finds an image several times, in several crops, of which the best counts. Where many images are one
        picture it finds each of them for each: 87 million hits for 1,024 rows among 5,000.
        """
        held = joined([])
        for query, j, fits in self.index[way.space].above(asked.reshape(-1, LENGTH), least):
            i = query % len(rows.image)
            new = self.picture[rows.image[i]] != self.picture[j]
            held = _nearest(*_best(*joined([held, (i[new], j[new], fits[new])]), len(self.images)))
        return held

    def _promising(self, rows: Rows, way: _Way, question: _Question, i: Ints, j: Ints) -> tuple[Ints, Ints, Ints]:
        """Those of the candidates that may be kept, and the look of each row that is most like the image."""
        fits = np.einsum("cpl,pl->cp", question.codes[:, i], self.codes[way.space][j])
        which = np.argmax(fits, axis=0)
        if way.space != "whole":
            return i, j, which
        own = np.einsum("pl,pl->p", question.own[which, i], self.own[j])
        near = (own >= NEAR) | (fits.max(axis=0, initial=-1) >= ALIKE)
        i, j, which = i[near], j[near], which[near]
        # Most have nothing in common. Each row's detail is taken once for all images that are asked with this crop.
        asked, again = np.unique(i * len(question.starts) + which, return_inverse=True)
        row, crop = np.divmod(asked, len(question.starts))
        detail = fine_detail(way.change(rows.pixels[row]), np.asarray(question.starts, np.intp)[crop], 32)
        score = np.einsum("pd,pd->p", detail[again], self.details[j].astype(np.float32))
        near = score >= STEPS[0][1] - ROUNDING
        return i[near], j[near], which[near]

    def _confirm(self, rows: Rows, way: _Way, question: _Question, i: Ints, j: Ints, which: Ints) -> None:
        """Compare rows `i`, as they look in `which` way, with images `j`, and keep what is one picture."""

        def compare(part: slice) -> Fit:
            one, other = way.change(rows.pixels[i[part]]), self.images[j[part]]
            if way.space == "whole":
                return compare_crops(one, other, np.asarray(question.starts[which[part]], np.intp))
            starts = np.asarray(question.starts[which[part], i[part]], np.float32)
            return compare_mapped(one, other, self._start(starts, way, j[part]))

        each = max(MIN_BATCH, -(-len(i) // (os.cpu_count() or 1)))
        parts = [slice(k, k + each) for k in range(0, len(i), each)]
        for part, fit in zip(parts, self.pool.map(compare, parts), strict=True):
            self._keep(rows, way, i[part][fit.kept], j[part][fit.kept], fit)

    def _start(self, starts: Maps, way: _Way, j: Ints) -> Maps:
        """Maps from images `j` (P,) to what asked, where `starts` (P, 2, 3) lead there from the common frame."""
        return chain(starts, inverse(self.poses[j])) if way.space == "posed" else starts

    def _keep(self, rows: Rows, way: _Way, i: Ints, j: Ints, fit: Fit) -> None:
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
        self.parts.append(found.take(new))

    def found(self) -> Copies:
        """All pairs so far."""
        return Copies.joined(self.parts)

    def take_hints(self, hints: Sequence[tuple[int, int]]) -> None:
        """Compare pairs whose names hint at a copy, all ways up, from where their codes are most alike."""
        for first, second in hints:
            if self.picture[first] == self.picture[second]:
                continue
            further = np.arange(QUARTERS)
            pixels = turn(np.repeat(self.images[[first]], QUARTERS, axis=0), further)
            rows = Rows(
                np.full(QUARTERS, first),
                (self.quarters[first] + further) % QUARTERS,
                pixels,
                pose(view(pixels, NO_CROP, VIEW)),
            )
            looks = {space: look(rows.pixels, rows.poses, space) for space in SPACES if space != "whole"}
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
