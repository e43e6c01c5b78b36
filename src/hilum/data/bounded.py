"""Decoding in processes of their own, within bounds: files from anywhere may be made to exhaust a decoder.

All DICOM objects are read there, and ordinary images that are large, slow, or of a kind that libtiff decodes (see
`hilum.data.costs`). A process serves many files, since its start takes longer than most of them; one that breaks down,
takes too long or runs out of memory is replaced, and only the file that it was at is lost.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
from threading import BoundedSemaphore, Lock, Timer
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.data.crew import start_python, usable_cores
from hilum.data.images import Picture
from hilum.errors import ImageError, PassingImageError

SECONDS = 20  # of processor time for one file; a large radiograph takes two
PATIENCE = 3 * SECONDS  # seconds on the clock: others may be using the cores
FILES = 1000  # for one process: what decoders leak has an end
START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from hilum.data import bounded_process as b; b.serve()"
)


def ask(request: dict[str, Any], content: bytes, name: str) -> tuple[dict[str, Any], NDArray[np.float32]]:
    """Have one file decoded.

    Args:
        request: See `hilum.data.bounded_process.serve`.
        content: Of the file.
        name: What messages call it.

    Returns:
        The answer, and pixels in the ``shape`` that it states; none where it states none.

    Raises:
        ImageError: It cannot be read, broke its process down, or took too much time or memory.
        PassingImageError: This machine is the reason.
    """
    return _workers.ask(request, content, name)


def read_bounded(content: bytes, name: str) -> Picture:
    """Read an image that is no DICOM object, as `hilum.data.images.read_picture` does.

    Args:
        content: Of the file.
        name: What messages call it.

    Raises:
        ImageError: As `ask`.
    """
    answer, pixels = ask({"picture": len(content)}, content, name)
    return Picture(pixels, answer["chroma"], answer["warned"])


class _Worker:
    """One process that decodes, one file at a time."""

    def __init__(self) -> None:
        self.process = start_python(START)
        self.asked = 0
        self.late = self.waited = False

    def ask(self, request: dict[str, Any], content: bytes) -> tuple[dict[str, Any], NDArray[np.float32]]:
        """Send a request and wait for its answer; OSError or ValueError where the process breaks down."""
        assert self.process.stdin
        assert self.process.stdout
        self.asked += 1
        self.waited = False  # the clock may have run out just after the answer before
        timer = Timer(PATIENCE, self._stop)
        timer.daemon = True
        timer.start()
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.write(content)
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
        self.asked = FILES if answer.get("last") else self.asked
        return answer, np.frombuffer(pixels, np.float32).reshape(answer.get("shape", [0]))

    def _stop(self) -> None:
        self.waited = True
        self.process.kill()

    def end(self) -> None:
        self.process.kill()  # it holds nothing that could be lost
        self.late = self.process.wait() == -getattr(signal, "SIGXCPU", 0)
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):  # what was not flushed has nobody to read it
                pipe and pipe.close()


class _Workers:
    """The processes that wait for files: as many as were asked at the same time, at most one a core."""

    def __init__(self) -> None:
        self.forget()
        if hasattr(os, "register_at_fork"):  # a copy of this process must not read answers that are not its own
            os.register_at_fork(after_in_child=self.forget)
        atexit.register(self.end)

    def ask(self, request: dict[str, Any], content: bytes, name: str) -> tuple[dict[str, Any], NDArray[np.float32]]:
        """Ask one that is idle, or a new one."""
        with self.places:
            answer, pixels = self._ask(request, content, name)
        if "error" in answer:
            msg = f"{name}: {answer['error']}"
            raise (PassingImageError if answer.get("passing") else ImageError)(msg, code=answer.get("code"))
        return answer, pixels

    def _ask(self, request: dict[str, Any], content: bytes, name: str) -> tuple[dict[str, Any], NDArray[np.float32]]:
        while True:
            with self.lock:
                worker = self.idle.pop() if self.idle else None
            used = worker is not None
            try:
                worker = worker or _Worker()
            except OSError as error:  # also where Python is part of another program
                msg = f"{name}: no process could be started to decode it ({error.strerror}). Free some memory."
                raise PassingImageError(msg, code="no-process") from error
            try:
                answer = worker.ask(request, content)
            except BaseException as error:  # Ctrl-C included: what it would answer next belongs to this request
                worker.end()
                if isinstance(error, MemoryError):
                    msg = f"{name}: there is not enough memory to decode it. Free some memory."
                    raise PassingImageError(msg) from error
                if not isinstance(error, (OSError, ValueError)):
                    raise
                if worker.waited:  # the file alone would have used up its processor time
                    msg = f"{name}: decoding did not end within {PATIENCE} s. Try again when less is running."
                    raise PassingImageError(msg, code="out-of-time") from None
                if worker.late:
                    msg = f"{name}: decoding took more than {SECONDS} s and was stopped. Check where it comes from."
                    raise ImageError(msg, code="too-slow") from None
                if used:  # it may have ended before, or suffered from an earlier file
                    continue
                msg = f"{name}: decoding broke down, as damaged or malicious files make it. Check where it comes from."
                raise ImageError(msg, code="broke-down") from None
            if worker.asked < FILES:
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
