"""Answers about radiographs from a bundle, by ONNX Runtime alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hilum.data.crew import usable_cores
from hilum.data.operating_point import why_no_probabilities
from hilum.data.reduction import reduce
from hilum.errors import ExtraError, ImageError
from hilum.serving.abstention import Likeness, comparable, unpack
from hilum.serving.answer import Answer, decide
from hilum.serving.bundle import Bundle, open_bundle, shipped_model
from hilum.serving.session import Runs, Session
from hilum.serving.sources import Source, name_of, read_source
from hilum.serving.trial import CHUNK as CHUNK

if TYPE_CHECKING:
    from concurrent.futures import Future

AHEAD = 2  # chunks a thread that may wait for whoever takes the answers


class Predictor:
    """A bundle that answers.

    Args:
        model: A bundle, its file, its folder, its bytes, or its name on a hub (``hf://owner/name``); by default the
            model that comes with hilum.
        threads: At most so many chunks of images at a time; by default as many as this process may use cores.

    Attributes:
        bundle: What was opened.
        model: ``name`` and ``sha256``, as answers carry them.
        familiarity: What images are compared with before it decides; None where the bundle cannot tell.

    Raises:
        BundleError: There is none, it is damaged, or ONNX Runtime cannot use it within limits of time and memory.
    """

    def __init__(self, model: Bundle | Path | str | bytes | None = None, *, threads: int | None = None) -> None:
        if model is None:
            model = shipped_model()
        if isinstance(model, str) and model.startswith("hf://"):
            from hilum.serving.hub import fetch

            model = fetch(model)
        elif isinstance(model, str):
            model = Path(model)
        self.bundle = model if isinstance(model, Bundle) else open_bundle(model)
        self.model = {"name": self.bundle.name, "sha256": self.bundle.sha256}
        self.threads = threads or usable_cores()
        self.familiarity = unpack(self.bundle.facts["abstention"], self.bundle.source)
        self._session = Session(self.bundle, self.familiarity.features.shape[1] if self.familiarity else None)

    def predict(self, source: Source, name: str = "") -> Answer:
        """Answer about one image.

        Args:
            source: A file, the bytes of one, or an array (see `hilum.data.grey_values.from_array`).
            name: What the answer calls it, where it is not a file.

        Raises:
            ImageError: It cannot be read, or the network's answer is no probability; unlike in `predict_many`, where
                this is an answer.
            BundleError: The network fails.
        """
        name = name or name_of(source, 1)
        pixels, chroma, notes = self._read(source, name)
        row, likeness = next(self.judge(pixels[None]))
        return self.say(name, row, chroma, notes, likeness)

    def predict_many(self, sources: Iterable[Source], *, start: int = 1, of_study: bool = False) -> Iterator[Answer]:
        """Answer about any number of images in their order; one that cannot be read becomes an answer with an `error`.

        Sources are taken as answers are, so that memory does not grow with their number. This thread only waits, so
        that Ctrl-C ends it at once, and the network at its next operator.

        Args:
            sources: As `predict` takes them.
            start: Number of the first one, by which arrays and bytes are called.
            of_study: Whether they belong to studies that are decided about as a whole (see `hilum.serving.studies`).

        Raises:
            BundleError: The network fails.
        """
        from concurrent.futures import ThreadPoolExecutor

        numbered = enumerate(iter(sources), start)
        first = list(islice(numbered, CHUNK))
        waiting: deque[Future[list[Answer]]] = deque()
        runs = Runs()
        pool = ThreadPoolExecutor(self.threads, thread_name_prefix="hilum-predict")
        try:
            while first or waiting:
                if first:
                    waiting.append(pool.submit(self._answer, first, of_study, runs))
                    first = list(islice(numbered, CHUNK))
                if not first or len(waiting) >= AHEAD * self.threads:
                    yield from waiting.popleft().result()
        finally:
            runs.end()
            pool.shutdown(wait=True, cancel_futures=True)

    def judge(
        self, pixels: NDArray[np.uint8], runs: Runs | None = None
    ) -> Iterator[tuple[NDArray[np.float32], Likeness | None]]:
        """Probabilities, of shape (K,), and likeness to the training images, of each of B images.

        Args:
            pixels: Bytes of shape (B, size, size), as `hilum.data.reduction.reduce` makes them.
            runs: By which the caller can end it.

        Raises:
            BundleError: The network fails.
        """
        if self.familiarity is None:
            (rows,) = self._session.run(pixels, ["probabilities"], runs)
            yield from ((row, None) for row in rows)
            return
        rows, features = self._session.run(pixels, ["probabilities", "features"], runs)
        usable = np.asarray(comparable(features).all(axis=1))
        found = self.familiarity.judge(np.where(usable[:, None], features, 0), pixels)
        p_values = np.where(usable, found.p_value, np.nan)
        yield from zip(rows, map(Likeness, map(float, p_values), found.reasons), strict=True)

    def run(self, pixels: NDArray[np.uint8], outputs: Sequence[str] = ("probabilities",)) -> NDArray[np.float32]:
        """Run the network.

        Args:
            pixels: Bytes of shape (B, size, size), as `hilum.data.reduction.reduce` makes them.
            outputs: One name: ``probabilities`` (B, K), ``features`` (B, F) or ``maps`` (B, M, h, w); as the network
                gives them, whatever these are.

        Raises:
            BundleError: The network fails.
        """
        return self._session.run(pixels, outputs)[0]

    def _answer(self, chunk: Sequence[tuple[int, Source]], of_study: bool, runs: Runs) -> list[Answer]:
        answers: dict[int, Answer] = {}
        pixels = np.empty((len(chunk), self.bundle.size, self.bundle.size), np.uint8)
        read: list[tuple[int, str, float, tuple[str, ...]]] = []
        for position, (number, source) in enumerate(chunk):
            if runs.ended:
                return []
            name = name_of(source, number)
            try:
                pixels[len(read)], chroma, notes = self._read(source, name)
            except (ImageError, ExtraError) as error:
                answers[position] = _failed(name, error)
            else:
                read.append((position, name, chroma, notes))
        if read:
            judged = self.judge(pixels[: len(read)], runs)
            for (position, name, chroma, notes), (row, likeness) in zip(read, judged, strict=True):
                try:
                    answers[position] = self.say(name, row, chroma, notes, likeness, of_study=of_study)
                except ImageError as error:
                    answers[position] = _failed(name, error)
        return [answers[position] for position in range(len(chunk))]

    def _read(self, source: Source, name: str) -> tuple[NDArray[np.uint8], float, tuple[str, ...]]:
        picture, notes = read_source(source, name)
        return reduce(picture.pixels, **self.bundle.preprocessing), picture.chroma, notes

    def say(
        self,
        name: str,
        row: NDArray[np.float32],
        chroma: float,
        notes: tuple[str, ...],
        likeness: Likeness | None = None,
        *,
        of_study: bool = False,
    ) -> Answer:
        """Put a row of probabilities into words.

        Args:
            name: What the answer calls the image.
            row: Of shape (K,).
            chroma: How colourful the picture was.
            notes: What has to be known besides.
            likeness: To the training images; None where the bundle cannot tell.
            of_study: Whether the image belongs to a study that is decided about as a whole.

        Raises:
            ImageError: The row is no probabilities, or the features no numbers: nothing is decided by them.
        """
        why = why_no_probabilities(row)
        if not why and likeness and not isfinite(likeness.p_value):
            why = "its features are no numbers"
        if why:
            msg = f"{name}: the model's answer cannot be used ({why}). Take another model, or export this one anew."
            raise ImageError(msg)
        labels = self.bundle.labels
        probabilities = dict(zip(labels, (min(float(p), 1.0) for p in row), strict=True))
        unlike = likeness.reason if likeness else ""
        decision, reason = decide(self.bundle, probabilities, chroma, unlike, of_study=of_study)
        p_familiar = likeness.p_value if likeness else None
        top = labels[int(row.argmax())]
        return Answer(name, top, self.bundle.display[top], probabilities, decision, reason, notes, p_familiar)


def _failed(name: str, error: Exception) -> Answer:
    return Answer(name, error=str(error).removeprefix(f"{name}: "))
