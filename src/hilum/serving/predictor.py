"""The predictor: from a model file and images to predictions; and the OOD reference that a model file carries."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hilum.data.images import reduce
from hilum.data.process_pool import usable_cores
from hilum.decision.ood import ARRAYS, SIDE, Reference
from hilum.decision.operating_point import why_no_probabilities
from hilum.errors import ExtraError, ImageError, ModelFileError
from hilum.extras import require
from hilum.serving.inputs import Source, name_of, read_source
from hilum.serving.model_file import ModelFile, malformed, open_model_file, shipped_model
from hilum.serving.prediction import Prediction, decide
from hilum.serving.session import CHUNK, Runs, Session
from hilum.text import printable

if TYPE_CHECKING:
    from concurrent.futures import Future


FLOATS = ("float16", "float32", "float64")
TYPES = {"features": FLOATS, "layouts": ("uint8",), "feature_distances": FLOATS, "layout_distances": FLOATS}
LARGEST = 1e6  # features have length 1, distances are at most 4; float32 squares of these are numbers still
MOST_NEIGHBOURS = 10_000
DIMENSIONS = {"features": 2, "layouts": 2, "feature_distances": 1, "layout_distances": 1}


@dataclass(frozen=True, slots=True)
class Likeness:
    """What is known of one image beside its probabilities.

    Attributes:
        p_value: Share of calibration patients at least as unlike the training images, above 0 and at most 1.
        reason: Why to abstain; empty where there is no reason to.
    """

    p_value: float
    reason: str


def comparable(array: NDArray[Any]) -> NDArray[np.bool_]:
    """Which numbers can be compared with others: finite, and of a size that distances can be computed from."""
    found: NDArray[np.bool_] = np.abs(array.astype(np.float64)) <= LARGEST  # false for NaN
    return found


def pack(reference: Reference, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Write a reference as JSON can hold it; arrays as base64 of their little-endian bytes.

    Args:
        reference: A run's (see `hilum.decision.ood`).
        facts: What ``abstention.json`` says of it.
    """
    arrays = {}
    for name in ARRAYS:
        array = np.asarray(getattr(reference, name))
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        data = b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")
        arrays[name] = {"type": array.dtype.name, "shape": list(array.shape), "data": data}
    return {**facts, "arrays": arrays}


def unpack(facts: Mapping[str, Any] | None, name: str) -> Reference | None:
    """Read what `pack` has written; None where there is none.

    Args:
        facts: The entry ``abstention`` of the metadata.
        name: What messages call the model file.

    Raises:
        ModelFileError: Arrays or settings are not what can be compared with.
    """
    if facts is None:
        return None
    try:
        _check_settings(facts)
        found = Reference.of({array: _array(facts["arrays"][array], array) for array in ARRAYS}, facts)
        _check(found)
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        what = printable(f"'{error.args[0]}' is missing" if isinstance(error, KeyError) else str(error)[:200])
        raise ModelFileError(malformed(name, f"abstention: {what}")) from error
    return found


def _array(part: Mapping[str, Any], name: str) -> NDArray[Any]:
    if part["type"] not in TYPES[name]:
        msg = f"{name} should be of type {' or '.join(TYPES[name])}"
        raise ValueError(msg)
    content = np.frombuffer(b64decode(part["data"], validate=True), np.dtype(part["type"]).newbyteorder("<"))
    if len(part["shape"]) != DIMENSIONS[name] or not all(type(side) is int and side > 0 for side in part["shape"]):
        msg = f"{name} should have {DIMENSIONS[name]} dimensions, none of them empty"
        raise ValueError(msg)
    array = content.reshape(part["shape"])
    if not comparable(array).all():
        msg = f"{name} holds what is no number, or one above {LARGEST:g}"
        raise ValueError(msg)
    return array


def _check_settings(facts: Mapping[str, Any]) -> None:
    """As JSON holds them: what Python would make a number of (a text, a truth value) is none."""
    neighbours, wrong = facts["neighbours"], facts["wrong"]
    near = type(neighbours) is int and 1 <= neighbours <= MOST_NEIGHBOURS
    _demand(near, f"neighbours should be 1 to {MOST_NEIGHBOURS}")
    _demand(type(facts["level"]) is float and 0 < facts["level"] < 1, "level should lie between 0 and 1")
    boundary = type(facts["boundary"]) in (int, float) and abs(facts["boundary"]) <= LARGEST
    _demand(boundary, "boundary should be a number")
    poses = isinstance(wrong, list) and all(type(pose) is int and 0 <= pose < 16 for pose in wrong)
    _demand(poses, "wrong should be poses, 0 to 15")


