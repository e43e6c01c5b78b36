"""The predictor: how soon it answers about one file, and how many files a second; DenseNet-121 at 224 beside it."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from benchmarks.child import Contestant, run
from benchmarks.measurement import Measurement, in_turn
from benchmarks.setting import Setting
from hilum.data.readers.read import read_table
from hilum.errors import ModelFileError
from hilum.exporting.export import export
from hilum.serving.model_file import shipped_model
from hilum.training.recipe import load_recipe
from hilum.training.train import train

PEER = "monai/densenet121"


def measure(setting: Setting) -> list[Measurement]:
    model = model_file(setting)
    return [_start(setting, model), _bulk(setting, model)]


def model_file(setting: Setting) -> Path:
    """The shipped model; without one a network of the same kind, trained for four steps: it is as fast."""
    try:
        return shipped_model()
    except ModelFileError:
        made = train(setting.data, setting.folder / "predict-run", load_recipe("compact", ["max_steps=4"]))
        file = setting.folder / "model.onnx"
        export(made, file)
        return file


def _start(setting: Setting, model: Path) -> Measurement:
    table = read_table(setting.data)
    image = str(table.file(table.rows[0]))
    starts = {
        "hilum predict on one file": ("-m", "hilum", "predict", image, "--model", str(model)),
        "import torch": ("-c", "import torch"),
        "import monai.networks.nets": ("-c", "import monai.networks.nets"),
    }
    peaks = {name: run(*arguments).peak_mib for name, arguments in starts.items()}  # and files come into the cache
    works = {name: lambda arguments=arguments: run(*arguments).seconds for name, arguments in starts.items()}
    note = "peak MiB: " + ", ".join(f"{name} {peak:.0f}" for name, peak in peaks.items())
    return Measurement("one answer, cold start", "s", in_turn(works, setting.repeats(7, 3), setting.say), note)


def _bulk(setting: Setting, model: Path) -> Measurement:
    contestants = {
        "hilum's predictor, files included": ("predict", str(setting.data), str(model)),
        f"{PEER} at 224, no files": ("inference", PEER, "224", "32"),
    }
    with ExitStack() as stack:
        processes = {name: stack.enter_context(Contestant(*arguments)) for name, arguments in contestants.items()}
        found = in_turn({name: one.step for name, one in processes.items()}, setting.repeats(7, 3), setting.say)
        peaks = ", ".join(f"{name} {one.watch.peak:.0f}" for name, one in processes.items())
    note = f"steps of 640 files and of 32 random images in memory (PyTorch, float32); peak MiB: {peaks}"
    return Measurement("answers in bulk", "images/s", found, note)
