"""A small residual network that trains in minutes on two cores."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (He et al. 2016, *CVPR*), after an average pool where it narrows.

    Pooling first keeps every convolution at stride 1. On CPUs the gradient of a 3x3 convolution of stride 2 runs at
    less than half the speed of one of stride 1 (``docs/explanation/default-recipe.md``), and the average drops no pixel
    (as in the shortcut of He et al. 2019, "Bag of Tricks", *CVPR*).
    """

    def __init__(self, channels: int, wide: int, *, narrows: bool) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(2, ceil_mode=True) if narrows else nn.Identity()
        self.conv1 = nn.Conv2d(channels, wide, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(wide)
        self.conv2 = nn.Conv2d(wide, wide, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(wide)
        shortcut = [nn.Conv2d(channels, wide, 1, bias=False), nn.BatchNorm2d(wide)] if channels != wide else []
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, channels, H, W) to (B, wide, H, W), or to half the height and width, rounded up."""
        images = self.pool(images)
        residual = F.relu(self.norm1(self.conv1(images)), inplace=True)
        residual = self.norm2(self.conv2(residual))
        return F.relu(residual + self.shortcut(images), inplace=True)


class Compact(nn.Module):
    """Stem, residual stages, global average pooling, one linear layer, log-softmax.

    The average before the single linear layer makes class activation maps exact (Zhou et al. 2016, *CVPR*).

    Args:
        n_labels: Number of labels, K.
        size: Side of the input; any works, since the average is global. Kept for the registry's sake.
        width: Channels of the stem and of the first stage; each further stage has twice as many.
        blocks: Residual blocks of each stage; every stage but the first halves the resolution.
        stem_stride: Input pixels, a side, to one position of the first feature map; the stem's kernel is
            ``2 stem_stride - 1`` wide. Most of the time goes into the first stages, so that this decides the speed.

    Raises:
        ValueError: There would be no channel, no stage, or no stride.
    """

    def __init__(
        self,
        n_labels: int,
        size: int = 75,
        width: int = 32,
        blocks: Sequence[int] = (1, 1, 1, 1),
        stem_stride: int = 3,
    ) -> None:
        super().__init__()
        del size
        if width < 1 or not blocks or stem_stride < 1:
            msg = (
                f"width = {width}, blocks = {blocks!r} and stem_stride = {stem_stride} are not a valid network; all "
                "must be positive"
            )
            raise ValueError(msg)
        self.stem = nn.Sequential(
            nn.Conv2d(1, width, 2 * stem_stride - 1, stride=stem_stride, padding=stem_stride - 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )
        stages: list[nn.Module] = []
        channels = width
        for stage, count in enumerate(blocks):
            wide = width << stage
            for block in range(count):
                stages.append(ResidualBlock(channels, wide, narrows=bool(stage) and not block))
                channels = wide
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(channels, n_labels)

    def features(self, images: Tensor) -> Tensor:
        """Map images (B, 1, H, W) to the last feature maps (B, C, h, w)."""
        maps: Tensor = self.stages(self.stem(images))
        return maps

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 1, H, W) to log-probabilities (B, K)."""
        return F.log_softmax(self.head(self.features(images).mean(dim=(2, 3))), dim=1)


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
