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

from pydantic import Field, ValidationError, field_validator

from hilum.data.network_input import DescriptionPart, NetworkInput, faults
from hilum.errors import ModelFileError
from hilum.files import read_text


class Output(DescriptionPart):
    """What the network gives.

    Attributes:
        name: Of the output; empty for the first.
        values: What its values are; ``sigmoid`` is one value an image, the probability of the second of two labels.
    """

    name: str = ""
    values: Literal["logits", "log-probabilities", "probabilities", "sigmoid"] = "logits"


class Description(DescriptionPart):
    """The TOML file: which network, its labels, what it takes and gives."""

    model: str = Field(min_length=1)
    labels: tuple[str, ...] = Field(min_length=2)
    input: NetworkInput
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
        what = faults(error) if isinstance(error, ValidationError) else str(error)
        msg = f"{file}: describes no network ({what}). Give model, labels and [input] size; see the documentation."
        raise ModelFileError(msg, code="malformed-description", path=file) from error
    if any(label.strip("/ ") != label or not label for label in found.labels) or len(set(found.labels)) < len(
        found.labels
    ):
        msg = f"{file}: labels should differ, and not begin or end with a slash or blank. Correct `labels`."
        raise ModelFileError(msg, code="malformed-description", path=file)
    if found.output.values == "sigmoid" and len(found.labels) != 2:
        msg = f"{file}: sigmoid is the probability of one of two labels, not of {len(found.labels)}. Correct `labels`."
        raise ModelFileError(msg, code="malformed-description", path=file)
    network = file.parent / found.model
    if not network.is_file():
        msg = f"{file}: names the network {found.model}, which is not there. Correct `model`, relative to this file."
        raise ModelFileError(msg, code="no-network", path=network)
    return ExternalModel(file.stem, network, found)
