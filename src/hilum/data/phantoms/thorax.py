"""Soft parts of the thorax on each ray: body, lungs, heart, great vessels, diaphragm, breasts, stomach."""

from dataclasses import dataclass

import numpy as np

from hilum.data.phantoms.anatomy import Anatomy
from hilum.data.phantoms.pose import Pose
from hilum.data.phantoms.profiles import LUNG_AXIS, Profiles
from hilum.data.phantoms.projection import Array, Ellipsoid, Grid, Solid

_SQUARED = np.linspace(0, 1, 1025)
_WALL_CURVE = ((1 - _SQUARED**1.25) ** (1 / 2.2)).astype(np.float32)


@dataclass(frozen=True)
class Thorax:
    """What each ray passes through, in cm; every array is (side, side).

    Attributes:
        body: Path through the body.
        behind: Lung between the back wall and the heart, mediastinum or diaphragm, as an interval of ``z``.
        before: Lung in front of them; where nothing interrupts the lung, ``behind`` holds all of it.
        breast: Path through the breasts, outside the body's outline.
        gas: Path through gas in the stomach and bowel.
    """

    body: Array
    behind: Solid
    before: Solid
    breast: Array
    gas: Array

    def lung(self) -> Array:
        """Path of each ray through lung."""
        return self.behind.length() + self.before.length()


def right_dome(anatomy: Anatomy, pose: Pose) -> float:
    """``y`` of the top of the right diaphragm dome."""
    return anatomy.apex + anatomy.height - pose.breath


def heart_centre(anatomy: Anatomy, pose: Pose) -> tuple[float, float]:
    """``y`` of the heart's middle and the size it has in this pose (larger when breathed out or lying)."""
    size = anatomy.heart * (1.05 if pose.bedside else 1.0) * (1 + 0.02 * pose.breath)
    return right_dome(anatomy, pose) - 2.5 * size, size


def _domes(anatomy: Anatomy, pose: Pose) -> list[Ellipsoid]:
    top, rise = right_dome(anatomy, pose), anatomy.dome_rise + 4.0
    radius = 0.70 * anatomy.half_width
    depth = 1.25 * anatomy.half_depth
    left = top + anatomy.dome_drop
    return [
        Ellipsoid((-0.50 * anatomy.half_width, top + rise, 0.6), (radius, rise, depth), open_below=True),
        Ellipsoid((0.53 * anatomy.half_width, left + rise, 0.4), (radius, rise, depth), open_below=True),
        Ellipsoid((0.4, left + rise - 0.9, 0.6), (0.42 * anatomy.half_width, rise, depth), open_below=True),
    ]


def _middle(anatomy: Anatomy, pose: Pose) -> list[Ellipsoid]:
    """Heart and great vessels, each moved sideways by its depth when the patient is turned."""
    y, s = heart_centre(anatomy, pose)
    arch = anatomy.apex + 0.24 * anatomy.height
    k = anatomy.aorta
    turn = np.sin(pose.rotation)
    parts = [
        ((2.9 * s, y + 0.4, 1.0), (6.0 * s, 4.2 * s, 7.0 * s), anatomy.heart_axis),  # ventricles
        ((-0.9 * s, y - 0.5, 0.8), (3.4 * s, 4.4 * s, 6.2 * s), 0.12),  # right atrium
        ((1.0 * s, y - 3.8 * s, 0.8), (3.2 * s, 4.2 * s, 6.0 * s), -0.35),  # outflow and left auricle
        ((1.9, arch + 3.9, 0.6), (2.2, 3.3, 3.0), 0.1),  # pulmonary trunk
        ((1.6, arch, -1.2), (1.15 + 0.95 * k, 1.55 * k, 3.4), 0.0),  # aortic arch
        ((-1.3, arch + 1.5, 2.0), (1.9 + 0.2 * k, 5.5, 1.8), 0.05),  # superior caval vein, ascending aorta
        ((1.5, arch + 6.5, -4.6), (1.25 * k, 11.0, 1.25 * k), -0.02),  # descending aorta
    ]
    return [Ellipsoid((c[0] + c[2] * turn, c[1], c[2]), r, angle) for c, r, angle in parts]


