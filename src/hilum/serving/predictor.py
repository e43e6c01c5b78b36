"""Answers about radiographs from a bundle, by ONNX Runtime alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hilum.data.crew import usable_cores
from hilum.data.reduction import reduce
from hilum.errors import BundleError, ExtraError, ImageError
from hilum.serving.abstention import Likeness, unpack
from hilum.serving.answer import Answer
from hilum.serving.bundle import Bundle, open_bundle, shipped_model
from hilum.serving.decision import decide
from hilum.serving.metadata import malformed
from hilum.serving.sources import Source, name_of, read_source

if TYPE_CHECKING:
    from concurrent.futures import Future

    from hilum.data.familiarity import Familiarity

CHUNK = 16  # images at a time and thread
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
        BundleError: There is none, it is damaged, or ONNX Runtime cannot use it.
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
        self._session = _open_session(self.bundle)
        _check_shapes(self._session, self.bundle, self.familiarity)

    def predict(self, source: Source, name: str = "") -> Answer:
        """Answer about one image.

        Args:
            source: A file, the bytes of one, or an array (see `hilum.data.images.from_array`).
            name: What the answer calls it, where it is not a file.

        Raises:
            ImageError: It cannot be read; unlike in `predict_many`, where this is an answer.
        """
        name = name or name_of(source, 1)
        pixels, chroma, notes = self._read(source, name)
        row, likeness = next(self.judge(pixels[None]))
        return self.say(name, row, chroma, notes, likeness)

    def predict_many(self, sources: Iterable[Source], *, start: int = 1, of_study: bool = False) -> Iterator[Answer]:
        """Answer about any number of images in their order; one that cannot be read becomes an answer with an `error`.

        Sources are taken as answers are, so that memory does not grow with their number.

        Args:
            sources: As `predict` takes them.
            start: Number of the first one, by which arrays and bytes are called.
            of_study: Whether they belong to studies that are decided about as a whole (see `hilum.serving.studies`).
        """
        numbered = enumerate(iter(sources), start)
        first = list(islice(numbered, CHUNK))
        if len(first) < CHUNK or self.threads < 2:
            while first:
                yield from self._answer(first, of_study)
                first = list(islice(numbered, CHUNK))
            return
        from concurrent.futures import ThreadPoolExecutor

        waiting: deque[Future[list[Answer]]] = deque()
        pool = ThreadPoolExecutor(self.threads, thread_name_prefix="hilum-predict")
        try:
            while first or waiting:
                if first:
                    waiting.append(pool.submit(self._answer, first, of_study))
                    first = list(islice(numbered, CHUNK))
                if not first or len(waiting) >= AHEAD * self.threads:
                    yield from waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def judge(self, pixels: NDArray[np.uint8]) -> Iterator[tuple[NDArray[np.float32], Likeness | None]]:
        """Probabilities, of shape (K,), and likeness to the training images, of each of B images.

        Args:
            pixels: Bytes of shape (B, size, size), as `hilum.data.reduction.reduce` makes them.
        """
        if self.familiarity is None:
            (rows,) = self._outputs(pixels, ["probabilities"])
            yield from ((row, None) for row in rows)
            return
        rows, features = self._outputs(pixels, ["probabilities", "features"])
        found = self.familiarity.judge(features, pixels)
        yield from zip(rows, map(Likeness, map(float, found.p_value), found.reasons), strict=True)

    def run(self, pixels: NDArray[np.uint8], outputs: Sequence[str] = ("probabilities",)) -> NDArray[np.float32]:
        """Run the network.

        Args:
            pixels: Bytes of shape (B, size, size), as `hilum.data.reduction.reduce` makes them.
            outputs: One name: ``probabilities`` (B, K), ``features`` (B, F) or ``maps`` (B, M, h, w).
        """
        return self._outputs(pixels, outputs)[0]

    def _outputs(self, pixels: NDArray[np.uint8], names: Sequence[str]) -> list[NDArray[np.float32]]:
        from onnxruntime import RunOptions

        options = RunOptions()
        options.only_execute_path_to_fetches = True  # maps cost nothing where nobody asks for them
        found: list[NDArray[np.float32]] = self._session.run(
            list(names), {self.bundle.facts["input"]["name"]: pixels}, options
        )
        return found

    def _answer(self, chunk: Sequence[tuple[int, Source]], of_study: bool) -> list[Answer]:
        answers: dict[int, Answer] = {}
        pixels = np.empty((len(chunk), self.bundle.size, self.bundle.size), np.uint8)
        read: list[tuple[int, str, float, tuple[str, ...]]] = []
        for position, (number, source) in enumerate(chunk):
            name = name_of(source, number)
            try:
                pixels[len(read)], chroma, notes = self._read(source, name)
            except (ImageError, ExtraError) as error:
                answers[position] = Answer(name, error=str(error).removeprefix(f"{name}: "))
            else:
                read.append((position, name, chroma, notes))
        if read:
            judged = self.judge(pixels[: len(read)])
            for (position, name, chroma, notes), (row, likeness) in zip(read, judged, strict=True):
                answers[position] = self.say(name, row, chroma, notes, likeness, of_study=of_study)
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
        """
        labels = self.bundle.labels
        probabilities = dict(zip(labels, map(float, row), strict=True))
        unlike = likeness.reason if likeness else ""
        decision, reason = decide(self.bundle, probabilities, chroma, unlike, of_study=of_study)
        p_familiar = likeness.p_value if likeness else None
        top = labels[int(row.argmax())]
        return Answer(name, top, self.bundle.display[top], probabilities, decision, reason, notes, p_familiar)


def _open_session(bundle: Bundle) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1  # several images at a time use the cores better than several threads for one
    options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(bundle.model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # whatever the runtime raises
        msg = f"{bundle.source}: ONNX Runtime {onnxruntime.__version__} cannot use it ({error}). Export it anew."
        raise BundleError(msg) from error


def _check_shapes(session: Any, bundle: Bundle, familiarity: Familiarity | None) -> None:
    """What the metadata say of the graph has to be so; sides that the graph leaves open pass.

    Raises:
        BundleError: The graph has another input, or lacks outputs, or they are of another shape.
    """
    given, size = session.get_inputs(), bundle.size
    outputs = {item.name: (item.type, item.shape) for item in session.get_outputs()}
    wanted: dict[str, tuple[int, ...]] = {"probabilities": (len(bundle.labels),)}
    if familiarity is not None:
        wanted["features"] = (familiarity.features.shape[1],)
    if bundle.maps:
        wanted["maps"] = (len(bundle.maps),)
    told = bundle.facts["input"]["name"], "tensor(uint8)", (size, size)
    fits = [(item.name, item.type) for item in given] == [told[:2]] and _same(given[0].shape, told[2])
    for name, sides in wanted.items():
        kind, shape = outputs.get(name, ("", []))
        fits = fits and kind == "tensor(float)" and _same(shape[: len(sides) + 1], sides)
    if not fits:
        raise BundleError(malformed(bundle.source, "they speak of another graph than the one beside them"))


def _same(shape: Sequence[Any], sides: tuple[int, ...]) -> bool:
    """Whether a shape is (batch, *sides) as far as it is known."""
    known = zip(shape[1:], sides, strict=False)
    return len(shape) == len(sides) + 1 and all(not isinstance(a, int) or a == b for a, b in known)
