"""Things that lie on patients: monitoring leads, electrodes and lines."""

import numpy as np

from hilum.data.phantoms import attenuation as mu
from hilum.data.phantoms.anatomy import Anatomy
from hilum.data.phantoms.pose import Pose
from hilum.data.phantoms.tubes import TubeCanvas


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
        canvas.add(line, 0.1, 0.45 * mu.METAL)
        turn = np.linspace(0, 2 * np.pi, 60)[:, None]
        ring = end + 0.35 * np.concatenate([np.cos(turn), np.sin(turn), 0 * turn], axis=1)
        canvas.add(ring, anatomy.rib_radius / 1.69, 0.15 * mu.METAL)
