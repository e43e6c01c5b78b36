"""Requests to a service from a load generator (Debian's ``ab``, package apache2-utils), on this machine only."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from urllib.request import Request, urlopen

from benchmarks.child import Watch

ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")


@dataclass(frozen=True)
class Load:
    """What so many connections got.

    Attributes:
        rate: Answers a second, refusals included.
        p50: Milliseconds within which half of them came.
        p99: Milliseconds within which 99 of 100 came.
        refused: Answers other than 2xx.
        broken: Requests without an answer.
    """

    rate: float
    p50: float
    p99: float
    refused: int
    broken: int


@dataclass(frozen=True)
class Service:
    """A service that runs.

    Attributes:
        address: Of its root.
        watch: Its memory.
    """

    address: str
    watch: Watch

    def seconds(self, content: bytes) -> float:
        """How long one answer takes, over a connection of its own."""
        begin = time.perf_counter()
        with urlopen(Request(f"{self.address}/v1/predict", content, {"Content-Type": "image/png"}), timeout=60) as said:
            said.read()
        return time.perf_counter() - begin

    def load(self, image: Path, connections: int, requests: int, folder: Path) -> Load:
        """Send the same image again and again, over connections that stay open.

        Args:
            image: A file.
            connections: At once.
            requests: In all.
            folder: For the generator's table of times.

        Raises:
            RuntimeError: The generator is missing, or failed.
        """
        if not (ab := shutil.which("ab")):
            msg = "the load generator 'ab' is missing. Debian has it in the package apache2-utils."
            raise RuntimeError(msg)
        table = folder / "percentiles.csv"
        posted = ("-p", str(image), "-T", "image/png", f"{self.address}/v1/predict")
        found = subprocess.run(
            [ab, "-q", "-k", "-l", "-n", str(requests), "-c", str(connections), "-e", str(table), *posted],
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        if found.returncode:
            msg = f"ab: {found.stderr.strip()[-200:]}"
            raise RuntimeError(msg)
        with table.open(encoding="ascii") as lines:
            times = {int(row[0]): float(row[1]) for row in csv.reader(lines) if row[0].isdecimal()}
        return Load(
            float(_number(found.stdout, r"Requests per second:\s+([\d.]+)")),
            times[50],
            times[99],
            int(_number(found.stdout, r"Non-2xx responses:\s+(\d+)")),
            int(_number(found.stdout, r"Failed requests:\s+(\d+)")),
        )


@contextmanager
def service(model: Path, *options: str) -> Iterator[Service]:
    """``hilum serve`` with a model, at a port of its own choice.

    Raises:
        RuntimeError: It ended before it said where it listens.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "hilum", "serve", "--model", str(model), "--port", "0", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    log = Thread(target=process.stderr.read, daemon=True)  # it must not fill up
    try:
        for line in process.stderr:
            if address := ADDRESS.search(line):
                break
        else:
            msg = f"hilum serve ended with {process.wait()}"
            raise RuntimeError(msg)
        log.start()
        yield Service(address[0], Watch(process.pid))
    finally:
        process.terminate()
        process.wait()


def _number(text: str, pattern: str) -> str:
    found = re.search(pattern, text)
    return found[1] if found else "0"
