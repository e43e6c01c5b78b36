"""Decoding in processes of their own, within bounds: files from anywhere may be made to exhaust a decoder."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from threading import BoundedSemaphore, Lock, Timer
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from hilum.data.images import Picture, read_bytes
from hilum.data.process_pool import bound_process, start_python, usable_cores
from hilum.errors import ImageError, PassingImageError
from hilum.extras import require

SECONDS = 20  # of processor time for one file; a large radiograph takes two
PATIENCE = 3 * SECONDS  # seconds on the clock: others may be using the cores
FILES = 1000  # for one process: what decoders leak has an end
START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from hilum.data import bounded as b; b.serve()"


@dataclass(frozen=True)
class Request:
    """What a process is asked: a line of JSON.

    Attributes:
        kind: ``picture`` or ``dicom``: decode the bytes behind it. ``header``: read that of a DICOM object.
        size: How many bytes lie behind it.
        path: Where the DICOM object of a header lies.
        keywords: Of the elements of a header that are read; without any, what a table keeps of it.
    """

    kind: Literal["picture", "dicom", "header"]
    size: int = 0
    path: str = ""
    keywords: Sequence[str] = ()


@dataclass(frozen=True)
class Answer:
    """What a process answers: a line of JSON.

    Attributes:
        shape: Of the pixels in float32 behind it; empty where there are none.
        chroma: See `hilum.data.images.Picture`.
        notes: What has to be known about a DICOM object.
        facts: Of a header.
        error: What is wrong with the file; empty where it was read.
        code: Of the error.
        last: Whether the process ends after it.
        warned: Whether a decoder, most of which are written in C, printed anything.
    """

    shape: Sequence[int] = ()
    chroma: float = 0.0
    notes: Sequence[str] = ()
    facts: dict[str, str] = field(default_factory=dict)
    error: str = ""
    code: str | None = None
    last: bool = False
    warned: bool = False

    @classmethod
    def of(cls, line: bytes) -> Answer:
        """The answer in a line.

        Raises:
            ValueError: It is none.
        """
        try:
            return cls(**json.loads(line))
        except TypeError as error:
            msg = "no answer"
            raise ValueError(msg) from error


def ask(request: Request, content: bytes, name: str) -> tuple[Answer, NDArray[np.float32]]:
    """Have one file decoded.

    Args:
        request: What is asked.
        content: Of the file.
        name: What messages call it.

    Returns:
        The answer, and pixels in the shape that it states; none where it states none.

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
    answer, pixels = ask(Request("picture", len(content)), content, name)
    return Picture(pixels, answer.chroma, answer.warned)


class _Worker:
    """One process that decodes, one file at a time."""

    def __init__(self) -> None:
        self.process = start_python(START)
        self.asked = 0
        self.late = self.waited = False

    def ask(self, request: Request, content: bytes) -> tuple[Answer, NDArray[np.float32]]:
        """Send a request and wait for its answer; OSError or ValueError where the process breaks down."""
        assert self.process.stdin
        assert self.process.stdout
        self.asked += 1
        self.waited = False  # the clock may have run out just after the answer before
        timer = Timer(PATIENCE, self._stop)
        timer.daemon = True
        timer.start()
        try:
            self.process.stdin.write(json.dumps(asdict(request)).encode() + b"\n")
            self.process.stdin.write(content)
            self.process.stdin.flush()
            answer = Answer.of(self.process.stdout.readline())
            shape = answer.shape or (0,)
            size = 4 * int(np.prod(shape))
            pixels = self.process.stdout.read(size)
            if len(pixels) < size:
                msg = "the process ended during an answer"
                raise ValueError(msg)
        finally:
            timer.cancel()
        self.asked = FILES if answer.last else self.asked
        return answer, np.frombuffer(pixels, np.float32).reshape(shape)

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

    def ask(self, request: Request, content: bytes, name: str) -> tuple[Answer, NDArray[np.float32]]:
        """Ask one that is idle, or a new one."""
        with self.places:
            answer, pixels = self._ask(request, content, name)
        if answer.error:
            msg = f"{name}: {answer.error}"
            raise ImageError(msg, code=answer.code)
        return answer, pixels

    def _ask(self, request: Request, content: bytes, name: str) -> tuple[Answer, NDArray[np.float32]]:
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
                    msg = (
                        f"{name}: decoding did not finish within {PATIENCE} s. Try again when the machine is less busy."
                    )
                    raise PassingImageError(msg, code="out-of-time") from None
                if worker.late:
                    msg = f"{name}: decoding took more than {SECONDS} s and was stopped. Check the origin of the file."
                    raise ImageError(msg, code="too-slow") from None
                if used:  # it may have ended before, or suffered from an earlier file
                    continue
                msg = f"{name}: the decoder crashed, as on damaged or malicious files. Check the origin of the file."
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