def _check(found: Reference) -> None:
    _demand(found.layouts.shape[1] == SIDE * SIDE, "layouts should have 225 columns")
    distances = found.feature_distances, found.layout_distances
    _demand(len(distances[0]) == len(distances[1]), "distances should be of the same patients")
    _demand(all((np.diff(values) >= 0).all() for values in distances), "distances should ascend")


def _demand(fits: bool, what: str) -> None:
    if not fits:
        raise ValueError(what)


AHEAD = 2  # chunks a thread that may wait for whoever takes the answers


class Predictor:
    """A model file that answers.

    Args:
        model: A model file, its file, its folder, its bytes, or its name on a hub (``hf://owner/name``); by default the
            model that comes with hilum.
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
            model = Path(model)
        self.model_file = model if isinstance(model, ModelFile) else open_model_file(model)
        self.model = {"name": self.model_file.name, "sha256": self.model_file.sha256}
        self.threads = threads or usable_cores()
        self.in_distribution = unpack(self.model_file.facts["abstention"], self.model_file.source)
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
            pixels: Bytes of shape (B, size, size), as `hilum.data.images.reduce` makes them.
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
            pixels: Bytes of shape (B, size, size), as `hilum.data.images.reduce` makes them.
            outputs: One name: ``probabilities`` (B, K), ``features`` (B, F) or ``maps`` (B, M, h, w); as the network
                gives them, whatever these are.

        Raises:
            ModelFileError: The network fails.
        """
        return self._session.run(pixels, outputs)[0]

    def _answer(self, chunk: Sequence[tuple[int, Source]], of_study: bool, runs: Runs) -> list[Prediction]:
        answers: dict[int, Prediction] = {}
        pixels = np.empty((len(chunk), self.model_file.size, self.model_file.size), np.uint8)
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
        return reduce(picture.pixels, **self.model_file.preprocessing), picture.chroma, notes

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
        why = why_no_probabilities(row)
        if not why and likeness and not isfinite(likeness.p_value):
            why = "its features are no numbers"
        if why:
            msg = f"{name}: the model's answer cannot be used ({why}). Take another model, or export this one anew."
            raise ImageError(msg)
        labels = self.model_file.labels
        probabilities = dict(zip(labels, (min(float(p), 1.0) for p in row), strict=True))
        unlike = likeness.reason if likeness else ""
        decision, reason = decide(self.model_file, probabilities, chroma, unlike, of_study=of_study)
        p_in_distribution = likeness.p_value if likeness else None
        top = labels[int(row.argmax())]
        return Prediction(
            name, top, self.model_file.label_name[top], probabilities, decision, reason, notes, p_in_distribution
        )


def _failed(name: str, error: Exception) -> Prediction:
    return Prediction(name, error=str(error).removeprefix(f"{name}: "))


PREFIX = "hf://"
FILE = "model.onnx"
PATIENCE = 4  # seconds to wait for the hub


def fetch(name: str) -> Path:
    """The file of a model file that lies in a Hugging Face repository, downloaded if it is not in the cache yet.

    Args:
        name: ``hf://owner/name``, with ``@revision`` if it is not to be the latest.

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
            get_hf_file_metadata(hf_hub_url(repository, FILE, revision=revision or None), timeout=PATIENCE)
        except HFValidationError:
            raise
        except HfHubHTTPError as error:
            reached = error.response.status_code < 500
            if reached:
                raise
        except Exception:  # of its HTTP library, which changes with the client's version
            reached = False
        return Path(hf_hub_download(repository, FILE, revision=revision or None, local_files_only=not reached))
    except LocalEntryNotFoundError as error:
        msg = f"{name}: cannot be loaded: the hub cannot be reached, and no copy is in the cache. Check the connection."
        raise ModelFileError(msg) from error
    except HFValidationError as error:
        msg = f"{name}: cannot be loaded: not the name of a repository. Write hf://OWNER/NAME, or hf://OWNER/NAME@REVISION."
        raise ModelFileError(msg, code="malformed-name") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        msg = f"{name}: cannot be loaded: no {FILE} for you (status {status}). Check name and revision, or log in."
        raise ModelFileError(msg) from error
    except Exception as error:  # of the disk, or of the connection on the way
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        msg = f"{name}: cannot be loaded ({first}). Check the disk and the connection."
        raise ModelFileError(msg) from error
