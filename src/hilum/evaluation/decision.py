"""From probabilities to an answer: two rules that the seed report's Fig. 2 sets beside each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hilum.data.taxonomy import branches

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def most_probable(probabilities: Floats) -> Ints:
    """The label with the highest probability.

    Args:
        probabilities: Of shape (N, K).

    Returns:
        Indices of shape (N,).
    """
    answer: Ints = probabilities.argmax(axis=1)
    return answer


def down_the_tree(probabilities: Floats, labels: Sequence[str]) -> Ints:
    """The answer that is reached by deciding level by level: infected or not first, which infection after that.

    A folder is as probable as its labels together, so for the seed's labels P(infected) = 1 - P(normal). An image
    with 0.4 for normal and 0.3 for each infection is normal to `most_probable` and infected here. Any network
    can be read so, also one that never heard of the tree: what is left between it and a cascade is the network.

    Args:
        probabilities: Of shape (N, K).
        labels: K nested labels.

    Returns:
        Indices of shape (N,).

    Raises:
        ValueError: A label is also a folder of other labels.
    """
    decisions = branches(labels)
    deciding = {frozenset(sum(branch.members, ())): branch for branch in decisions}  # by the labels below it
    answer = np.zeros(len(probabilities), dtype=np.int64)
    waiting = [(decisions[0], np.arange(len(probabilities)))] if decisions else []
    while waiting:
        branch, here = waiting.pop()
        share = np.stack([probabilities[here][:, list(inside)].sum(axis=1) for inside in branch.members], axis=1)
        chosen = share.argmax(axis=1)
        for child, inside in enumerate(branch.members):
            below = here[chosen == child]
            if len(inside) == 1:
                answer[below] = inside[0]
            else:
                waiting.append((deciding[frozenset(inside)], below))
    return answer
