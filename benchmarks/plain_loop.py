"""A loop as one would write it for any network: float32, contiguous, Adam, its images in memory already."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.nn import functional as F

from hilum.models.registry import build_network

# As in He et al. 2016; MONAI's default of 1 would make it four times as slow.
OPTIONS = {"monai/resnet18": {"conv1_t_stride": 2}}


def training(name: str, size: int, batch: int) -> Iterator[None]:
    """Training steps for ever."""
    torch.manual_seed(0)
    network = build_network(name, n_labels=3, size=size, **OPTIONS.get(name, {})).train()
    images, targets = torch.randn(batch, 1, size, size), torch.arange(batch) % 3
    optimiser = torch.optim.Adam(network.parameters())
    while True:
        optimiser.zero_grad()
        F.nll_loss(network(images), targets).backward()
        optimiser.step()
        yield


def inference(name: str, size: int, batch: int) -> Iterator[None]:
    """Predictions of a batch for ever."""
    network = build_network(name, n_labels=3, size=size, **OPTIONS.get(name, {})).eval()
    images = torch.randn(batch, 1, size, size)
    with torch.inference_mode():
        while True:
            network(images)
            yield
