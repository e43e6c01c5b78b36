"""Processes that are measured: how long they run, and how much memory they take at most."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Self

EVERY = 0.02  # seconds between two looks at a process's memory


@dataclass
class Finished:
    """What a process was like.

    Attributes:
        seconds: From start to end.
        output: Its standard output.
        peak_mib: The most memory it had, pages of mapped files included (as ``time -v`` says), helpers not.
        anonymous_mib: The most memory that was its own, without pages of files, which the system takes back at will.
    """

    seconds: float
    output: str
    peak_mib: float
    anonymous_mib: float


class Watch:
    """Looks at a process's memory until it ends; 0 where there is no ``/proc``."""

    def __init__(self, pid: int) -> None:
        self.status = Path(f"/proc/{pid}/status")
        self.peak = self.anonymous = 0.0
        self.thread = Thread(target=self._look, daemon=True)
        self.thread.start()

    def _look(self) -> None:
        while True:
            try:
                lines = dict(line.split(":", 1) for line in self.status.read_text().splitlines())
                self.peak = max(self.peak, int(lines["VmHWM"].split()[0]) / 1024)
                self.anonymous = max(self.anonymous, int(lines["RssAnon"].split()[0]) / 1024)
            except (OSError, KeyError, ValueError):  # it has ended
                return
            time.sleep(EVERY)


def run(*arguments: str) -> Finished:
    """Run Python with these arguments to its end.

    Raises:
        RuntimeError: It failed; with the end of what it said.
    """
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    )
    watch = Watch(process.pid)
    output, errors = process.communicate()
    seconds = time.perf_counter() - begin
    if process.returncode:
        msg = f"{' '.join(arguments)[:200]}: exit code {process.returncode}: {errors[-400:].strip()}"
        raise RuntimeError(msg)
    return Finished(seconds, output, watch.peak, watch.anonymous)


class Contestant:
    """A process of its own that makes one step whenever it is asked, and sleeps in between; ended with its block.

    Args:
        arguments: Of ``python -m benchmarks.contestant``.
    """

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.contestant", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.watch = Watch(self.process.pid)
        self.images = int(self._read())  # a step; it is ready

    def step(self) -> float:
        """Make a step; images a second."""
        assert self.process.stdin
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return self.images / float(self._read())

    def end(self) -> str:
        """Let it come to its end; what it says last."""
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        assert self.process.stdout
        with self.process.stdout:
            said = self.process.stdout.read()
        self.process.wait()
        return said

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(BrokenPipeError):
                pipe and pipe.close()
        self.process.wait()

    def _read(self) -> str:
        assert self.process.stdout
        if line := self.process.stdout.readline():
            return line
        msg = f"{' '.join(self.process.args[3:])}: ended with {self.process.wait()}"  # type: ignore[index]
        raise RuntimeError(msg)
