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
    values = "logits"                             # or log-probabilities, or probabilities, or sigmoid

A network for two labels may give one value an image, of the second label: its log-odds (``logits``) or its probability
(``sigmoid``). An input of whole numbers takes bytes: ``range = [0, 255]`` without mean and std.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from hilum.errors import ModelFileError
from hilum.files import read_text

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
    """What the network gives.

    Attributes:
        name: Of the output; empty for the first.
        values: What its values are; ``sigmoid`` is one value an image, the probability of the second of two labels.
    """

    name: str = ""
    values: Literal["logits", "log-probabilities", "probabilities", "sigmoid"] = "logits"


class Description(_Part):
    """The TOML file: which network, its labels, what it takes and gives."""

    model: str = Field(min_length=1)
    labels: tuple[str, ...] = Field(min_length=2)
    input: Input
    output: Output = Output()

    @field_validator("output", mode="before")
    @classmethod
    def _values_alone(cls, output: object) -> object:
        """``output = "sigmoid"`` stands for a table with that key alone."""
        return {"values": output} if isinstance(output, str) else output


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
        msg = f"{file}: labels should differ, and not begin or end with a slash or blank. Correct `labels`."
        raise ModelFileError(msg, code="malformed-description", path=file)
    if {len(found.input.mean), len(found.input.std)} - {1, channels} or 0 in found.input.std:
        msg = f"{file}: mean and std should have 1 or {channels} values, and std no 0. Correct [input]."
        raise ModelFileError(msg, code="malformed-description", path=file)
    low, high = found.input.range
    if low == high:
        msg = f"{file}: range is [{low:g}, {high:g}], so that black and white are the same. Correct [input] range."
        raise ModelFileError(msg, code="malformed-description", path=file)
    if found.output.values == "sigmoid" and len(found.labels) != 2:
        msg = f"{file}: sigmoid is the probability of one of two labels, not of {len(found.labels)}. Correct `labels`."
        raise ModelFileError(msg, code="malformed-description", path=file)
    network = file.parent / found.model
    if not network.is_file():
        msg = f"{file}: names the network {found.model}, which is not there. Correct `model`, relative to this file."
        raise ModelFileError(msg, code="no-network", path=network)
    return ExternalModel(file.stem, network, found)


def _faults(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
