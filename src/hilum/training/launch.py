"""Start the processes of a training on several devices, watch them, and take part in it.

PyTorch's elastic launcher, which is also behind ``torchrun``, starts one process a device and ends all of them where
one fails. A process that was started calls `hilum.training.train.train` as its parent did, and finds its place.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from hilum.data.dataset import Dataset
from hilum.errors import HilumError, RunError, UsageError
from hilum.progress import PlainProgress, Progress, TerminalProgress, progress_for_terminal
from hilum.training.beginning import follow
from hilum.training.devices import TOGETHER, Devices, Place
from hilum.training.loop import fit_part
from hilum.training.ranks import Ranks, joined, lost
from hilum.training.run import Run

DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2)


def take_part(place: Place, asked: Devices, data: Path | Dataset, out: Path, first: Callable[[Ranks], Run]) -> Run:
    """Train together with the other ranks, which do the same.

    Args:
        place: Of this process.
        asked: How to train.
        data: The dataset.
        out: The run folder, which the first rank alone reads and writes.
        first: What the first rank does.

    Raises:
        HilumError: Here, or on the first rank.
        RunError: A rank sees other data, or is gone.
    """
    with joined(place, out, asked) as ranks:
        if ranks.first:
            try:
                run = first(ranks)
            except Exception as error:
                ranks.announce(error if isinstance(error, HilumError) else None)
                raise
            ranks.announce(None)
        else:
            run = Run(out)
            if found := follow(data, out, ranks):
                beginning, images = found
                fit_part(run, images, beginning, ranks=ranks)
        ranks.gather_objects(None)  # until the run is complete
        return run


def launch(
    work: Callable[..., object], asked: Devices, out: Path, arguments: Mapping[str, object], progress: Progress
) -> None:
    """Start this node's processes, and wait until all have ended.

    Args:
        work: A function of a module, called in each process with `arguments` and its ``progress``.
        asked: Devices and nodes.
        out: The run, for messages.
        arguments: By name; they are pickled.
        progress: How progress is shown; the first process makes its own of that kind.

    Raises:
        HilumError: What a process raised.
        RunError: A process was killed, or failed in an unforeseen way.
        UsageError: Nothing says how the nodes find each other.
        KeyboardInterrupt: Somebody stopped it; all processes have ended.
    """
    shown = isinstance(progress, PlainProgress | TerminalProgress)
    with TemporaryDirectory(prefix="hilum-") as folder, _quiet():
        config = LaunchConfig(
            nproc_per_node=asked.devices or 1,
            run_id=uuid.uuid4().hex,
            max_restarts=0,
            start_method="spawn",  # a fork would inherit threads of PyTorch that do not run in it
            logs_specs=DefaultLogsSpecs(log_dir=folder),
            **_meeting(asked.nodes or 1),
        )
        try:
            found = elastic_launch(config, _process)(work, dict(arguments), shown, os.getpid())
        except ChildFailedError as error:
            rank, failure = error.get_first_failure()
            how = f"signal {failure.signal_name()}" if failure.exitcode < 0 else f"exit code {failure.exitcode}"
            raise lost(out, f"rank {rank}: {how}") from error
        except SignalException as stop:
            if stop.sigval == signal.SIGINT:
                raise KeyboardInterrupt from stop
            raise SystemExit(128 + stop.sigval) from stop
    _raise_first([error for _, error in sorted(found.items()) if isinstance(error, BaseException)])


def _raise_first(errors: list[BaseException]) -> None:
    """Raise the cause rather than its consequence: that others heard nothing more of a rank that met it."""
    causes = [error for error in errors if not (isinstance(error, RunError) and error.code == "rank-lost")]
    for error in [*causes, *errors]:
        raise error


def _meeting(nodes: int) -> dict[str, Any]:
    """Where the launchers of all nodes meet."""
    if nodes == 1:
        there = {"rdzv_backend": "c10d", "rdzv_endpoint": "127.0.0.1:0", "local_addr": "127.0.0.1"}
        return {"min_nodes": 1, "max_nodes": 1, **there}
    missing = [name for name in TOGETHER if name not in os.environ]
    if missing:
        msg = (
            f"--nodes {nodes}: no address at which the nodes find each other ({', '.join(missing)} not set). Start the "
            "command by torchrun or srun, or set these variables on each node."
        )
        raise UsageError(msg, code="no-rendezvous")
    address, port, number = (os.environ[name] for name in TOGETHER)
    return {
        "min_nodes": nodes,
        "max_nodes": nodes,
        "rdzv_backend": "static",
        "rdzv_endpoint": f"{address}:{port}",
        "rdzv_configs": {"rank": int(number)},
    }


def _process(work: Callable[..., object], arguments: dict[str, object], shown: bool, parent: int) -> object:
    """One started process: what it raises on purpose is its result, so that its parent can raise it."""
    _end_with(parent)
    try:
        work(**arguments, progress=progress_for_terminal() if shown else Progress())
    except (HilumError, KeyboardInterrupt) as error:
        return error
    return None


def _end_with(parent: int) -> None:
    """Have the system kill this process where its parent is killed, who could not do it any more."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the launcher's log away from the user, to whom its errors come as messages."""
    loggers = [logging.getLogger(f"torch.{name}") for name in ("distributed.elastic", "multiprocessing.spawn")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