def _body(grid: Grid, pose: Pose, anatomy: Anatomy, across: Array, rows: dict[str, Array]) -> Array:
    u = np.minimum(across / rows["body_width"], 1)
    half = rows["body_depth"] * np.take(_WALL_CURVE, (u * u * 1024).astype(np.int32))
    out = anatomy.half_width + anatomy.wall + (3.6 if pose.bedside else 6.0)
    lean = 0.05 if pose.bedside else -0.28
    for side in (-1, 1):
        arm = Ellipsoid((side * out, anatomy.apex + 13.5, 0.0), (4.4, 17.0, 4.4), side * lean)
        joint = Ellipsoid((side * (anatomy.half_width + 4.5), anatomy.apex + 4.0, 0.0), (6.5, 5.0, 5.5))
        for part in (arm, joint):
            window = part.window(grid)
            np.maximum(half[window], part.half_chord(grid, window), out=half[window])
    path: Array = 2 * half
    return path


def _cage(across: Array, rows: dict[str, Array]) -> Solid:
    """The inside of the rib cage on both sides: a superellipse about each lung's axis."""
    out = across - np.float32(LUNG_AXIS)
    u = np.where(out > 0, out / rows["lateral"], -out / rows["medial"])
    half = rows["depth"] * np.take(_WALL_CURVE, (np.minimum(u * u, 1) * 1024).astype(np.int32))
    empty = half <= 0
    half[empty] = -1.0
    return Solid(rows["centre"] - half, rows["centre"] + half)


def _breasts(grid: Grid, anatomy: Anatomy, pose: Pose) -> Array:
    path = np.zeros((grid.side, grid.side), np.float32)
    if anatomy.breast:
        b = anatomy.breast
        sag = 1.0 if not pose.bedside else -0.5
        for side in (-1, 1):
            out = 0.58 * anatomy.half_width + (0.0 if not pose.bedside else 1.5)
            shape = Ellipsoid(
                (side * out, anatomy.apex + 0.70 * anatomy.height + sag, 0.0),
                (6.0 * b, 5.6 * b, 4.5 * b),
                side * 0.2,
            )
            window = shape.window(grid)
            path[window] += shape.half_chord(grid, window)
    return path


def _gas(grid: Grid, anatomy: Anatomy, pose: Pose) -> Array:
    path = np.zeros((grid.side, grid.side), np.float32)
    if anatomy.gas:
        g = anatomy.gas
        left = right_dome(anatomy, pose) + anatomy.dome_drop
        shapes = [Ellipsoid((0.44 * anatomy.half_width, left + 0.9 + 1.6 * g, 1.0), (3.2 * g, 1.7 * g, 3.0 * g), 0.15)]
        if g > 0.95:
            shapes.append(Ellipsoid((0.75 * anatomy.half_width, left + 5.5, 2.0), (2.4, 1.7, 2.0), 0.8))
        for shape in shapes:
            window = shape.window(grid)
            path[window] += 2 * shape.half_chord(grid, window)
    return path


def build_thorax(grid: Grid, anatomy: Anatomy, pose: Pose, profiles: Profiles) -> Thorax:
    """Trace every ray of ``grid`` through the soft parts."""
    rows = profiles.rows(grid.y)
    across = np.abs(grid.x)
    cage = _cage(across, rows)
    core = Solid.empty(grid)
    lean = np.float32(np.sin(pose.rotation) * 2.0)
    x = grid.x - lean
    edge = x / np.where(x > 0, rows["left"], rows["right"])
    inside = np.abs(edge) < 1
    half = np.float32(0.95 * anatomy.half_depth) * np.sqrt(np.maximum(1 - edge * edge, 0))
    np.copyto(core.low, -1.5 - half, where=inside)
    np.copyto(core.high, -1.5 + half, where=inside)
    for part in (*_domes(anatomy, pose), *_middle(anatomy, pose)):
        core.cover(grid, part)
    behind = Solid(cage.low, np.minimum(cage.high, core.low))
    before = Solid(np.maximum(cage.low, core.high), cage.high)
    before.low[core.low > core.high] = 1e3
    body = _body(grid, pose, anatomy, across, rows)
    return Thorax(body, behind, before, _breasts(grid, anatomy, pose), _gas(grid, anatomy, pose))
