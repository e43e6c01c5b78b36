"""Killed before and after each commit, each file and each answer of the archive; and what a full disk does there.

In one process that is forked for each kill, with a predictor that says the same of every image: what is tested is the
order of writing.
"""

import contextlib
import errno
import os
import signal
import sqlite3
import time

import highdicom.sr  # noqa: F401 - here, and not in each child
import pydicom
import pytest

from dicom_objects import encoded
from hilum.serving.json_log import JsonLog
from hilum.serving.model_file import open_model_file, shipped_model
from hilum.serving.node import intake as intake_module
from hilum.serving.node import worker as worker_module
from hilum.serving.node.audit_trail import AuditTrail
from hilum.serving.node.configuration import Limits, Retention, Rule
from hilum.serving.node.intake import Intake
from hilum.serving.node.queue import Queue
from hilum.serving.node.retention import tidy
from hilum.serving.node.sender import Sender
from hilum.serving.node.statuses import outcome_of
from hilum.serving.node.worker import Worker
from hilum.serving.prediction import Prediction
from killing import in_child
from node_peers import image

RULES = (Rule(name="chest", destinations=("ARCHIVE",)),)


class SamePredictor:
    model_file = open_model_file(shipped_model())

    def predict_many(self, files):
        shares = {label: 1 / len(self.model_file.labels) for label in self.model_file.labels}
        label = next(iter(shares))
        for file in files:
            yield Prediction(str(file), label, label, shares, "flag", "a test")


class Folder:
    """An archive that keeps UIDs in a file, as a channel."""

    def __init__(self, folder, point):
        self.file = folder / "archive.txt"
        self.point = point

    def send(self, objects, *, urgent):
        self.point()
        for path in objects:
            with self.file.open("a") as file:
                file.write(f"{pydicom.dcmread(path).SOPInstanceUID}\n")
        self.point()
        return outcome_of(0)

    def close(self):
        pass


class Parts:
    def __init__(self, folder, point=lambda: None):
        self.folder, self.log = folder / "state", JsonLog((folder / "log.txt").open("a"))
        self.folder.mkdir(exist_ok=True)
        self.queue = Queue(self.folder)
        limits = Limits(free_mib=0)
        self.intake = Intake(self.folder, self.queue, RULES, limits, self.log)
        predictors = {"chest": SamePredictor()}
        self.worker = Worker(
            self.queue, self.intake, RULES, predictors, self.folder, self.log, lambda rule, outcome, seconds: None
        )
        self.sender = Sender(
            name="ARCHIVE",
            channel=Folder(folder, point),
            queue=self.queue,
            results=self.worker.folder,
            limits=limits,
            log=self.log,
            audit=AuditTrail(None, "HILUM"),
            counted=lambda destination, outcome: None,
        )

    def close(self):
        self.queue.close()
        self.log.file.close()


def life(folder, contents, kill):
    """All that a node does with images, killed at a point; points are counted into a file."""
    count = 0

    def point():
        nonlocal count
        count += 1
        (folder / "points.txt").write_text(str(count))
        if count == kill:
            os.kill(os.getpid(), signal.SIGKILL)

    def watched(module, name):
        real = getattr(module, name)

        @contextlib.contextmanager
        def around(*arguments, **options):
            point()
            with real(*arguments, **options) as found:
                yield found
                point()
            point()

        setattr(module, name, around)

    watched(Queue, "_change")
    watched(intake_module, "saving")
    watched(worker_module, "saving")
    parts = Parts(folder, point)
    parts.intake.adopt()
    acknowledged = folder / "acknowledged.txt"
    for number, content in enumerate(contents):
        known = acknowledged.read_text().split() if acknowledged.exists() else []
        if str(number) not in known:
            parts.intake.admit([content])
            with acknowledged.open("a") as file:
                file.write(f"{number}\n")
    while parts.worker.step():
        point()
    while parts.sender.step():
        point()
    tidy(parts.queue, parts.intake, parts.worker.folder, Retention())
    point()


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 6])
def test_killed_at_every_step_each_image_is_reported_once(tmp_path, every):
    contents = [encoded(image(1, size=64))]
    kill, seen = 0, set()
    while True:
        folder = tmp_path / str(kill)
        folder.mkdir()
        ended = in_child(lambda f=folder, k=kill: life(f, contents, k), folder)
        assert ended.killed == bool(kill), ended.said
        if kill:
            assert in_child(lambda f=folder: life(f, contents, 0), folder).code == 0
        else:
            last = int((folder / "points.txt").read_text())
        queue = Queue(folder / "state", create=False)
        assert queue.counts()["sent"] == 1, f"killed at {kill}"
        queue.close()
        assert not list((folder / "state").rglob("*.dcm")), f"killed at {kill}"
        got = (folder / "archive.txt").read_text().split()
        assert len(set(got)) == 1
        assert len(got) <= 2
        seen |= {*got}
        kill += every
        if kill > last:
            break
    assert last > 15
    assert len(seen) == 1  # the report has the same UID in every run


