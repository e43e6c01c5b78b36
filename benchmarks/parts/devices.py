"""Training on several devices: images a second of the default recipe by one process and by two, on phantoms.

Without a GPU a device is a share of the cores, which one process also uses by its threads: what two processes lose
against one with two threads is the price of exchanging gradients and statistics.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from unittest import mock

from benchmarks.child import run
from benchmarks.measurement import Measurement, in_turn
from benchmarks.setting import Setting
from hilum.phantoms import write_phantoms

CONTESTANTS = {"two processes of one thread": (2, 1), "one process of two threads": (1, 2), "one thread": (1, 1)}


def measure(setting: Setting) -> list[Measurement]:
    data = setting.folder / "devices"
    write_phantoms(data, patients=120, masks=False)
    steps = 12 if setting.quick else 40
    works = {
        name: lambda devices=devices, threads=threads: _rate(setting.folder, data, devices, threads, steps)
        for name, (devices, threads) in CONTESTANTS.items()
    }
    _rate(setting.folder, data, 1, 2, 1)  # decodes the images
    note = f"recipe compact, {steps} steps of 64 images together, without start and validation"
    return [Measurement("training on two cores", "images/s", in_turn(works, setting.repeats(5, 3), setting.say), note)]


def _rate(folder: Path, data: Path, devices: int, threads: int, steps: int) -> float:
    """Images a second of all processes together."""
    out = folder / "run"
    plan = ["--set", f"max_steps={steps}", "--set", "epochs=100", "--set", f"validate_every={steps}"]
    with mock.patch.dict(os.environ, OMP_NUM_THREADS=str(threads)):
        run("-m", "hilum", "train", str(data), "--out", str(out), "--devices", str(devices), *plan)
    found = json.loads((out / "environment.json").read_text(encoding="utf-8"))["images_per_second"]
    shutil.rmtree(out)
    return float(found)
