"""What a network that hilum did not train takes, in the words of the TOML file beside it."""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Floats = NDArray[np.float32]


class DescriptionPart(BaseModel):
    """A table of a description: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class NetworkInput(DescriptionPart):
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

    @model_validator(mode="after")
    def _check_values(self) -> Self:
        if {len(self.mean), len(self.std)} - {1, self.channels} or 0 in self.std:
            msg = f"mean and std should have 1 or {self.channels} values, and std no 0"
            raise ValueError(msg)
        low, high = self.range
        if low == high:
            msg = f"range is [{low:g}, {high:g}], so that black and white are the same"
            raise ValueError(msg)
        return self

    @property
    def takes_bytes(self) -> bool:
        """Whether grey values are whole numbers from 0 to 255."""
        return self.range == (0, 255) and not any(self.mean) and set(self.std) == {1.0}

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


def faults(error: ValidationError) -> str:
    """What is wrong with a description, in one line."""
    found = [(".".join(map(str, fault["loc"])), fault["msg"].removeprefix("Value error, ")) for fault in error.errors()]
    return "; ".join(f"{place}: {what}" if place else what for place, what in found)
