"""From a greyscale image of any size to the bytes that a network gets; light, as serving starts with it."""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydantic import BaseModel, ConfigDict, Field

from hilum.data.grey_values import strips

LARGE = 25_000_000  # pixels
SCHEME = 1  # raise it when the same arguments would give other bytes


def reduce(pixels: NDArray[np.float32], size: int, fit: str = "stretch", equalise: bool = False) -> NDArray[np.uint8]:
    """Reduce (antialiased, bilinear) or enlarge, then quantise, then equalise.

    Args:
        pixels: Of shape (H, W), between 0 and 1.
        size: Side of the result.
        fit: What happens to images that are not square: ``stretch`` them, ``pad`` them with black, or ``crop`` them
            to their central square.
        equalise: Spread the grey values evenly over 0 to 255 (histogram equalisation).

    Returns:
        Bytes of shape (size, size). The network sees them as ``byte / 127.5 - 1``, in [-1, 1].
    """
    height, width = pixels.shape
    side = min(height, width)
    box: tuple[float, float, float, float] = (0, 0, width, height)
    target = (size, size)
    if fit == "crop":
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
    elif fit == "pad":
        longest = max(height, width)
        target = (max(1, round(size * width / longest)), max(1, round(size * height / longest)))
    # Mode F keeps all 16 bits until the last step, so that 8-bit and 16-bit copies give the same bytes.
    small = _resized(pixels, target, box)
    quantised: NDArray[np.uint8] = np.clip(np.rint(small * 255), 0, 255).astype(np.uint8)
    if equalise:
        quantised = np.asarray(ImageOps.equalize(Image.fromarray(quantised)))
    if fit != "pad":
        return quantised
    square = np.zeros((size, size), np.uint8)
    top, left = (size - quantised.shape[0]) // 2, (size - quantised.shape[1]) // 2
    square[top : top + quantised.shape[0], left : left + quantised.shape[1]] = quantised
    return square


def _resized(
    pixels: NDArray[np.float32], target: tuple[int, int], box: tuple[float, float, float, float]
) -> NDArray[np.float32]:
    """As Pillow resizes; of a large image some rows at a time, since Pillow copies what it gets.

    Pillow resizes along the rows first and along the columns then, so that both ways give the same bits.
    """
    if pixels.size <= LARGE:
        return np.asarray(Image.fromarray(pixels).resize(target, Image.Resampling.BILINEAR, box=box))
    left, top, right, bottom = box
    narrow = np.empty((len(pixels), target[0]), np.float32)
    for rows in strips(*pixels.shape):
        part, count = Image.fromarray(pixels[rows]), rows.stop - rows.start
        along_rows = part.resize((target[0], count), Image.Resampling.BILINEAR, box=(left, 0, right, count))
        narrow[rows] = np.asarray(along_rows)
    along_columns = (0, top, target[0], bottom)
    return np.asarray(Image.fromarray(narrow).resize(target, Image.Resampling.BILINEAR, box=along_columns))


class Preprocessing(BaseModel):
    """How a greyscale image of any size becomes `size` x `size` bytes.

    Attributes:
        size: Side of the square input, in pixels.
        fit: What happens to images that are not square: ``stretch`` them, ``pad`` them with black, or ``crop``
            them to their central square.
        equalise: Spread the grey values of each image evenly over 0 to 255 (histogram equalisation), so that
            exposure and windowing matter less.
        local_contrast: The network sees each pixel against the mean and spread around it; this is the radius of that
            neighbourhood as a share of the side, 0.067 being five of 75 pixels. 0 shows grey values as they are. It
            comes after augmentation, within the network's graph, and does not change the bytes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int = Field(default=150, ge=32, le=2048)
    fit: Literal["stretch", "pad", "crop"] = "stretch"
    equalise: bool = False
    local_contrast: float = Field(default=0.0, ge=0, le=0.5)

    def apply(self, pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Reduce, quantise and equalise an image (see `hilum.data.preprocessing.reduce`).

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
