"""The worker: classifies what waits in the queue, and writes down what is to be sent."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import groupby
from pathlib import Path
from threading import Event

import numpy as np

from hilum.decision.operating_point import FLAG
from hilum.errors import HilumError, ImageError, PassingImageError
from hilum.files import saving
from hilum.serving.derived_object import KEYWORDS
from hilum.serving.explain import draw, explain
from hilum.serving.json_log import JsonLog, place_of
from hilum.serving.node.configuration import Rule
from hilum.serving.node.intake import SHOWN, Intake
from hilum.serving.node.job_results import remove_results, result_file
from hilum.serving.node.queue import DEAD, REFUSED, Answered, Job, Queue
from hilum.serving.prediction import Prediction
from hilum.serving.predictor import Predictor
from hilum.serving.report_encoder import ReportEncoder
from hilum.serving.structured_report import ReportedImage

RESULTS = "results"
BATCH = 64  # images that are begun at a time: the next ones are decoded while reports are made
TOGETHER = 8  # answers that are written down in one transaction
TRIES = 10  # times that an image may be begun, a kill included, before it is given up
IDLE = 0.2  # seconds between two looks at an empty queue
SAVERS = 4  # threads that wait for the disk
STALLED = 5.0  # seconds to wait where the disk is full, or an image has to be begun again


class Worker:
    """Classifies images one batch after another.

    Args:
        queue: Of the node.
        intake: Which knows where images lie.
        rules: All of them; a job's rule that is not among them any more makes the job dead.
        predictors: By the rule's name.
        folder: Of the node.
        log: Where events go.
        counted: Receives each image: its rule, what became of it, and the seconds of its batch by its size.
    """

    def __init__(
        self,
        queue: Queue,
        intake: Intake,
        rules: Sequence[Rule],
        predictors: Mapping[str, Predictor],
        folder: Path,
        log: JsonLog,
        counted: Callable[[str, str, float], object],
    ) -> None:
        self.queue = queue
        self.intake = intake
        self.rules = {rule.name: rule for rule in rules}
        self.predictors = predictors
        self.folder = folder / RESULTS
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.log = log
        self.counted = counted
        self._encoders: dict[str, ReportEncoder] = {}  # by the rule's name
        self._delayed = False  # whether the next batch waits: an image has to be begun again
        self._savers = ThreadPoolExecutor(SAVERS, thread_name_prefix="hilum-save")

    def run(self, stop: Event) -> None:
        """Classify until it is stopped; a full disk is waited out."""
        while not stop.is_set():
            try:
                if not self.step(stop):
                    stop.wait(IDLE)
                if self._delayed:
                    self._delayed = False
                    stop.wait(STALLED)
            except (OSError, sqlite3.Error) as error:
                self.log.fault(error)
                stop.wait(STALLED)

    def step(self, stop: Event | None = None) -> int:
        """Classify one batch; returns how many images it had.

        Raises:
            OSError: Results cannot be written; the images wait.
            sqlite3.Error: The queue cannot be written.
        """
        jobs = self.queue.take(BATCH)
        left = {job.id: job for job in jobs}
        try:
            for name, group in groupby(sorted(jobs, key=lambda job: job.rule), key=lambda job: job.rule):
                chosen, rule = list(group), self.rules.get(name)
                if rule is None:
                    for job in chosen:
                        self.queue.ended(left.pop(job.id), DEAD, "its rule is not in the configuration any more")
                    continue
                self._classify(rule, chosen, left, stop)
        except BaseException:  # nothing is wrong with the images that are left
            self.queue.give_back(left.values())
            raise
        if left:
            self.queue.give_back(left.values())
        return len(jobs)

    def _classify(self, rule: Rule, jobs: Sequence[Job], left: dict[int, Job], stop: Event | None) -> None:
        predictor = self.predictors[rule.name]
        files = [self.intake.path(job.instance, job.rule) for job in jobs]
        saved: list[tuple[Answered, Future[None]]] = []
        begin = time.perf_counter()
        for job, file, answer in zip(jobs, files, predictor.predict_many(files), strict=True):
            if stop and stop.is_set():
                break
            made = self._end(rule, predictor, job, file, answer)
            if isinstance(made, str):
                left.pop(job.id)
                self._note(job, rule, made, 0.0)
            else:  # the disk is waited for while the next report is made
                found, objects = made
                saved.append((found, self._savers.submit(self._save, job, objects)))
            if len(saved) == TOGETHER:
                self._write_down(rule, saved, left, time.perf_counter() - begin)
                saved, begin = [], time.perf_counter()
        self._write_down(rule, saved, left, time.perf_counter() - begin)

    def _write_down(
        self, rule: Rule, saved: Sequence[tuple[Answered, Future[None]]], left: dict[int, Job], seconds: float
    ) -> None:
        wait([future for _, future in saved])
        done = [found for found, future in saved if not future.exception()]
        if done:
            self.queue.answered(done)
        for found in done:
            left.pop(found.job.id)
            self._note(found.job, rule, found.decision, seconds / len(done))
        for _, future in saved:
            future.result()

    def _note(self, job: Job, rule: Rule, outcome: str, seconds: float) -> None:
        self.counted(rule.name, outcome, seconds)
        self.log.write("classified", instance=job.instance[:SHOWN], rule=rule.name, outcome=outcome)

    def _end(
        self, rule: Rule, predictor: Predictor, job: Job, file: Path, answer: Prediction
    ) -> str | tuple[Answered, list[bytes]]:
        """What became of an image, or the answer about it with the objects to send."""
        if answer.error:
            try:  # alone, and with an error that tells whether the machine was the reason
                answer = predictor.predict(file)
            except PassingImageError as error:
                return self._again(job, f"the machine: {error.code}")
            except HilumError as error:
                reason = str(error).removeprefix(f"{file}: ")
                if rule.refusals == "record":
                    self.queue.ended(job, REFUSED, reason)
                    return REFUSED
                answer = Prediction(str(file), error=reason)
        try:
            objects = self._objects(rule, predictor, file, answer)
        except OSError:
            raise
        except ImageError as error:  # the image has no identifier that a report could refer to
            self.queue.ended(job, REFUSED, str(error))
            return REFUSED
        except Exception as error:  # highdicom raises nearly anything; the text could hold a name, the place cannot
            return self._again(job, f"no report could be made ({type(error).__name__} at {place_of(error)})")
        decision, reason = answer.decision or REFUSED, answer.error or answer.reason
        return Answered(job, decision, reason, rule.destinations, urgent=answer.decision == FLAG), objects

    def _again(self, job: Job, reason: str) -> str:
        if job.tries + 1 >= TRIES:
            self.queue.ended(job, DEAD, reason)
            return DEAD
        self._delayed = True
        return "again"

    def _objects(self, rule: Rule, predictor: Predictor, file: Path, answer: Prediction) -> list[bytes]:
        import pydicom

        heatmap = None
        encoder = self._encoders.setdefault(rule.name, ReportEncoder(predictor.model_file, enhanced=rule.enhanced))
        if rule.heatmap and not answer.error:
            heatmap = np.asarray(draw(explain(predictor, file), predictor.model_file))
        header = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=list(KEYWORDS))
        return encoder.encode(ReportedImage(answer, header, heatmap))

    def _save(self, job: Job, objects: Sequence[bytes]) -> None:
        remove_results(self.folder, job.id)  # of an earlier attempt, which could have been more
        for number, content in enumerate(objects):
            with saving(result_file(self.folder, job.id, number)) as file:
                file.write(content)
