"""Training and evaluation of more data than the process may hold: the cache is mapped, batch by batch."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from hilum.data.cache import open_images
from hilum.data.readers.read import read_table
from short_trainings import tiny
from sizes import sized

SIDE, COUNT = 1280, sized(702, 2808)  # at full size 4.6 GB are mapped, five times what is allowed
ALLOWED = sized(730, 900) * 2**20  # imports take 390 MiB; baselines look at 5,000 images at most, and here at them all
PARTS = ("train", "train", "train", "val", "test", "test")
SETTINGS = (
    *(f"preprocessing.size={SIDE}", "preprocessing.local_contrast=0", "preprocessing.equalise=false"),
    *("network.options.stem_stride=16", "network.options.width=2", "augmentation={}", "progressive_size=0"),
    *("duplicates=identical", "epochs=1", "batch_size=2", "eval_batch_size=1"),
)
# As on a machine of one core, since each thread has buffers of its own; little of what takes time in an evaluation.
CAPPED = """
import os, resource, sys
os.cpu_count = lambda: 1
from pathlib import Path
import torch
torch.set_num_threads(1)
import hilum
from hilum.auditing import probe_classifier
from hilum.data.readers.read import read_table
from hilum.evaluation import reliance, shortcut_baselines
from hilum.training.train import train
from short_trainings import tiny

shortcut_baselines.TREES = probe_classifier.ROUNDS = 5
reliance.BLOCKS = reliance.IMAGES = reliance.LEAST = 1
reliance.HELD = 2**24
cap = int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_DATA, (cap, cap))
try:
    bytearray(int(sys.argv[4]))
except MemoryError:
    print("capped")
run = train(read_table(Path(sys.argv[1])), Path(sys.argv[2]), tiny(*sys.argv[5:]))
print("evaluated", hilum.evaluate(run, progress=False).metrics.n_images)
"""
# One thread for BLAS, and an allocator that gives large blocks back at once: what counts is what hilum holds.
SPARING = {"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": str(2**20)}


@pytest.mark.slow
@pytest.mark.timeout(sized(600, 3600))
@pytest.mark.skipif(sys.platform != "linux", reason="limits of the data segment are Linux's")
def test_data_larger_than_memory_are_trained_on_and_evaluated(tmp_path):
    generator = np.random.default_rng(0)
    rows = ["path,label,patient_id,split"]
    for number in range(COUNT):
        coarse = Image.fromarray(generator.integers(0, 255, (4, 4), np.uint8)).resize((128, 128))
        coarse.save(tmp_path / f"{number}.png", compress_level=1)
        label = ("normal", "infected")[number // len(PARTS) % 2]
        rows.append(f"{number}.png,{label},p{number},{PARTS[number % len(PARTS)]}")
    table = tmp_path / "images.csv"
    table.write_text("\n".join(rows))
    images = open_images(read_table(table), tiny(*SETTINGS).preprocessing)
    assert images.pixels.nbytes > sized(1.5, 4.8) * ALLOWED
    arguments = [str(table), str(tmp_path / "run"), str(ALLOWED), str(images.pixels.nbytes), *SETTINGS]
    environment = {**os.environ, **SPARING, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(
        [sys.executable, "-c", CAPPED, *arguments],
        capture_output=True,
        text=True,
        timeout=sized(900, 3000),
        env=environment,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[0] == "capped"
    assert ended.stdout.splitlines()[-1] == f"evaluated {COUNT * PARTS.count('test') // len(PARTS)}"
