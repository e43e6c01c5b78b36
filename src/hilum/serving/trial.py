"""A network is tried out in a process with limits before this process runs it.

Opening a graph already computes in it (constants are folded), and nobody can interrupt that: one operator may take a
terabyte, or a year. So an unknown graph is opened, and asked about noise, by a process whose time and memory the system
limits. As `hilum.serving.operators` has made sure, what it then takes depends on the number of images alone, and no
other numbers of images are ever asked than those that were tried: one, and as many as the trial allows.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from threading import Lock
from typing import Any

from hilum.data.crew import bound_process, start_python

CHUNK = 16  # images that a network is given at a time, or one
SECONDS = 6  # of processor time, for opening and one image twice; a ResNet-50 at 512 pixels takes one
MIB = 4096  # beyond three times the file; for one image
QUICK = 2.0  # seconds of processor time for `CHUNK` images: what takes more gets its images one by one
PATIENCE = 10  # times as long as the processor time may be what other work on this machine makes of it
REMEDY = "If it is your own and so large, set HILUM_MODEL_SECONDS and HILUM_MODEL_MIB"
START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from hilum.serving import trial; trial.serve()"

_tried: dict[str, int] = {}
_lock = Lock()


class TrialError(Exception):
    """Why a graph cannot be used, in words."""


def try_out(content: bytes, digest: str, size: int) -> int:
    """Open a graph in a process of its own, once for each graph, and ask it about noise.

    ``HILUM_MODEL_SECONDS`` and ``HILUM_MODEL_MIB`` set other limits.

    Args:
        content: The file.
        digest: Of all in it that is run (see `hilum.serving.operators.check_graph`).
        size: Side of its input in pixels.

    Returns:
        How many images it may be given at a time, 1 or `CHUNK`.

    Raises:
        TrialError: It takes too long or too much memory, or ONNX Runtime cannot use it.
    """
    key = f"{digest}-{size}"
    with _lock:
        if key in _tried:
            return _tried[key]
    if not sys.executable or getattr(sys, "frozen", False):
        return 1  # see `hilum.data.crew.start_python`
    found = _ask(
        content,
        {"size": size, "seconds": _limit("HILUM_MODEL_SECONDS", SECONDS), "mib": _limit("HILUM_MODEL_MIB", MIB)},
    )
    with _lock:
        _tried[key] = found
    return found


def _limit(variable: str, usual: int) -> int:
    value = os.environ.get(variable, "")
    return int(value) if value.isdecimal() and 0 < int(value) < 10**6 else usual


def _ask(content: bytes, request: dict[str, int]) -> int:
    limits = f"{request['seconds']} s of processor time or {request['mib']:,} MiB of memory"
    try:
        process = start_python(START)
    except OSError as error:
        msg = f"no process could be started to try it out: {error.strerror}"
        raise TrialError(msg) from error
    try:
        said, _ = process.communicate(
            json.dumps(request).encode() + b"\n" + content, timeout=PATIENCE * request["seconds"]
        )
    except subprocess.TimeoutExpired:
        said = b""
    finally:  # Ctrl-C included
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                pipe and pipe.close()
    try:
        answer = json.loads(said)
    except ValueError:
        msg = f"opening it and asking about an image takes more than {limits}, or breaks down. {REMEDY}"
        raise TrialError(msg) from None
    if "error" in answer:
        raise TrialError(answer["error"])
    return CHUNK if answer["batch"] == CHUNK else 1


def open_session(content: bytes) -> Any:
    """ONNX Runtime's session for the graph of a file, as both processes use it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1  # several images at a time use the cores better than several threads for one
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def serve() -> None:
    """What the process does: one graph, one line of JSON."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the first process decides
    target = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no answer
    request = json.loads(sys.stdin.buffer.readline())
    content = sys.stdin.buffer.read()
    try:
        answer: dict[str, Any] = {"batch": _try(content, request)}
    except Exception as error:  # whatever the runtime raises
        said = " ".join(str(error).split())
        if isinstance(error, MemoryError) or "allocate memory" in said or "bad_alloc" in said:
            said = f"an image takes more than {request['mib']:,} MiB of memory. {REMEDY}"
        answer = {"error": said[:300]}
    target.write(json.dumps(answer).encode())
    target.flush()
    os._exit(0)


def _try(content: bytes, request: dict[str, int]) -> int:
    import numpy as np
    import onnxruntime  # noqa: F401 - its libraries are no part of what the graph may take

    reserved = _reserved()
    more = request["mib"] * 2**20 + 3 * len(content)
    bound_process(request["seconds"] + 1, None if reserved is None else reserved + more)
    session = open_session(content)
    given, size = session.get_inputs()[0], request["size"]
    sides = [side for side in given.shape[1:] if isinstance(side, int)]
    if given.type != "tensor(uint8)" or any(side != size for side in sides):
        return 1  # another graph than the metadata speak of, as the other process will say
    noise = np.random.default_rng(0).integers(0, 256, (1, size, size), np.uint8)
    session.run(None, {given.name: noise})
    begin = time.process_time()
    session.run(None, {given.name: noise})
    if CHUNK * (time.process_time() - begin) > QUICK:
        return 1
    try:
        session.run(None, {given.name: noise.repeat(CHUNK, axis=0)})
    except Exception:  # no memory for so many
        return 1
    return CHUNK


def _reserved() -> int | None:
    """Address space that this process has, in bytes; None where the system does not say."""
    with contextlib.suppress(ImportError, ValueError, OSError, IndexError):
        import resource

        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - one line
            return int(file.read().split()[0]) * resource.getpagesize()
    return None
