"""A network that hilum did not train, as an ONNX file: what it takes and gives stands in a small TOML file beside it.

::

    model = "densenet.onnx"                       # relative to this file
    labels = ["normal", "infected/covid"]         # in the order of the outputs

    [input]
    size = 224                                    # pixels a side
    channels = 3                                  # 1, or 3 equal ones
    fit = "pad"                                   # stretch, pad or crop
    range = [0.0, 1.0]                            # what black and white become, before mean and std
    mean = [0.485, 0.456, 0.406]
    std = [0.229, 0.224, 0.225]

    [output]
    name = "logits"                               # by default the first
    values = "logits"                             # or log-probabilities, or probabilities
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hilum.data.cache import Images, open_images
from hilum.data.dataset import Dataset
from hilum.data.preprocessing import Preprocessing
from hilum.decision.operating_point import are_probabilities
from hilum.errors import ModelFileError, SplitError
from hilum.evaluation.cohort import match_labels
from hilum.evaluation.external_predictions import ExternalPredictions
from hilum.evaluation.predictions import Predictions
from hilum.evaluation.subgroups import columns_of
from hilum.files import read_text
from hilum.progress import Progress

BATCH = 32
Floats = NDArray[np.float32]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Input(_Part):
    """What the network takes.

    Attributes:
        size: Side of the square input, in pixels.
        channels: 1, or 3 equal ones.
        fit: What happens to images that are not square.
        equalise: Whether each image's histogram is equalised.
        range: Values of black and of white.
        mean: Subtracted after that, one value or one a channel.
        std: Divided by after that, one value or one a channel.
        layout: Order of the dimensions.
    """

    size: int = Field(ge=16, le=2048)
    channels: Literal[1, 3] = 1
    fit: Literal["stretch", "pad", "crop"] = "stretch"
    equalise: bool = False
    range: tuple[float, float] = (0.0, 1.0)
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    layout: Literal["NCHW", "NHWC"] = "NCHW"

    def apply(self, pixels: NDArray[np.uint8]) -> Floats:
        """Images as the network takes them.

        Args:
            pixels: Bytes of shape (B, size, size).

        Returns:
            Of shape (B, channels, size, size), or with the channels last.
        """
        low, high = self.range
        values = pixels[:, None].astype(np.float32) / 255 * (high - low) + low
        values = np.repeat(values, self.channels, axis=1)
        mean, std = (np.array(part, np.float32).reshape(1, -1, 1, 1) for part in (self.mean, self.std))
        values = (values - mean) / std
        return np.ascontiguousarray(values if self.layout == "NCHW" else values.transpose(0, 2, 3, 1))


class Output(_Part):
    """What the network gives: the output's name (empty for the first), and what its values are."""

    name: str = ""
    values: Literal["logits", "log-probabilities", "probabilities"] = "logits"


class Description(_Part):
    """The TOML file: which network, its labels, what it takes and gives."""

    model: str
    labels: tuple[str, ...] = Field(min_length=2)
    input: Input
    output: Output = Output()


@dataclass(frozen=True)
class ExternalModel:
    """A network with its description.

    Attributes:
        name: What reports call it.
        network: The ONNX file.
        description: What it takes and gives.
    """

    name: str
    network: Path
    description: Description


def read_model(file: Path) -> ExternalModel:
    """Read the description of a network.

    Raises:
        ModelFileError: It cannot be read, a key is unknown or missing, or there is no such network.
    """
    try:
        found = Description.model_validate(tomllib.loads(read_text(file)))
    except (OSError, ValueError, RecursionError) as error:
        what = _faults(error) if isinstance(error, ValidationError) else str(error)
        msg = f"{file}: describes no network ({what}). Give model, labels and [input] size; see the documentation."
        raise ModelFileError(msg, code="malformed-description", path=file) from error
    channels = found.input.channels
    if any(label.strip("/ ") != label or not label for label in found.labels) or len(set(found.labels)) < len(
        found.labels
    ):
        msg = f"{file}: labels must differ and not begin or end with a slash or blank. Correct `labels`."
        raise ModelFileError(msg, code="malformed-description", path=file)
    if {len(found.input.mean), len(found.input.std)} - {1, channels} or 0 in found.input.std:
        msg = f"{file}: mean and std should have 1 or {channels} values, and std no 0. Correct [input]."
        raise ModelFileError(msg, code="malformed-description", path=file)
    network = file.parent / found.model
    if not network.is_file():
        msg = f"{file}: the network {found.model} does not exist. Correct `model`, relative to this file."
        raise ModelFileError(msg, code="no-network", path=network)
    return ExternalModel(file.stem, network, found)


def _faults(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())


