"""What is freed goes back to the system, where that was asked for."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

HOLD_AND_FREE = """
import numpy as np
from hilum.training.allocation import return_memory
holes = [bytes(100_000) for _ in range(200)]  # what earlier work freed is filled
if {asked}:
    return_memory()
first = np.ones(2**21)  # 16 MiB: freed, it is the library's new measure of what is small
del first
large, small = [], []
for _ in range(12):
    large.append(np.ones(2**20))
    small.append(bytes(100_000))  # what lies behind a freed piece keeps it from being trimmed
del large
status = open("/proc/self/status").read()
print(int(status.split("RssAnon:")[1].split()[0]) // 1024)
"""


STATUS = Path("/proc/self/status")


@pytest.mark.slow
@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or not STATUS.exists() or "RssAnon" not in STATUS.read_text(),
    reason="only the GNU C library is told, and only Linux tells the memory",
)
def test_freed_arrays_do_not_stay_behind_in_the_heap():
    def mebibytes(asked):
        code = HOLD_AND_FREE.format(asked=asked)
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
        command = [sys.executable, "-c", code]
        return int(subprocess.run(command, env=plain, capture_output=True, text=True, check=True).stdout)

    assert mebibytes(asked=True) < mebibytes(asked=False) - 50
