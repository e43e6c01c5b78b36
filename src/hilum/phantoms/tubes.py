"""Everything drawn as tubes: the canvas, vessels and airways, and devices."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.fft
import scipy.special
from numpy.typing import NDArray

from hilum.phantoms.anatomy import LUNG_AXIS, Anatomy, Pose, Profiles
from hilum.phantoms.image import AIR, AIRED_LUNG, METAL, SOFT_TISSUE, Array, Grid


@lru_cache(maxsize=4)
def _frequency(side: int) -> Array:
    """Cycles per pixel of each coefficient of a real transform, (side, side // 2 + 1)."""
    frequency: Array = np.hypot(scipy.fft.fftfreq(side)[:, None], scipy.fft.rfftfreq(side)[None, :])
    return frequency.astype(np.float32)


@lru_cache(maxsize=4)
def _smoothing(side: int) -> Array:
    """Transform of a Gaussian of half a pixel."""
    smoothing: Array = np.exp(np.float32(-0.5 * np.pi**2) * _frequency(side) ** 2)
    return smoothing


_REACH, _ENTRIES = 400.0, 16384
_ARGUMENT = np.linspace(1e-9, _REACH, _ENTRIES)
_JINC = (2 * scipy.special.j1(_ARGUMENT) / _ARGUMENT).astype(np.float32)


def _disc_spectrum(side: int, radius: float) -> Array:
    """Fourier transform of a disc of ``radius`` pixels and height one."""
    index = (_frequency(side) * np.float32(2 * np.pi * radius * _ENTRIES / _REACH)).astype(np.int32)
    spectrum: Array = np.float32(np.pi * radius**2) * np.take(_JINC, index, mode="clip")
    return spectrum


def _histogram(row: Array, column: Array, weight: Array, side: int) -> Array:
    """Sum weights at fractional positions into the four nearest of (side, side) rays."""
    top, left = row.astype(np.int32), column.astype(np.int32)
    fy, fx = row - top, column - left
    index = top * side + left
    up, down = weight * (1 - fy), weight * fy
    where = np.concatenate([index, index + 1, index + side, index + side + 1])
    part = np.concatenate([up * (1 - fx), up * fx, down * (1 - fx), down * fx])
    return np.bincount(where, part, minlength=side * side).astype(np.float32).reshape(side, side)


class TubeCanvas:
    """Draws tubes by their centre lines.

    A disc of height one, smeared along a line element of three-dimensional length ds, adds up to the chord
    ``2 sqrt(r² - b²) / cos(inclination)`` of a straight tube of radius ``r`` at the distance ``b`` from its
    projected axis. So the length-weighted histogram of the points, convolved with a disc, is the projection.
    Radii are drawn at the nearest of a geometric series, with the cross-section's area kept exactly.

    Attributes:
        grid: The rays.
        anchor: A radius in cm that is drawn as it is.
        step: Ratio of neighbouring radii of the series.
    """

    def __init__(
        self,
        grid: Grid,
        turn: Callable[[NDArray[np.floating]], NDArray[np.floating]] | None = None,
        *,
        anchor: float = 1.0,
        step: float = 1.3,
    ):
        self.grid, self.anchor, self.step = grid, anchor, step
        self._turn = turn
        self._parts: dict[float, list[tuple[Array, Array, NDArray[np.intp], Array]]] = {}

    def add(
        self,
        points: NDArray[np.floating],
        radius: float | NDArray[np.floating],
        strength: float | NDArray[np.floating] = 1.0,
        ds: float | NDArray[np.floating] | None = None,
        core: float = 0.0,
    ) -> None:
        """Add tubes along ``points``.

        Args:
            points: Centre lines, (..., K, 3).
            radius: In cm, a number or (..., K).
            strength: What one cm of path adds.
            ds: Length in cm that each point stands for; without it the points of the K axis form lines.
            core: Share of the strength that is missing inside, up to the next smaller radius of the series.
        """
        if ds is None:
            between = np.diff(points, axis=-2)
            length = np.sqrt(np.einsum("...i,...i->...", between, between))
            ds = np.zeros(points.shape[:-1])
            ds[..., :-1] += length / 2
            ds[..., 1:] += length / 2
        shape = points.shape[:-1]
        flat = points.reshape(-1, 3)
        if self._turn is not None:
            flat = self._turn(flat)
        row, column = self.grid.pixels(flat[:, 0], flat[:, 1])
        # tubes thinner than a ray's spacing look alike but for their strength
        drawn = np.maximum(np.asarray(radius, np.float64), 0.5 * self.grid.spacing)
        level = np.rint(np.log(drawn / self.anchor) / np.log(self.step))
        area = (radius / (self.anchor * self.step**level)) ** 2
        weight = np.broadcast_to(strength * ds * area, shape).astype(np.float32)
        levels = np.broadcast_to(level, shape).astype(np.intp).ravel()
        self._parts.setdefault(core, []).append((row, column, levels, weight.ravel()))

    def render(self) -> Array:
        """The sum of strength times path of all tubes, (side, side)."""
        side = self.grid.side
        total = np.zeros((side, side // 2 + 1), np.complex64)
        for core, parts in self._parts.items():
            row, column, level, weight = (np.concatenate(part) for part in zip(*parts, strict=True))
            keep = (row >= 0) & (row < side - 1) & (column >= 0) & (column < side - 1)
            for k in range(int(level.min()), int(level.max()) + 1):
                mine = np.flatnonzero(keep & (level == k))
                if mine.size:
                    radius = self.anchor * self.step**k / self.grid.spacing
                    disc = _disc_spectrum(side, radius)
                    if core:
                        disc = disc - np.float32(core) * _disc_spectrum(side, radius / self.step)
                    total += scipy.fft.rfft2(_histogram(row[mine], column[mine], weight[mine], side)) * disc
        # half a pixel of smoothing keeps sharp discs from ringing
        total *= _smoothing(side)
        image: Array = scipy.fft.irfft2(total, s=(side, side))
        return image


Points = NDArray[np.float64]


def hilum_of(anatomy: Anatomy, side: int) -> Points:
    """Root of one lung (side -1: the patient's right, the image's left), (3,); the left one lies higher."""
    y = anatomy.apex + (0.46 if side < 0 else 0.42) * anatomy.height
    return np.array([side * 3.4, y, -0.5])


def sample_inside(
    rng: np.random.Generator, n: int, anatomy: Anatomy, profiles: Profiles, side: int, reach: float = 0.9
) -> Points:
    """Points spread over one lung at full inspiration, at most ``reach`` of the way to its wall, (n, 3)."""
    n *= 2
    t = rng.beta(1.25, 1.0, n)
    y = anatomy.apex + 1.6 + t * (anatomy.height + 0.5 - 1.6)
    lateral, depth = profiles("lateral", y).astype(float), profiles("depth", y).astype(float)
    inner = LUNG_AXIS - 1.4
    across = rng.uniform(0, 1, n)
    x = inner + across * (reach * lateral + LUNG_AXIS - inner)
    out = np.clip((x - LUNG_AXIS) / lateral, 0, 1)
    z = profiles("centre", y) + rng.uniform(-0.5, 0.5, n) * depth * np.sqrt(1 - out**2)
    room = depth * np.sqrt(1 - out**2) * lateral
    chosen = np.argpartition(rng.uniform(0, 1, n) ** (1 / np.maximum(room, 1e-3)), n // 2)[n // 2 :]
    return np.stack([side * x, y, z], axis=1)[chosen]


def _norm(vectors: Points) -> Points:
    """Lengths of vectors (N, 3), (N, 1)."""
    length: Points = np.sqrt(np.einsum("ni,ni->n", vectors, vectors))[:, None]
    return length


def grow_trees(roots: Points, targets: Points, wander: Points) -> tuple[Points, Points, NDArray[np.float64]]:
    """Branch from each root to all of its targets by halving the targets again and again.

    Each branch ends part of the way to the middle of the targets it supplies, which are then split across
    their longest extent. Radii follow from the number of targets supplied, close to Murray's law (PNAS 12
    (1926) 207).

    Args:
        roots: One point a tree, (T, 3).
        targets: What each tree reaches, (T, 2^g, 3).
        wander: How far each fork is displaced, relative to its branch, (T * 2^(g+1), 3).

    Returns:
        Starts and ends of all branches, (M, 3) each, and the number of targets each supplies, (M,).
    """
    groups, starts = targets, roots
    begin, end, count = [], [], []
    used = 0
    while True:
        n = groups.shape[1]
        share = 1.0 if n == 1 else 0.42
        stop = starts + share * (groups.mean(axis=1) - starts)
        if n > 1:
            stop = stop + 0.18 * _norm(stop - starts) * wander[used : used + len(stop)]
        used += len(stop)
        begin.append(starts)
        end.append(stop)
        count.append(np.full(len(stop), float(n)))
        if n == 1:
            return np.concatenate(begin), np.concatenate(end), np.concatenate(count)
        widest = np.argmax(groups.max(axis=1) - groups.min(axis=1), axis=1)
        tree = np.arange(len(groups))
        order = np.argpartition(groups[tree, :, widest], n // 2, axis=1)
        groups = groups[tree[:, None], order].reshape(-1, n // 2, 3)
        starts = np.repeat(stop, 2, axis=0)


def breathe(points: Points, anatomy: Anatomy, pose: Pose) -> Points:
    """Move points of the lung from full inspiration to the breath of ``pose``."""
    moved = points.copy()
    down = np.clip((points[..., 1] - anatomy.apex) / anatomy.height, 0, 1.2)
    moved[..., 1] -= pose.breath * down
    return moved


@dataclass(frozen=True)
class Branches:
    """Vessels of both lungs at full inspiration: bent pieces of tube.

    Attributes:
        start: (M, 3) in cm.
        stop: (M, 3) in cm.
        bend: Displacement of each piece's middle from the straight line, (M, 3) in cm.
        radius: (M,) in cm.
        small: Whether a piece is one of the last, short ones, (M,).
    """

    start: Points
    stop: Points
    bend: Points
    radius: NDArray[np.float64]
    small: NDArray[np.bool_]


def grow_vessels(rng: np.random.Generator, anatomy: Anatomy, profiles: Profiles) -> Branches:
    """Grow the arteries of both lungs, and the thinner veins, which run lower, to the left atrium."""
    leaves = 128
    hila = np.stack([hilum_of(anatomy, side) for side in (-1, 1)])
    mirror = np.array([[-1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
    roots = np.concatenate([hila, hila + np.array([-0.8, 2.2, -1.0]) * mirror])
    targets = [sample_inside(rng, 2 * leaves, anatomy, profiles, side).reshape(2, leaves, 3) for side in (-1, 1)]
    each = np.stack([targets[0][0], targets[1][0], targets[0][1], targets[1][1]])
    start, stop, count = grow_trees(roots, each, rng.standard_normal((8 * leaves, 3)))
    # within a generation the trees follow each other: right and left arteries, right and left veins
    generation = [np.repeat([0.64, 0.64, 0.46, 0.46], 2**g) for g in range(leaves.bit_length())]
    radius = np.concatenate(generation) * anatomy.vessels**0.6 * (count / leaves) ** 0.38
    # gravity fills the lower vessels
    low = 0.8 + 0.4 * np.clip((stop[:, 1] - anatomy.apex) / anatomy.height, 0, 1)
    bend = 4 * rng.normal(0, 0.10, (len(start), 3)) * _norm(stop - start)
    return Branches(start, stop, bend, np.maximum(radius * low, 0.07), count < 3)


def draw_vessels(canvas: TubeCanvas, tree: Branches, anatomy: Anatomy, pose: Pose) -> None:
    """Add vessels; strengths are the excess over lung tissue in 1/cm."""
    excess = SOFT_TISSUE - AIRED_LUNG * anatomy.lung_density
    for chosen, length in ((tree.small, 1.8), (~tree.small, 3.2)):
        t = np.linspace(0, 1, 2 + int(length / canvas.grid.spacing))[:, None]
        first, last = tree.start[chosen, None], tree.stop[chosen, None]
        line = first + t * (last - first) + t * (1 - t) * tree.bend[chosen, None]
        canvas.add(breathe(line, anatomy, pose), tree.radius[chosen, None], excess)


def draw_airways(canvas: TubeCanvas, anatomy: Anatomy, pose: Pose) -> None:
    """Add trachea and main bronchi as air instead of soft tissue."""
    t = np.linspace(0, 1, 120)[:, None]
    carina = np.array([-0.2 + anatomy.displaced, anatomy.apex + 0.33 * anatomy.height, -1.5])
    top = np.array([0.1, anatomy.apex - 9.0, -0.5])
    missing = AIR - SOFT_TISSUE
    canvas.add(top + t * (carina - top), anatomy.rib_radius * 1.3, 1.3 * missing)
    for side in (-1, 1):
        end = breathe(hilum_of(anatomy, side) + np.array([-0.4 * side, 0.6, 0.0]), anatomy, pose)
        canvas.add(carina + t * (end - carina), anatomy.rib_radius, 0.8 * missing)


def draw_devices(canvas: TubeCanvas, rng: np.random.Generator, anatomy: Anatomy, pose: Pose) -> None:
    """Add leads with electrodes to some patients, more often at the bedside, whatever the disease."""
    if rng.uniform() > (0.5 if pose.bedside else 0.12):
        return
    for _ in range(int(rng.integers(2, 5))):
        side = rng.choice([-1, 1])
        end = np.array([side * rng.uniform(5, anatomy.half_width), anatomy.apex + rng.uniform(2, 19), 10.0])
        begin = np.array([side * rng.uniform(8, 20), rng.choice([-18.0, 20.0]), 10.0])
        bend = rng.normal(0, 3.0, (2, 3)) * np.array([1, 1, 0])
        t = np.linspace(0, 1, 400)[:, None]
        line = begin * (1 - t) + end * t + 3 * t * (1 - t) * ((1 - t) * bend[0] + t * bend[1])
        canvas.add(line, 0.1, 0.45 * METAL)
        turn = np.linspace(0, 2 * np.pi, 60)[:, None]
        ring = end + 0.35 * np.concatenate([np.cos(turn), np.sin(turn), 0 * turn], axis=1)
        canvas.add(ring, anatomy.rib_radius / 1.69, 0.15 * METAL)
