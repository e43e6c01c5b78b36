"""A cluster of Ray for what one machine is too small for: found within seconds, or started here, quiet and closed.

A local cluster listens on the network, and whoever reaches Ray may run code. So it is started with a token of its own
(https://docs.ray.io/en/latest/ray-security/token-auth.html). A cluster at an address has whatever its owner chose:
``RAY_AUTH_MODE`` and ``RAY_AUTH_TOKEN`` are Ray's own variables. Ray reports no usage, in either case.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hilum.errors import EngineError, HilumError, UsageError
from hilum.extras import require
from hilum.files import locked

PATIENCE = 13.0  # seconds for an address to answer: the import of Ray included, a message is there within 15
STORE = 256 * 2**20  # bytes of shared memory of a local cluster
ENGINES = ("local", "ray")
AHEAD = 4  # tasks a CPU that are asked for before the first of them is taken
RETRIES = 2  # of a task whose process was killed
FOLDER, LOCK = "hilum-ray-", "in-use.lock"  # of a local cluster: what its folder's name begins with, and who holds it
YOUNG = 60.0  # seconds in which a folder may not have been locked yet by the process that made it
# Asks a head for its session: a process of its own, since Ray ends a process that waits for a head in vain.
ASK = (
    "import sys; from ray._raylet import GcsClient; "
    "sys.exit(not GcsClient(address=sys.argv[1]).internal_kv_get(b'session_name', b'session', timeout=5))"
)


@dataclass(frozen=True)
class Cluster:
    """A cluster that this process is connected to.

    Attributes:
        local: Whether it was started for this process, and ends with it.
        cpus: Number of CPUs of all its nodes.
        gpus: Number of GPUs of all its nodes.
        nodes: Identifiers of the nodes that are alive and have a CPU.
    """

    local: bool
    cpus: int
    gpus: int
    nodes: tuple[str, ...]


def check_engine(engine: str, address: str = "") -> None:
    """Find before any work whether an engine can be used.

    Args:
        engine: ``local`` or ``ray``.
        address: Of a cluster.

    Raises:
        UsageError: There is no such engine, or an address for the local one.
        ExtraError: Ray is not installed.
    """
    if engine not in ENGINES:
        msg = f"--engine {engine}: there are {' and '.join(ENGINES)}."
        raise UsageError(msg, code="no-such-engine")
    if engine == "ray":
        require("ray", "--engine ray", "ray")
    elif address:
        msg = f"--address {address} goes with --engine ray. Add it, or leave out the address."
        raise UsageError(msg, code="ignored-option")


class _Kept:
    """A connection that several blocks use one after the other."""

    def __init__(self, until: ExitStack) -> None:
        self.until = until
        self.cluster: Cluster | None = None


_kept: list[_Kept] = []  # at most one, since a process has one connection


@contextmanager
def one_connection() -> Iterator[None]:
    """Keep the connection of the first `connect` in the block for all that follow, until the end of the block.

    It also decorates a function, as every function of `contextlib.contextmanager`. Of blocks within blocks the
    outermost counts.
    """
    if _kept:
        yield
        return
    with ExitStack() as until:
        _kept.append(_Kept(until))
        try:
            yield
        finally:
            _kept.clear()


@contextmanager
def connect(address: str = "", cpus: int | None = None, *, store: int = STORE) -> Iterator[Cluster]:
    """Connect to a cluster, or start one on this machine, until the end of the block, or of `one_connection`.

    Args:
        address: ``HOST:PORT`` of the head of a cluster, or ``auto`` for one that runs on this machine; by default a new
            one is started.
        cpus: Number of CPUs of a new one; by default as many as Ray finds.
        store: Bytes of shared memory of a new one; what does not fit, Ray writes to the folder of temporary files.

    Raises:
        ExtraError: Ray is not installed.
        EngineError: The address does not answer within 15 seconds, or no cluster can be started.
        UsageError: The address is none.
    """
    if not _kept:
        with _connected(address, cpus, store) as cluster:
            yield cluster
        return
    kept = _kept[0]
    if kept.cluster is None:
        kept.cluster = kept.until.enter_context(_connected(address, cpus, store))
    yield kept.cluster


@contextmanager
def _connected(address: str, cpus: int | None, store: int) -> Iterator[Cluster]:
    require("ray", "--engine ray", "ray")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")  # a task without a GPU sees none; else Ray warns
    if address and address != "auto":
        _check_answers(address)
    with _quiet(), nullcontext() if address else _own_folder() as folder, nullcontext() if address else _own_token():
        import ray
        from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

        Config.initialize("")  # read the environment again, in which an earlier block may have put a token
        AuthenticationTokenLoader.instance().reset_cache()
        _start(address, cpus, store, folder)
        try:
            nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
            found = ray.cluster_resources()
            yield Cluster(
                local=not address,
                cpus=int(found.get("CPU", 0)),
                gpus=int(found.get("GPU", 0)),
                nodes=tuple(node["NodeID"] for node in nodes),
            )
        finally:
            ray.shutdown()


def _start(address: str, cpus: int | None, store: int, folder: str | None) -> None:
    import ray

    quiet: dict[str, object] = {"logging_level": logging.CRITICAL, "log_to_driver": False}
    try:
        if address:
            ray.init(address=address, **quiet)
            return
        with _no_statistics():
            ray.init(num_cpus=cpus, include_dashboard=False, object_store_memory=store, _temp_dir=folder, **quiet)
    except (OSError, RuntimeError, ValueError) as error:  # ConnectionError and Ray's own errors are among them
        ray.shutdown()
        told = str(error).strip().splitlines()
        why = told[0] if told else type(error).__name__
        if address:
            msg = f"--address {address}: no cluster of Ray can be used there ({why}). Start one with: ray start --head"
            raise EngineError(msg, code="no-cluster") from error
        msg = f"Ray cannot start on this machine ({why}). Leave out --engine ray, or name a cluster with --address."
        raise EngineError(msg, code="no-start") from error


@contextmanager
def _own_folder() -> Iterator[str]:
    """Make a private folder for sockets and logs, which may hold names; it goes at the end of the block.

    Ray opens its own folder to everybody, so that it lies within the private one.
    """
    remove_left()
    folder = tempfile.mkdtemp(prefix=FOLDER)
    try:
        with locked(Path(folder) / LOCK, _held):
            yield str(Path(folder) / "ray")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_left() -> None:
    """Remove what killed processes of this user have left: folders whose lock nobody holds.

    A number of a process would not do: a container sees those of its own only, and they are given again.
    """
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER}*"):
        with suppress(OSError):
            own = not folder.is_symlink() and hasattr(os, "geteuid") and folder.stat().st_uid == os.geteuid()
            if own and time.time() - (folder / LOCK).stat().st_mtime > YOUNG:
                with locked(folder / LOCK, _held):
                    shutil.rmtree(folder)


def _held() -> None:
    raise BlockingIOError


@contextmanager
def _no_statistics() -> Iterator[None]:
    """Start no process of statistics: switched off, it still asks which cloud this is, at ``metadata.google.internal``.

    Without a dashboard, that process does nothing else. To Ray it looks like one that could not be started.
    """
    from ray._private import services

    start = services.start_api_server
    services.start_api_server = lambda *given, **named: (None, None)
    try:
        yield
    finally:
        services.start_api_server = start


@contextmanager
def _own_token() -> Iterator[None]:
    """Have a cluster that is started here ask for a token that only this process and its children know."""
    own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _check_answers(address: str) -> None:
    """Find within 15 seconds whether a cluster answers: Ray itself would wait for a minute, and then end the process.

    Raises:
        UsageError: It is no address.
        EngineError: Nothing answers, or not Ray.
    """
    end = time.monotonic() + PATIENCE
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536 or "/" in host:
        msg = f"--address {address}: give HOST:PORT of the head of a cluster, such as 10.0.0.1:6379, or auto."
        raise UsageError(msg, code="no-address")
    try:
        socket.create_connection((host, int(port)), timeout=5.0).close()
    except OSError as error:
        msg = (
            f"--address {address}: nothing answers ({error}). Start a cluster there with: ray start --head "
            f"--port={port}. Or leave out --address."
        )
        raise EngineError(msg, code="no-answer") from error
    answered = False
    with suppress(subprocess.TimeoutExpired):
        asked = subprocess.run(
            [sys.executable, "-P", "-c", ASK, address],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=max(1.0, end - time.monotonic()),
            check=False,
        )
        answered = asked.returncode == 0
    if not answered:
        msg = (
            f"--address {address}: something listens there, but does not answer as the head of a cluster of Ray that "
            "this user may use. Check the port. If it asks for a token, set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to "
            "the token unless ~/.ray/auth_token holds it."
        )
        raise EngineError(msg, code="no-answer")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ray's remarks about its own future away from the user, and from whoever takes warnings for errors."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"ray(\.|$)")
        warnings.filterwarnings("ignore", category=ResourceWarning)
        yield


def in_order(
    cluster: Cluster, work: Callable[..., Any], calls: Iterable[tuple[Any, ...]], *, results: int = 1
) -> Iterator[Any]:
    """References to what a function gives for each call, in their order, each once it is there.

    Args:
        cluster: Does the work.
        work: A function of an importable module.
        calls: Arguments; large ones that several calls share are references.
        results: How many things it gives; with several, each has a reference of its own, in a list.
    """
    import ray

    remote: Any = ray.remote(num_cpus=1, max_retries=RETRIES, num_returns=results)(work)
    asked: deque[Any] = deque()
    waiting = iter(calls)
    while True:
        while len(asked) < AHEAD * max(cluster.cpus, 1) and (call := next(waiting, None)) is not None:
            asked.append(remote.remote(*call))
        if not asked:
            return
        ray.wait([asked[0] if results == 1 else asked[0][0]])
        yield asked.popleft()


@contextmanager
def failures() -> Iterator[None]:
    """Say in our own words why a cluster does not answer.

    Raises:
        HilumError: As a process raised it.
        EngineError: Processes end without an answer.
    """
    import ray

    try:
        yield
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, HilumError):
            raise cause from error
        why = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        msg = (
            f"the processes of the cluster end without an answer ({why}). Check that each node has this version of "
            "hilum, the files and enough memory."
        )
        raise EngineError(msg, code="no-worker") from error
