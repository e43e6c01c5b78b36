"""Augmentation of a whole batch at once, as tensors, on the device.

Random parameters are drawn apart from being applied: the draw depends on the generator alone, on any device.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional as F


class Augmentation(BaseModel):
    """How far training images may be changed; 0 everywhere means not at all.

    The seed's report argues for translation and against rotation and reflection, whose results are not
    physiological (heart on the right); both exist here to be tried, and are off unless a recipe asks.

    Attributes:
        translate: Largest shift, as a share of the side.
        scale: Largest enlargement or reduction, as a share.
        aspect: Largest change of the ratio of width to height, as a share.
        rotate: Largest rotation in degrees.
        reflect: Probability of a mirror image.
        gamma: Largest change of gamma, as a factor's logarithm: 0.3 means 0.74 to 1.35.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    translate: float = Field(default=0.0, ge=0, le=0.5)
    scale: float = Field(default=0.0, ge=0, le=0.9)
    aspect: float = Field(default=0.0, ge=0, le=0.9)
    rotate: float = Field(default=0.0, ge=0, le=180)
    reflect: float = Field(default=0.0, ge=0, le=1)
    gamma: float = Field(default=0.0, ge=0, le=2)

    @property
    def moves(self) -> bool:
        """Whether anything geometrical is asked for."""
        return any((self.translate, self.scale, self.aspect, self.rotate, self.reflect))


@dataclass(frozen=True)
class Draw:
    """Random parameters of a batch: matrices (B, 2, 3) of output to input positions, exponents (B,)."""

    affine: Tensor | None
    gamma: Tensor | None


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
        mirror = 1 - 2 * (torch.rand(batch, generator=generator) < plan.reflect).float()
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
