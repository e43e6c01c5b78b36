"""The sender: brings results to one destination, flagged images first, again and again until it has them.

A destination that cannot be reached gets no blame on single results: nothing becomes a dead letter because of a
network. Only what a destination answers counts as an attempt. Waits are measured on a monotonic clock and kept in
memory, so that a clock that is set back delays nothing, and a restart tries at once.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Protocol

from hilum.serving.json_log import JsonLog
from hilum.serving.node.audit_trail import AuditTrail
from hilum.serving.node.configuration import Limits
from hilum.serving.node.intake import SHOWN
from hilum.serving.node.job_results import result_files
from hilum.serving.node.queue import Delivery, Queue
from hilum.serving.node.statuses import Outcome, Verdict

BATCH = 50
IDLE = 0.3  # seconds between two looks at an empty queue
STALLED = 5.0  # seconds to wait where the disk is full


class UnreachableError(Exception):
    """A peer cannot be reached, or the connection broke; its text holds no identifier."""


class Channel(Protocol):
    """A way to a destination."""

    def send(self, objects: Sequence[Path], *, urgent: bool) -> Outcome:
        """Store objects.

        Raises:
            UnreachableError: The peer cannot be reached, or the connection broke.
        """

    def check(self) -> str:
        """Ask whether it answers; empty, or why it does not."""

    def close(self) -> None:
        """End the connection, if there is one."""


class Backoff:
    """Waits that double, with jitter, on a monotonic clock.

    Args:
        first: Seconds after the first failure.
        longest: Most seconds.
        clock: Seconds that never go back.
    """

    def __init__(self, first: float, longest: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.first = first
        self.longest = longest
        self.clock = clock
        self._due: dict[tuple[object, int], float] = {}

    def failed(self, key: object, failures: int) -> None:
        """Begin to wait after so many failures."""
        wait = min(self.longest, self.first * 2.0 ** min(failures - 1, 60))
        self._due[key, failures] = self.clock() + wait * random.uniform(0.5, 1.0)
        self._due.pop((key, failures - 1), None)

    def is_due(self, key: object, failures: int) -> bool:
        """Whether the wait is over; also where the number of failures was reset, or the process is new."""
        return self._due.get((key, failures), 0.0) <= self.clock()

    def forget(self, key: object, failures: int) -> None:
        """Forget one that succeeded."""
        self._due.pop((key, failures), None)


@dataclass
class Sender:
    """Sends to one destination.

    Attributes:
        name: Of the destination.
        channel: The way there.
        queue: Of the node.
        results: Folder of the results (see `hilum.serving.node.job_results`).
        limits: Of attempts and waits.
        log: Where events go.
        audit: The audit trail.
        counted: Receives each result: the destination, and its outcome.
    """

    name: str
    channel: Channel
    queue: Queue
    results: Path
    limits: Limits
    log: JsonLog
    audit: AuditTrail
    counted: Callable[[str, str], object]

    def __post_init__(self) -> None:
        self.backoff = Backoff(self.limits.first_delay, self.limits.longest_delay)

    def run(self, stop: Event) -> None:
        """Send until it is stopped."""
        while not stop.is_set():
            try:
                if not self.step(stop):
                    self.channel.close()
                    stop.wait(IDLE)
            except (OSError, sqlite3.Error) as error:
                self.log.fault(error)
                stop.wait(STALLED)
        self.channel.close()

    def step(self, stop: Event | None = None) -> int:
        """Send what is due; returns how many results the destination got or refused."""
        failures = self.queue.outages().get(self.name, (0, ""))[0]
        if not self.backoff.is_due(self.name, failures):
            return 0
        count = 0
        for delivery in self._due():
            if stop and stop.is_set():
                break
            try:
                outcome = self._send(delivery)
            except UnreachableError as error:
                failures += 1
                self.queue.set_outage(self.name, failures, str(error))
                self.backoff.failed(self.name, failures)
                self.counted(self.name, "unreachable")
                self.log.write("unreachable", destination=self.name, failures=failures, reason=str(error))
                self.channel.close()
                return count
            if failures:
                failures = 0
                self.queue.set_outage(self.name, 0, "")
            self._note(delivery, outcome)
            count += 1
        return count

    def _due(self) -> Iterator[Delivery]:
        # More than a batch is looked at where what comes first is still waiting for another attempt.
        most = BATCH
        while True:
            waiting = self.queue.waiting_for(self.name, most)
            due = [one for one in waiting if self.backoff.is_due(one.id, one.tries)]
            if due or len(waiting) < most:
                yield from due[:BATCH]
                return
            most *= 4

    def _send(self, delivery: Delivery) -> Outcome:
        files = result_files(self.results, delivery.job)
        if not files:
            return Outcome(Verdict.DEAD, "its results are not on the disk any more")
        return self.channel.send(files, urgent=delivery.urgent)

    def _note(self, delivery: Delivery, outcome: Outcome) -> None:
        dead = outcome.verdict is Verdict.DEAD or (
            outcome.verdict is Verdict.AGAIN and delivery.tries + 1 >= self.limits.attempts
        )
        what = {"instance": delivery.instance[:SHOWN], "destination": self.name}
        if outcome.verdict is Verdict.SENT:
            self.queue.delivered(delivery)
            self.backoff.forget(delivery.id, delivery.tries)
            self.counted(self.name, "sent")
            self.log.write("sent", **what, reason=outcome.reason)
        else:
            self.queue.not_delivered(delivery, outcome.reason, dead=dead)
            self.backoff.failed(delivery.id, delivery.tries + 1)
            self.counted(self.name, "dead" if dead else "failed")
            self.log.write("dead" if dead else "failed", **what, reason=outcome.reason)
        if self.audit.audit:
            self.audit.sent(self._study(delivery), self.name, failed=outcome.verdict is not Verdict.SENT)

    def _study(self, delivery: Delivery) -> str:
        import pydicom

        for file in result_files(self.results, delivery.job)[:1]:
            return str(pydicom.dcmread(file, specific_tags=["StudyInstanceUID"]).get("StudyInstanceUID", ""))
        return ""
