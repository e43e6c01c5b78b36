"""Each pixel against its surroundings: what exposure, windowing and haze leave alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

FLOOR = 0.01  # variance, of values in [-1, 1], below which a spread is noise and is not drawn up
LARGEST = 3.0
WIDER = 1.4


class LocalContrast(nn.Module):
    """Subtract the mean around each pixel and divide by the spread around it.

    Subtractive and divisive normalisation (Jarrett et al. 2009, "What is the best multi-stage architecture for object
    recognition?", *ICCV*), with a triangular window: a box of ``2 r + 1`` pixels, twice, the edge repeated outside.
    A map of grey values that is linear, with a positive slope, in each neighbourhood changes next to nothing, so
    that a network cannot tell hospitals by their grey values. It has no weights.

    Args:
        share: Radius r of the mean's box, as a share of the image's side; that of the spread is 1.4 times as wide.

    Raises:
        ValueError: The share is not between 0 and 0.5.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        if not 0 < share <= 0.5:
            msg = f"local_contrast = {share} is no share of the side; it has to be more than 0 and at most 0.5"
            raise ValueError(msg)
        self.share = share

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 1, H, W) in [-1, 1] to the same shape, float32, in [-3, 3]."""
        with torch.autocast(images.device.type, enabled=False):  # bfloat16 has too few digits for small spreads
            images = images.float()
            apart = images - _blur(images, self.share)
            spread = (_blur(apart * apart, WIDER * self.share) + FLOOR).sqrt()
            return (apart / spread).clamp(-LARGEST, LARGEST)


def _blur(images: Tensor, share: float) -> Tensor:
    height, width = images.shape[-2:]
    down = _blur_matrix(height, share, images) @ images
    return (_blur_matrix(width, share, images) @ down.mT).mT


def _blur_matrix(side: int, share: float, like: Tensor) -> Tensor:
    """The blur of a line of pixels as a matrix (side, side): on CPUs some ten times as fast as pooling."""
    radius = max(1, round(share * side))
    places = torch.arange(side, device=like.device)
    away = (places[:, None] - places[None, :]).abs()
    box = (away <= radius).to(like.dtype)
    # What lies outside repeats the edge: the first and the last pixel stand for all that is missing.
    box[:, 0] += (radius - places).clamp(min=0)
    box[:, -1] += (radius - (side - 1 - places)).clamp(min=0)
    box = box / (2 * radius + 1)
    return box @ box
