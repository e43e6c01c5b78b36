"""Pulmonary vessels and airways: branching tubes that run from the hila into the lungs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hilum.data.phantoms import attenuation as mu
from hilum.data.phantoms.anatomy import Anatomy
from hilum.data.phantoms.pose import Pose
from hilum.data.phantoms.profiles import LUNG_AXIS, Profiles
from hilum.data.phantoms.tubes import TubeCanvas

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
    excess = mu.SOFT_TISSUE - mu.LUNG * anatomy.lung_density
    for chosen, length in ((tree.small, 1.8), (~tree.small, 3.2)):
        t = np.linspace(0, 1, 2 + int(length / canvas.grid.spacing))[:, None]
        first, last = tree.start[chosen, None], tree.stop[chosen, None]
        line = first + t * (last - first) + t * (1 - t) * tree.bend[chosen, None]
        canvas.add(breathe(line, anatomy, pose), tree.radius[chosen, None], excess)


def draw_airways(canvas: TubeCanvas, anatomy: Anatomy, pose: Pose) -> None:
    """Add trachea and main bronchi as air instead of soft tissue."""
    t = np.linspace(0, 1, 120)[:, None]
    carina = np.array([-0.2, anatomy.apex + 0.33 * anatomy.height, -1.5])
    top = np.array([0.1, anatomy.apex - 9.0, -0.5])
    missing = mu.AIR - mu.SOFT_TISSUE
    canvas.add(top + t * (carina - top), anatomy.rib_radius * 1.3, 1.3 * missing)
    for side in (-1, 1):
        end = breathe(hilum_of(anatomy, side) + np.array([-0.4 * side, 0.6, 0.0]), anatomy, pose)
        canvas.add(carina + t * (end - carina), anatomy.rib_radius, 0.8 * missing)
