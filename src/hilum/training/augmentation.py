"""Augmentation and mixup of a whole batch at once, as tensors, on the device.

Random parameters are drawn apart from being applied: the draw depends on the generator alone, on any device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import pi

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hilum.training.plan import Augmentation


@dataclass(frozen=True)
class Draw:
    """Random parameters of a batch: matrices (B, 2, 3) of output to input positions, exponents (B,)."""

    affine: Tensor | None
    gamma: Tensor | None

    def part(self, images: slice) -> Draw:
        """The parameters of some of the images."""
        return Draw(*(None if values is None else values[images] for values in (self.affine, self.gamma)))


def draw(plan: Augmentation, batch: int, generator: torch.Generator) -> Draw:
    """Draw the parameters for `batch` images.

    Args:
        plan: How far images may be changed.
        batch: Number of images, B.
        generator: On the CPU; where it stands decides everything.
    """

    def between(limit: float) -> Tensor:
        return (torch.rand(batch, generator=generator) * 2 - 1) * limit

    affine = None
    if plan.moves:
        angle = between(plan.rotate * pi / 180)
        enlarge = torch.exp(between(torch.log1p(torch.tensor(plan.scale)).item()))
        stretch = torch.exp(between(torch.log1p(torch.tensor(plan.aspect)).item()) / 2)
        mirror = 1 - 2 * (torch.rand(batch, generator=generator) < plan.hflip).float()
        # grid_sample asks where in the input each output pixel comes from: the inverse of what is seen.
        cos, sin = torch.cos(angle), torch.sin(angle)
        across, down = stretch / enlarge, 1 / (stretch * enlarge)
        shift_x, shift_y = between(2 * plan.translate), between(2 * plan.translate)
        rows = [mirror * cos * across, -sin * down, shift_x, mirror * sin * across, cos * down, shift_y]
        affine = torch.stack(rows, dim=1).view(batch, 2, 3)
    gamma = torch.exp(between(plan.gamma)) if plan.gamma else None
    return Draw(affine, gamma)


def apply(images: Tensor, parameters: Draw, size: int | None = None) -> Tensor:
    """Change a batch, and reduce it if asked.

    Args:
        images: Of shape (B, 1, H, W), between 0 and 1.
        parameters: From `draw`, for B images.
        size: Side of the result; that of the images where it is None.

    Returns:
        Images of shape (B, 1, size, size), between 0 and 1; what moves in from outside repeats the edge.
    """
    height, width = (size, size) if size else images.shape[2:]
    if parameters.affine is not None:
        shape = [len(images), 1, height, width]
        grid = F.affine_grid(parameters.affine.to(images), shape, align_corners=False)
        images = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    elif images.shape[2:] != (height, width):
        images = F.interpolate(images, (height, width), mode="bilinear", antialias=True, align_corners=False)
    if parameters.gamma is not None:
        images = images.clamp(1e-6, 1) ** parameters.gamma.to(images).view(-1, 1, 1, 1)
    return images


@dataclass(frozen=True)
class Mix:
    """How the images of a batch are mixed.

    Attributes:
        partner: Index of the image that each is mixed with, shape (B,).
        share: Of the image itself, between 0 and 1; the partner has the rest.
        whole: Makes of what a part of the batch has what the whole batch has, where partners may lie in other parts.
    """

    partner: Tensor
    share: float
    whole: Callable[[Tensor], Tensor] | None = None

    def partners(self, values: Tensor) -> Tensor:
        """The partners' values, such as images or targets, of values (B, ...)."""
        return (self.whole(values) if self.whole else values)[self.partner.to(values.device)]

    def apply(self, images: Tensor) -> Tensor:
        """Mix images (B, 1, H, W)."""
        return torch.lerp(self.partners(images), images, self.share)


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
