"""A network is tried out in a process with limits before this process runs it.

Opening a graph already computes in it (constants are folded), and nobody can interrupt that: one operator may take a
terabyte, or a year. So an unknown graph is opened, and asked about noise, by a process whose time and memory the system
limits. As `hilum.serving.onnx_file` has made sure, what it then takes depends on the number of images alone, and no
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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from threading import Lock
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from hilum.data.process_pool import bound_process, start_python
from hilum.errors import ModelFileError
from hilum.serving.metadata import malformed
from hilum.serving.model_file import PRETRAINED, ModelFile
from hilum.text import printable

CHUNK = 16  # images that a network is given at a time, or fewer
AREA = 2**18  # pixels that it is given at a time, unless one image has more: memory grows with them, speed does not
SECONDS = 6  # of processor time, for opening and one image twice; a ResNet-50 at 512 pixels takes one
MIB = 4096  # beyond three times the file; for one image
QUICK = 2.0  # seconds of processor time for `CHUNK` images: what takes more gets its images one by one
PATIENCE = 10  # times as long as the processor time may be what other work on this machine makes of it
REMEDY = "If it is a trusted large model, set HILUM_MODEL_SECONDS and HILUM_MODEL_MIB"
START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from hilum.serving import session as trial; trial.serve()"
)

_tried: dict[str, int] = {}
_lock = Lock()


class TrialError(Exception):
    """Why a graph cannot be used, in words."""


def try_out(content: bytes, digest: str, size: int, views: int = 0) -> int:
    """Open a graph in a process of its own, once for each graph, and ask it about noise.

    ``HILUM_MODEL_SECONDS`` and ``HILUM_MODEL_MIB`` set other limits.

    Args:
        content: The file.
        digest: Of all in it that is run (see `hilum.serving.onnx_file.check_graph`).
        size: Side of its input in pixels.
        views: Number of preprocessings that its input holds; 0 where it is one image.

    Returns:
        How many images it may be given at a time, 1 or `CHUNK`.

    Raises:
        TrialError: It takes too long or too much memory, or ONNX Runtime cannot use it.
    """
    key = f"{digest}-{size}-{views}"
    with _lock:
        if key in _tried:
            return _tried[key]
    if not sys.executable or getattr(sys, "frozen", False):
        return 1  # see `hilum.data.process_pool.start_python`
    found = _ask(
        content,
        {
            "size": size,
            "views": views,
            "seconds": _limit("HILUM_MODEL_SECONDS", SECONDS),
            "mib": _limit("HILUM_MODEL_MIB", MIB),
        },
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
        msg = f"no process could be started to test it: {error.strerror}"
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
        msg = f"loading it and predicting one image takes more than {limits}, or crashes. {REMEDY}"
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
        answer: dict[str, int | str] = {"batch": _try(content, request)}
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
    given, size, views = session.get_inputs()[0], request["size"], request.get("views", 0)
    shape = (views, size, size) if views else (size, size)
    if given.type != "tensor(uint8)" or not _same(given.shape, shape):
        return 1  # another graph than the metadata speak of, as the other process will say
    noise = np.random.default_rng(0).integers(0, 256, (1, *shape), np.uint8)
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


def _tried_out(model_file: ModelFile) -> int:
    views = len(model_file.metadata.preprocessing.views)
    return try_out(model_file.model, model_file.graph, model_file.size, views)


class Runs:
    """What one caller has under way, so that it can be ended."""

    def __init__(self) -> None:
        self.ended = False
        self._lock = Lock()
        self._options: list[Any] = []

    def end(self) -> None:
        """End what is under way, at the next operator, and begin nothing more."""
        with self._lock:
            self.ended = True
            for options in self._options:
                options.terminate = True

    @contextmanager
    def one(self) -> Iterator[Any]:
        """Options for one run."""
        from onnxruntime import RunOptions

        options = RunOptions()
        options.only_execute_path_to_fetches = True  # maps cost nothing where nobody asks for them
        with self._lock:
            options.terminate = self.ended
            self._options.append(options)
        try:
            yield options
        finally:
            with self._lock:
                self._options.remove(options)


class Session:
    """The network of a model file.

    Args:
        model_file: Whose graph was checked.
        features: Columns of its features; None where nobody asks for them.

    Raises:
        ModelFileError: ONNX Runtime cannot use it, it takes too long or too much memory, or its metadata speak of
            another graph.
    """

    def __init__(self, model_file: ModelFile, features: int | None) -> None:
        self.model_file = model_file
        try:
            most = CHUNK if _is_ours(model_file) else _tried_out(model_file)
            self.batch = min(most, max(1, AREA // prod(model_file.shape)))
            self._session = open_session(model_file.model)
        except Exception as error:  # whatever the runtime raises
            self._refuse(error if isinstance(error, TrialError) else "it cannot be opened", error)
        self.sides: dict[str, tuple[int, ...]] = {"probabilities": (len(model_file.labels),)}
        if features is not None:
            self.sides["features"] = (features,)
        if model_file.maps:
            self.sides["maps"] = (len(model_file.maps),)
        self._check_shapes()

    def run(
        self, pixels: NDArray[np.uint8], names: Sequence[str], runs: Runs | None = None
    ) -> list[NDArray[np.float32]]:
        """Run the network on B images, `batch` at a time and the rest one by one.

        Args:
            pixels: Of shape (B, *`ModelFile.shape`).
            names: Outputs.
            runs: By which the caller can end it.

        Returns:
            The outputs, each of shape (B, ...).

        Raises:
            ModelFileError: The runtime cannot, or gives something of another shape.
        """
        whole = len(pixels) - len(pixels) % self.batch
        starts = [*range(0, whole, self.batch), *range(whole, len(pixels))]
        ends = [*starts[1:], len(pixels)]
        parts = [self._run(pixels[start:end], names, runs or Runs()) for start, end in zip(starts, ends, strict=True)]
        return parts[0] if len(parts) == 1 else [np.concatenate(found) for found in zip(*parts, strict=True)]

    def _run(self, pixels: NDArray[np.uint8], names: Sequence[str], runs: Runs) -> list[NDArray[np.float32]]:
        try:
            with runs.one() as options:
                found: list[NDArray[np.float32]] = self._session.run(
                    list(names), {self.model_file.metadata.input.name: pixels}, options
                )
        except Exception as error:  # whatever the runtime raises
            self._refuse("it fails on an image", error)
        for name, output in zip(names, found, strict=True):
            wanted = (len(pixels), *self.sides.get(name, ()))
            if output.dtype != np.float32 or output.shape[: len(wanted)] != wanted or 0 in output.shape:
                raise ModelFileError(
                    malformed(self.model_file.source, f"its network gives {name} of shape {output.shape}")
                )
        return found

    def _check_shapes(self) -> None:
        """What the metadata say of the graph has to be so; sides that the graph leaves open pass."""
        try:
            given = [(item.name, item.type, item.shape) for item in self._session.get_inputs()]
            outputs = {item.name: (item.type, item.shape) for item in self._session.get_outputs()}
        except UnicodeDecodeError as error:  # names, as the runtime takes them from the file
            self._refuse("its names are no text", error)
        told = self.model_file.metadata.input.name, "tensor(uint8)", self.model_file.shape
        fits = [item[:2] for item in given] == [told[:2]] and _same(given[0][2], told[2])
        for name, sides in self.sides.items():
            kind, shape = outputs.get(name, ("", []))
            fits = fits and kind == "tensor(float)" and _same(shape[: len(sides) + 1], sides)
        if not fits:
            raise ModelFileError(malformed(self.model_file.source, "they describe another graph"))

    def _refuse(self, what: object, error: Exception) -> NoReturn:
        from onnxruntime import __version__

        detail = what if isinstance(error, TrialError) else f"{what}: {' '.join(str(error).split())[:300]}"
        why = printable(str(detail))
        msg = f"{self.model_file.source}: ONNX Runtime {__version__} cannot use it ({why}). Export it again."
        raise ModelFileError(msg, code="unusable") from error


def _is_ours(model_file: ModelFile) -> bool:
    """Whether it came with this copy of hilum: whoever could exchange it could exchange hilum."""
    sums: Path = PRETRAINED / "SHA256SUMS"
    return sums.is_file() and model_file.sha256 in sums.read_text(encoding="ascii").split()


def _same(shape: Sequence[Any], sides: tuple[int, ...]) -> bool:
    """Whether a shape is (batch, *sides) as far as it is known."""
    known = zip(shape[1:], sides, strict=False)
    return len(shape) == len(sides) + 1 and all(not isinstance(a, int) or a == b for a, b in known)
