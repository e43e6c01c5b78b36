"""What a training on several devices begins with: the first rank announces it, the others open the same images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from hilum.data.cache import Images, open_images, reopened
from hilum.data.dataset import Dataset
from hilum.data.options import ReadOptions
from hilum.data.readers.read import read_table
from hilum.errors import CacheError, HilumError
from hilum.progress import Progress
from hilum.training.checkpoints import TrainingState
from hilum.training.ranks import Ranks, check_same
from hilum.training.recipe import Recipe


@dataclass(frozen=True)
class Beginning:
    """All that a training begins with, besides its images: what the first rank announces to the others.

    Attributes:
        recipe: Every choice.
        labels: K names in the order of the network's outputs.
        positive: The positive label.
        resumed: Where an interrupted training stands.
        precision: Of the first rank's machine.
    """

    recipe: Recipe
    labels: tuple[str, ...]
    positive: str | None
    resumed: TrainingState | None
    precision: str


@dataclass(frozen=True)
class Opened:
    """How to open the very images again.

    Attributes:
        digest: That of `Images`.
        positions: That of `Images`.
        splits: Of each row of its table.
        read: How the dataset was read.
    """

    digest: str
    positions: NDArray[np.int64]
    splits: list[str]
    read: ReadOptions

    @classmethod
    def of(cls, images: Images) -> Self:
        """That of some images."""
        table = images.table
        return cls(images.digest, images.positions, [row.split for row in table.rows], table.options)

    def again(self, data: Path | Dataset, recipe: Recipe) -> Images:
        """The images, mapped from the cache that the first rank has filled; decoded on a node with another cache.

        Where `data` is another dataset than the first rank's, so are the images: see `check_same`.

        Args:
            data: The dataset.
            recipe: The run's.
        """
        table = data if isinstance(data, Dataset) else read_table(data, self.read, Progress())
        try:
            pixels, thumbnails = reopened(self.digest, recipe.preprocessing)
        except CacheError:
            images = open_images(table, recipe.preprocessing)
        else:
            left = table.take(position for position in self.positions.tolist() if position < len(table))
            images = Images(left, pixels, self.positions[: len(left)], (), self.digest, thumbnails)
        same = len(images.table) == len(self.splits)
        splits = self.splits if same else [""] * len(images.table)
        return replace(images, table=images.table.with_splits(splits))


def announce(beginning: Beginning, images: Images, out: Path, ranks: Ranks) -> None:
    """Let the other ranks begin, and see that all have the same data.

    Args:
        beginning: Of the training.
        images: All images, each with its split.
        out: The run, for messages.
        ranks: Who trains together; this is the first of them.

    Raises:
        RunError: A rank sees other data, or is gone.
    """
    if ranks.several:
        ranks.announce((beginning, Opened.of(images)))
        check_same(ranks, images, beginning.recipe, out)


def follow(data: Path | Dataset, out: Path, ranks: Ranks) -> tuple[Beginning, Images] | None:
    """What the first rank has announced.

    Args:
        data: The dataset, as the first rank was given it.
        out: The run, for messages.
        ranks: Who trains together; this is not the first of them.

    Returns:
        How to begin, and all images; None where there is nothing to do.

    Raises:
        HilumError: The first rank met it.
        RunError: A rank sees other data, or is gone.
    """
    found = ranks.listen()
    if isinstance(found, HilumError):
        raise found
    if found is None:
        return None
    beginning, opened = found
    images = opened.again(data, beginning.recipe)
    check_same(ranks, images, beginning.recipe, out)
    return beginning, images
