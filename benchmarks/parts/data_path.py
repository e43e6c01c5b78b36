"""From files to an array of bytes: hilum's cache made anew, hashes included, and again; and a plain loop."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.measurement import Measurement, in_turn
from benchmarks.setting import Setting
from hilum.data.cache import open_images
from hilum.data.preprocessing import Preprocessing
from hilum.data.process_pool import usable_cores
from hilum.data.readers.read import read_table

PLAN = Preprocessing(size=75, equalise=True)


def measure(setting: Setting) -> list[Measurement]:
    table = read_table(setting.data)

    def rate(begin: float) -> float:
        return len(table) / (time.perf_counter() - begin)

    def anew() -> float:
        folder = setting.folder / "anew"
        shutil.rmtree(folder, ignore_errors=True)
        begin = time.perf_counter()
        open_images(table, PLAN, folder=folder)
        return rate(begin)

    def one_by_one() -> float:
        begin = time.perf_counter()
        np.stack([_plainly(table.file(row)) for row in table.rows])
        return rate(begin)

    def again() -> float:
        begin = time.perf_counter()
        open_images(table, PLAN, folder=setting.folder / "anew")
        return rate(begin)

    works = {"hilum: cache made anew": anew, "plain loop, one by one": one_by_one, "hilum: cache there already": again}
    anew(), one_by_one()
    note = f"{len(table)} files, 75x75 equalised, {usable_cores()} cores; the plain loop hashes and writes nothing"
    return [Measurement("decode and cache", "images/s", in_turn(works, setting.repeats(5, 3), setting.say), note)]


def _plainly(path: Path) -> np.ndarray:
    """What a loader does: the same arithmetic for 8-bit files, without checks, hashes and cache."""
    from PIL import ImageOps

    with Image.open(path) as image:
        grey = image.convert("L").resize((PLAN.size, PLAN.size), Image.Resampling.BILINEAR)
    return np.asarray(ImageOps.equalize(grey))
