"""Answers many clients at once: what waits is decoded together, and the network gets it together."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.data.file_kinds import is_costly_file, looks_like_dicom
from hilum.data.images import Picture
from hilum.data.process_pool import usable_cores
from hilum.serving.explain import Explanation, explain
from hilum.serving.http.lane import Lane
from hilum.serving.inputs import read_source
from hilum.serving.prediction import Prediction
from hilum.serving.predictor import Predictor
from hilum.serving.session import CHUNK

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Viewed:
    """A prediction, and the picture that it is about."""

    prediction: Prediction
    picture: Picture


@dataclass(frozen=True)
class _Read:
    """A decoded image."""

    picture: Picture
    notes: tuple[str, ...]
    pixels: Bytes


class _Asked:
    """An image that somebody waits for.

    Args:
        content: Of its file.
        name: What the answer calls it.
    """

    def __init__(self, content: bytes, name: str) -> None:
        self.content = content
        self.name = name
        self.read: _Read | None = None
        self.result: Any = None
        self.error: BaseException | None = None
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()

    def tell(self) -> None:
        """Give the result to whoever still waits for it; in the event loop."""
        if self.future.done():
            return
        if self.error:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class Pipeline:
    """One model that answers many clients at once.

    Files that are decoded in processes of their own (`hilum.data.bounded`), and explanations, do not hold up the rest.

    Args:
        predictor: Who answers.
        threads: Number of threads for each of the two; by default as many as this process may use cores.
        batched: Is told the size of each batch.
    """

    def __init__(
        self, predictor: Predictor, *, threads: int | None = None, batched: Callable[[int], object] | None = None
    ) -> None:
        self.predictor = predictor
        self.threads = threads or usable_cores()
        self._batched = batched or (lambda _: None)
        self._quick = Lane(self._answer, threads=self.threads, most=CHUNK)
        self._costly: Lane[Callable[[], None]] = Lane(lambda jobs: jobs[0](), threads=self.threads)

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
        asked = _Asked(content, name)
        if looks_like_dicom(content[:512]) or is_costly_file(content):
            self._costly.put(lambda: self._decode_first(asked))
        else:
            self._quick.put(asked)
        found: Viewed = await asked.future
        return found

    async def explain(self, content: bytes, name: str) -> Explanation:
        """Answer about one image, with heatmaps.

        Raises:
            ImageError: As `predict`.
        """
        asked = _Asked(content, name)
        self._costly.put(lambda: self._explain(asked))
        found: Explanation = await asked.future
        return found

    def close(self) -> None:
        """End the threads once nothing waits."""
        self._costly.close()
        self._quick.close()

    def _explain(self, asked: _Asked) -> None:
        if not asked.future.cancelled():
            try:
                asked.result = explain(self.predictor, asked.content, asked.name)
            except BaseException as error:  # is raised where it is waited for
                asked.error = error
        _tell([asked])

    def _decode_first(self, asked: _Asked) -> None:
        self._decode(asked)
        if asked.read:
            self._quick.put(asked)
        else:
            _tell([asked])

    def _decode(self, asked: _Asked) -> None:
        if asked.future.cancelled():  # the client has gone
            return
        try:
            picture, notes = read_source(asked.content, asked.name)
            asked.read = _Read(picture, notes, self.predictor.model_file.reduce(picture.pixels))
        except BaseException as error:
            asked.error = error

    def _answer(self, batch: list[_Asked]) -> None:
        for asked in batch:
            if not asked.read:
                self._decode(asked)
        usable = [(asked, asked.read) for asked in batch if asked.read]
        if usable:
            self._batched(len(usable))
            try:
                judged = list(self.predictor.judge(np.stack([found.pixels for _, found in usable])))
            except BaseException as error:
                judged = []
                for asked, _ in usable:
                    asked.error = error
            for (asked, found), (row, likeness) in zip(usable, judged, strict=False):
                try:
                    said = self.predictor.say(asked.name, row, found.picture.chroma, found.notes, likeness)
                    asked.result = Viewed(said, found.picture)
                except BaseException as error:
                    asked.error = error
        _tell(batch)


def _tell(batch: list[_Asked]) -> None:
    """Give results to those who wait, waking each event loop once."""
    by_loop = defaultdict(list)
    for asked in batch:
        by_loop[asked.loop].append(asked)
    for loop, some in by_loop.items():
        with suppress(RuntimeError):  # the loop has ended, and nobody waits
            loop.call_soon_threadsafe(_tell_each, some)


def _tell_each(batch: list[_Asked]) -> None:
    for asked in batch:
        asked.tell()
