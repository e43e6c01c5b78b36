"""Memory while very many damaged files are answered about: ``PYTHONPATH=tests python -m fuzzing.memory 100000``.

Nine in ten are images, the rest DICOM objects; every 5,000 files a line says how much memory the process takes.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

from fuzzing import seeds
from fuzzing.mutation import mutate
from hilum.serving.predictor import Predictor

EVERY = 5000


def damaged(count: int, random: Random) -> Iterator[bytes]:
    """Files, made while they are asked for."""
    images, objects = seeds.images(), seeds.dicom()
    for _ in range(count):
        pile = objects if random.random() < 0.1 else images
        yield mutate(random.choice(pile), pile, random)


def resident(process: str) -> int:
    """Memory of a process in MiB."""
    return int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{process}/status").read_text())[0]) // 1024


def decoders() -> int:
    """Memory in MiB of the processes in which large, slow and foreign formats are decoded."""
    return sum(
        resident(child) for task in Path("/proc/self/task").glob("*/children") for child in task.read_text().split()
    )


def main(count: int) -> None:
    """Answer about them, and count."""
    predictor, started = Predictor(), time.monotonic()
    sound = refused = 0
    print(
        "| files | seconds | answered | refused | MiB | MiB of decoders | open files |\n|---|---|---|---|---|---|---|"
    )
    for number, answer in enumerate(predictor.predict_many(damaged(count, Random(1))), start=1):
        refused += bool(answer.error)
        sound += not answer.error and abs(sum(answer.probabilities.values()) - 1) < 1e-3
        assert not any(secret in answer.error for secret in seeds.SECRETS)
        if number % EVERY == 0 or number == count:
            opened = len(os.listdir("/proc/self/fd"))
            seconds = time.monotonic() - started
            told = (f"{number:,}", f"{seconds:.0f}", f"{sound:,}", f"{refused:,}", resident("self"), decoders(), opened)
            print("|", " | ".join(map(str, told)), "|", flush=True)
    assert sound + refused == count


if __name__ == "__main__":
    main(int(sys.argv[1]))
