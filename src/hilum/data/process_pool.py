"""Work on a list of chunks by this process, and by further processes beside it where these pay.

Decoding small files is mostly Python, and Python's lock lets one thread run at a time: on two cores, threads were
slower than none. Further processes cost their start, so this process begins alone, sees how fast it is, and calls in
others only if the rest would take longer than starting them. They are plain ``python -c`` with pipes: unlike
`multiprocessing` they never run the caller's script again, and nothing is forked while other threads hold locks.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pickle
import platform
import queue
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from math import ceil
from pathlib import Path
from threading import Lock, Thread
from types import TracebackType
from typing import Any, BinaryIO, Protocol, Self, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Work = Callable[[Sequence[Item]], Result]

PAYS = 1.0  # seconds of work left that are worth a further process; its start takes about 0.4
SECONDS = 0.02  # of work to hand out at a time, beside 0.3 ms for the pipes
FIRST, MOST = 4, 64  # items to hand out while nothing is known of their length, and at most
START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from hilum.data import process_pool as pool; pool.serve()"
)


class Pool(Protocol):
    """Processes that share the work on a list, until the end of the block."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...

    def map(self, work: Work[Item, Result], items: Sequence[Item]) -> Iterator[tuple[int, Result]]:
        """Do `work` on all items, some consecutive ones at a time.

        Yields:
            The position of the first of some items, and what `work` gave for them, in any order.
        """
        ...


class ProcessPool:
    """Processes that take chunks beside this one, from when they are first needed until the end of the block.

    What a helper cannot do (it was killed, could not be started, met an error) this process does itself, so that
    errors are raised here, as if there were no helpers.

    Args:
        cores: How many processes may work, this one included; by default as many as this one may use cores.
    """

    def __init__(self, cores: int | None = None) -> None:
        self.cores = cores or usable_cores()
        self.helpers: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for helper in self.helpers:
            helper.kill()  # it holds nothing that could be lost
        for helper in self.helpers:
            helper.wait()
            for pipe in (helper.stdin, helper.stdout):
                with contextlib.suppress(OSError):  # what was not flushed has nobody to read it
                    pipe and pipe.close()

    def map(self, work: Work[Item, Result], items: Sequence[Item]) -> Iterator[tuple[int, Result]]:
        """Do `work` on all items, some consecutive ones at a time.

        Args:
            work: A function of an importable module, or a `functools.partial` of one: it is sent by its name.
            items: Whatever can be pickled.

        Yields:
            The position of the first of some items, and what `work` gave for them, in the order of completion.
        """
        heap = _Heap(len(items))
        done: queue.SimpleQueue[tuple[range, Result] | None] = queue.SimpleQueue()  # None: a helper gave some back
        finished, called, begin = 0, False, time.monotonic()
        while finished < len(items):
            if taken := heap.take():
                before = time.monotonic()
                result = work(items[taken.start : taken.stop])
                heap.seconds_an_item = (time.monotonic() - before) / len(taken)
                yield taken.start, result
                finished += len(taken)
            while not done.empty() or (not heap.left and finished < len(items)):
                if found := done.get():
                    yield found[0].start, found[1]
                    finished += len(found[0])
                elif heap.left:
                    break
            left = (time.monotonic() - begin) / max(1, finished) * heap.left
            if not called and left > PAYS:
                called = True
                self._call(min(self.cores - 1, ceil(left / max(PAYS, 0.01))))
                content = pickle.dumps(work)
                for helper in self.helpers:
                    Thread(target=_feed, args=(helper, content, items, heap, done), daemon=True).start()

    def _call(self, count: int) -> None:
        for _ in range(count - len(self.helpers)):
            try:
                self.helpers.append(start_python(START))
            except OSError:  # no memory, no processes left: then alone
                return


