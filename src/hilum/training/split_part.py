"""The images of one split, and what a network is to say of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hilum.data.cache import Images
from hilum.data.multilabel import finding_values
from hilum.training.findings_loss import targets_of
from hilum.training.plan import Uncertain

Targets = NDArray[np.int64] | NDArray[np.float32]
Part = tuple[Images, Targets]


def select_part(images: Images, split: str, labels: Sequence[str], uncertain: Uncertain = "ignore") -> Part:
    """The images of one split, and what the network is to say of them.

    Args:
        images: With their splits.
        split: Which.
        labels: K labels, or the findings of the images.
        uncertain: Use of uncertain findings.

    Returns:
        The images, and the index of each one's label, shape (N,), or the targets of its findings, shape (N, F).
    """
    part = images.select(i for i, row in enumerate(images.table.rows) if row.split == split)
    if images.table.findings:
        return part, targets_of(finding_values(part.table), uncertain)
    index = {label: number for number, label in enumerate(labels)}
    return part, np.array([index[row.label] for row in part.table.rows], dtype=np.int64)
