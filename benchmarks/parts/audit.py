"""The audit of a whole data set."""

from __future__ import annotations

from benchmarks.child import run
from benchmarks.measurement import Measurement
from benchmarks.setting import Setting


def measure(setting: Setting) -> list[Measurement]:
    found = []
    for number in range(setting.repeats(3, 1)):
        found.append(run("-m", "hilum", "audit", str(setting.data), "--out", str(setting.folder / f"audit-{number}")))
        setting.say(f"audit {number + 1}: {found[-1].seconds:.1f} s")
    return [
        Measurement("hilum audit, whole command", "s", {"hilum": [one.seconds for one in found]}),
        Measurement("peak memory of the audit", "MiB", {"hilum": [one.peak_mib for one in found]}),
    ]