def start_python(code: str) -> subprocess.Popen[bytes]:
    """Start another Python, which is talked to through pipes.

    It gets one thread: arithmetic libraries would start as many as there are cores, and reserve memory for each.

    Args:
        code: What it runs; in ``sys.argv[1]`` it finds the path on which modules are found here, as JSON.

    Raises:
        OSError: It cannot be started, or Python is part of another program, which would be started instead.
    """
    if not sys.executable or getattr(sys, "frozen", False):
        raise OSError(errno.ENOEXEC, "Python is part of another program")
    return subprocess.Popen(
        [sys.executable, "-P", "-c", code, json.dumps(sys.path)],  # -P: no json.py of the working directory
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # pydicom's warnings tell names
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )


def bound_process(seconds: int, addresses: int | None, data: int | None = None) -> None:
    """Limit what this process may still use, where the system can do that; it leaves no core dump, either.

    Args:
        seconds: Processor time from now on, in seconds.
        addresses: Address space, in bytes; None for no limit.
        data: Data segment, in bytes; None for no limit.
    """
    with contextlib.suppress(ImportError, ValueError, OSError):  # not everywhere
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for kind, size in ((resource.RLIMIT_AS, addresses), (resource.RLIMIT_DATA, data)):
            if size is not None:
                resource.setrlimit(kind, (size, size))
        used = resource.getrusage(resource.RUSAGE_SELF)
        until = int(used.ru_utime + used.ru_stime) + seconds
        resource.setrlimit(resource.RLIMIT_CPU, (until, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def usable_cores() -> int:
    """Cores that this process may use, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor_name() -> str:
    """The processor's name as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


class _Heap:
    """What is still to be done; this process and the threads that feed the helpers take from it.

    Few items are taken where each is long, so that all end at nearly the same time and a bar keeps moving.
    """

    def __init__(self, count: int) -> None:
        self.ranges = [range(count)] if count else []
        self.seconds_an_item = SECONDS / FIRST
        self.lock = Lock()

    @property
    def left(self) -> int:
        """How many items nobody has taken."""
        return sum(map(len, self.ranges))

    def take(self) -> range | None:
        """Some consecutive items, or None where nothing is left."""
        with self.lock:
            if not self.ranges:
                return None
            rest = self.ranges.pop()
            count = max(1, min(MOST, int(SECONDS / max(self.seconds_an_item, 1e-9))))
            if rest[count:]:
                self.ranges.append(rest[count:])
            return rest[:count]

    def give_back(self, taken: range) -> None:
        """What somebody could not do."""
        with self.lock:
            self.ranges.append(taken)


def _feed(
    helper: subprocess.Popen[bytes],
    work: bytes,
    items: Sequence[Any],
    heap: _Heap,
    done: queue.SimpleQueue[tuple[range, Any] | None],
) -> None:
    """Hand one helper its share; a thread that mostly waits."""
    assert helper.stdin
    assert helper.stdout
    while taken := heap.take():
        try:
            pickle.dump((work, items[taken.start : taken.stop]), helper.stdin)
            helper.stdin.flush()
            worked, result = pickle.load(helper.stdout)
        except (OSError, EOFError, ValueError, pickle.UnpicklingError):
            worked, result = False, None
        if not worked:
            heap.give_back(taken)
            done.put(None)
            return
        done.put((taken, result))


def serve() -> None:
    """What a helper does until its standard input ends: also when whoever started it was killed."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the first process decides
    source = sys.stdin.buffer
    target = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a decoder prints must not get between the answers
    with contextlib.suppress(EOFError, BrokenPipeError):
        _answer(source, target)
    os._exit(0)  # nothing to tidy up, and nobody to flush for


def _answer(source: BinaryIO, target: BinaryIO) -> None:
    while True:
        content, items = pickle.load(source)
        try:
            answer = pickle.dumps((True, pickle.loads(content)(items)))
        except Exception:  # the first process meets the same error, and raises it
            answer = pickle.dumps((False, None))
        target.write(answer)
        target.flush()
