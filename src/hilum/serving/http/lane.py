"""Threads that take what waits in the order in which it came, several at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import ceil
from threading import Condition, Thread
from typing import Generic, TypeVar

Job = TypeVar("Job")


class Lane(Generic[Job]):
    """Work that waits, and the threads that do it.

    A thread that becomes free takes its share of whatever waits, so that a single job never waits for others.

    Args:
        work: Is given the jobs that a thread took; must not raise.
        threads: Number of threads.
        most: Jobs that a thread takes at a time.
    """

    def __init__(self, work: Callable[[list[Job]], None], *, threads: int, most: int = 1) -> None:
        self._work = work
        self._most = most
        self._waiting: deque[Job] = deque()
        self._ready = Condition()
        self._closed = False
        self._threads = [Thread(target=self._run, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def put(self, job: Job) -> None:
        """Let a job wait; after `close`, for a thread of its own."""
        with self._ready:
            self._waiting.append(job)
            self._ready.notify()
            closed = self._closed
        if closed:
            Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        """End the threads once nothing waits."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while True:
            with self._ready:
                self._ready.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                count = min(self._most, ceil(len(self._waiting) / len(self._threads)))
                taken = [self._waiting.popleft() for _ in range(count)]
            self._work(taken)
