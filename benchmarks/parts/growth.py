"""Memory of training and evaluation on a dataset, and on the same one many times over."""

from __future__ import annotations

from benchmarks.child import Finished, run
from benchmarks.measurement import Measurement
from benchmarks.setting import Setting
from benchmarks.tiling import write_tiles

STEPS = 20


def measure(setting: Setting) -> list[Measurement]:
    times = 20 if setting.quick else 100
    most = 600 if setting.quick else None
    found = {1: _both(setting, 1, most), times: _both(setting, times, most)}
    note = f"{STEPS} steps, one validation, one evaluation of the test images; a ratio of 0.67 is 1.5 times the memory"

    def compared(what: str, number: int, attribute: str) -> Measurement:
        values = {f"{count} x the data": [getattr(pair[number], attribute)] for count, pair in found.items()}
        unit = "s" if attribute == "seconds" else "MiB"
        return Measurement(what, unit, dict(reversed(values.items())), note)

    return [
        compared(f"{command}: {what}", number, attribute)
        for number, command in enumerate(("train", "evaluate"))
        for what, attribute in (
            ("peak memory, mapped files included", "peak_mib"),
            ("peak memory, its own", "anonymous_mib"),
            ("whole command", "seconds"),
        )
    ]


def _both(setting: Setting, times: int, most: int | None) -> tuple[Finished, Finished]:
    table = write_tiles(setting.data, setting.folder / f"tiles-{times}", times, most)
    run_folder = setting.folder / f"grown-{times}"
    settings = ["--set", f"max_steps={STEPS}", "--set", f"validate_every={STEPS}"]
    training = run("-m", "hilum", "train", str(table), "--out", str(run_folder), *settings)
    setting.say(f"{times} x: trained in {training.seconds:.0f} s, {training.peak_mib:.0f} MiB")
    evaluation = run("-m", "hilum", "evaluate", str(run_folder), str(table))
    setting.say(f"{times} x: evaluated in {evaluation.seconds:.0f} s, {evaluation.peak_mib:.0f} MiB")
    return training, evaluation
