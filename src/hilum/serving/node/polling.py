"""Polls an archive over DICOMweb for images that the queue does not know (QIDO-RS), and fetches them (WADO-RS)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from threading import Event

from hilum.serving.json_log import JsonLog
from hilum.serving.node.audit_trail import AuditTrail
from hilum.serving.node.configuration import Limits, Source
from hilum.serving.node.intake import SHOWN, Intake, MismatchError, NoRoomError, hashed
from hilum.serving.node.queue import Queue
from hilum.serving.node.sender import Backoff, UnreachableError
from hilum.serving.node.web_channel import TooLargeError, WebChannel


@dataclass
class Poller:
    """Polls one archive.

    Attributes:
        source: Which one, and what is asked for.
        channel: The way there.
        queue: Of the node.
        intake: Who writes images down.
        limits: Of objects and waits.
        log: Where events go.
        audit: The audit trail.
        counted: Receives each image: what, and its outcome.
    """

    source: Source
    channel: WebChannel
    queue: Queue
    intake: Intake
    limits: Limits
    log: JsonLog
    audit: AuditTrail
    counted: Callable[[str, str], object]

    def __post_init__(self) -> None:
        self.backoff = Backoff(self.limits.first_delay, self.limits.longest_delay)
        self._unusable: set[str] = set()  # hashes of what cannot be taken, which is not fetched again before a restart

    def run(self, stop: Event) -> None:
        """Poll until it is stopped."""
        name, failures = self.source.name, 0
        while not stop.is_set():
            if self.backoff.is_due(name, failures):
                try:
                    self.step(stop)
                    failures = self._reached(failures)
                except (UnreachableError, NoRoomError) as error:
                    failures += 1
                    self.backoff.failed(name, failures)
                    self.queue.set_outage(name, failures, str(error))
                    self.log.write("unreachable", source=name, failures=failures, reason=str(error))
                except Exception as error:  # of the disk, or of an answer that the library does not know
                    failures += 1
                    self.backoff.failed(name, failures)
                    self.log.fault(error)
            stop.wait(self.source.every if not failures else min(1.0, self.source.every))

    def step(self, stop: Event | None = None) -> int:
        """Ask once, and fetch what is new; returns how many images were taken.

        Raises:
            UnreachableError: The archive cannot be reached.
            NoRoomError: The disk is full.
        """
        count = 0
        since = date.today() - timedelta(days=self.source.days)  # DICOM's dates are local
        self.audit.queried(self.source.name)
        for modality in self.source.modality:
            filters = {"Modality": modality, "StudyDate": f"{since:%Y%m%d}-"}
            for study, series, instance in self.channel.find(filters, self.source.most):
                if stop and stop.is_set():
                    return count
                key = hashed(instance)
                if key not in self._unusable and not self.queue.is_known(key):
                    count += self._fetch(study, series, instance)
        return count

    def _fetch(self, study: str, series: str, instance: str) -> bool:
        key = hashed(instance)
        try:
            content = self.channel.fetch(study, series, instance, self.limits.object_mib * 2**20)
            admitted = self.intake.admit([content], instance)
        except (TooLargeError, MismatchError) as error:
            outcome = "too-large" if isinstance(error, TooLargeError) else "mismatch"
            self._unusable.add(key)
            self.counted("image", outcome)
            self.log.write("not-taken", instance=key[:SHOWN], source=self.source.name, reason=outcome)
            return False
        self.counted("image", admitted.outcome)
        self.log.write("received", instance=admitted.instance[:SHOWN], outcome=admitted.outcome, peer=self.source.name)
        self.audit.received(admitted.study, self.source.name)
        return True

    def _reached(self, failures: int) -> int:
        if failures:
            self.queue.set_outage(self.source.name, 0, "")
        return 0
