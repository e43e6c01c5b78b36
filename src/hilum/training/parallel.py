"""The runs of a series as tasks of Ray: several at a time, on one machine or many, each the same as alone.

A task is `train_member`, which goes on where a run was interrupted. So Ray may do it again after a worker was killed,
and whoever repeats a command with ``--resume`` goes on after all. The runs lie in the folder of the series, which every
machine has to see under one path.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hilum.data.cache_files import VARIABLE, cache_folder
from hilum.data.dataset import Dataset
from hilum.data.process_pool import usable_cores
from hilum.data.ray_pool import check_nodes, wanted_by
from hilum.errors import DivergenceError, EngineError, RunError, UsageError
from hilum.progress import Progress
from hilum.ray_engine import Cluster, check_engine, connect
from hilum.training.multirun import PLAN, train_member
from hilum.training.recipe import Recipe

if TYPE_CHECKING:
    import ray

RETRIES = 3  # of a run whose worker was killed
PATIENCE = 60.0  # seconds until the workers of a command that was killed are gone, too


@dataclass(frozen=True)
class Engine:
    """Where the runs of a series are trained.

    Attributes:
        name: ``local``, one after the other in this process, or ``ray``.
        address: Of a cluster of Ray; empty for one that is started on this machine.
        cpus: Number of CPUs, and of threads, of each run; with ``ray`` only.
    """

    name: str = "local"
    address: str = ""
    cpus: int = 1

    @property
    def parallel(self) -> bool:
        """Whether several runs are trained at a time."""
        return self.name == "ray"

    def check(self) -> None:
        """Find before any work whether it can be used.

        Raises:
            UsageError: Its name or a number is impossible.
            ExtraError: Ray is not installed.
        """
        check_engine(self.name, self.address)
        if self.cpus < 1:
            msg = f"--cpus-per-trial {self.cpus}: give at least 1."
            raise UsageError(msg, code="no-cpus")


@dataclass(frozen=True)
class Member:
    """A run of a series that is to be trained.

    Attributes:
        folder: Of the run.
        data: With the splits that the run takes.
        recipe: Every choice.
    """

    folder: Path
    data: Dataset
    recipe: Recipe


@dataclass(frozen=True)
class Place:
    """What a worker needs beside a member: where decoded images are kept, and how many threads it may use."""

    cache: str
    threads: int


def train_members(
    out: Path, members: Sequence[Member], engine: Engine, progress: Progress
) -> Iterator[tuple[int, str]]:
    """Train runs by Ray, as many at a time as the cluster has CPUs for.

    Args:
        out: Folder of the series, with its plan.
        members: What to train.
        engine: Where.
        progress: Told about the cluster.

    Yields:
        The position of a member that is done, and why it diverged; empty where it is finished. In order of completion.

    Raises:
        EngineError: The cluster does not answer, does not see the folder or the data, or lost a run again and again.
        HilumError: As `train_member` raises it.
    """
    if not members:
        return
    with connect(engine.address, usable_cores()) as cluster:
        import ray

        check_cluster(cluster, engine, out, members[0].data)
        progress.line(f"Ray: {cluster.cpus} CPUs, {engine.cpus} a run{', 1 GPU a run' if cluster.gpus else ''}")
        options = {"num_cpus": engine.cpus, "num_gpus": min(1, cluster.gpus), "max_retries": RETRIES}
        work = ray.remote(_train).options(**options)
        tables: dict[int, ray.ObjectRef[Dataset]] = {}
        place = Place(str(cache_folder().resolve()), engine.cpus)
        waiting: dict[ray.ObjectRef[str], int] = {}
        for number, member in enumerate(members):
            if id(member.data) not in tables:  # one table for all, in most series
                tables[id(member.data)] = ray.put(member.data.absolute())
            given = tables[id(member.data)], str(member.folder.resolve()), member.recipe, place
            waiting[work.remote(*given)] = number
        while waiting:
            done, _ = ray.wait(list(waiting), num_returns=1)
            number = waiting.pop(done[0])
            yield number, _result(done[0], members[number].folder)


def _result(done: ray.ObjectRef[str], folder: Path) -> str:
    import ray
    from ray.exceptions import RayError, RayTaskError

    try:
        told: str = ray.get(done)
    except RayTaskError as error:
        raise error.cause from error
    except RayError as error:
        words = str(error).strip().splitlines() or [type(error).__name__]
        msg = f"{folder}: its worker was lost {RETRIES + 1} times ({words[0]}). Look for lack of memory, and --resume."
        raise EngineError(msg, code="worker-lost", path=folder) from error
    return told


def _train(data: Dataset, folder: str, recipe: Recipe, place: Place) -> str:
    """What a worker does; a divergence is no failure."""
    try:
        train_here(data, Path(folder), recipe, place, Progress())
    except DivergenceError as error:
        return str(error)
    return ""


def train_here(data: Dataset, folder: Path, recipe: Recipe, place: Place, progress: Progress) -> None:
    """`train_member` in a worker, with its threads, and once no worker of an earlier command holds the folder.

    Raises:
        DivergenceError: The loss is no longer a finite number.
        RunError: The folder cannot be used.
    """
    import torch

    os.environ[VARIABLE] = place.cache
    torch.set_num_threads(place.threads)
    end = time.monotonic() + PATIENCE
    while True:
        try:
            train_member(data, folder, recipe, progress)
        except RunError as error:
            if error.code != "in-use" or time.monotonic() > end:
                raise
            time.sleep(1.0)
        else:
            return


def check_cluster(cluster: Cluster, engine: Engine, out: Path, data: Dataset) -> None:
    """Find before any training whether a run fits a node, and whether every node sees the folder and the data.

    Raises:
        EngineError: One does not.
        UsageError: No node has so many CPUs.
    """
    import ray

    largest = max((int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]), default=0)
    if engine.cpus > largest:
        msg = f"--cpus-per-trial {engine.cpus}: the largest node of the cluster has {largest}. Give at most that."
        raise UsageError(msg, code="too-many-cpus")
    if not cluster.local:
        check_nodes(cluster, engine.address, wanted_by(data, out / PLAN))
