"""What the processes of `hilum.data.bounded` do: decode one file after the other within limits."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from hilum.data.crew import bound_process
from hilum.errors import ImageError, PassingImageError

MEMORY = 2**29  # bytes of data; with its libraries a process stays below 600 MB
ADDRESSES = 2**31  # bytes of address space, where the system does not count data
SECONDS = 20  # of processor time for one file
NAME = "image"

Answer = tuple[dict[str, Any], NDArray[np.float32] | None]


def serve() -> None:
    """Answer one request after the other until standard input ends: also when whoever started this was killed.

    A request is a line of JSON: ``{"picture": N}`` or ``{"dicom": N}`` with N bytes of a file behind it, or
    ``{"header": PATH}`` of a DICOM object. An answer is a line of JSON, and pixels in float32 behind it where it holds
    their ``shape``. It also holds ``warned``: whether a decoder, most of which are written in C, printed anything.
    """
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; who asks decides
    source = sys.stdin.buffer
    target = os.fdopen(os.dup(1), "wb")
    has_printed = _catch_prints()
    warnings.simplefilter("ignore")  # pydicom's warnings tell names
    with contextlib.suppress(BrokenPipeError):
        while line := source.readline():
            bound_process(SECONDS, ADDRESSES, MEMORY)
            answer, pixels = _answer(json.loads(line), source)
            target.write(json.dumps({**answer, "warned": has_printed()}).encode() + b"\n")
            if pixels is not None:
                target.write(np.ascontiguousarray(pixels).data.cast("B"))
            target.flush()
            if answer.get("last"):
                break
    os._exit(0)


def _answer(request: dict[str, Any], source: BinaryIO) -> Answer:
    try:
        if "picture" in request:
            return _picture(source.read(request["picture"]))
        from hilum.data.dicom_decoding import answer

        content = None if "header" in request else source.read(request["dicom"])
        return answer(request, content)
    except MemoryError:  # what is left of it is in pieces: another process goes on
        what = "decoding takes more than 600 MB of memory. Check where it comes from."
        return {"error": what, "code": "too-much-memory", "last": True}, None


def _picture(content: bytes) -> Answer:
    from hilum.data.pillow_decoding import decode

    try:
        picture = decode(content, NAME, bounded=True)
    except PassingImageError as error:
        raise MemoryError from error  # within these bounds, the file is the reason
    except ImageError as error:
        return {"error": str(error).removeprefix(f"{NAME}: "), "code": error.code}, None
    assert picture
    return {"shape": list(picture.pixels.shape), "chroma": picture.chroma}, picture.pixels


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
