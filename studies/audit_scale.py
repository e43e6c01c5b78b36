"""Time and memory of the search for copies among many images: the figures of docs/explanation/audit.md.

``.venv/bin/python studies/audit_scale.py 50000`` searches that many made-up thumbnails and 1,000 injected copies with
an index; with ``--all-pairs`` behind it, pair by pair.
"""

from __future__ import annotations

import json
import resource
import sys
import time

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from hilum.auditing.near_duplicates.search import find_copies

POOL, COPIES, SIDE = 1500, 1000, 64


def pictures(number: int) -> np.ndarray:
    """Coarse shapes and fine detail, drawn from pools and shifted, as alike as radiographs are: (N, 64, 64)."""
    generator = np.random.default_rng(0)
    noise = generator.normal(size=(3, POOL, SIDE, SIDE)).astype(np.float32)
    pools = [gaussian_filter(part, (0, width, width)) for part, width in zip(noise, (5, 1, 1), strict=True)]
    pools = [weight * pool / pool.std() for pool, weight in zip(pools, (30, 9, 9), strict=True)]
    common = 30 * gaussian_filter(generator.normal(size=(SIDE, SIDE)), 10) / 0.03
    made = np.empty((number, SIDE, SIDE), np.uint8)
    for i in range(number):
        places, shifts = generator.integers(0, POOL, 3), generator.integers(0, SIDE, (3, 2))
        parts = [np.roll(pool[k], shift, (0, 1)) for pool, k, shift in zip(pools, places, shifts, strict=True)]
        made[i] = np.clip(128 + common + sum(parts), 0, 255)
    return made


def copy_of(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Cropped by up to 8 % a side, and every other one mirrored."""
    left, right, top, bottom = (round(SIDE * share) for share in generator.uniform(0, 0.08, 4))
    part = Image.fromarray(image[top : SIDE - bottom, left : SIDE - right])
    small = np.asarray(part.resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    return small[:, ::-1] if generator.random() < 0.5 else small


def main(number: int, *, indexed: bool) -> None:
    """Search, and print what it took."""
    generator = np.random.default_rng(1)
    images = pictures(number)
    chosen = generator.choice(number, COPIES, replace=False)
    images = np.concatenate([images, [copy_of(images[i], generator) for i in chosen]])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin, cpu = time.perf_counter(), time.process_time()
    found = find_copies(images, indexed=indexed)
    pairs = {(min(i, j), max(i, j)) for i, j in zip(found.first.tolist(), found.second.tolist(), strict=True)}
    injected = {(int(i), number + n) for n, i in enumerate(chosen)}
    result = {
        "images": len(images),
        "indexed": indexed,
        "seconds": round(time.perf_counter() - begin, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "MB_for_thumbnails": round(before / 1000),
        "MB_at_most": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000),
        "planted_found": len(pairs & injected) / COPIES,
        "others": len(pairs - injected),
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(int(sys.argv[1]), indexed="--all-pairs" not in sys.argv)
