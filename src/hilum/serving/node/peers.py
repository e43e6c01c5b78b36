"""Asks every peer of a configuration whether it answers, and what the queue holds, before and while a node runs."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hilum.serving.node.configuration import Configuration, Destination
from hilum.serving.node.node import channel_to
from hilum.serving.node.queue import Queue
from hilum.serving.node.sender import UnreachableError
from hilum.serving.node.statuses import Verdict
from hilum.serving.node.web_channel import WebChannel
from hilum.serving.prediction import Prediction
from hilum.serving.predictor import Predictor
from hilum.serving.structured_report import ReportedImage, result_objects

PATIENT = "HILUM-CHECK"


@dataclass(frozen=True)
class Checked:
    """What a peer answered.

    Attributes:
        name: Of the peer.
        asked: ``C-ECHO``, ``QIDO-RS``, ``C-STORE`` or ``STOW-RS``.
        fault: Why it did not answer as it should; empty where it did.
    """

    name: str
    asked: str
    fault: str


@dataclass(frozen=True)
class QueueStatus:
    """What a queue holds; no identifiers.

    Attributes:
        jobs: Number of images by state.
        deliveries: Number of results by destination and state.
        oldest: Seconds since the oldest unfinished image came; None where all are finished.
        outages: By peer that cannot be reached, how often it was tried, and why.
        reasons: What did not succeed, why, and how often.
    """

    jobs: dict[str, int]
    deliveries: dict[str, dict[str, int]]
    oldest: float | None
    outages: dict[str, tuple[int, str]]
    reasons: list[tuple[str, str, int]]


def check_peers(settings: Configuration, *, write: bool = False) -> Iterator[Checked]:
    """Ask every destination and source.

    Args:
        settings: Of the node.
        write: Whether destinations get a test object, a report without an answer about a made-up patient.

    Raises:
        UsageError: A certificate or token cannot be used.
    """
    for destination in settings.destination:
        channel = channel_to(destination, settings)
        asked = "QIDO-RS" if destination.web else "C-ECHO"
        fault = channel.check()
        yield Checked(destination.name, asked, fault)
        if write and not fault:
            yield _written(destination, settings)
    for source in settings.source:
        channel = WebChannel(source.web, settings.limits.patience)
        yield Checked(source.name, "QIDO-RS", channel.check())


def queue_status(settings: Configuration) -> QueueStatus:
    """What the queue of a node holds, also while the node runs.

    Raises:
        QueueError: There is none yet.
    """
    queue = Queue(settings.folder, create=False)
    try:
        return QueueStatus(queue.counts(), queue.delivery_counts(), queue.oldest(), queue.outages(), queue.reasons())
    finally:
        queue.close()


def retry(settings: Configuration) -> int:
    """Try again what was given up; returns how many results and images.

    Raises:
        QueueError: There is no queue yet.
    """
    queue = Queue(settings.folder, create=False)
    try:
        return queue.retry()
    finally:
        queue.close()


def _written(destination: Destination, settings: Configuration) -> Checked:
    channel = channel_to(destination, settings)
    rule = next((rule for rule in settings.rule if destination.name in rule.destinations), settings.rule[0])
    try:
        with TemporaryDirectory() as folder:
            file = Path(folder) / "0.dcm"
            file.write_bytes(_test_object(Predictor(rule.model or None, threads=1), enhanced=rule.enhanced))
            outcome = channel.send([file], urgent=False)
    except UnreachableError as error:
        return Checked(destination.name, "test object", str(error))
    finally:
        channel.close()
    return Checked(destination.name, "test object", "" if outcome.verdict is Verdict.SENT else outcome.reason)


def _test_object(predictor: Predictor, *, enhanced: bool) -> bytes:
    from pydicom.dataset import Dataset
    from pydicom.uid import generate_uid

    header = Dataset()
    header.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        setattr(header, keyword, generate_uid(entropy_srcs=[PATIENT, keyword]))
    header.PatientID, header.PatientName, header.Modality = PATIENT, PATIENT, "CR"
    answer = Prediction("test object", error="a test of the connection; no image belongs to it")
    (report, *_) = result_objects(ReportedImage(answer, header), predictor.model_file, enhanced=enhanced)
    content: Any = io.BytesIO()
    report.save_as(content, enforce_file_format=True)
    return bytes(content.getvalue())
