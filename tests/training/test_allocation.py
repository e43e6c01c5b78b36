"""What is freed goes back to the system, where that was asked for."""

import platform
import subprocess
import sys

import pytest

HOLD_AND_FREE = """
import numpy as np
from hilum.training.allocation import return_memory
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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only the GNU C library is told")
def test_freed_arrays_do_not_stay_behind_in_the_heap():
    def mebibytes(asked):
        code = HOLD_AND_FREE.format(asked=asked)
        return int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)

    assert mebibytes(asked=True) < mebibytes(asked=False) - 50
