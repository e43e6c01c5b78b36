"""Log lines in JSON that never hold a name."""

from __future__ import annotations

import json
import sys
import time
import traceback
from pathlib import Path
from threading import Lock
from typing import TextIO


class JsonLog:
    """Writes one line an event.

    Args:
        file: Where lines go; standard error by default.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        self.file = file
        self._one_at_a_time = Lock()

    def write(self, event: str, **facts: str | int | float) -> None:
        """Log one line of JSON."""
        line = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "event": event, **facts}
        file = self.file or sys.stderr
        with self._one_at_a_time:  # of several threads
            file.write(f"{json.dumps(line, ensure_ascii=True)}\n")
            file.flush()

    def fault(self, error: BaseException) -> None:
        """Log a fault of hilum's own by its kind and place; what it says may hold a name."""
        self.write("fault", kind=type(error).__name__, where=place_of(error))


def place_of(error: BaseException) -> str:
    """The file and line where an error was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
