"""Runs the service: where it listens, who may reach it there, and how it ends."""

from __future__ import annotations

import asyncio
import gc
import ipaddress
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from hilum.errors import UsageError
from hilum.files import read_text
from hilum.serving.http.monitoring import Monitoring
from hilum.serving.http.served_models import ServedModels
from hilum.serving.http.service import create_app
from hilum.serving.http.uploads import Limits

TOKEN = "HILUM_TOKEN"
SHORTEST_TOKEN = 16  # characters; one that can be guessed is none
CONNECTIONS = 1024
BACKLOG = 2048  # connections that wait to be accepted, as uvicorn has it
HEADERS_WITHIN = 15.0  # seconds after which a connection that has sent no whole request is closed
SWITCH = 0.0005  # seconds between two threads of Python; by default ten times as long, which the event loop waits
DRAIN = 30  # seconds that requests under way have when the service ends
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Protocol(HttpToolsProtocol):
    """Uvicorn's protocol, and it closes connections that never send a whole request head."""

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self.loop.call_later(HEADERS_WITHIN, self._close_if_silent)

    def _close_if_silent(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()


class Server(uvicorn.Server):
    """Uvicorn's server, and SIGHUP makes it read its models anew."""

    def __init__(
        self, config: uvicorn.Config, models: ServedModels, monitoring: Monitoring, ready: Callable[[], object]
    ) -> None:
        super().__init__(config)
        self.models = models
        self.monitoring = monitoring
        self.ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer, and to take SIGHUP; then say so."""
        await super().startup(sockets)
        if hasattr(signal, "SIGHUP"):
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload)
        self.ready()

    def _reload(self) -> None:
        self._reloading = asyncio.ensure_future(self._read_anew())

    async def _read_anew(self) -> None:
        failure = await asyncio.to_thread(self.models.reload)
        self.monitoring.reloads.labels("failed" if failure else "done").inc()
        self.monitoring.write("reload", result="failed" if failure else "done", message=failure)


def serve(
    sources: Sequence[str],
    *,
    host: str,
    port: int,
    token: str | None,
    names: Sequence[str] = (),
    limits: Limits | None = None,
    threads: int | None = None,
    tell: Any = print,
) -> None:
    """Serve models until SIGTERM or Ctrl-C; requests under way are answered first.

    Args:
        sources: Model files, or names of models that come with hilum; none for ``paediatric-pneumonia``.
        host: Address to listen at.
        port: Port; 0 for any that is free.
        token: What requests have to carry; None for no such condition.
        names: Further names under which it may be asked for.
        limits: What it accepts.
        threads: Number of threads for decoding, and for the network.
        tell: Is told in a line where it listens.

    Raises:
        ModelFileError: A model file is missing or damaged.
        UsageError: The port is taken, or the address is none of this machine.
    """
    sys.setswitchinterval(SWITCH)
    monitoring = Monitoring()
    models = ServedModels(sources, batched=monitoring.batches.observe, threads=threads)
    bound = listen(host, port)
    known = () if token and not names else tuple({*LOOPBACK, host.lower(), *(name.lower() for name in names)})
    app = create_app(models, limits=limits, token=token, hosts=known, monitoring=monitoring)
    config = uvicorn.Config(
        app,
        access_log=False,
        log_config=None,
        http=Protocol,
        loop="auto",
        lifespan="on",
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=DRAIN,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        ws="none",
    )
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{bound.getsockname()[1]}/"
    gc.collect()
    gc.freeze()  # what was loaded stays: no collection looks at it again
    Server(config, models, monitoring, lambda: tell(address)).run(sockets=[bound])


def listen(host: str, port: int) -> socket.socket:
    """Take a port; from now on connections to it wait until they are accepted.

    Raises:
        UsageError: It is taken, or the address is none of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(BACKLOG)  # at once: two processes may bind one port
    except OSError as error:
        bound.close()
        why = error.strerror or str(error)
        msg = f"--host {host} --port {port}: cannot listen there ({why}). Give another port, or end what uses this one."
        raise UsageError(msg, code="port") from error
    bound.set_inheritable(False)
    return bound


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def find_token(file: Path | None, host: str, *, open_to_all: bool) -> str | None:
    """The token of a service: of a file, or of ``HILUM_TOKEN``; never of the command line, which others see.

    Raises:
        UsageError: It is too short, or there is none although others can reach the service.
    """
    try:
        text = read_text(file) if file else os.environ.get(TOKEN, "")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{file}: cannot be read ({error}). Write a token into it: openssl rand -hex 32"
        raise UsageError(msg, path=file) from error
    token = text.strip()
    if token and (len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable()):
        msg = f"the token is shorter than {SHORTEST_TOKEN} characters, or not plain. Make one: openssl rand -hex 32"
        raise UsageError(msg, code="token")
    if file and not token:
        msg = f"{file}: holds no token. Write one into it: openssl rand -hex 32"
        raise UsageError(msg, code="token", path=file)
    if not token and not is_loopback(host) and not open_to_all:
        msg = (
            f"--host {host}: others could use this service without a token. Give --token-file FILE or set {TOKEN}, or "
            "say --no-token where a proxy in front of it checks who asks."
        )
        raise UsageError(msg, code="no-token")
    return token or None
