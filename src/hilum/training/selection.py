"""Which of two validations is the better one: of checkpoints within a run, and of trials within a sweep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Select = Literal["loss", "accuracy", "misses"]


def rank(row: Mapping[str, float], select: Select) -> tuple[float, ...]:
    """What to compare; the smaller the better.

    The seed's report chose "the set of parameters which provide lowest false negative numbers": that is
    ``misses``, the number of protected images that were not called protected. A model that calls everything
    protected misses nothing, so equal numbers are decided by the loss, and the other figures should be read too.

    Args:
        row: A line of ``history.csv``.
        select: ``loss``; ``accuracy`` or ``misses``, both with ties broken by loss.
    """
    if select == "accuracy":
        return (-row["val_accuracy"], row["val_loss"])
    if select == "misses":
        return (row["val_misses"], row["val_loss"])
    return (row["val_loss"],)
