"""the original report's own training loop, written anew from what is known of it: what hilum is measured against.

Greyscale files of three folders, read one by one in random order as its `ImageFolder` did, pixels in [-1, 1];
float32, contiguous; VGG-16 with batch normalisation; negative log-likelihood; Adam at 0.01; batches of 64.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from hilum.data.readers.read import read_table
from hilum.models.registry import build_network

SIDE = 150


def batches(root: Path, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches (B, 1, 150, 150) with targets (B,) for ever, each file decoded whenever its turn comes."""
    table = read_table(root)
    labels = table.labels
    rows = [row for row in table.rows if row.split in ("", "train")]
    while True:
        order = torch.randperm(len(rows)).tolist()
        for first in range(0, len(order) - batch + 1, batch):
            images, targets = [], []
            for number in order[first : first + batch]:
                with Image.open(table.file(rows[number])) as image:
                    grey = image.convert("L")
                if grey.size != (SIDE, SIDE):  # phantoms are larger
                    grey = grey.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
                pixels = torch.from_numpy(np.asarray(grey, dtype=np.uint8).copy())
                images.append((pixels.float().div(255) - 0.5) / 0.5)
                targets.append(labels.index(rows[number].label))
            yield torch.stack(images).unsqueeze(1), torch.tensor(targets)


def steps(root: Path, batch: int) -> Iterator[None]:
    """Training steps for ever; each is done when the iterator gives something."""
    torch.manual_seed(0)
    network = build_network("vgg16-bn", n_labels=len(read_table(root).labels), size=SIDE).train()
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    for images, targets in batches(root, batch):
        optimiser.zero_grad()
        F.nll_loss(network(images), targets).backward()
        optimiser.step()
        yield
