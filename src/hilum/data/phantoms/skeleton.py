"""Bones: ribs, spine, clavicles, shoulder blades and upper arms."""

import numpy as np
from numpy.typing import NDArray

from hilum.data.phantoms import attenuation as mu
from hilum.data.phantoms.anatomy import Anatomy
from hilum.data.phantoms.pose import Pose
from hilum.data.phantoms.profiles import LUNG_AXIS, Profiles
from hilum.data.phantoms.projection import Array, Ellipsoid, Grid
from hilum.data.phantoms.tubes import TubeCanvas

_RIB_DROP = np.array([2.6, 4.6, 6.2, 7.4, 8.4, 9.2, 9.8, 10.2, 10.0, 8.6, 5.0, 3.0])
_RIB_END = np.array([2.35, 2.35, 2.35, 2.4, 2.4, 2.4, 2.35, 2.25, 2.1, 1.9, 1.25, 0.8])
_SHELL = mu.CORTICAL_BONE - mu.SOFT_TISSUE
_CORE = mu.CORTICAL_BONE - mu.SPONGY_BONE


def vertebra_levels(anatomy: Anatomy) -> NDArray[np.float64]:
    """``y`` of the middles of the vertebrae from the fourth cervical to the third lumbar, (19,)."""
    heights = np.concatenate([np.full(4, 1.55), np.linspace(1.75, 2.6, 12), np.full(3, 3.2)])
    heights *= anatomy.height / 20.5
    middles = np.cumsum(heights) - heights / 2
    levels: NDArray[np.float64] = middles + (anatomy.apex - 0.9 - middles[4])
    return levels


BONE_STEP = 1.3
"""Ratio of bone radii: outer and inner surfaces are whole steps apart, so that they are drawn exactly."""


def _bone(canvas: TubeCanvas, line: NDArray[np.float64], steps: int, anatomy: Anatomy, flat: float = 1.0) -> None:
    """Add bones along ``line`` (..., K, 3): a tube of cortical bone less its spongy core.

    The radius is ``steps`` steps above a rib's; ``flat`` is the bone's depth over its height.
    """
    radius = anatomy.rib_radius * BONE_STEP**steps
    strength = flat * anatomy.bone
    if steps >= 0:
        canvas.add(line, radius, strength * _SHELL, core=_CORE / _SHELL)
    else:
        canvas.add(line, radius, strength * 0.6 * _SHELL)


def _both(line: NDArray[np.float64], raised: NDArray[np.float64]) -> NDArray[np.float64]:
    """A line (K, 3) on the right and on the left, each raised by its own (2,) or (2, K) cm, (2, K, 3)."""
    both = np.stack([line * np.array([-1.0, 1.0, 1.0]), line])
    both[..., 1] -= raised if raised.ndim == 2 else raised[:, None]
    return both


def _ribs(canvas: TubeCanvas, anatomy: Anatomy, profiles: Profiles) -> None:
    n = anatomy.rib_pairs
    number = np.arange(n)[:, None]
    levels = vertebra_levels(anatomy)[4 : 4 + n, None]
    angle = np.linspace(0.0, 1.0, 300)[None, :] * _RIB_END[:n, None]
    fall = ((1 - np.cos(angle)) / 2) ** (0.8 + 0.01 * number)
    y = levels + 0.2 + _RIB_DROP[:n, None] * anatomy.rib_slope * (anatomy.height / 20.5) * fall
    width = np.maximum(profiles("lateral", y) + LUNG_AXIS + 0.25, 4.6 + 0.6 * number)
    x = 1.7 + (width - 1.7) * np.sin(angle) ** 1.05
    z = profiles("centre", y) - (profiles("depth", y) + 0.3) * np.cos(angle)
    line = np.stack([x, y, z], axis=-1)
    strength = 0.75 * anatomy.bone * anatomy.rib_contrast * _SHELL * np.where(number > 9, 0.6, 1.0)
    along = np.linspace(0.0, 1.0, 300)[None, :]
    for side, level, (middle, quarter) in zip((-1.0, 1.0), anatomy.rib_levels, anatomy.rib_waves, strict=True):
        own = line * np.array([side, 1.0, 1.0])
        own[..., 1] += level[:n, None] + middle[:n, None] * np.sin(np.pi * along)
        own[..., 1] += quarter[:n, None] * np.sin(2 * np.pi * along)
        canvas.add(own, anatomy.rib_radius, strength, core=_CORE / _SHELL)


def _clavicles(canvas: TubeCanvas, anatomy: Anatomy, pose: Pose) -> None:
    t = np.linspace(0, 1, 200)
    reach = anatomy.half_width + 2.2
    height = anatomy.apex + (0.8 if pose.bedside else 2.6)
    x = 1.6 + (reach - 1.6) * t
    y = height - 2.6 * t + 0.8 * np.sin(2 * np.pi * t)
    z = 5.0 - 4.0 * t + 1.0 * np.sin(2 * np.pi * t)
    lines = _both(np.stack([x, y, z], axis=1), anatomy.shoulders[:, None] * t)
    _bone(canvas, lines, 0, anatomy, flat=1.1)
    _bone(canvas, lines[:, :16], 0, anatomy, flat=0.6)


