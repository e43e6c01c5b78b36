"""The thorax: soft tissue, lungs and heart, and the skeleton around them."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hilum.phantoms.anatomy import LUNG_AXIS, Anatomy, Pose, Profiles
from hilum.phantoms.image import CORTICAL_BONE, SOFT_TISSUE, SPONGY_BONE, Array, Ellipsoid, Grid, Solid
from hilum.phantoms.tubes import TubeCanvas

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
    w = s * anatomy.heart_width
    arch = anatomy.apex + 0.24 * anatomy.height
    k = anatomy.aorta
    turn = np.sin(pose.rotation)
    parts = [
        ((2.9 * w, y + 0.4, 1.0), (6.0 * w, 4.2 * s, 7.0 * s), anatomy.heart_axis),  # ventricles
        ((-0.9 * w, y - 0.5, 0.8), (3.4 * w, 4.4 * s, 6.2 * s), 0.12),  # right atrium
        ((1.0 * w, y - 3.8 * s, 0.8), (3.2 * w, 4.2 * s, 6.0 * s), -0.35),  # outflow and left auricle
        ((1.9, arch + 3.9, 0.6), (2.2, 3.3, 3.0), 0.1),  # pulmonary trunk
        ((1.6, arch, -1.2), (1.15 + 0.95 * k, 1.55 * k, 3.4), 0.0),  # aortic arch
        ((-1.3, arch + 1.5, 2.0), (1.9 + 0.2 * k, 5.5, 1.8), 0.05),  # superior caval vein, ascending aorta
        ((1.5, arch + 6.5, -4.6), (1.25 * k, 11.0, 1.25 * k), -0.02),  # descending aorta
    ]
    return [Ellipsoid((c[0] + c[2] * turn + anatomy.displaced, c[1], c[2]), r, angle) for c, r, angle in parts]


_CHAMBERS = 3
"""How many of the parts of the middle are the heart."""


def heart_shadow(grid: Grid, anatomy: Anatomy, pose: Pose) -> NDArray[np.bool_]:
    """Rays through the heart above the diaphragm, (side, side)."""
    shadow = np.zeros((grid.side, grid.side), np.bool_)
    for part in _middle(anatomy, pose)[:_CHAMBERS]:
        window = part.window(grid)
        shadow[window] |= part.half_chord(grid, window) > 0
    for dome in _domes(anatomy, pose):
        window = dome.window(grid)
        shadow[window] &= dome.half_chord(grid, window) <= 0
    return shadow


def cardiothoracic_ratio(anatomy: Anatomy, profiles: Profiles) -> float:
    """Widest heart over widest inner rib cage of the patient standing, breathed in, seen from behind.

    The measure of Danzer, *The cardiothoracic ratio: an index of cardiac enlargement*, Am J Med Sci 157 (1919) 513.
    """
    standing = Pose(rotation=0.0, tilt=0.0, shift=(0.0, 0.0), field=1.0, breath=0.0, bedside=False)
    edges = []
    for part in _middle(anatomy, standing)[:_CHAMBERS]:
        reach = np.hypot(part.radii[0] * np.cos(part.angle), part.radii[1] * np.sin(part.angle))
        edges += [part.centre[0] - reach, part.centre[0] + reach]
    down = np.linspace(anatomy.apex, right_dome(anatomy, standing) + 2, 200)
    inner = 2 * (LUNG_AXIS + profiles("lateral", down).max())
    return float((max(edges) - min(edges)) / inner)


def with_ratio(anatomy: Anatomy, profiles: Profiles, ratio: float) -> Anatomy:
    """The patient with a heart widened or narrowed to a cardiothoracic ratio."""
    for _ in range(6):  # nearly proportional, so that a few steps suffice
        change = ratio / cardiothoracic_ratio(anatomy, profiles)
        heart, width = anatomy.heart * change**0.4, anatomy.heart_width * change**0.6
        anatomy = replace(anatomy, heart=heart, heart_width=width)
    return anatomy


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
    lean = np.float32(np.sin(pose.rotation) * 2.0 + anatomy.displaced)
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


_RIB_DROP = np.array([2.6, 4.6, 6.2, 7.4, 8.4, 9.2, 9.8, 10.2, 10.0, 8.6, 5.0, 3.0])
_RIB_END = np.array([2.35, 2.35, 2.35, 2.4, 2.4, 2.4, 2.35, 2.25, 2.1, 1.9, 1.25, 0.8])
_SHELL = CORTICAL_BONE - SOFT_TISSUE
_CORE = CORTICAL_BONE - SPONGY_BONE


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
        heads[window] += ball.half_chord(grid, window) * np.float32(2.2 * (SPONGY_BONE - SOFT_TISSUE) * anatomy.bone)
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
