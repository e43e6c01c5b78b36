"""Where an image lies in a frame that turns, shifts and zooms with it, and how two such images lie over each other.

Augmentation turns whole pictures: by quarter turns, or by a few degrees, with shifts and zooms. Instead of comparing
every orientation of every image, each image is stood upright (the quarter turn in which it correlates best with the
mean radiograph) and moved over the mean radiograph. A turned copy lands where its original does.

An affine map (2, 3) takes points of a frame, x to the right and y down from -1 to 1, to points of an image. Maps are
improved by the inverse compositional algorithm (Baker and Matthews 2004, *IJCV*) on what correlates, not on grey values
(Evangelidis and Psarakis 2008, *TPAMI*).
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from hilum.auditing.near_duplicates.codes import NO_CROP, SIDE, Floats, basis, unit, view

QUARTERS = 4
STAYS = 0.20  # of that correlation: an image is only turned for more
DOUBT = 0.10  # of the correlation with the mean radiograph: as near to the best, a quarter turn is tried as well
INVERTED, UNUSUAL = 0.55, 0.15  # what an inverted image has of that at least, and by how much it has to fit better
CORE = 3  # pixels of the mean radiograph on each side, beyond which there may be a frame
POSED_SIDE = 16  # pixels of the mean radiograph that images are moved over
POSED_INSIDE, POSED_STEPS = 0.8, 12
FARTHEST = 0.35  # of half the side, or as a sine: what is moved farther got lost, and stays where it was
INSIDE = 0.75  # what is compared of an image, of half the side; a frame or corners that came in lie outside
REACH = 0.85  # the farthest point of the other image that is compared with it
COVERED = 0.5  # of what is compared, the least share that both images must show
STEP = 0.06  # the farthest that a map moves at once
Maps = NDArray[np.float32]


def quarter_turns(images: NDArray[np.uint8]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """How many quarter turns, counterclockwise, stand equalised images (N, S, S) upright.

    Mirrored, an image gets the same answer: what is compared is the mean of the mean radiograph and its mirror image.
    Inverted, it does where it is clearly a radiograph. In doubt it stays as it is given, so that copies that are not
    turned are compared as they are.

    Returns:
        The number, of shape (N,), and which other ones are nearly as good, of shape (N, 4).
    """
    views = view(images, NO_CROP, SIDE)
    fits = (unit(views) @ _quarters(0).T + unit(_core(views, CORE)) @ _quarters(CORE).T) / 2
    strength = np.abs(fits)
    best = np.where(fits > 0, fits, np.where(fits < -INVERTED, strength - UNUSUAL, -1)).argmax(axis=1)
    below = strength.max(axis=1, keepdims=True) - strength
    stays = (below[:, 0] <= STAYS) & (best != 0)
    best[stays] = 0
    doubtful = below <= np.where(stays, STAYS, DOUBT)[:, None]
    doubtful[np.arange(len(best)), best] = False
    return best, doubtful


@cache
def _quarters(margin: int) -> Floats:
    """The mean radiograph as it looks if an image has to be turned by 0 to 3 quarters, of shape (4, D)."""
    return unit(_core(np.stack([np.rot90(_mean(), -turns) for turns in range(QUARTERS)]), margin))


def _core(views: Floats, margin: int) -> Floats:
    return views[:, margin : views.shape[1] - margin, margin : views.shape[2] - margin]


@cache
def _mean() -> Floats:
    mean = basis().mean.reshape(SIDE, SIDE)
    symmetrical: Floats = mean + mean[:, ::-1]
    return symmetrical


def turn(images: NDArray[np.uint8], quarters: NDArray[np.intp]) -> NDArray[np.uint8]:
    """Images (N, S, S), each turned counterclockwise by its number of quarters (N,)."""
    turned = images.copy()
    for number in range(1, QUARTERS):
        which = quarters % QUARTERS == number
        turned[which] = np.rot90(images[which], number, axes=(1, 2))
    return turned


@cache
def points(side: int, inside: float) -> Floats:
    """Points (side * side, 2), x and y, in the middle of the pixels of a square that reaches from -inside to inside."""
    place = ((np.arange(side) + 0.5) / side * 2 - 1) * inside
    return np.stack(np.meshgrid(place, place), axis=-1).reshape(-1, 2).astype(np.float32)


def maps(angles: NDArray[np.float64], zooms: NDArray[np.float64]) -> Maps:
    """Maps (C, 2, 3) that turn by degrees and zoom, each of shape (C,)."""
    sine, cosine = np.sin(np.deg2rad(angles)) * zooms, np.cos(np.deg2rad(angles)) * zooms
    zero = np.zeros_like(sine)
    made = np.stack([cosine, -sine, zero, sine, cosine, zero], axis=-1).reshape(-1, 2, 3)
    return made.astype(np.float32)


def chain(outer: Maps, inner: Maps) -> Maps:
    """First `inner`, then `outer`, both (..., 2, 3)."""
    linear = outer[..., :2] @ inner[..., :2]
    moved = outer[..., :2] @ inner[..., 2:] + outer[..., 2:]
    return np.concatenate([linear, moved], axis=-1)


def inverse(some: Maps) -> Maps:
    """The maps (..., 2, 3) back."""
    back = np.linalg.inv(some[..., :2])
    return np.concatenate([back, -back @ some[..., 2:]], axis=-1)


def mirrored(some: Maps) -> Maps:
    """The maps (..., 2, 3) of mirrored images."""
    sign = np.array([[1, -1, -1], [-1, 1, 1]], np.float32)
    return some * sign


def sample(images: Floats, some: Maps, where: Floats) -> tuple[Floats, Floats]:
    """Grey values (P, D) of images (P, S, S) at mapped points (D, 2), bilinear; also where these are, (P, 2, D)."""
    side = images.shape[-1]
    mapped = some[:, :, :2] @ where.T + some[:, :, 2:]
    place = np.clip((mapped + 1) * (side / 2) - 0.5, 0, side - 1.001)
    whole = place.astype(np.int32)
    x, y = (place - whole).swapaxes(0, 1)
    first = whole[:, 1] * side + whole[:, 0] + (np.arange(len(images), dtype=np.int32) * side**2)[:, None]
    flat = images.reshape(-1)
    top, bottom = (
        (left := flat.take(first + below)) + (flat.take(first + below + 1) - left) * x for below in (0, side)
    )
    return top + (bottom - top) * y, mapped


def pose(views: Floats) -> Maps:
    """Move upright images (N, S, S) over the mean radiograph, turned and shifted.

    Returns:
        Maps (N, 2, 3) from the frame of the mean radiograph.
    """
    where, template, back = _posing()
    found = np.tile(np.eye(2, 3, dtype=np.float32), (len(views), 1, 1))
    for _ in range(POSED_STEPS):
        seen = unit(sample(views, found, where)[0])
        fit = seen @ template
        change = (seen - fit[:, None] * template) @ back / np.maximum(fit, 0.3)[:, None]
        turned, across, down = np.clip(change, -0.1, 0.1).T
        found = chain(found, inverse(_moved(np.zeros_like(turned), turned, across, down)))
    lost = (np.abs(found[:, :, 2]).max(axis=1) > FARTHEST) | (np.abs(found[:, 1, 0]) > FARTHEST)
    found[lost] = np.eye(2, 3)
    return found


@cache
def _posing() -> tuple[Floats, Floats, Floats]:
    """Where the mean radiograph is compared, its values there, and what a difference says about the map (D, 3)."""
    where, step = points(POSED_SIDE, POSED_INSIDE), 0.04
    shifts = np.array([(0, 0), (step, 0), (-step, 0), (0, step), (0, -step)], np.float32)
    still = np.tile(np.eye(2, 3, dtype=np.float32), (len(shifts), 1, 1))
    still[:, :, 2] = shifts
    seen, _ = sample(np.repeat(_mean()[None], len(shifts), axis=0), still, where)
    length = np.linalg.norm(seen[0] - seen[0].mean())
    template = (seen[0] - seen[0].mean()) / length
    across, down = (seen[1] - seen[2]) / (2 * step * length), (seen[3] - seen[4]) / (2 * step * length)
    slopes = np.stack([down * where[:, 0] - across * where[:, 1], across, down])
    slopes = slopes - slopes.mean(axis=1, keepdims=True)
    slopes = slopes - np.outer(slopes @ template, template)
    return where, template, np.asarray((np.linalg.inv(_damped(slopes @ slopes.T)) @ slopes).T, np.float32)


def _damped(squares: Floats) -> Floats:
    """Square matrices (..., K, K) with a little more on the diagonal, so that they can be inverted."""
    size = squares.shape[-1]
    mean = np.trace(squares, axis1=-2, axis2=-1)[..., None, None] / size
    damped: Floats = squares + (1e-3 * mean + 1e-9) * np.eye(size, dtype=np.float32)
    return damped


def _moved(scaled: Floats, turned: Floats, across: Floats, down: Floats) -> Maps:
    """Maps (P, 2, 3) a little away from none."""
    rows = np.stack([1 + scaled, -turned, across, turned, 1 + scaled, down], axis=-1)
    return rows.reshape(-1, 2, 3)


def register(one: Floats, other: Floats, some: Maps, steps: int, *, affine: bool = False) -> tuple[Maps, Floats]:
    """Improve maps from images `other` to images `one`, both (P, S, S) of fine detail.

    Args:
        one: Images that are mapped.
        other: Images that stay.
        some: Maps (P, 2, 3) to begin with, right to about 3 % of the side.
        steps: How many.
        affine: Whether they may also shear, and scale the two axes differently; else they turn, zoom and shift.

    Returns:
        The best maps, and how well the images then correlate where both are seen, of shape (P,).
    """
    side = other.shape[-1]
    margin = round((1 - INSIDE) * side / 2)
    part = slice(margin, side - margin)
    where = points(side - 2 * margin, 1 - 2 * margin / side)
    below, beside = np.gradient(other * np.float32(side / 2), axis=(1, 2))
    down, across, wanted = (values[:, part, part].reshape(len(other), len(where)) for values in (below, beside, other))
    x, y = where.T
    if affine:
        slopes = np.stack([across * x, across * y, across, down * x, down * y, down], axis=1)
    else:
        slopes = np.stack([across * x + down * y, down * x - across * y, across, down], axis=1)
    seen, mapped = sample(one, some, where)
    both = both_inside(mapped)
    count = np.maximum(both.sum(axis=1, keepdims=True), 1)
    centred = (wanted - (wanted * both).sum(axis=1, keepdims=True) / count) * both
    length = np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-6)
    slopes = slopes * (both / length)[:, None]
    slopes -= both[:, None] * (slopes.sum(axis=2) / count)[:, :, None]
    slopes -= (slopes @ (centred / length)[:, :, None]) * (centred / length)[:, None]
    back = np.linalg.inv(_damped(slopes @ slopes.transpose(0, 2, 1)))
    best, fit = some, agreement(seen, wanted, both)
    for _ in range(steps):
        norm = np.maximum(np.linalg.norm(seen * both, axis=1), 1e-6) * np.maximum(fit, 0.3)
        change = np.clip((back @ (slopes @ (seen * both)[:, :, None]))[:, :, 0] / norm[:, None], -STEP, STEP)
        step = (np.eye(2, 3, dtype=np.float32) + change.reshape(-1, 2, 3)) if affine else _moved(*change.T)
        some = chain(some, inverse(step))
        seen, mapped = sample(one, some, where)
        both = both_inside(mapped)
        now = agreement(seen, wanted, both)
        better = now > fit
        best, fit = np.where(better[:, None, None], some, best), np.where(better, now, fit)
    return best, fit


def both_inside(mapped: Floats) -> NDArray[np.bool_]:
    """Which mapped points (P, 2, D) lie inside an image."""
    inside: NDArray[np.bool_] = np.abs(mapped).max(axis=1) <= REACH
    return inside


def agreement(seen: Floats, wanted: Floats, both: NDArray[np.bool_]) -> Floats:
    """Correlation (P,) of values (P, D) where `both` (P, D) holds; -1 where that is too little."""
    count = both.sum(axis=1, keepdims=True)
    one, other = (
        (values - (values * both).sum(axis=1, keepdims=True) / np.maximum(count, 1)) * both for values in (seen, wanted)
    )
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    fits = np.einsum("pd,pd->p", one, other) / np.maximum(lengths, 1e-6)
    covered: Floats = np.where(count[:, 0] >= COVERED * both.shape[1], fits, -1).astype(np.float32)
    return covered
