"""How a recipe says that images become what a network gets."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from hilum.data.images import SCHEME, reduce, stacked


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

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of an image's bytes."""
        return self.size, self.size

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


class Stacked(Preprocessing):
    """What the members of an ensemble take, side by side: each distinct preprocessing is applied to the same image.

    `size` is that of the largest, which comes first. `fit` and `equalise` are of that one.

    Attributes:
        parts: The preprocessing of each member, in their order.
    """

    parts: tuple[Preprocessing, ...] = Field(min_length=1)

    @classmethod
    def of(cls, parts: Sequence[Preprocessing]) -> Self:
        """The preprocessing of members, given that of each."""
        first = max(parts, key=lambda part: part.size)
        return cls(size=first.size, fit=first.fit, equalise=first.equalise, parts=tuple(parts))

    @property
    def views(self) -> tuple[Preprocessing, ...]:
        """The V preprocessings that give different bytes, the largest first."""
        distinct = dict.fromkeys(part.model_copy(update={"local_contrast": 0.0}) for part in self.parts)
        return tuple(sorted(distinct, key=lambda view: -view.size))

    @property
    def places(self) -> tuple[int, ...]:
        """Which of the `views` each member takes."""
        return tuple(self.views.index(part.model_copy(update={"local_contrast": 0.0})) for part in self.parts)

    @property
    def shape(self) -> tuple[int, ...]:
        """(V, size, size); of members that take the same bytes (size, size)."""
        return (len(self.views), self.size, self.size) if len(self.views) > 1 else (self.size, self.size)

    def apply(self, pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
        """All `views` of an image, as bytes of `shape`; smaller ones lie in the upper left corner, over zeros."""
        return stacked([view.apply(pixels) for view in self.views]).reshape(self.shape)

    def digest(self) -> str:
        """A hash that changes whenever what a member sees could."""
        return _hash_of(self.parts)

    def digest_of_bytes(self) -> str:
        """A hash that changes whenever the bytes could; of one view, that view's own."""
        return _hash_of(self.views) if len(self.views) > 1 else self.views[0].digest_of_bytes()


def _hash_of(parts: Sequence[Preprocessing]) -> str:
    return hashlib.sha256(":".join(part.digest() for part in parts).encode()).hexdigest()