MEMORY = 2**29  # bytes of data; with its libraries a process stays below 600 MB
ADDRESSES = 2**31  # bytes of address space, where the system does not count data
NAME = "image"


def serve() -> None:
    """Answer one request after the other until standard input ends: also when whoever started this was killed."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; who asks decides
    sys.modules.setdefault("requests", None)  # type: ignore[arg-type]  # pydicom takes it along; nothing is fetched here
    source = sys.stdin.buffer
    target = os.fdopen(os.dup(1), "wb")
    has_printed = _catch_prints()
    warnings.simplefilter("ignore")  # pydicom's warnings tell names
    with contextlib.suppress(BrokenPipeError):
        while line := source.readline():
            bound_process(SECONDS, ADDRESSES, MEMORY)
            answer, pixels = _answer(Request(**json.loads(line)), source)
            target.write(json.dumps(asdict(replace(answer, warned=has_printed()))).encode() + b"\n")
            if pixels is not None:
                target.write(np.ascontiguousarray(pixels).data.cast("B"))
            target.flush()
            del pixels  # the next request has as much memory as this one
            if answer.last:
                break
    os._exit(0)


def _answer(request: Request, source: BinaryIO) -> tuple[Answer, NDArray[np.float32] | None]:
    try:
        content = source.read(request.size)
        if request.kind == "picture":
            return _picture(content)
        return _dicom(request, content)
    except MemoryError:  # what is left of it is in pieces: another process goes on
        what = "decoding takes more than 600 MB of memory. Check the origin of the file."
        return Answer(error=what, code="too-much-memory", last=True), None


def _dicom(request: Request, content: bytes) -> tuple[Answer, NDArray[np.float32] | None]:
    from hilum.data.dicom_header import Refusal
    from hilum.data.dicom_pixels import decode, header_facts, header_texts

    try:
        if request.keywords:
            return Answer(facts=header_texts(request.path, request.keywords)), None
        if request.kind == "header":
            return Answer(facts=header_facts(request.path)), None
        pixels, notes = decode(content)
    except Refusal as refusal:
        return Answer(error=str(refusal), code="dicom"), None
    except MemoryError:
        raise
    except Exception as error:  # decoders raise nearly anything; the text could hold a name, the kind cannot
        what = f"a damaged DICOM object ({type(error).__name__}). Download it again, or remove it."
        return Answer(error=what, code="damaged"), None
    return Answer(shape=pixels.shape, notes=notes), pixels


def _picture(content: bytes) -> tuple[Answer, NDArray[np.float32] | None]:
    from hilum.data.grey_values import decode

    try:
        picture = decode(content, NAME, bounded=True)
    except PassingImageError as error:
        raise MemoryError from error  # within these bounds, the file is the reason
    except ImageError as error:
        return Answer(error=str(error).removeprefix(f"{NAME}: "), code=error.code), None
    assert picture
    return Answer(shape=picture.pixels.shape, chroma=picture.chroma), picture.pixels


def _catch_prints() -> Callable[[], bool]:
    """Send all that is printed into a pipe that never waits; returns what tells whether anything was since."""
    reading, writing = os.pipe()
    for end in (reading, writing):
        os.set_blocking(end, False)
    os.dup2(writing, 2)
    os.dup2(writing, 1)  # whatever a decoder prints must not get into the answers

    def has_printed() -> bool:
        found = False
        with contextlib.suppress(BlockingIOError):
            while os.read(reading, 2**16):
                found = True
        return found

    return has_printed


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
    answer, pixels = ask(Request("dicom", len(content)), content, name)
    return Picture(pixels, warned=answer.warned), tuple(answer.notes)


def read_facts(path: Path, name: str = "") -> dict[str, str]:
    """What a table keeps of a DICOM header (see `hilum.data.dicom_header.facts`); nothing where it cannot be read.

    Raises:
        ExtraError: The extra ``[dicom]`` is not installed.
    """
    return read_elements(path, (), name)


def read_elements(path: Path, keywords: Sequence[str], name: str = "") -> dict[str, str]:
    """Elements of a DICOM header as texts, by keyword; those that are there, and none where it cannot be read.

    Args:
        path: Of the object.
        keywords: Of the elements; without any, what a table keeps of a header.
        name: What to call it in messages, where it is not the path.

    Raises:
        ExtraError: The extra ``[dicom]`` is not installed.
    """
    require_extra(name or str(path))
    try:
        answer, _ = ask(Request("header", path=os.fspath(path), keywords=tuple(keywords)), b"", name or str(path))
    except ImageError:
        return {}  # decoding it says why
    return answer.facts


def require_extra(name: str) -> None:
    """Stop where DICOM cannot be read.

    Args:
        name: The object that is to be read.

    Raises:
        ExtraError: The extra ``[dicom]`` is not installed.
    """
    require("dicom", f"{name}: a DICOM object, and reading it")
