"""How images look in the ways in which copies are changed: cropped, turned by some degrees, zoomed; and mirrored.

What is described of each look are its components (`hilum.auditing.near_duplicates.codes.Basis`): a mirrored look costs
a second set of axes, not a second view, and an inverted one nothing.
"""

from __future__ import annotations

from functools import cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hilum.auditing.near_duplicates.codes import CROPS, LENGTH, NO_CROP, SIDE, Floats, basis, resampling, unit, view
from hilum.auditing.near_duplicates.register import Maps, chain, maps, points, sample

INNER = 0.85  # of half the side: at ten degrees, no corner comes in
VIEW = 32  # pixels a side from which turned views are sampled
ZOOMS = maps(np.zeros(4), np.array([0.87, 0.93, 1.0, 1.07]))
_ANGLES = np.array([-10, -5, 5, 10.0])
_CUT = 1 / (np.cos(np.deg2rad(_ANGLES)) + np.sin(np.deg2rad(np.abs(_ANGLES))))  # the largest square without corners
TILTS = np.concatenate([maps(_ANGLES, np.ones(4)), maps(_ANGLES, _CUT)])
Space = Literal["whole", "inner", "posed"]
SPACES: tuple[Space, ...] = ("whole", "inner", "posed")


class Looks(NamedTuple):
    """Of P images in C ways.

    Attributes:
        components: As they are, and mirrored, of shape (2, C, P, L).
        starts: The ways: crops of shape (C, 4), or maps of shape (C, P, 2, 3).
    """

    components: Floats
    starts: NDArray[np.intp] | Maps


def look(pixels: NDArray[np.uint8], poses: Maps, space: Space) -> Looks:
    """How upright images (P, S, S) with poses (P, 2, 3) look in all crops, or turned, or zoomed over the mean."""
    if space == "whole":
        return Looks(_described(_cropped(pixels)), CROPS)
    views = view(pixels, NO_CROP, VIEW)
    if space == "inner":
        starts = np.broadcast_to(TILTS[:, None], (len(TILTS), *poses.shape))
        flat = np.ascontiguousarray(views.reshape(len(views), -1).T)  # of one pixel all images: each is taken as a row
        turned = sum(weights * flat[taken] for taken, weights in zip(*_tilts(), strict=True))
        return Looks(_described(turned.reshape(len(TILTS), -1, len(views)).transpose(0, 2, 1)), starts)
    starts = chain(poses, ZOOMS[:, None])
    return Looks(_described(np.stack([sample(views, some, points(SIDE, INNER))[0] for some in starts])), starts)


def inner(views: Floats, some: Maps) -> Floats:
    """The inner part of views (N, S, S), mapped, of shape (N, SIDE * SIDE)."""
    return unit(sample(views, some, points(SIDE, INNER))[0])


def inverted(components: Floats) -> Floats:
    """The components (..., L) of inverted looks."""
    middle = basis().describe(np.zeros(SIDE * SIDE, np.float32))
    done: Floats = 2 * middle - components
    return done


def _described(looks: Floats) -> Floats:
    """Components (2, C, P, L) of looks (C, P, SIDE * SIDE), as they are and mirrored."""
    both = unit(looks.reshape(-1, SIDE * SIDE)) @ _axes()
    both = both.reshape(*looks.shape[:2], 2, LENGTH).transpose(2, 0, 1, 3)
    return np.asarray((both - basis().mean @ basis().axes) / basis().spread, np.float32)


@cache
def _axes() -> Floats:
    """Axes of looks and, behind them, of mirrored ones, of shape (SIDE * SIDE, 2 * L)."""
    axes = basis().axes
    other = axes.reshape(SIDE, SIDE, LENGTH)[:, ::-1].reshape(axes.shape)
    return np.concatenate([axes, other], axis=1)


def _cropped(pixels: NDArray[np.uint8]) -> Floats:
    """All crops, resized, of images (P, S, S), of shape (C, P, SIDE * SIDE).

    A crop cuts one of few pairs of margins off each axis, so that each axis is resized for few, not for all of them.
    """
    cuts, (across, down) = _cuts()
    given = pixels.shape[-1]
    matrices = resampling(SIDE, given)[cuts[:, 0], cuts[:, 1]].reshape(-1, given)
    half = (pixels.reshape(-1, given).astype(np.float32) @ matrices.T).reshape(len(pixels), given, -1)
    all_cuts = (matrices @ half).reshape(len(pixels), len(cuts), SIDE, len(cuts), SIDE)
    return all_cuts.transpose(1, 3, 0, 2, 4)[down, across].reshape(len(CROPS), len(pixels), SIDE * SIDE)


@cache
def _cuts() -> tuple[NDArray[np.intp], tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Pairs of margins (K, 2) that crops cut off an axis, and which ones each crop cuts off: across and down, (C,)."""
    cuts, which = np.unique(CROPS.reshape(-1, 2), axis=0, return_inverse=True)
    across, down = which.reshape(-1, 2).T
    return cuts, (across, down)


@cache
def _tilts() -> tuple[NDArray[np.intp], Floats]:
    """From which pixels of a view each of `TILTS` samples, (4, C * D), and with which weights, (4, C * D, 1)."""
    mapped = points(SIDE, INNER) @ TILTS[:, :, :2].transpose(0, 2, 1) + TILTS[:, None, :, 2]
    place = np.clip((mapped.reshape(-1, 2) + 1) * (VIEW / 2) - 0.5, 0, VIEW - 1.001)
    whole = place.astype(np.intp)
    (x, y), first = (place - whole).T.astype(np.float32), whole[:, 1] * VIEW + whole[:, 0]
    weights = np.stack([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y])
    return np.stack([first, first + 1, first + VIEW, first + VIEW + 1]), weights[..., None]