def _shoulders(canvas: TubeCanvas, grid: Grid, anatomy: Anatomy, pose: Pose) -> Array:
    """Add blades and arms to ``canvas``; return the line integral of the joints' heads."""
    raised = anatomy.shoulders
    spread = 0.4 if pose.bedside else 3.4
    socket = np.array([anatomy.half_width + 2.6, anatomy.apex + 2.6, -2.0])
    upper = np.array([anatomy.half_width - 4.6 + spread, anatomy.apex + 1.2, -6.0])
    tip = np.array([anatomy.half_width - 1.6 + spread, anatomy.apex + 13.5, -7.0])
    process = np.array([anatomy.half_width + 3.6, anatomy.apex - 0.2, -1.0])
    head = socket + np.array([2.2, 0.2, 0.5])
    elbow = head + np.array([0.6 if pose.bedside else 5.0, 24.0, 0.0])
    t = np.linspace(0, 1, 110)[:, None]
    across, along = np.meshgrid(np.linspace(0, 1, 26), np.linspace(0, 1, 26))
    inner = upper + along[..., None] * (tip - upper)
    outer = socket + along[..., None] * (tip - socket)
    blade = (inner + across[..., None] * (outer - inner)).reshape(-1, 3)
    border = anatomy.rib_radius / BONE_STEP**2
    area = abs((tip - upper)[0] * (socket - upper)[1] - (tip - upper)[1] * (socket - upper)[0]) / 2
    thin = 0.15 * anatomy.bone * _SHELL * area * (1 - along.ravel()) * 2 / along.size / (np.pi * border**2)
    canvas.add(_both(blade, raised), border, thin, ds=1.0)
    crest = upper + 0.2 * (tip - upper)
    for begin, end, flat in ((upper, tip, 0.7), (socket, tip, 1.0), (crest, process, 0.45)):
        _bone(canvas, _both(begin + t * (end - begin), raised), -2, anatomy, flat)
    _bone(canvas, _both(head + t * (elbow - head), raised), 3, anatomy, flat=0.8)
    heads = np.zeros_like(grid.x)
    for side, up in zip((-1, 1), raised, strict=True):
        ball = Ellipsoid((side * head[0], head[1] - up, head[2]), (2.3, 2.3, 2.3))
        window = ball.window(grid)
        heads[window] += ball.half_chord(grid, window) * np.float32(
            2.2 * (mu.SPONGY_BONE - mu.SOFT_TISSUE) * anatomy.bone
        )
    return heads


def _spine(grid: Grid, anatomy: Anatomy, pose: Pose, spine: Array) -> Array:
    """Vertebral bodies with end plates, pedicles and spinous processes, as a product of profiles."""
    levels = vertebra_levels(anatomy)
    edges = np.concatenate([[levels[0] - 0.8], (levels[1:] + levels[:-1]) / 2, [levels[-1] + 1.6]])
    fine = np.linspace(edges[0], edges[-1], 2048)
    number = np.clip(np.searchsorted(edges, fine, side="right") - 1, 0, levels.size - 1)
    span = edges[number + 1] - edges[number]
    off = np.abs(fine - levels[number]) / span * 2
    body = 1 / (1 + np.exp((off - 0.76) / 0.05))
    plate = np.exp(-(((off - 0.72) / 0.11) ** 2))
    width = (1.05 + 0.055 * number) * (1 - 0.12 * np.clip(1 - off, 0, 1)) * (anatomy.height / 20.5)
    knob = np.exp(-((((fine - levels[number]) / span - 0.02) / 0.20) ** 2))
    strong = np.clip(0.4 + 0.05 * number, 0.5, 1.1)
    table = np.stack([strong * body * (1 + 0.7 * plate), width, strong * knob]).astype(np.float32)

    middle = float(np.sin(pose.rotation) * -6.5)
    rows, columns = grid.window(middle, 0.0, grid.side * grid.spacing)
    half = int(4.5 / grid.spacing) + int(abs(np.sin(grid.tilt)) * grid.side / 2) + 2
    centre = int(grid.pixels(np.array([middle]), np.array([0.0]))[1][0])
    columns = slice(max(0, centre - half), max(0, min(grid.side, centre + half)))
    x = np.abs(grid.x[rows, columns] - spine[rows, columns] - np.float32(middle))
    index = ((grid.y[rows, columns] - fine[0]) * (2047 / (fine[-1] - fine[0]))).astype(np.int32)
    body_, width_, knob_ = (np.take(row, index, mode="clip") for row in table)
    inside = np.clip((width_ + 0.1 - x) / np.float32(0.4), 0, 1)
    edge = np.exp(-(((width_ - 0.2 - x) / np.float32(0.22)) ** 2))
    pedicle = knob_ * np.exp(-(((x - 0.68 * width_) / np.float32(0.30)) ** 2))
    process = knob_ * np.exp(-((x / np.float32(0.42)) ** 2))
    arch = np.exp(-((x / (width_ * 1.9)) ** 4)) * knob_
    path = body_ * (1.0 * inside + 0.45 * edge) + 0.7 * pedicle + 0.45 * process + 0.25 * arch
    out = np.zeros_like(grid.x)
    out[rows, columns] = path * np.float32(anatomy.bone * 0.55 * _SHELL)
    return out


def draw_skeleton(
    canvas: TubeCanvas, grid: Grid, anatomy: Anatomy, pose: Pose, profiles: Profiles, spine: Array
) -> Array:
    """Add the long bones to ``canvas``; return the rest's line integral beyond soft tissue, (side, side)."""
    _ribs(canvas, anatomy, profiles)
    _clavicles(canvas, anatomy, pose)
    heads = _shoulders(canvas, grid, anatomy, pose)
    return _spine(grid, anatomy, pose, spine) + heads
