"""Each pixel against its surroundings: what exposure, windowing and haze leave alone."""

from __future__ import annotations

import torch
from torch import Tensor

FLOOR = 0.01  # variance, of values in [-1, 1], below which a spread is noise and is not drawn up
LARGEST = 3.0
WIDER = 1.4  # a spread needs more pixels than a mean


def local_contrast(images: Tensor, share: float) -> Tensor:
    """Subtract the mean around each pixel and divide by the spread around it.

    Subtractive and divisive normalisation (Jarrett et al. 2009, "What is the best multi-stage architecture for object
    recognition?", *ICCV*), with a triangular window: a box of ``2 r + 1`` pixels, twice, the edge repeated outside.
    Where the grey values of each neighbourhood are stretched and shifted alike, next to nothing changes, so that a
    network cannot tell hospitals by their grey levels.

    Args:
        images: Of shape (B, 1, H, W), in [-1, 1].
        share: Radius r of the mean's box, as a share of the image's side; the spread's is `WIDER` times that.

    Returns:
        Images of the same shape, float32, in [-`LARGEST`, `LARGEST`].
    """
    with torch.autocast(images.device.type, enabled=False):  # bfloat16 has too few digits for small spreads
        images = images.float()
        apart = images - _blur(images, share)
        spread = (_blur(apart * apart, WIDER * share) + FLOOR).sqrt()
        return (apart / spread).clamp(-LARGEST, LARGEST)


def _blur(images: Tensor, share: float) -> Tensor:
    height, width = images.shape[-2:]
    across = _blur_matrix(width, share, images)
    down = across if height == width else _blur_matrix(height, share, images)
    return (across @ (down @ images).mT).mT


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