def predict_external(
    model: ExternalModel,
    table: Dataset,
    *,
    split: str = "test",
    mapping: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> ExternalPredictions:
    """Ask a network about a dataset.

    Args:
        model: The network.
        table: Labelled images; their labels are matched to the network's as those of external data are to a run's.
        split: Which part; a dataset without splits is taken whole.
        mapping: The network's label for labels of the dataset; empty to leave their images out.
        progress: Told as images are done.

    Raises:
        ModelFileError: ONNX Runtime cannot run the network, or what it gives are no probabilities of the labels.
        SplitError: The split is empty, or holds labels that the network does not know.
        UsageError: `mapping` names a label that does not exist.
    """
    progress, labels = progress or Progress(), model.description.labels
    chosen = _chosen(table, labels, split, mapping)
    taken = model.description.input
    images = open_images(
        chosen, Preprocessing(size=taken.size, fit=taken.fit, equalise=taken.equalise), progress=progress
    )
    predictions = Predictions.of(images.table, labels, _probabilities(model, images, progress))
    notes = [*table.notes, *(f"left out: {item.message}" for item in images.unreadable)]
    return ExternalPredictions(predictions, columns_of(images.table.rows), model.name, tuple(notes), table.root)


def predict_by(
    file: Path,
    table: Dataset,
    *,
    split: str = "test",
    mapping: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> ExternalPredictions:
    """Ask a model file of hilum (``.onnx``), or a network that a TOML file describes; see `predict_external`."""
    if file.suffix.lower() == ".onnx":
        return predict_model_file(file, table, split=split, mapping=mapping, progress=progress)
    return predict_external(read_model(file), table, split=split, mapping=mapping, progress=progress)


def predict_model_file(
    file: Path,
    table: Dataset,
    *,
    split: str = "test",
    mapping: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> ExternalPredictions:
    """Ask a model file of hilum about a dataset; arguments and errors are those of `predict_external`."""
    from hilum.serving.predictor import Predictor

    progress, predictor = progress or Progress(), Predictor(file)
    labels = predictor.model_file.labels
    chosen = _chosen(table, labels, split, mapping)
    rows, stated, notes = [], [], list(table.notes)
    with progress.task("Predicting", len(chosen)) as advance:
        for row, answer in zip(chosen.rows, predictor.predict_many(map(chosen.file, chosen.rows)), strict=True):
            if answer.error:
                notes.append(f"left out: {row.path}: {answer.error}")
            else:
                rows.append(row)
                stated.append([answer.probabilities[label] for label in labels])
            advance(1)
    if not rows:
        msg = f"{table.root}: no image of the split can be read ({notes[-1]}). Check the paths."
        raise SplitError(msg, code="empty-split", path=table.root)
    probabilities = np.array(stated, np.float64)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    predictions = Predictions.of(replace(chosen, rows=rows), labels, probabilities)
    return ExternalPredictions(predictions, columns_of(rows), file.name, tuple(notes), table.root)


def _chosen(table: Dataset, labels: Sequence[str], split: str, mapping: Mapping[str, str] | None) -> Dataset:
    """The images to be asked about, under the network's labels."""
    part = [i for i, row in enumerate(table.rows) if not table.splits or row.split == split]
    if not part:
        msg = f"{table.root}: no images of the split '{split}' (there are: {', '.join(table.splits)}). Give --split."
        raise SplitError(msg, code="empty-split", path=table.root)
    chosen = table.take(part)
    matched = match_labels(chosen.labels, labels, mapping, root=table.root)
    known = chosen.take([i for i, row in enumerate(chosen.rows) if matched[row.label]])
    if not len(known):
        msg = f"{table.root}: --map-label excludes every label. Keep at least two."
        raise SplitError(msg, code="empty-split", path=table.root)
    return known.renamed("label", matched)


def _probabilities(model: ExternalModel, images: Images, progress: Progress) -> NDArray[np.float64]:
    """Of shape (N, K)."""
    from onnxruntime import InferenceSession

    wanted, count = model.description.output, len(images.table)
    try:
        session: Any = InferenceSession(model.network, providers=["CPUExecutionProvider"])
        first, names = session.get_inputs()[0], [output.name for output in session.get_outputs()]
        if wanted.name and wanted.name not in names:
            msg = f"{model.network}: has no output '{wanted.name}' (there are: {', '.join(names)}). Correct [output]."
            raise ModelFileError(msg, code="no-output", path=model.network)
        step = first.shape[0] if isinstance(first.shape[0], int) else BATCH
        answers = []
        with progress.task("Predicting", count) as advance:
            for begin in range(0, count, step):
                pixels = images.pixels[images.positions[begin : begin + step]]
                missing = step - len(pixels) if isinstance(first.shape[0], int) else 0
                batch = model.description.input.apply(
                    np.concatenate([pixels, np.zeros_like(pixels[:1]).repeat(missing, 0)])
                )
                found = session.run([wanted.name or names[0]], {first.name: batch})[0]
                answers.append(np.asarray(found, np.float64).reshape(len(batch), -1)[: len(pixels)])
                advance(len(pixels))
    except ModelFileError:
        raise
    except Exception as error:  # of ONNX Runtime, which has no class of its own for them
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        msg = f"{model.network}: cannot be run ({reason}). Check the file, and [input] of its description."
        raise ModelFileError(msg, code="cannot-run", path=model.network) from error
    stated = np.concatenate(answers)
    if stated.shape[1] != len(model.description.labels):
        msg = (
            f"{model.network}: gives {stated.shape[1]} values per image, and its description names "
            f"{len(model.description.labels)} labels. Correct `labels`, in the order of the outputs."
        )
        raise ModelFileError(msg, code="wrong-outputs", path=model.network)
    if wanted.values != "probabilities":
        stated = np.exp(stated - stated.max(axis=1, keepdims=True))
        stated = stated / stated.sum(axis=1, keepdims=True)
    wrong = ~are_probabilities(stated, 1e-3)
    if wrong.any():
        row = stated[int(wrong.argmax())]
        what = f"sum to {row.sum():.4g}" if np.isfinite(row).all() else "are not numbers"
        msg = f"{model.network}: the values of an image {what}, not 1. Are they logits? Correct [output] values."
        raise ModelFileError(msg, code="no-probabilities", path=model.network)
    scaled: NDArray[np.float64] = stated / stated.sum(axis=1, keepdims=True)
    return scaled
