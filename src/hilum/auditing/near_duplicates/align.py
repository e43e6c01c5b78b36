"""Two images laid over each other: whether they are one picture.

Different patients' radiographs correlate as highly as copies do: on 5,856 paediatric radiographs, lookalikes reach a
normalised cross-correlation of 0.98 at 32x32 once crops are allowed, more than some recompressed crops of one image.
What lookalikes do not share is the fine detail (ribs, vessels, noise). So each candidate is aligned, and the
correlation of what is finer than about 1/40 of the side decides.
"""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hilum.auditing.near_duplicates.codes import DEEPEST, NO_CROP, Floats, resampling, unit, view
from hilum.auditing.near_duplicates.register import (
    INSIDE,
    Maps,
    agreement,
    both_inside,
    inverse,
    points,
    register,
    sample,
)

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
BLUR = 1.5  # standard deviation, in pixels, of what counts as coarse
# Of a 64x64 view, on each side. Black frames are sharper than ribs, so that two framed patients have most of their
# detail in common (0.90 was seen); within this margin they agree to 0.3 at most. So a copy has to agree there as well.
MARGIN = 8
# The same where images may be turned and zoomed: steps, and the detail's correlation at 32x32 to go on; and steps at
# 64x64.
MAPPED_STEPS = ((3, 0.60), (5, 0.85))
MAPPED_LAST = 3
# With more freedom, two images of one patient reach 0.941 (5,856 children) and 0.914 (1,124 adults), two patients 0.88.
# Of copies turned by up to ten degrees, shifted and zoomed by up to 10 %, 98 % have 0.95 and more. Those of smooth
# pictures have less, but 0.998 of the whole, where other pairs have 0.995 at most.
MAPPED_DETAIL = 0.95
MAPPED_SAME, MAPPED_LESS = 0.998, 0.90


class Fit(NamedTuple):
    """How well pairs fit, P of them.

    Attributes:
        kept: Which of the pairs that were asked about are one picture: positions of shape (P,).
        correlation: Normalised cross-correlation at 32x32, aligned, of shape (P,).
        detail: Correlation of the fine detail at 64x64, of the whole or within a margin, whichever is less.
        turned: Degrees between them, counterclockwise, of shape (P,).
    """

    kept: NDArray[np.intp]
    correlation: Floats
    detail: Floats
    turned: Floats


def compare_crops(one: NDArray[np.uint8], other: NDArray[np.uint8], crops: NDArray[np.intp]) -> Fit:
    """Find the pairs of which the second is the first, cropped by up to 12.5 % a side.

    Args:
        one: Equalised thumbnails, of shape (P, S, S).
        other: Of the same shape.
        crops: Of `one`, at which to begin, of shape (P, 4): left, right, top, bottom, in 160ths of the side.
    """
    crops, score = _align(one, other, crops)
    kept = np.flatnonzero(score >= STEPS[-1][1])
    one, other, crops = one[kept], other[kept], crops[kept]
    correlation = np.einsum("pd,pd->p", unit(view(one, crops, 32)), unit(view(other, NO_CROP, 32)))
    detail = np.minimum(_same_detail(one, other, crops, 0), _same_detail(one, other, crops, MARGIN))
    good = detail >= np.where(correlation >= SAME, LESS_DETAIL, DETAIL)
    return Fit(kept[good], correlation[good], detail[good], np.zeros(int(good.sum()), np.float32))


def compare_mapped(one: NDArray[np.uint8], other: NDArray[np.uint8], maps: Maps) -> Fit:
    """Find the pairs that are one picture, turned by some degrees, shifted and zoomed.

    Args:
        one: Equalised thumbnails, of shape (P, S, S).
        other: Of the same shape.
        maps: From `other` to `one`, at which to begin, of shape (P, 2, 3).
    """
    kept = np.arange(len(one))
    fine, others = (_sharp(view(images, NO_CROP, 32), BLUR) for images in (one, other))
    for steps, enough in MAPPED_STEPS:
        maps, score = register(fine, others, maps, steps)
        good = score >= enough
        kept, maps, fine, others = kept[good], maps[good], fine[good], others[good]
    # What is enlarged is mapped: it has the finer pixels.
    enlarged = np.linalg.det(maps[:, :, :2]) < 1
    swap = enlarged[:, None, None]
    whole, others = (_sharp(images[kept].astype(np.float32), BLUR) for images in (one, other))
    whole, others = np.where(swap, others, whole), np.where(swap, whole, others)
    maps = np.where(swap, inverse(maps), maps)
    maps, detail = register(whole, others, maps, MAPPED_LAST, affine=True)
    maps = np.where(swap, inverse(maps), maps)
    where = points(32, INSIDE)
    seen, mapped = sample(view(one[kept], NO_CROP, 32), maps, where)
    still = np.broadcast_to(np.eye(2, 3, dtype=np.float32), maps.shape)
    wanted, _ = sample(view(other[kept], NO_CROP, 32), still, where)
    correlation = agreement(seen, wanted, both_inside(mapped))
    good = detail >= np.where(correlation >= MAPPED_SAME, MAPPED_LESS, MAPPED_DETAIL)
    turned = np.rad2deg(np.arctan2(maps[:, 1, 0] - maps[:, 0, 1], maps[:, 0, 0] + maps[:, 1, 1]))
    return Fit(kept[good], correlation[good], detail[good], turned[good].astype(np.float32))


def _align(
    one: NDArray[np.uint8], other: NDArray[np.uint8], crops: NDArray[np.intp]
) -> tuple[NDArray[np.intp], Floats]:
    """Improve the crops (P, 4) of `one`, across and down in turn, in ever smaller steps; also how well they fit."""
    fine = fine_detail(other, NO_CROP, 32)
    score: Floats = np.einsum("pd,pd->p", fine_detail(one, crops, 32), fine)
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


def fine_detail(images: NDArray[np.uint8], crops: NDArray[np.intp], side: int) -> Floats:
    """The fine detail, as unit vectors (P, side * side), of images (P, S, S) cropped by (P, 4) or by (1, 4)."""
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
