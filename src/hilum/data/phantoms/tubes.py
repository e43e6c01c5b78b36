"""Projection of tubes along centre lines: ribs, vessels, airways and wires."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import scipy.fft
import scipy.special
from numpy.typing import NDArray

from hilum.data.phantoms.projection import Array, Grid


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
