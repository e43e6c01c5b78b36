"""The predictor: from a model file and images to predictions."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hilum.data.process_pool import usable_cores
from hilum.decision.operating_point import why_no_probabilities
from hilum.errors import ExtraError, ImageError, ModelFileError
from hilum.extras import require
from hilum.serving.finding_decisions import decide_findings, image_decision, likely_findings, likely_names
from hilum.serving.inputs import Source, name_of, read_source
from hilum.serving.metadata import comparable
from hilum.serving.model_file import ModelFile, named_model, open_model_file, shipped_model
from hilum.serving.prediction import Prediction, decide
from hilum.serving.session import CHUNK, Runs, Session

if TYPE_CHECKING:
    from concurrent.futures import Future


@dataclass(frozen=True, slots=True)
class Likeness:
    """What is known of one image beside its probabilities.

    Attributes:
        p_value: Share of calibration patients at least as unlike the training images, above 0 and at most 1.
        reason: Why to abstain; empty where there is no reason to.
    """

    p_value: float
    reason: str


AHEAD = 2  # chunks a thread that may wait for whoever takes the answers


class Predictor:
    """A model file that answers.

    Args:
        model: A model file, its file, its folder, its bytes, its name on a hub (``hf://owner/name``), or the name of a
            model that comes with hilum; by default ``paediatric-pneumonia``.
        threads: At most so many chunks of images at a time; by default as many as this process may use cores.

    Attributes:
        model_file: What was opened.
        model: ``name`` and ``sha256``, as answers carry them.
        in_distribution: What images are compared with before it decides; None where the model file cannot tell.

    Raises:
        ModelFileError: There is none, it is damaged, or ONNX Runtime cannot use it within limits of time and memory.
    """

    def __init__(self, model: ModelFile | Path | str | bytes | None = None, *, threads: int | None = None) -> None:
        if model is None:
            model = shipped_model()
        if isinstance(model, str) and model.startswith("hf://"):
            model = fetch(model)
        elif isinstance(model, str):
            model = named_model(model)
        self.model_file = model if isinstance(model, ModelFile) else open_model_file(model)
        self.model = {"name": self.model_file.name, "sha256": self.model_file.sha256}
        self.threads = threads or usable_cores()
        packed = self.model_file.metadata.abstention
        self.in_distribution = packed.unpack(self.model_file.source) if packed else None
        self._session = Session(
            self.model_file, self.in_distribution.features.shape[1] if self.in_distribution else None
        )

    def predict(self, source: Source, name: str = "") -> Prediction:
        """Answer about one image.

        Args:
            source: A file, the bytes of one, or an array (see `hilum.data.grey_values.from_array`).
            name: What the answer calls it, where it is not a file.

        Raises:
            ImageError: It cannot be read, or the network's answer is no probability; unlike in `predict_many`, where
                this is an answer.
            ModelFileError: The network fails.
        """
        name = name or name_of(source, 1)
        pixels, chroma, notes = self._read(source, name)
        row, likeness = next(self.judge(pixels[None]))
        return self.say(name, row, chroma, notes, likeness)

    def predict_many(
        self, sources: Iterable[Source], *, start: int = 1, of_study: bool = False
    ) -> Iterator[Prediction]:
        """Answer about any number of images in their order; one that cannot be read becomes an answer with an `error`.

        Sources are taken as answers are, so that memory does not grow with their number. This thread only waits, so
        that Ctrl-C ends it at once, and the network at its next operator.

        Args:
            sources: As `predict` takes them.
            start: Number of the first one, by which arrays and bytes are called.
            of_study: Whether they belong to studies that are decided about as a whole (see `hilum.serving.studies`).

        Raises:
            ModelFileError: The network fails.
        """
        from concurrent.futures import ThreadPoolExecutor

        numbered = enumerate(iter(sources), start)
        first = list(islice(numbered, CHUNK))
        waiting: deque[Future[list[Prediction]]] = deque()
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
            pixels: Bytes of shape (B, *`ModelFile.shape`), as `ModelFile.reduce` makes them.
            runs: By which the caller can end it.

        Raises:
            ModelFileError: The network fails.
        """
        if self.in_distribution is None:
            (rows,) = self._session.run(pixels, ["probabilities"], runs)
            yield from ((row, None) for row in rows)
            return
        rows, features = self._session.run(pixels, ["probabilities", "features"], runs)
        usable = np.asarray(comparable(features).all(axis=1))
        found = self.in_distribution.judge(np.where(usable[:, None], features, 0), pixels)
        p_values = np.where(usable, found.p_value, np.nan)
        yield from zip(rows, map(Likeness, map(float, p_values), found.reasons), strict=True)

    def run(self, pixels: NDArray[np.uint8], outputs: Sequence[str] = ("probabilities",)) -> NDArray[np.float32]:
        """Run the network.

        Args:
            pixels: Bytes of shape (B, *`ModelFile.shape`), as `ModelFile.reduce` makes them.
            outputs: One name: ``probabilities`` (B, K), ``features`` (B, F) or ``maps`` (B, M, h, w); as the network
                gives them, whatever these are.

        Raises:
            ModelFileError: The network fails.
        """
        return self._session.run(pixels, outputs)[0]

    def _answer(self, chunk: Sequence[tuple[int, Source]], of_study: bool, runs: Runs) -> list[Prediction]:
        answers: dict[int, Prediction] = {}
        pixels = np.empty((len(chunk), *self.model_file.shape), np.uint8)
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
        return self.model_file.reduce(picture.pixels), picture.chroma, notes

    def say(
        self,
        name: str,
        row: NDArray[np.float32],
        chroma: float,
        notes: tuple[str, ...],
        likeness: Likeness | None = None,
        *,
        of_study: bool = False,
    ) -> Prediction:
        """Put a row of probabilities into words.

        Args:
            name: What the answer calls the image.
            row: Of shape (K,).
            chroma: How colourful the picture was.
            notes: What has to be known besides.
            likeness: To the training images; None where the model file cannot tell.
            of_study: Whether the image belongs to a study that is decided about as a whole.

        Raises:
            ImageError: The row is no probabilities, or the features no numbers: nothing is decided by them.
        """
        findings = bool(self.model_file.findings)
        why = why_no_probabilities(row, exclusive=not findings)
        if not why and likeness and not isfinite(likeness.p_value):
            why = "its features are not numbers"
        if why:
            msg = f"{name}: the model's output cannot be used ({why}). Use another model, or export this one again."
            raise ImageError(msg)
        labels = self.model_file.labels
        probabilities = dict(zip(labels, (min(float(p), 1.0) for p in row), strict=True))
        unlike = likeness.reason if likeness else ""
        p_in_distribution = likeness.p_value if likeness else None
        if findings:
            each = decide_findings(self.model_file, probabilities, chroma, unlike, of_study=of_study)
            decision, reason = image_decision(self.model_file, each)
            label = likely_findings(probabilities)
            shown = likely_names(self.model_file, label)
            return Prediction(
                name, label, shown, probabilities, decision, reason, notes, p_in_distribution, findings=each
            )
        decision, reason = decide(self.model_file, probabilities, chroma, unlike, of_study=of_study)
        top = labels[int(row.argmax())]
        return Prediction(
            name, top, self.model_file.label_name[top], probabilities, decision, reason, notes, p_in_distribution
        )


def _failed(name: str, error: Exception) -> Prediction:
    return Prediction(name, error=str(error).removeprefix(f"{name}: "))


PREFIX = "hf://"
FILE = "model.onnx"
PATIENCE = 4  # seconds to wait for the hub


def fetch(name: str, file: str = FILE) -> Path:
    """A file that lies in a Hugging Face repository, downloaded if it is not in the cache yet.

    Args:
        name: ``hf://owner/name``, with ``@revision`` if it is not to be the latest.
        file: Its name there; by default that of a model file.

    Raises:
        ExtraError: The extra ``[hub]`` is not installed.
        ModelFileError: There is no such repository, it holds no model file, or it cannot be reached.
    """
    require("hub", f"{name}: loading from a hub")
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repository, _, revision = name.removeprefix(PREFIX).partition("@")
    try:
        reached = True
        try:  # asked once: the download itself asks for half a minute before it gives up
            get_hf_file_metadata(hf_hub_url(repository, file, revision=revision or None), timeout=PATIENCE)
        except HFValidationError:
            raise
        except HfHubHTTPError as error:
            reached = error.response.status_code < 500
            if reached:
                raise
        except Exception:  # of its HTTP library, which changes with the client's version
            reached = False
        return Path(hf_hub_download(repository, file, revision=revision or None, local_files_only=not reached))
    except LocalEntryNotFoundError as error:
        msg = f"{name}: cannot be loaded: the hub cannot be reached, and no copy is in the cache. Check the connection."
        raise ModelFileError(msg) from error
    except HFValidationError as error:
        msg = f"{name}: cannot be loaded: not the name of a repository. Write hf://OWNER/NAME, or hf://OWNER/NAME@REVISION."
        raise ModelFileError(msg, code="malformed-name") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        msg = (
            f"{name}: cannot be loaded: {file} is not accessible (status {status}). Check name and revision, or log in."
        )
        raise ModelFileError(msg) from error
    except Exception as error:  # of the disk, or of the connection on the way
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        msg = f"{name}: cannot be loaded ({first}). Check the disk and the connection."
        raise ModelFileError(msg) from error
