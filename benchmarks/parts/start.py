"""How long a command takes to begin."""

from __future__ import annotations

from benchmarks.child import run
from benchmarks.measurement import Measurement, in_turn
from benchmarks.setting import Setting


def measure(setting: Setting) -> list[Measurement]:
    starts = {
        "hilum --help": ("-m", "hilum", "--help"),
        "import torch": ("-c", "import torch"),
        "import monai.networks.nets": ("-c", "import monai.networks.nets"),
    }
    for arguments in starts.values():
        run(*arguments)  # files come into the system's cache

    def seconds(arguments: tuple[str, ...]) -> float:
        return run(*arguments).seconds

    works = {name: lambda arguments=arguments: seconds(arguments) for name, arguments in starts.items()}
    return [Measurement("start", "s", in_turn(works, setting.repeats(7, 3), setting.say))]
