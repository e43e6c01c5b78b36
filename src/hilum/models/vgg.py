"""VGG-16 with batch normalisation, from one channel, as the original report's Fig. 3 lists it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
HALVINGS = len(STAGES)


class VGG16BN(nn.Module):
    """the original report's variant of VGG-16 (Simonyan and Zisserman 2015, configuration D).

    Batch normalisation (Ioffe and Szegedy 2015) follows every convolution and both hidden linear layers; there
    is no dropout. With K = 3 and 150x150 pixels it has 65,090,499 parameters. It ends in log-softmax, so that
    `torch.nn.NLLLoss` on its output *is* cross-entropy.

    Args:
        n_labels: Number of labels, K.
        size: Side of the square input in pixels, at least 32.
        width: Scales the number of channels and hidden units; 1 is the original report's network.
    """

    def __init__(self, n_labels: int, size: int = 150, width: float = 1.0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for stage in STAGES:
            for planned in stage:
                wide = max(1, round(planned * width))
                layers += [
                    nn.Conv2d(channels, wide, 3, padding=1),
                    nn.BatchNorm2d(wide),
                    nn.ReLU(inplace=True),
                ]
                channels = wide
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        side = size >> HALVINGS
        hidden = max(1, round(4096 * width))
        self.classifier = nn.Sequential(
            nn.Linear(channels * side * side, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, n_labels),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 1, size, size) to log-probabilities (B, K)."""
        features = torch.flatten(self.features(images), start_dim=1)
        return F.log_softmax(self.classifier(features), dim=1)
