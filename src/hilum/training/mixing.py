"""Mixup: training images that are two at once, with the labels of both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Mix:
    """How the images of a batch are mixed.

    Attributes:
        partner: Index of the image that each is mixed with, shape (B,).
        share: Of the image itself, between 0 and 1; the partner has the rest.
    """

    partner: Tensor
    share: float

    def apply(self, images: Tensor) -> Tensor:
        """Mix images (B, 1, H, W)."""
        return torch.lerp(images[self.partner.to(images.device)], images, self.share)


def draw_mix(alpha: float, batch: int, seed: tuple[int, int], generator: torch.Generator) -> Mix | None:
    """Draw who is mixed with whom, and how much (Zhang et al. 2018, "mixup", *ICLR*).

    Args:
        alpha: Of the Beta(alpha, alpha) from which the share is drawn; 0 mixes nothing.
        batch: Number of images, B.
        seed: Of the share: of the training, and the step.
        generator: Of the partners, on the CPU.
    """
    if not alpha:
        return None
    return Mix(torch.randperm(batch, generator=generator), float(np.random.default_rng(seed).beta(alpha, alpha)))
