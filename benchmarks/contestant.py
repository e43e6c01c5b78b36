"""``python -m benchmarks.contestant KIND ...``: makes one step whenever a line comes in, and says its seconds.

The first line that goes out is the number of images in a step, after one step to warm up. hilum's own steps are those
of its trainer, whole: it tells its `Progress` after each one, and is held there until the next is asked for.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hilum.progress import Advance, Progress

PREDICTED = 640  # files a step


def out(text: object) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def serve(steps: Iterator[None], images: int) -> None:
    """Answer with the seconds of each step of a loop."""
    next(steps)
    out(images)
    for _ in sys.stdin:
        begin = time.perf_counter()
        next(steps)
        out(time.perf_counter() - begin)


class Held(Progress):
    """Stops hilum's trainer after every step until somebody asks for the next one."""

    def __init__(self, images: int) -> None:
        self.images, self.begin = images, 0.0

    @contextmanager
    def task(self, title: str, total: int) -> Iterator[Advance]:
        """Hold trainings only."""
        del total
        yield self._step if title.startswith("Training") else lambda done: None

    def _step(self, done: int) -> None:
        if not done:
            return
        out(time.perf_counter() - self.begin if self.begin else self.images)
        sys.stdin.readline()  # at the end of the input nothing holds the rest
        self.begin = time.perf_counter()


def hilum_training(data: Path, recipe: str, steps: int, settings: list[str]) -> None:
    """Hilum's own training of so many steps; in the end, what its ``environment.json`` says."""
    from hilum.data.readers.read import read_table
    from hilum.training.recipe import load_recipe
    from hilum.training.train import train

    splits = read_table(data).splits
    given = ["splits.val=val", "splits.test=none", "splits.calibration=none"] if "val" in splits else []
    plan = load_recipe(recipe, [f"max_steps={steps}", f"validate_every={steps}", *given, *settings])
    with tempfile.TemporaryDirectory() as folder:
        run = train(data, Path(folder) / "run", plan, progress=Held(plan.training.batch_size))
        out(json.dumps(run.environment.as_json()))


def matrix_product(side: int, kind: str) -> Iterator[None]:
    """Products of two square matrices for ever."""
    import torch

    a, b = (torch.randn(side, side).to(getattr(torch, kind)) for _ in range(2))
    while True:
        for _ in range(8):
            a @ b
        yield


def predictions(data: Path, model: Path, count: int) -> Iterator[None]:
    """Answers about so many files for ever, from reading them on."""
    from hilum.data.readers.read import read_table
    from hilum.serving.predictor import Predictor

    table = read_table(data)
    files = [table.file(row) for row in table.rows][:: max(1, len(table) // count)]
    files = (files * (count // len(files) + 1))[:count]
    predictor = Predictor(model)
    while True:
        failed = sum(bool(answer.error) for answer in predictor.predict_many(files))
        if failed:
            msg = f"{failed} of {count} files could not be read"
            raise RuntimeError(msg)
        yield


def content(image: Path, model: Path, count: int) -> Iterator[None]:
    """Answers about the same bytes for ever."""
    from hilum.serving.predictor import Predictor

    sources = [image.read_bytes()] * count
    predictor = Predictor(model)
    while True:
        for _ in predictor.predict_many(sources):
            pass
        yield


def network(model: Path, count: int) -> Iterator[None]:
    """A model file's network on so many images in memory for ever."""
    import numpy as np

    from hilum.serving.predictor import Predictor

    predictor = Predictor(model)
    side = predictor.model_file.size
    pixels = np.random.default_rng(0).integers(0, 256, (16, side, side), dtype=np.uint8)
    while True:
        for _ in range(count // len(pixels)):
            predictor.run(pixels)
        yield


def main(kind: str, *arguments: str) -> None:
    if kind == "hilum":
        data, recipe, steps, *settings = arguments
        hilum_training(Path(data), recipe, int(steps), settings)
    elif kind == "seed":
        from benchmarks.seed_loop import steps as seed_steps

        data, batch = arguments
        serve(seed_steps(Path(data), int(batch)), int(batch))
    elif kind == "predict":
        data, model = arguments
        serve(predictions(Path(data), Path(model), PREDICTED), PREDICTED)
    elif kind == "content":
        image, model = arguments
        serve(content(Path(image), Path(model), PREDICTED), PREDICTED)
    elif kind == "graph":
        (model,) = arguments
        serve(network(Path(model), PREDICTED), PREDICTED)
    elif kind == "matrix":
        side, number = arguments
        serve(matrix_product(int(side), number), 8)
    else:
        from benchmarks import plain_loop

        name, size, batch = arguments
        serve(getattr(plain_loop, kind)(name, int(size), int(batch)), int(batch))


if __name__ == "__main__":
    main(*sys.argv[1:])
