"""The one specification by which a radiograph becomes the network's input, in training as in service."""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydantic import BaseModel, ConfigDict, Field

SCHEME = 1  # raise it when the same specification would give other bytes


class Preprocessing(BaseModel):
    """How a greyscale image of any size becomes `size` x `size` bytes.

    Attributes:
        size: Side of the square input, in pixels.
        fit: What happens to images that are not square: ``stretch`` them, ``pad`` them with black, or ``crop``
            them to their central square.
        equalise: Spread the grey values of each image evenly over 0 to 255 (histogram equalisation), so that
            exposure and windowing matter less.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int = Field(default=150, ge=32, le=2048)
    fit: Literal["stretch", "pad", "crop"] = "stretch"
    equalise: bool = False

    def apply(self, pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Reduce (antialiased, bilinear) or enlarge, then quantise, then equalise.

        Args:
            pixels: Of shape (H, W), between 0 and 1.

        Returns:
            Bytes of shape (size, size). The network sees them as ``byte / 127.5 - 1``, in [-1, 1].
        """
        height, width = pixels.shape
        side = min(height, width)
        box: tuple[float, float, float, float] = (0, 0, width, height)
        target = (self.size, self.size)
        if self.fit == "crop":
            left, top = (width - side) / 2, (height - side) / 2
            box = (left, top, left + side, top + side)
        elif self.fit == "pad":
            longest = max(height, width)
            target = (max(1, round(self.size * width / longest)), max(1, round(self.size * height / longest)))
        # Mode F keeps all 16 bits until the last step, so that 8-bit and 16-bit copies give the same bytes.
        small = np.asarray(Image.fromarray(pixels).resize(target, Image.Resampling.BILINEAR, box=box))
        quantised: NDArray[np.uint8] = np.clip(np.rint(small * 255), 0, 255).astype(np.uint8)
        if self.equalise:
            quantised = np.asarray(ImageOps.equalize(Image.fromarray(quantised)))
        if self.fit != "pad":
            return quantised
        square = np.zeros((self.size, self.size), np.uint8)
        top, left = (self.size - quantised.shape[0]) // 2, (self.size - quantised.shape[1]) // 2
        square[top : top + quantised.shape[0], left : left + quantised.shape[1]] = quantised
        return square

    def digest(self) -> str:
        """A hash that changes whenever the bytes could."""
        return hashlib.sha256(f"{SCHEME}:{self.model_dump_json()}".encode()).hexdigest()
