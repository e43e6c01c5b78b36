"""Work on a list of chunks by the processes of a Ray cluster, which have to reach the files."""

from __future__ import annotations

import hashlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from hilum import __version__
from hilum.data.dataset import Dataset
from hilum.data.process_pool import FIRST, MOST, Pool, ProcessPool, Work, usable_cores
from hilum.errors import EngineError
from hilum.ray_engine import Cluster, connect, failures, in_order, one_connection

SECONDS = 1.0  # of work a task, beside the milliseconds that Ray takes for it
ANSWER = 120.0  # seconds for all nodes to say what they see; each starts Python for it

Chunk = TypeVar("Chunk")
Item = TypeVar("Item")
Result = TypeVar("Result")


class RayPool:
    """The processes of a cluster, which is connected to when they are first needed, until the end of the block.

    Inside of `hilum.ray_engine.one_connection`, what comes after the block uses the same connection.

    Args:
        address: Of a cluster; by default one is started on this machine.
        wanted: What every node has to have.
    """

    def __init__(self, address: str, wanted: Wanted) -> None:
        self.address = address
        self.wanted = wanted
        self._until = ExitStack()

    def __enter__(self) -> Self:
        self._until.enter_context(one_connection())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._until.close()

    def map(self, work: Work[Item, Result], items: Sequence[Item]) -> Iterator[tuple[int, Result]]:
        """Do `work` on all items, some consecutive ones at a time.

        Args:
            work: A function of an importable module, or a `functools.partial` of one: it is sent by its name.
            items: Whatever can be pickled.

        Yields:
            The position of the first of some items, and what `work` gave for them, in order.

        Raises:
            HilumError: As a process raised it.
            EngineError: The cluster does not answer, or a node lacks something, or processes end without an answer.
        """
        if not len(items):
            return
        with connect(self.address, usable_cores()) as cluster:
            check_nodes(cluster, self.address, self.wanted)
            pace = [SECONDS / FIRST]  # seconds an item, as far as known
            begun: deque[int] = deque()
            for seconds, result in in_tasks(cluster, partial(_timed, work), _chunks(items, begun, pace)):
                pace[0] = seconds
                yield begun.popleft(), result


def pool_of(engine: str, address: str, table: Dataset) -> Pool:
    """Who reads and decodes the files of a dataset.

    Args:
        engine: ``local``, this machine, or ``ray``.
        address: Of a cluster; by default one is started here.
        table: The dataset.
    """
    return RayPool(address, wanted_by(table)) if engine == "ray" else ProcessPool()


def in_tasks(cluster: Cluster, work: Callable[[Chunk], Result], chunks: Iterable[Chunk]) -> Iterator[Result]:
    """Do `work` on each chunk; chunks whose process is killed are given to another one.

    Args:
        cluster: That this process is connected to.
        work: A function of an importable module, or a `functools.partial` of one.
        chunks: Whatever can be pickled; some are taken ahead for each CPU.

    Yields:
        What `work` gave for each chunk, in their order.

    Raises:
        HilumError: As a process raised it.
        EngineError: Processes end without an answer.
    """
    import ray

    kept = ray.put(work)  # once, however many tasks there are
    with failures():
        for answer in in_order(cluster, _do, ((kept, chunk) for chunk in chunks)):
            yield ray.get(answer)


def _do(work: Callable[[Chunk], Result], chunk: Chunk) -> Result:
    return work(chunk)


def _timed(work: Work[Item, Result], items: Sequence[Item]) -> tuple[float, Result]:
    """How many seconds an item took, and the result."""
    before = time.monotonic()
    result = work(items)
    return (time.monotonic() - before) / len(items), result


def _chunks(items: Sequence[Item], begun: deque[int], pace: Sequence[float]) -> Iterator[Sequence[Item]]:
    """Consecutive items that take about `SECONDS`; the position of the first of each is appended to `begun`."""
    start = 0
    while start < len(items):
        count = max(1, min(MOST, int(SECONDS / max(pace[0], 1e-9))))
        begun.append(start)
        yield items[start : start + count]
        start += count


@dataclass(frozen=True)
class Wanted:
    """What this machine has, and every node has to.

    Attributes:
        image: A file of the data, by the path by which nodes open it; empty where nothing is asked.
        plan: The plan of a series, in a folder where nodes write; empty where they write nothing.
        digest: Of the plan's content.
        version: Of hilum.
    """

    image: str = ""
    plan: str = ""
    digest: str = ""
    version: str = __version__


def wanted_by(table: Dataset, plan: Path | None = None) -> Wanted:
    """What work on a dataset needs.

    Args:
        table: The dataset; its first file that is there stands for all. One that misses here is left out by the work.
        plan: Of a series, where runs of one are the work.
    """
    image = seen_here(os.path.join(table.root, row.path) for row in table.rows)  # noqa: PTH118 - millions
    return Wanted(image, str(plan.resolve()), _digest(plan)) if plan else Wanted(image)


def seen_here(paths: Iterable[str]) -> str:
    """The first of some files that this machine sees, as an absolute path; empty where it sees none.

    Links are kept: a node opens files by such a path, and may have other links.
    """
    return next((str(Path(path).absolute()) for path in paths if os.path.isfile(path)), "")  # noqa: PTH113 - millions


def check_nodes(cluster: Cluster, address: str, wanted: Wanted) -> None:
    """Find before any work whether every node of a cluster at an address can do it.

    Args:
        cluster: That this process is connected to; of one that was started here nothing is asked.
        address: Of the cluster, for messages.
        wanted: What they need.

    Raises:
        EngineError: One lacks something.
    """
    if cluster.local:
        return
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    asked = [
        ray.remote(look_around)
        .options(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False))
        .remote(wanted)
        for node in cluster.nodes
    ]
    try:
        found = ray.get(asked, timeout=ANSWER)
    except RayError as error:  # hilum is not installed there, or another version of Python
        told = str(error).strip().splitlines() or [type(error).__name__]
        msg = (
            f"--address {address}: a node cannot do the work ({told[-1]}). "
            "Install the same version of hilum and of Python on every node."
        )
        raise EngineError(msg, code="node-without-hilum") from error
    if missing := next((why for why in found if why), ""):
        raise EngineError(missing, code="node-without-data", path=wanted.plan or wanted.image or None)


def look_around(wanted: Wanted) -> str:
    """What a node lacks of what another machine has; empty where it lacks nothing."""
    import platform

    node = platform.node()
    if wanted.version != __version__:
        return f"{node}: has hilum {__version__}, and this machine {wanted.version}. Install the same on every node."
    shared = "Use a file system that all nodes share, under one path."
    if wanted.plan:
        plan = Path(wanted.plan)
        if not plan.is_file() or _digest(plan) != wanted.digest:
            return f"{plan.parent}: the node {node} does not see this folder. {shared}"
        if not os.access(plan.parent, os.W_OK):
            return (
                f"{plan.parent}: the node {node} may not write there. Give its user the right to, or choose another "
                "--out."
            )
    if wanted.image and not Path(wanted.image).is_file():
        return f"{wanted.image}: the node {node} does not see this image. {shared}"
    return ""


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
