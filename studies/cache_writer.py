"""How many decoded images a second a cache can take: by whoever decodes, or handed over to one process.

    python studies/cache_writer.py N [alone|pipes|ray][-handed] ...

N made-up files are "decoded" into random bytes in no time, so that writing is all there is to measure: by this process
alone, with others beside it that are reached through pipes, and by a Ray cluster on this machine. With ``-handed``
others do not see the cache and hand their bytes over. It prints images a second, and this process's processor time.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hilum.data.cache import open_images
from hilum.data.cache_files import THUMBNAIL, Decoded
from hilum.data.cache_writing import Part, decode_into, write_into
from hilum.data.dataset import Dataset, Row
from hilum.data.preprocessing import Preprocessing
from hilum.data.process_pool import MOST, Pool, ProcessPool, Work
from hilum.data.ray_pool import RayPool, Wanted

PREPROCESSING = Preprocessing(size=75)
NOISE = np.random.default_rng(0).integers(0, 256, (MOST, 75, 75), np.uint8)
THUMBNAILS = np.random.default_rng(1).integers(0, 256, (MOST, THUMBNAIL, THUMBNAIL), np.uint8)


def hashed(paths: Sequence[str]) -> list[str]:
    """What `hash_files` would give, without a file."""
    return [path.rjust(64, "0") for path in paths]


def decoded(parts: Sequence[Part], files: Sequence[tuple[int, str]]) -> Decoded:
    """What `decode_into` would give and write, without a file; without parts to write to, all is handed over."""
    found = Decoded(NOISE[: len(files)], THUMBNAILS[: len(files)], hashed([path for _, path in files]))
    if not parts:
        return found
    write_into(parts, files[0][0], found)
    return found.without_bytes()


class InNoTime:
    """A pool whose processes do in no time what takes long; without another pool it has none."""

    def __init__(self, pool: Pool | None, handed: bool) -> None:
        self.pool, self.handed = pool, handed

    def __enter__(self) -> InNoTime:
        if self.pool:
            self.pool.__enter__()
        return self

    def __exit__(self, *why: Any) -> None:
        if self.pool:
            self.pool.__exit__(*why)

    def map(self, work: Work[Any, Any], items: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """As `Pool.map`."""
        import cache_writer  # by this name other processes find it

        instead: Work[Any, Any] = cache_writer.hashed
        if isinstance(work, partial) and work.func is decode_into:
            instead = partial(cache_writer.decoded, [] if self.handed else work.args[0])
        if self.pool:
            yield from self.pool.map(instead, items)
        else:
            for first in range(0, len(items), MOST):
                yield first, instead(items[first : first + MOST])


def main(number: int, ways: Sequence[str]) -> None:
    table = Dataset(Path("/"), tuple(Row(f"{i:x}", "a", sha256=f"{i:064x}") for i in range(1, number + 1)))
    for way in ways:
        folder = Path(tempfile.mkdtemp())
        try:
            pool = {"alone": None, "pipes": ProcessPool(), "ray": RayPool("", Wanted())}[way.removesuffix("-handed")]
            began, used = time.perf_counter(), time.process_time()
            open_images(table, PREPROCESSING, folder=folder, pool=InNoTime(pool, way.endswith("-handed")))
            took, used = time.perf_counter() - began, time.process_time() - used
            size = sum(file.stat().st_size for file in folder.iterdir())
        finally:
            shutil.rmtree(folder)
        print(
            f"{way}: {number / took:,.0f} images/s, {size / took / 2**20:,.0f} MiB/s; {used / number * 1e6:.0f} us each"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:] or ["alone", "pipes", "pipes-handed", "ray", "ray-handed"])
