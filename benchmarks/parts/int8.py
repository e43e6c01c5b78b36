"""Model files of 8 bits beside those of float: the network alone, on one thread, and the predictor, files included."""

from __future__ import annotations

from contextlib import ExitStack

from benchmarks.child import Contestant
from benchmarks.measurement import Measurement, in_turn
from benchmarks.setting import Setting
from hilum.exporting.export import export
from hilum.training.recipe import load_recipe
from hilum.training.train import train


def measure(setting: Setting) -> list[Measurement]:
    run = train(setting.data, setting.folder / "int8-run", load_recipe("compact", ["max_steps=4"]))  # as fast as more
    files = {"8 bits": setting.folder / "int8.onnx", "float": setting.folder / "float.onnx"}
    sizes = {name: len(export(run, file, int8=name != "float").model) for name, file in files.items()}
    note = ", ".join(f"{name} {size:,} bytes" for name, size in sizes.items())
    found = []
    for what, arguments in {
        "the network of compact, one thread": ("graph",),
        "answers in bulk, files included": ("predict", str(setting.data)),
    }.items():
        with ExitStack() as stack:
            works = {name: stack.enter_context(Contestant(*arguments, str(file))).step for name, file in files.items()}
            found.append(Measurement(what, "images/s", in_turn(works, setting.repeats(15, 5), setting.say), note))
    return found
