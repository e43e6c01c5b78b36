"""Timings on this machine, as ratios measured side by side in one run: ``make bench``.

Each pair is taken in turn, several times; the median is quoted. Data are phantoms, so that anybody can repeat it.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from hilum.data.cache import open_images
from hilum.data.layouts import read_table
from hilum.data.phantoms import write_phantoms
from hilum.data.preprocessing import Preprocessing
from hilum.models.registry import build_network
from hilum.training.environment import computes_bfloat16, processor_name

RESULTS = Path(__file__).parent / "results"
REPEATS = 5


def seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def side_by_side(ours: Callable[[], object], other: Callable[[], object]) -> tuple[float, float]:
    """Median seconds of two pieces of work, taken in turn after one warm-up each."""
    ours(), other()
    pairs = [(seconds(ours), seconds(other)) for _ in range(REPEATS)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def start_of(*arguments: str) -> Callable[[], object]:
    return lambda: subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)


def training_step(name: str, size: int, batch: int, *, fast: bool) -> Callable[[], object]:
    torch.manual_seed(0)
    network = build_network(name, n_labels=3, size=size).train()
    images, targets = torch.randn(batch, 1, size, size), torch.arange(batch) % 3
    if fast:
        network, images = (x.to(memory_format=torch.channels_last) for x in (network, images))
    optimiser = torch.optim.Adam(network.parameters(), fused=fast)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=fast and computes_bfloat16()):
            loss = F.nll_loss(network(images).float(), targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def decode_plainly(root: Path, size: int) -> None:
    """What a loader does that decodes one image after another."""
    for row in read_table(root).rows:
        np.asarray(Image.open(root / row.path).convert("L").resize((size, size)))


def main() -> None:
    rows = []

    def compare(what: str, ours: str, other: str, a: Callable[[], object], b: Callable[[], object]) -> None:
        mine, theirs = side_by_side(a, b)
        rows.append({"what": what, "hilum": ours, "other": other, "hilum_s": mine, "other_s": theirs})
        print(f"{what}: {ours} {mine:.3f} s, {other} {theirs:.3f} s, ratio {theirs / mine:.2f}", flush=True)

    compare("start", "hilum --help", "import torch", start_of("-m", "hilum", "--help"), start_of("-c", "import torch"))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "phantoms"
        write_phantoms(root, patients=200, masks=False)
        table, plan = read_table(root), Preprocessing(size=75, equalise=True)
        caches = iter(range(10**6))

        def decode() -> None:
            open_images(table, plan, folder=Path(folder) / str(next(caches)))

        compare("decoding 300 phantoms", "cache made anew", "one by one", decode, lambda: decode_plainly(root, 75))
    for name, size, batch in (("compact", 75, 64), ("vgg16-bn", 150, 8)):
        fast, plain = (training_step(name, size, batch, fast=fast) for fast in (True, False))
        compare(f"training step of {name}, batch {batch}", "as hilum trains", "float32, contiguous", fast, plain)

    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "repeats": REPEATS,
        "rows": rows,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{result['date']}-{platform.machine()}-{os.cpu_count()}cores.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    lines = ["| what | hilum | beside it | ratio |", "|---|---|---|---|"]
    for row in rows:
        mine, theirs = f"{row['hilum']}: {row['hilum_s']:.3f} s", f"{row['other']}: {row['other_s']:.3f} s"
        lines.append(f"| {row['what']} | {mine} | {theirs} | {row['other_s'] / row['hilum_s']:.2f} |")
    path.with_suffix(".md").write_text("\n".join(lines) + "\n")
    print(f"written: {path}")


if __name__ == "__main__":
    main()
