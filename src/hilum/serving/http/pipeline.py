"""Answers many clients at once: images are decoded in a few threads, and the network gets all that wait together."""

from __future__ import annotations

from asyncio import wrap_future
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from math import ceil
from threading import Condition, Thread

import numpy as np
from numpy.typing import NDArray

from hilum.data.file_kinds import is_costly_file, looks_like_dicom
from hilum.data.images import Picture
from hilum.data.process_pool import usable_cores
from hilum.serving.explain import Explanation, explain
from hilum.serving.inputs import read_source
from hilum.serving.prediction import Prediction
from hilum.serving.predictor import Predictor
from hilum.serving.session import CHUNK

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class _Read:
    """A decoded image that waits for the network."""

    name: str
    picture: Picture
    notes: tuple[str, ...]
    pixels: Bytes


@dataclass(frozen=True)
class Viewed:
    """A prediction, and the picture that it is about."""

    prediction: Prediction
    picture: Picture


class Pipeline:
    """One model that answers many clients at once.

    A batch is whatever waits when the network becomes free, so that a single image never waits for others. Files that
    are decoded in processes of their own (`hilum.data.bounded`) do not hold up the rest.

    Args:
        predictor: Who answers.
        threads: Number of threads for decoding, and for the network; by default as many as this process may use cores.
        batched: Is told the size of each batch.
    """

    def __init__(
        self, predictor: Predictor, *, threads: int | None = None, batched: Callable[[int], object] | None = None
    ) -> None:
        self.predictor = predictor
        self.threads = threads or usable_cores()
        self._batched = batched or (lambda _: None)
        self._quick = ThreadPoolExecutor(self.threads, thread_name_prefix="hilum-decode")
        self._costly = ThreadPoolExecutor(self.threads, thread_name_prefix="hilum-decode-costly")
        self._waiting: deque[tuple[_Read, Future[Viewed]]] = deque()
        self._ready = Condition()
        self._closed = False
        self._network = [Thread(target=self._classify, daemon=True) for _ in range(self.threads)]
        for thread in self._network:
            thread.start()

    async def predict(self, content: bytes, name: str) -> Viewed:
        """Answer about one image.

        Args:
            content: Of a file.
            name: What the answer calls it.

        Raises:
            ImageError: It cannot be read, or the network's answer is no probability.
            ExtraError: It is a DICOM object, and the extra that reads those is not installed.
            ModelFileError: The network fails.
        """
        found: Future[Viewed] = Future()
        self._decoders(content).submit(self._decode, content, name, found)
        return await wrap_future(found)

    async def explain(self, content: bytes, name: str) -> Explanation:
        """Answer about one image, with heatmaps.

        Raises:
            ImageError: As `predict`.
        """
        return await wrap_future(self._decoders(content).submit(explain, self.predictor, content, name))

    def close(self) -> None:
        """End the threads once nothing waits."""
        self._quick.shutdown()
        self._costly.shutdown()
        with self._ready:
            self._closed = True
            self._ready.notify_all()
        for thread in self._network:
            thread.join()

    def _decoders(self, content: bytes) -> ThreadPoolExecutor:
        costly = looks_like_dicom(content[:512]) or is_costly_file(content)
        return self._costly if costly else self._quick

    def _decode(self, content: bytes, name: str, found: Future[Viewed]) -> None:
        if not found.set_running_or_notify_cancel():  # the client has gone
            return
        try:
            picture, notes = read_source(content, name)
            read = _Read(name, picture, notes, self.predictor.model_file.reduce(picture.pixels))
        except BaseException as error:  # is raised where it is waited for
            found.set_exception(error)
            return
        with self._ready:
            self._waiting.append((read, found))
            self._ready.notify()

    def _classify(self) -> None:
        while True:
            with self._ready:
                self._ready.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                count = min(CHUNK, ceil(len(self._waiting) / self.threads))
                batch = [self._waiting.popleft() for _ in range(count)]
            self._batched(count)
            try:
                judged = list(self.predictor.judge(np.stack([read.pixels for read, _ in batch])))
            except BaseException as error:
                for _, found in batch:
                    found.set_exception(error)
                continue
            for (read, found), (row, likeness) in zip(batch, judged, strict=True):
                try:
                    said = self.predictor.say(read.name, row, read.picture.chroma, read.notes, likeness)
                    found.set_result(Viewed(said, read.picture))
                except BaseException as error:
                    found.set_exception(error)
