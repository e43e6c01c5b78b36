"""The processes that train together, called ranks, and what they exchange: sums, parts of a batch, plain objects."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch import distributed as dist

from hilum.data.cache import Images
from hilum.data.multilabel import finding_values
from hilum.errors import RunError
from hilum.training.devices import Devices, Place
from hilum.training.recipe import Recipe
from hilum.training.run import RECIPE

STALLED = timedelta(minutes=10)  # a rank that answers no more; one that ends is noticed at once
DECODING = timedelta(days=7)  # for which the others wait while the first reads a dataset
LOST = re.compile(r"gloo|nccl|connection|\bpeer\b|timed? ?out|\bstore\b", re.IGNORECASE)


@dataclass
class Ranks:
    """One of the processes that train together, or the only one.

    A global batch is what one device would see; each rank takes its part, so that a recipe means the same on any
    number of devices.

    Attributes:
        place: Number of this process and of all.
        sync_batchnorm: Whether batch normalisation takes its statistics over the global batch.
        strategy: Lightning's.
        announced: Whether the others know how the training begins, or that it does not (see `announce`).
    """

    place: Place = field(default_factory=Place)
    sync_batchnorm: bool = True
    announced: bool = False
    strategy: str = "ddp"
    control: Any = None

    @property
    def several(self) -> bool:
        """Whether there is more than one."""
        return self.place.world > 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes the run."""
        return self.place.rank == 0

    def described(self) -> dict[str, object]:
        """What ``environment.json`` says of them."""
        place = self.place
        return {
            "devices": place.local_world,
            "nodes": place.nodes,
            "world_size": place.world,
            "strategy": self.strategy,
            "sync_batchnorm": self.sync_batchnorm,
        }

    def sum(self, values: Tensor) -> Tensor:
        """The sum over ranks of a tensor of any shape, without gradient; the tensor itself where there is one."""
        if not self.several:
            return values
        total = values.detach().clone()
        dist.all_reduce(total)
        return total

    def gather(self, values: Tensor, count: int) -> Tensor:
        """All parts of a batch in order, without gradient.

        Args:
            values: This rank's part, shape (b, ...).
            count: Size of the global batch, B.

        Returns:
            Shape (B, ...).
        """
        if not self.several:
            return values
        world = self.place.world
        parts = [Place(rank, world).share(count) for rank in range(world)]
        sizes = [part.stop - part.start for part in parts]
        padded = values.detach().new_zeros((max(sizes), *values.shape[1:]))
        padded[: len(values)] = values.detach()
        found = [torch.empty_like(padded) for _ in range(world)]
        dist.all_gather(found, padded)
        return torch.cat([part[:size] for part, size in zip(found, sizes, strict=True)])

    def gather_objects(self, value: Any) -> list[Any]:
        """What each rank has, in order; it is pickled, and the ranks trust each other."""
        if not self.several:
            return [value]
        found: list[Any] = [None] * self.place.world
        dist.all_gather_object(found, value, group=self.control)
        return found

    def announce(self, value: object) -> None:
        """Tell the others once how the training begins: a beginning, an error, or None where nothing is left to do."""
        if self.several and not self.announced:
            self.announced = True
            dist.broadcast_object_list([value], src=0, group=self.control)

    def listen(self) -> Any:
        """Wait for what the first rank announces."""
        found = [None]
        dist.broadcast_object_list(found, src=0, group=self.control)
        return found[0]


ALONE = Ranks()


@contextmanager
def joined(place: Place, out: Path, asked: Devices) -> Iterator[Ranks]:
    """Meet the other ranks, and part from them in the end.

    Args:
        place: Of this process; where it is the only one there is nobody to meet.
        out: The run, for messages.
        asked: How they train.

    Raises:
        RunError: Another rank ended, or does not answer.
    """
    if place.world == 1:
        yield Ranks()
        return
    place.export()
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(place.local_rank)
    else:
        torch.set_num_threads(place.threads())
    found = False
    try:
        dist.init_process_group("nccl" if cuda else "gloo", timeout=STALLED)
        control = dist.new_group(backend="gloo", timeout=DECODING)
        dist.all_reduce(torch.zeros(1, device="cuda" if cuda else "cpu"))  # nccl connects when it is first used
        found = True
        yield Ranks(place, asked.sync_batchnorm, strategy=asked.strategy, control=control)
    except (dist.DistError, RuntimeError) as error:
        if isinstance(error, dist.DistError) or LOST.search(str(error)):
            why = f"rank {place.rank} hears nothing from another"
            if not found and place.nodes > 1:  # a machine's own name often stands for 127.0.0.1
                why += "; if all are started, set GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME to the network between them"
            raise lost(out, why) from error
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def lost(out: Path, what: str) -> RunError:
    """The error of a training of which one process is gone."""
    remedy = "Continue with --resume" if (out / RECIPE).exists() else "Start it again"
    msg = f"{out}: a process of this training ended or does not answer ({what}). {remedy}."
    return RunError(msg, code="rank-lost", path=out)


def fingerprint(images: Images, recipe: Recipe) -> str:
    """A hash of all that has to be the same on every rank: contents, paths, labels, splits, findings, recipe."""
    total = hashlib.sha256(f"{images.digest} {recipe.model_dump_json()}".encode())
    for row, position in zip(images.table.rows, images.positions.tolist(), strict=True):
        total.update(json.dumps([row.path, row.label, row.split, position]).encode())
    if images.table.findings:
        total.update(np.ascontiguousarray(finding_values(images.table)).tobytes())
    return total.hexdigest()


def check_same(ranks: Ranks, images: Images, recipe: Recipe, out: Path) -> None:
    """Stop every rank if one of them sees other data.

    Args:
        ranks: Those that train together.
        images: As this rank has them, with their splits.
        recipe: The run's.
        out: The run, for the message.

    Raises:
        RunError: Hashes differ; both are in the message.
    """
    if not ranks.several:
        return
    found = ranks.gather_objects(fingerprint(images, recipe))
    for number, other in enumerate(found):
        if other != found[0]:
            msg = (
                f"{out}: ranks see different data: rank 0 {found[0]}, rank {number} {other} (SHA-256 of images, "
                "labels, splits and recipe). Give all of them the same DATA, and the same version of it."
            )
            raise RunError(msg, code="other-data", path=out)
