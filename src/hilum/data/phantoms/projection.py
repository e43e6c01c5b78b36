"""Parallel projection of three-dimensional shapes: what each ray passes through, in centimetres.

Patient coordinates are in cm: ``x`` to the patient's left (the image's right), ``y`` down, ``z`` forward
along the beam. A shape is either a solid with one interval ``[low, high]`` of ``z`` on each ray, so that
differences and intersections are interval arithmetic, or a tube along a centre line (see ``tubes``).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

_EMPTY = np.float32(1e3)


@dataclass(frozen=True)
class Grid:
    """The rays: a square detector seen in patient coordinates.

    Attributes:
        side: Rays along each edge.
        spacing: Distance between rays in cm.
        tilt: Rotation of the patient in the image plane, in radians.
        shift: Where the patient's origin falls on the detector, in cm from its middle.
        x: Patient ``x`` of each ray, (side, side).
        y: Patient ``y`` of each ray, (side, side).
    """

    side: int
    spacing: float
    tilt: float
    shift: tuple[float, float]
    x: Array
    y: Array

    @classmethod
    def of(cls, side: int, spacing: float, tilt: float = 0.0, shift: tuple[float, float] = (0.0, 0.0)) -> "Grid":
        """The grid whose middle ray meets the patient's origin, moved by ``shift`` and turned by ``tilt``."""
        axis = ((np.arange(side) - (side - 1) / 2) * spacing).astype(np.float32)
        u, v = axis[None, :] - np.float32(shift[0]), axis[:, None] - np.float32(shift[1])
        c, s = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
        return cls(side, spacing, tilt, shift, c * u + s * v, c * v - s * u)

    def pixels(self, x: NDArray[np.floating], y: NDArray[np.floating]) -> tuple[Array, Array]:
        """Fractional (row, column) of the rays through the patient points ``x``, ``y``."""
        c, s = np.cos(self.tilt), np.sin(self.tilt)
        middle = (self.side - 1) / 2
        column = (c * x - s * y + self.shift[0]) / self.spacing + middle
        row = (s * x + c * y + self.shift[1]) / self.spacing + middle
        return np.asarray(row, np.float32), np.asarray(column, np.float32)

    def window(self, x: float, y: float, reach: float) -> tuple[slice, slice]:
        """The part of the grid within ``reach`` cm of a point, as (rows, columns)."""
        row, column = self.pixels(np.array([x]), np.array([y]))
        half = reach / self.spacing + 1
        edges = [(int(max(0, p - half)), int(max(0, min(self.side, p + half + 1)))) for p in (row[0], column[0])]
        return slice(*edges[0]), slice(*edges[1])


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid with one axis along the beam.

    Attributes:
        centre: (x, y, z) in cm.
        radii: Half axes in cm; the first two lie in the image plane, the third along the beam.
        angle: Rotation of the first two axes in the image plane, in radians.
        open_below: Whether the shape goes on downwards below its centre, like a dome.
    """

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    angle: float = 0.0
    open_below: bool = False

    def window(self, grid: Grid) -> tuple[slice, slice]:
        """The part of the grid the ellipsoid can fall on."""
        rows, columns = grid.window(self.centre[0], self.centre[1], max(self.radii[:2]))
        return (slice(rows.start, grid.side) if self.open_below else rows), columns

    def half_chord(self, grid: Grid, window: tuple[slice, slice], ripple: Array | float = 0.0) -> Array:
        """Half of each ray's path through the ellipsoid in ``window``; ``ripple`` shifts the edge."""
        dx = grid.x[window] - np.float32(self.centre[0])
        dy = grid.y[window] - np.float32(self.centre[1])
        if self.open_below:
            dy = np.minimum(dy, np.float32(0))
        c, s = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        u = (c * dx + s * dy) / np.float32(self.radii[0])
        v = (c * dy - s * dx) / np.float32(self.radii[1])
        inside: Array = np.maximum(1 - u * u - v * v - ripple, 0).astype(np.float32, copy=False)
        return np.float32(self.radii[2]) * np.sqrt(inside)

    def chord(self, grid: Grid) -> Array:
        """Path of every ray through the ellipsoid in cm, (side, side)."""
        path = np.zeros((grid.side, grid.side), np.float32)
        window = self.window(grid)
        path[window] = 2 * self.half_chord(grid, window)
        return path


@dataclass
class Solid:
    """One interval of ``z`` a ray: inside between ``low`` and ``high``, nowhere if low > high."""

    low: Array
    high: Array

    @classmethod
    def empty(cls, grid: Grid) -> "Solid":
        """A solid no ray meets."""
        shape = (grid.side, grid.side)
        return cls(np.full(shape, _EMPTY), np.full(shape, -_EMPTY))

    def cover(self, grid: Grid, ellipsoid: Ellipsoid) -> None:
        """Grow each ray's interval to the smallest that also holds the ellipsoid."""
        window = ellipsoid.window(grid)
        half = ellipsoid.half_chord(grid, window)
        z = np.float32(ellipsoid.centre[2])
        hit = half > 0
        np.minimum(self.low[window], z - half, out=self.low[window], where=hit)
        np.maximum(self.high[window], z + half, out=self.high[window], where=hit)

    def length(self) -> Array:
        """Path of each ray inside, in cm."""
        path: Array = np.maximum(self.high - self.low, 0)
        return path