@pytest.fixture
def parts(tmp_path):
    found = Parts(tmp_path)
    yield found
    found.close()


def full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_results_wait_for_a_full_disk(parts, monkeypatch):
    parts.intake.admit([encoded(image(1, size=64))])
    monkeypatch.setattr(worker_module, "saving", full)
    for _ in range(11):  # more often than an image may be begun
        with pytest.raises(OSError, match="space"):
            parts.worker.step()
    assert parts.queue.counts()["received"] == 1
    monkeypatch.undo()
    assert parts.worker.step() == 1
    assert parts.sender.step() == 1
    assert parts.queue.counts()["sent"] == 1


def test_an_image_that_ends_the_process_each_time_is_given_up(parts, monkeypatch):
    """What was begun and not finished comes alone, after all others."""
    for number in range(3):
        parts.intake.admit([encoded(image(number, size=64))])
    begun = parts.queue.take(16)  # as if killed now
    assert len(begun) == 3
    assert [len(parts.queue.take(16)) for _ in range(3)] == [1, 1, 1]
    bad, good = begun[0].id, []

    def objects(rule, predictor, file, answer):
        if begun[0].instance in file.name:
            raise KeyError
        good.append(file.name)
        return []

    monkeypatch.setattr(parts.worker, "_objects", objects)
    for _ in range(20):
        parts.worker.step()
    assert len(good) == 2
    assert parts.queue.counts() == {"received": 0, "answered": 2, "sent": 0, "refused": 0, "dead": 1}
    (what, why, count) = parts.queue.reasons()[0]
    assert (what, count) == ("dead", 1)
    assert "KeyError" in why
    assert parts.queue.retry() == 1
    assert [job.id for job in parts.queue.take(16)] == [bad]


def test_a_clock_that_jumps_back_changes_nothing(parts, monkeypatch):
    real = time.time
    parts.intake.admit([encoded(image(1, size=64))])
    monkeypatch.setattr(time, "time", lambda: real() - 10 * 86_400)
    parts.intake.admit([encoded(image(2, size=64))])
    assert 0 <= parts.queue.oldest() < 60
    while parts.worker.step():
        pass
    assert parts.sender.step() == 2
    assert tidy(parts.queue, parts.intake, parts.worker.folder, Retention(days=1)) == 0  # kept longer, not shorter
    monkeypatch.undo()
    assert tidy(parts.queue, parts.intake, parts.worker.folder, Retention(days=1)) == 1
    assert tidy(parts.queue, parts.intake, parts.worker.folder, Retention()) == 1
    assert parts.queue.counts()["sent"] == 2  # the rows stay, so that the images are known
    assert parts.intake.admit([encoded(image(1, size=64))]).outcome == "duplicate"


def test_a_damaged_queue_is_one_message(tmp_path):
    (tmp_path / "queue.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(worker_module.HilumError) as raised:
        Queue(tmp_path)
    assert raised.value.code == "node-queue"
    assert isinstance(raised.value.__cause__, sqlite3.Error)
