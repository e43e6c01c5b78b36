"""The node as a whole: what runs in which thread, how it begins and how it ends."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sqlite3
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Thread
from typing import Any

from filelock import FileLock, Timeout

from hilum.errors import UsageError
from hilum.serving.json_log import JsonLog
from hilum.serving.node.audit_trail import AuditTrail
from hilum.serving.node.configuration import Configuration, Destination
from hilum.serving.node.dimse_channel import DimseChannel
from hilum.serving.node.intake import Intake
from hilum.serving.node.operations import NodeMetrics, OperationsServer
from hilum.serving.node.polling import Poller
from hilum.serving.node.queue import Queue
from hilum.serving.node.receiver import Receiver
from hilum.serving.node.retention import tidy
from hilum.serving.node.sender import Channel, Sender
from hilum.serving.node.web_channel import WebChannel
from hilum.serving.node.worker import RESULTS, Worker
from hilum.serving.predictor import Predictor

LOCK = "node.lock"
TIDY = 1.0  # seconds between two looks for files to delete
TITLE = "HILUM"  # AE title of a node that only polls
DRAIN = 30.0  # seconds that threads have to end


class Node:
    """A node that is ready to run.

    Args:
        configuration: All of it.
        log: Where events go.

    Raises:
        UsageError: Another node uses the folder, a port is taken, or a certificate or token cannot be used.
        ModelFileError: A model file is missing or damaged.
        QueueError: The queue cannot be used.
    """

    def __init__(self, configuration: Configuration, log: JsonLog | None = None) -> None:
        self.log = log or JsonLog()
        self.stop = Event()
        self.configuration = configuration
        self._open = ExitStack()
        with ExitStack() as opened:
            self._begin(opened)
            self._open = opened.pop_all()

    def _begin(self, opened: ExitStack) -> None:
        settings, log = self.configuration, self.log
        folder = settings.folder
        opened.enter_context(_locked(folder))
        models = {
            rule.model: Predictor(rule.model or None, threads=settings.limits.threads or None) for rule in settings.rule
        }
        predictors = {rule.name: models[rule.model] for rule in settings.rule}
        self.queue = Queue(folder)
        opened.callback(self.queue.close)
        self.metrics = NodeMetrics(self.queue)
        title = settings.listen.ae_title if settings.listen else TITLE
        self.audit = AuditTrail(settings.audit, title)
        self.intake = Intake(folder, self.queue, settings.rule, settings.limits, log)
        self.worker = Worker(
            self.queue, self.intake, settings.rule, predictors, folder, log, self.metrics.count_classified
        )
        self.senders = [
            Sender(
                name=destination.name,
                channel=channel_to(destination, settings),
                queue=self.queue,
                results=folder / RESULTS,
                limits=settings.limits,
                log=log,
                audit=self.audit,
                counted=self.metrics.count_delivery,
            )
            for destination in settings.destination
        ]
        self.pollers = [
            Poller(
                source=source,
                channel=WebChannel(source.web, settings.limits.patience),
                queue=self.queue,
                intake=self.intake,
                limits=settings.limits,
                log=log,
                audit=self.audit,
                counted=self.metrics.count,
            )
            for source in settings.source
        ]
        self.operations = OperationsServer(settings.operations, self.metrics, self._why_not_ready)
        self.receiver = (
            Receiver(settings.listen, settings.limits, self.intake, log, self.audit, self.metrics.count)
            if settings.listen
            else None
        )

    def run(self) -> None:
        """Work until `stop` is set, as by SIGTERM or Ctrl-C."""
        adopted = self.intake.adopt()
        ports: dict[str, int] = {"operations": self.operations.port}
        if self.receiver:
            ports["dicom"] = self.receiver.port
        self.audit.started()
        loops: list[Callable[[], object]] = [
            self.operations.serve,
            *([self.receiver.serve] if self.receiver else []),
            lambda: self.worker.run(self.stop),
            *(lambda sender=sender: sender.run(self.stop) for sender in self.senders),
            *(lambda poller=poller: poller.run(self.stop) for poller in self.pollers),
        ]
        self._threads = [Thread(target=self._guarded, args=(loop,), daemon=True) for loop in loops]
        for thread in self._threads:
            thread.start()
        self.log.write("started", adopted=adopted, **ports)
        while not self.stop.wait(TIDY):
            try:
                tidy(self.queue, self.intake, self.worker.folder, self.configuration.retention)
            except (OSError, sqlite3.Error) as error:
                self.log.fault(error)
        self._end()

    def _end(self) -> None:
        if self.receiver:
            self.receiver.close()
        self.operations.close()
        for thread in self._threads:
            thread.join(DRAIN)
        self.audit.stopped()
        self.log.write("stopped")
        self._open.close()

    def _guarded(self, loop: Callable[[], object]) -> None:
        try:
            loop()
        except BaseException as error:  # without one of its threads a node would only seem to work
            self.log.fault(error)
            self.log.write("ended-by-fault")
            os._exit(70)

    def _why_not_ready(self) -> str:
        return "stopping" if self.stop.is_set() else self.intake.why_full()


def channel_to(destination: Destination, settings: Configuration) -> Channel:
    """The way to a destination."""
    if destination.web:
        return WebChannel(destination.web, settings.limits.patience)
    assert destination.dicom
    title = settings.listen.ae_title if settings.listen else TITLE
    return DimseChannel(destination.dicom, title, settings.limits.patience)


def run_node(configuration: Configuration) -> None:
    """Run a node in this process until SIGTERM or Ctrl-C.

    Raises:
        UsageError: As `Node`.
    """
    with ExitStack() as refused:
        refused.callback(os.umask, os.umask(0o077))  # images and results are for this user alone
        quiet(refused)
        node = Node(configuration)
        refused.pop_all()  # to the end of the process: a thread may outlast the node
    _settle()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: node.stop.set())
    node.run()


def _settle() -> None:
    """Let no collection look again at what stays: pynetdicom begins one every 12 seconds, and all threads wait."""
    import highdicom  # noqa: F401 - the first report would load it

    gc.collect()
    gc.freeze()


def quiet(until: ExitStack) -> None:
    """Suppress log records and warnings of libraries, which may contain patients' names.

    Args:
        until: Ends it.
    """
    until.callback(logging.disable, logging.root.manager.disable)
    logging.disable(logging.CRITICAL)
    until.enter_context(warnings.catch_warnings())
    warnings.simplefilter("ignore")


def _locked(folder: Path) -> Any:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return FileLock(folder / LOCK, timeout=0).acquire()
    except Timeout as error:
        msg = f"{folder}: another node uses this folder. End it, or give this one a folder of its own."
        raise UsageError(msg, code="folder-in-use", path=folder) from error
    except OSError as error:
        msg = f"{folder}: cannot be written ({error.strerror}). Check the path and its permissions."
        raise UsageError(msg, code="folder", path=folder) from error
