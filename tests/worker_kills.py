"""Kill a process of the cluster of Ray that this process has started, and of no other one."""

import os
import signal
from contextlib import suppress

import psutil


def kill_worker(does):
    """SIGKILL the first process below this one that is doing something.

    Args:
        does: The function that it is in, by name.

    Returns:
        Its number; 0 where no process does that at the moment.
    """
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if "".join(process.cmdline()[:1]).startswith(f"ray::{does}"):
                os.kill(process.pid, signal.SIGKILL)
                return process.pid
    return 0
