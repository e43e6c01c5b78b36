"""What is known of each image before copies are searched: which way up it stands, its pose, its fine detail."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hilum.auditing.near_duplicates.align import fine_detail
from hilum.auditing.near_duplicates.codes import NO_CROP, Among, Floats, basis, view
from hilum.auditing.near_duplicates.looks import SPACES, VIEW, Space, inner
from hilum.auditing.near_duplicates.register import Maps, pose, quarter_turns, turn

Ints = NDArray[np.intp]
ROWS = 256  # images that are described, and all pairs that are compared, at once


@dataclass(frozen=True)
class Rows:
    """Images that ask, P of them: one comes again for each quarter turn that might stand it upright as well.

    Attributes:
        image: Positions, of shape (P,).
        quarters: How far each is turned from how it was given, of shape (P,).
        pixels: Of shape (P, S, S), upright.
        poses: Of shape (P, 2, 3).
    """

    image: Ints
    quarters: Ints
    pixels: NDArray[np.uint8]
    poses: Maps


@dataclass(frozen=True)
class Described:
    """Of N images, about 7 kB each.

    Attributes:
        images: Equalised and upright, of shape (N, S, S).
        blank: Whether all pixels of one are equal, of shape (N,).
        quarters: By how many quarter turns each was turned, of shape (N,).
        doubtful: Which further quarter turns might stand it upright as well, of shape (N, 4).
        poses: How it lies over the mean radiograph, of shape (N, 2, 3).
        details: Fine detail of the whole, of shape (N, D).
        components: Of the whole, of its inner part, and of that part over the mean radiograph, each (N, L).
    """

    images: NDArray[np.uint8]
    blank: NDArray[np.bool_]
    quarters: Ints
    doubtful: NDArray[np.bool_]
    poses: Maps
    details: NDArray[np.float16]
    components: Mapping[Space, Floats]

    def rows(self, start: int, stop: int, beyond: int = 0) -> Rows:
        """The images from `start` to `stop`, all ways up that are in doubt; `beyond` is added to their positions."""
        image, other = np.nonzero(self.doubtful[start:stop])
        further = turn(self.images[start:stop][image], other - self.quarters[start:stop][image])
        return Rows(
            np.concatenate([np.arange(start, min(stop, len(self.images))), image + start]) + beyond,
            np.concatenate([self.quarters[start:stop], other]),
            np.concatenate([self.images[start:stop], further]),
            np.concatenate([self.poses[start:stop], pose(view(further, NO_CROP, VIEW))]),
        )


def describe(images: NDArray[np.uint8], pool: Executor) -> Described:
    """Stand images upright, in place, and describe them.

    Args:
        images: Equalised, of shape (N, S, S), S at least 48.
        pool: Does some images at a time.
    """
    blank = np.ptp(images.reshape(len(images), -1), axis=1) == 0

    def part(start: int) -> tuple[NDArray[np.generic], ...]:
        here = images[start : start + ROWS]
        quarters, doubtful = quarter_turns(here)
        here[:] = turn(here, quarters)
        views = view(here, NO_CROP, VIEW)
        poses = pose(views)
        still = np.broadcast_to(np.eye(2, 3, dtype=np.float32), poses.shape)
        middles = (basis().describe(inner(views, some)) for some in (still, poses))
        detail = fine_detail(here, NO_CROP, 32).astype(np.float16)
        return quarters, doubtful, poses, detail, basis().project(here, NO_CROP), *middles

    parts = pool.map(part, range(0, len(images), ROWS))
    joined = [np.concatenate(each) for each in zip(*parts, strict=True)]
    quarters, doubtful, poses, details, *components = joined
    return Described(images, blank, quarters, doubtful, poses, details, dict(zip(SPACES, components, strict=True)))


def learn(components: Mapping[Space, Floats]) -> dict[Space, Among]:
    """How images differ among these ones, by what was described of them."""
    return {space: Among.learn(part) for space, part in components.items()}
