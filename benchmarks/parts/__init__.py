"""The parts of the bench by name, in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from benchmarks.measurement import Measurement
from benchmarks.parts import audit, data_path, devices, growth, int8, node, peers, predict, recipes, service, start, vgg
from benchmarks.setting import Setting

PARTS: Mapping[str, Callable[[Setting], list[Measurement]]] = {
    "start": start.measure,
    "data-path": data_path.measure,
    "vgg": vgg.measure,
    "devices": devices.measure,
    "peers": peers.measure,
    "predict": predict.measure,
    "node": node.measure,
    "service": service.measure,
    "int8": int8.measure,
    "recipes": recipes.measure,
    "audit": audit.measure,
    "growth": growth.measure,
}
