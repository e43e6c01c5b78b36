"""How a recipe says that images become what a network gets."""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from hilum.data.images import SCHEME, reduce


class Preprocessing(BaseModel):
    """How a greyscale image of any size becomes `size` x `size` bytes.

    Attributes:
        size: Side of the square input, in pixels.
        fit: Treatment of images that are not square: ``stretch``, ``pad`` with black, or ``crop`` to the central
            square.
        equalise: Whether the histogram of each image is equalised, so that exposure and windowing matter less.
        local_contrast: Radius, as a share of the side, of the neighbourhood against whose mean and spread the network
            sees each pixel; 0.067 is five of 75 pixels. 0 shows grey values as they are. It is part of the network's
            graph, after augmentation, and does not change the bytes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int = Field(default=150, ge=32, le=2048)
    fit: Literal["stretch", "pad", "crop"] = "stretch"
    equalise: bool = False
    local_contrast: float = Field(default=0.0, ge=0, le=0.5)

    def apply(self, pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Reduce, quantise and equalise an image (see `hilum.data.images.reduce`).

        Args:
            pixels: Of shape (H, W), between 0 and 1.

        Returns:
            Bytes of shape (size, size). The network sees them as ``byte / 127.5 - 1``, in [-1, 1], or their local
            contrast.
        """
        return reduce(pixels, self.size, self.fit, self.equalise)

    def digest(self) -> str:
        """A hash that changes whenever what the network sees could."""
        return self._hash(f":{self.local_contrast}" if self.local_contrast else "")

    def digest_of_bytes(self) -> str:
        """A hash that changes whenever the bytes could."""
        return self._hash("")

    def _hash(self, beyond: str) -> str:
        told = self.model_dump_json(exclude={"local_contrast"})
        return hashlib.sha256(f"{SCHEME}:{told}{beyond}".encode()).hexdigest()
