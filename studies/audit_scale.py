"""Time and memory of the search for copies among many images: the figures of docs/explanation/audit.md.

``.venv/bin/python studies/audit_scale.py 50000`` searches that many made-up thumbnails and 1,000 injected copies with
an index; with ``--all-pairs`` behind it, pair by pair; with ``--ray``, by a Ray cluster that it starts. With ``--files
FOLDER`` the images and copies are written there as PNG files of 256 x 256 pixels under two labels, and the whole audit
reads them.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from hilum.auditing.audit import audit
from hilum.auditing.near_duplicates.ray_search import find_copies_by_ray, store_for
from hilum.auditing.near_duplicates.search import find_copies
from hilum.progress import Advance, Progress
from hilum.ray_engine import connect

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


def images_and_copies(number: int) -> tuple[np.ndarray, set[tuple[int, int]]]:
    """Images, the copies behind them, and which is whose."""
    generator = np.random.default_rng(1)
    images = pictures(number)
    chosen = generator.choice(number, COPIES, replace=False)
    copies = [copy_of(images[i], generator) for i in chosen]
    return np.concatenate([images, copies]), {(int(i), number + n) for n, i in enumerate(chosen)}


class Timed(Progress):
    """Seconds and memory after each task."""

    def __init__(self) -> None:
        self.begin, self.stages = time.perf_counter(), {}

    @contextmanager
    def task(self, title: str, total: int) -> Iterator[Advance]:
        """Time one."""
        begin = time.perf_counter()
        yield lambda done: None
        self.stages[title] = [round(time.perf_counter() - begin, 1), memory()]


def memory() -> int:
    """The most that this process has had, in MB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)


def whole(number: int, folder: Path) -> None:
    """Audit files, made where they are not there, and print what it took; in a process of its own for its memory."""
    if not folder.exists():
        images, _ = images_and_copies(number)
        for label in ("normal", "infected"):
            (folder / label).mkdir(parents=True)
        for k, image in enumerate(images):
            place = folder / ("normal", "infected")[k % 2] / f"p{k // 2:07d}-{k % 2}.png"
            Image.fromarray(image).resize((256, 256), Image.Resampling.BICUBIC).save(place)
        print("made: give the same command again to audit them")
        return
    timed, cpu = Timed(), time.process_time()
    found = audit(folder, progress=timed)
    result = {
        "images": len(found.scan),
        "seconds": round(time.perf_counter() - timed.begin, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "MB_at_most": memory(),
        "stages": timed.stages,
        "groups": len(found.duplicates.groups),
    }
    print(json.dumps(result))


def main(number: int, how: str) -> None:
    """Search, and print what it took; of a cluster, memory and processor time of this process alone."""
    images, injected = images_and_copies(number)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin, cpu = time.perf_counter(), time.process_time()
    if how == "--ray":
        with connect(store=store_for(len(images))) as cluster:
            found = find_copies_by_ray(cluster, images)
    else:
        found = find_copies(images, indexed=how != "--all-pairs")
    pairs = {(min(i, j), max(i, j)) for i, j in zip(found.first.tolist(), found.second.tolist(), strict=True)}
    result = {
        "images": len(images),
        "how": how,
        "seconds": round(time.perf_counter() - begin, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "MB_for_thumbnails": round(before / 1000),
        "MB_at_most": memory(),
        "planted_found": len(pairs & injected) / COPIES,
        "others": len(pairs - injected),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    if "--files" in sys.argv:
        whole(int(sys.argv[1]), Path(sys.argv[sys.argv.index("--files") + 1]))
    else:
        main(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "index")
