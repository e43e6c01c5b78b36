"""The HTTP service beside the predictor in the same process as its caller: throughput, latency, and too much load."""

from __future__ import annotations

import statistics
import time
from functools import partial
from pathlib import Path

from benchmarks.child import Contestant
from benchmarks.load import Load, Service, service
from benchmarks.measurement import Measurement, in_turn
from benchmarks.parts.predict import model_file
from benchmarks.setting import Setting
from hilum.data.readers.read import read_table
from hilum.serving.predictor import Predictor

CONNECTIONS = (1, 8, 64, 256)
WAITING = 32  # images that the overloaded service lets in


def measure(setting: Setting) -> list[Measurement]:
    model = model_file(setting)
    table = read_table(setting.data)
    image = table.file(table.rows[0])
    with service(model) as running:
        usual = [*_throughput(setting, running, image, model), _one(setting, running, image, model)]
    return [*usual, *_overload(setting, image, model)]


def _throughput(setting: Setting, running: Service, image: Path, model: Path) -> list[Measurement]:
    requests = 500 if setting.quick else 2000
    running.load(image, 8, 100, setting.folder)  # to warm up
    loads: dict[int, list[Load]] = {count: [] for count in CONNECTIONS}

    def rate(count: int) -> float:
        loads[count].append(running.load(image, count, requests, setting.folder))
        return loads[count][-1].rate

    with Contestant("content", str(image), str(model)) as inside:
        works = {f"{count} connections": partial(rate, count) for count in CONNECTIONS}
        found = in_turn({**works, "in process": inside.step}, setting.repeats(5, 3), setting.say)
    first = {"64 connections": found.pop("64 connections")}
    refused = sum(load.refused + load.broken for rounds in loads.values() for load in rounds)
    note = f"{requests} requests each; {refused} refused or broken"
    rates = Measurement("answers over HTTP", "images/s", {**first, **found}, note)
    waits = [
        Measurement(
            f"waiting for an answer, {count} connections",
            "ms",
            {name: [getattr(load, name) for load in loads[count]] for name in ("p99", "p50")},
        )
        for count in CONNECTIONS
    ]
    return [rates, *waits]


def _one(setting: Setting, running: Service, image: Path, model: Path) -> Measurement:
    """One image, warm: over HTTP on one open connection, and in process."""
    content = image.read_bytes()
    predictor = Predictor(model)

    def inside() -> float:
        times = []
        for _ in range(100):
            begin = time.perf_counter()
            predictor.predict(content, image.name)
            times.append(time.perf_counter() - begin)
        return statistics.median(times) * 1e3

    inside()
    works = {"over HTTP": lambda: running.load(image, 1, 100, setting.folder).p50, "in process": inside}
    return Measurement("one answer, warm", "ms", in_turn(works, setting.repeats(7, 3), setting.say))


def _overload(setting: Setting, image: Path, model: Path) -> list[Measurement]:
    """Ten times as many connections as a service lets in; then one image at once."""
    content = image.read_bytes()
    requests = 5000 if setting.quick else 20000
    with service(model, "--waiting", str(WAITING)) as small:
        usual = small.load(image, WAITING // 2, 1000, setting.folder)
        before, calm = small.watch.peak, statistics.median(small.seconds(content) for _ in range(20))
        much = small.load(image, 10 * WAITING, requests, setting.folder)
        first = small.seconds(content)
        after = small.watch.peak
        small.load(image, 10 * WAITING, requests, setting.folder)
        again = small.watch.peak
    note = (
        f"{10 * WAITING} connections to a service that lets in {WAITING} images: {requests} requests, "
        f"{much.refused} answered with 503, {much.broken} broken; {usual.refused} refused of 1000 before"
    )
    return [
        Measurement(
            "memory under ten times the load", "MiB", {"twice": [again], "once": [after], "before": [before]}, note
        ),
        Measurement("the first answer after it", "ms", {"after": [first * 1e3], "before": [calm * 1e3]}, note),
    ]
