"""Time and accuracy of a recipe, in seconds and in epochs of the original report's loop."""

from __future__ import annotations

import json

from benchmarks.child import Contestant, run
from benchmarks.measurement import Measurement, in_turn
from benchmarks.setting import Setting
from hilum.data.readers.read import read_table


def measure(setting: Setting) -> list[Measurement]:
    table = read_table(setting.data)
    n_train = sum(row.split in ("", "train") for row in table.rows)
    rate = setting.seed_rate or _seed_rate(setting)
    return [
        item for recipe, seeds in setting.recipes.items() for item in _recipe(setting, recipe, seeds, n_train, rate)
    ]


def _recipe(setting: Setting, recipe: str, seeds: int, n_train: int, rate: float) -> list[Measurement]:
    names = ("accuracy", "balanced_accuracy", "seconds", "whole", "epochs", "wait", "peak", "anonymous", "evaluation")
    found: dict[str, list[float]] = {name: [] for name in names}
    settings = ["--set", "epochs=2"] if setting.quick else []
    for seed in range(seeds):
        out = setting.folder / f"{recipe}-{seed}"
        plan = ["--recipe", recipe, "--set", f"training.seed={seed}", *settings]
        training = run("-m", "hilum", "train", str(setting.data), "--out", str(out), *plan)
        evaluation = run("-m", "hilum", "evaluate", str(out), str(setting.data))
        environment = json.loads((out / "environment.json").read_text())
        metrics = json.loads((out / "evaluation" / "test" / "metrics.json").read_text())
        values = (
            metrics["accuracy"]["value"],
            metrics["balanced_accuracy"]["value"],
            environment["seconds"],
            training.seconds,
            environment["seconds"] * rate / n_train,
            environment["data_wait_share"],
            training.peak_mib,
            training.anonymous_mib,
            evaluation.peak_mib,
        )
        for name, value in zip(names, values, strict=True):
            found[name].append(value)
        setting.say(f"{recipe}, seed {seed}: accuracy {values[0]:.3f} after {values[2]:.0f} s of training")
    short = "; 2 EPOCHS ONLY, since this is the quick bench" if setting.quick else ""
    seconds = n_train / rate
    epoch = f"one epoch of the original report's own loop: {n_train} images at {rate:.2f}/s, {seconds:.0f} s{short}"
    n_test = metrics["n_images"]

    def one(what: str, unit: str, name: str, note: str = "") -> Measurement:
        return Measurement(f"{recipe}: {what}", unit, {f"{seeds} seeds": found[name]}, note)

    return [
        one("accuracy", "share", "accuracy", f"{n_test} test images, opened once a seed and never chosen by{short}"),
        one("balanced accuracy", "share", "balanced_accuracy"),
        one("training with validation", "s", "seconds"),
        one("whole command", "s", "whole"),
        one("training", "epochs of the original report's loop", "epochs", epoch),
        one("waits for data", "share", "wait"),
        one("peak memory of training, mapped files included", "MiB", "peak"),
        one("peak memory of training, its own", "MiB", "anonymous"),
        one("peak memory of evaluation", "MiB", "evaluation"),
    ]


def _seed_rate(setting: Setting) -> float:
    setting.say("measuring the original report's loop, which part vgg was not there to do")
    with Contestant("seed", str(setting.data), "64") as seed:
        (found,) = in_turn({"the original report's own loop": seed.step}, 2, setting.say).values()
    return sorted(found)[0]
