"""What a user would otherwise pick, MONAI's ResNet-18 and DenseNet-121 at 224 pixels, beside the compact recipe."""

from __future__ import annotations

from contextlib import ExitStack

from benchmarks.child import Contestant
from benchmarks.measurement import Measurement, in_turn
from benchmarks.setting import Setting

BATCH = 32
SIZE = ("224", str(BATCH))
PEERS = ("monai/resnet18", "monai/densenet121")


def measure(setting: Setting) -> list[Measurement]:
    return [_training(setting), _inference(setting)]


def _training(setting: Setting) -> Measurement:
    repeats = setting.repeats(7, 2)
    recipe = next(iter(setting.recipes))
    ours = ("hilum", str(setting.data), recipe, str(repeats + 1), f"batch_size={BATCH}")
    contestants = {f"hilum's {recipe}": ours} | {f"{name} at 224": ("training", name, *SIZE) for name in PEERS}
    note = f"batch {BATCH}; the peers: float32, contiguous, Adam, random images in memory"
    return _compete("training", contestants, repeats, note, setting)


def _inference(setting: Setting) -> Measurement:
    contestants = {"compact at 75": ("inference", "compact", "75", str(BATCH))}
    contestants |= {f"{name} at 224": ("inference", name, *SIZE) for name in PEERS}
    note = f"batch {BATCH}, float32, PyTorch"
    return _compete("inference", contestants, setting.repeats(7, 2), note, setting)


def _compete(
    what: str, contestants: dict[str, tuple[str, ...]], repeats: int, note: str, setting: Setting
) -> Measurement:
    with ExitStack() as stack:
        processes = {name: stack.enter_context(Contestant(*arguments)) for name, arguments in contestants.items()}
        setting.say(f"{what}: all are warm")
        found = in_turn({name: one.step for name, one in processes.items()}, repeats, setting.say)
    peaks = ", ".join(f"{name} {one.watch.peak:.0f}" for name, one in processes.items())
    return Measurement(what, "images/s", found, f"{note}; peak MiB: {peaks}")
