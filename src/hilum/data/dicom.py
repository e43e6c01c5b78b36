"""DICOM radiographs (CR and DX), read in processes of their own: files from anywhere may be made to exhaust a decoder.

A process serves many objects, since its start takes longer than most of them; one that breaks down, takes too long or
runs out of memory is replaced, and only the object that it was at is lost.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from threading import BoundedSemaphore, Lock, Timer
from typing import Any

import numpy as np

from hilum.data.crew import usable_cores
from hilum.data.images import Picture, read_bytes
from hilum.errors import ExtraError, ImageError, PassingImageError

SECONDS = 60  # for one object; a large radiograph takes two
OBJECTS = 1000  # for one process: what decoders leak has an end
START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from hilum.data import dicom_decoding as d; d.serve()"


def read_dicom(source: Path | bytes, name: str = "") -> tuple[Picture, tuple[str, ...]]:
    """Read one radiograph in DICOM, as a viewer would show it first.

    Args:
        source: A file, or the bytes of one.
        name: What to call it in messages, where `source` is not a path.

    Returns:
        The picture, and what has to be known about it (a lateral view, text burned into the pixels), never an
        identifier.

    Raises:
        ExtraError: The extra ``[dicom]`` is not installed.
        ImageError: It is damaged, no radiograph of a chest, not meant for presentation, or of a kind that is not read.
    """
    name = name or (str(source) if isinstance(source, Path) else "image")
    require_extra(name)
    content = source if isinstance(source, bytes) else read_bytes(source, name)
    answer, pixels = _workers.ask({"pixels": len(content)}, content, name)
    if "error" in answer:
        msg = f"{name}: {answer['error']}"
        raise ImageError(msg)
    return Picture(np.frombuffer(pixels, np.float32).reshape(answer["shape"])), tuple(answer["notes"])


def read_facts(path: Path, name: str = "") -> dict[str, str]:
    """What a table keeps of a DICOM header (see `hilum.data.dicom_gate.facts`); nothing where it cannot be read.

    Raises:
        ExtraError: The extra ``[dicom]`` is not installed.
    """
    require_extra(name or str(path))
    try:
        answer, _ = _workers.ask({"header": os.fspath(path)}, b"", name or str(path))
    except ImageError:
        return {}  # decoding it says why
    found: dict[str, str] = answer.get("facts", {})
    return found


def require_extra(name: str) -> None:
    """Stop where DICOM cannot be read.

    Args:
        name: The object that is to be read.

    Raises:
        ExtraError: The extra ``[dicom]`` is not installed.
    """
    if find_spec("pydicom") is None:
        msg = f"{name}: a DICOM object; reading these takes: pip install 'hilum[dicom]'"
        raise ExtraError(msg)


class _Worker:
    """One process that decodes, one object at a time."""

    def __init__(self) -> None:
        single = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # threads reserve address space
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", START, json.dumps(sys.path)],  # -P: no json.py of the working directory
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # pydicom's warnings tell names
            env=single,
        )
        self.asked = 0
        self.late = False

    def ask(self, request: dict[str, Any], content: bytes) -> tuple[dict[str, Any], bytes]:
        """Send a request and wait for its answer; OSError or ValueError where the process breaks down."""
        assert self.process.stdin
        assert self.process.stdout
        self.asked += 1
        timer = Timer(SECONDS, self._stop)
        timer.daemon = True
        timer.start()
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n" + content)
            self.process.stdin.flush()
            answer = json.loads(self.process.stdout.readline())
            if not isinstance(answer, dict):
                msg = "no answer"
                raise ValueError(msg)
            size = 4 * int(np.prod(answer.get("shape", [0])))
            pixels = self.process.stdout.read(size)
            if len(pixels) < size:
                msg = "the process ended within an answer"
                raise ValueError(msg)
        finally:
            timer.cancel()
        self.asked = OBJECTS if answer.get("last") else self.asked
        return answer, pixels

    def _stop(self) -> None:
        self.late = True
        self.process.kill()

    def end(self) -> None:
        self.process.kill()  # it holds nothing that could be lost
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):  # what was not flushed has nobody to read it
                pipe and pipe.close()


class _Workers:
    """The processes that wait for objects: as many as were asked at the same time, at most one a core."""

    def __init__(self) -> None:
        self.forget()
        if hasattr(os, "register_at_fork"):  # a copy of this process must not read answers that are not its own
            os.register_at_fork(after_in_child=self.forget)
        atexit.register(self.end)

    def ask(self, request: dict[str, Any], content: bytes, name: str) -> tuple[dict[str, Any], bytes]:
        """Ask one that is idle, or a new one.

        Raises:
            ImageError: It broke down, or took too long.
        """
        with self.places:
            return self._ask(request, content, name)

    def _ask(self, request: dict[str, Any], content: bytes, name: str) -> tuple[dict[str, Any], bytes]:
        while True:
            with self.lock:
                worker = self.idle.pop() if self.idle else None
            used = worker is not None
            try:
                worker = worker or _Worker()
            except OSError as error:
                msg = f"{name}: no process could be started to decode it ({error.strerror}). Free some memory."
                raise PassingImageError(msg) from error
            try:
                answer = worker.ask(request, content)
            except BaseException as error:  # Ctrl-C included: what it would answer next belongs to this request
                worker.end()
                if not isinstance(error, (OSError, ValueError)):
                    raise
                if worker.late:
                    msg = f"{name}: decoding took more than {SECONDS} s and was stopped. Check where it comes from."
                    raise ImageError(msg) from None
                if used:  # it may have ended before, or suffered from an earlier object
                    continue
                msg = f"{name}: decoding broke down, as damaged or malicious files make it. Check where it comes from."
                raise ImageError(msg) from None
            if worker.asked < OBJECTS:
                with self.lock:
                    self.idle.append(worker)
            else:
                worker.end()
            return answer

    def end(self) -> None:
        """Stop those that are idle."""
        while self.idle:
            self.idle.pop().end()

    def forget(self) -> None:
        """Begin without any."""
        self.idle: list[_Worker] = []
        self.lock = Lock()
        self.places = BoundedSemaphore(usable_cores())


_workers = _Workers()
