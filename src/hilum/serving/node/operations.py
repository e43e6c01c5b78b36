"""Health and metrics of a node over HTTP, for whoever runs it; never an identifier."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from hilum.errors import UsageError
from hilum.serving.node.configuration import Operations
from hilum.serving.node.queue import Queue

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
Start = Callable[[str, list[tuple[str, str]]], object]


class NodeMetrics:
    """Counts what a node does, for Prometheus.

    Args:
        queue: Whose rows are counted when metrics are asked for.
    """

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.registry = here = CollectorRegistry()
        self.events = Counter(
            "hilum_node_events", "Associations, echoes and images by outcome.", ["event", "outcome"], registry=here
        )
        self.classified = Counter(
            "hilum_node_classified", "Images by rule and outcome.", ["rule", "outcome"], registry=here
        )
        self.seconds = Histogram(
            "hilum_node_classify_seconds", "Seconds for one image of a batch.", buckets=SECONDS, registry=here
        )
        self.deliveries = Counter(
            "hilum_node_deliveries", "Attempts to deliver by outcome.", ["destination", "outcome"], registry=here
        )
        self.jobs = Gauge("hilum_node_jobs", "Images in the queue by state.", ["state"], registry=here)
        self.oldest = Gauge("hilum_node_oldest_seconds", "Age of the oldest unfinished image.", registry=here)
        self.down = Gauge("hilum_node_peers_down", "Peers that cannot be reached.", registry=here)

    def count(self, event: str, outcome: str) -> None:
        """Count an association, an echo or an image."""
        self.events.labels(event, outcome).inc()

    def count_classified(self, rule: str, outcome: str, seconds: float) -> None:
        """Count an image that was classified."""
        self.classified.labels(rule, outcome).inc()
        self.seconds.observe(seconds)

    def count_delivery(self, destination: str, outcome: str) -> None:
        """Count an attempt to deliver."""
        self.deliveries.labels(destination, outcome).inc()

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        for state, number in self.queue.counts().items():
            self.jobs.labels(state).set(number)
        self.oldest.set(self.queue.oldest() or 0.0)
        self.down.set(len(self.queue.outages()))
        return generate_latest(self.registry)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    timeout = 10

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class OperationsServer:
    """Answers ``/healthz`` (the process runs), ``/readyz`` (it takes images) and ``/metrics``.

    Args:
        operations: Where.
        metrics: What is counted.
        why_not_ready: Empty, or why images cannot be taken.

    Raises:
        UsageError: The port is taken.
    """

    def __init__(self, operations: Operations, metrics: NodeMetrics, why_not_ready: Callable[[], str]) -> None:
        self.metrics = metrics
        self.why_not_ready = why_not_ready
        try:
            self._server = make_server(operations.host, operations.port, self._answer, _Server, _Quiet)
        except OSError as error:
            where, what = f"{operations.host}:{operations.port}", error.strerror or str(error)
            msg = f"[operations] {where}: cannot listen there ({what}). Give another port, or end what uses this one."
            raise UsageError(msg, code="port") from error

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.server_port

    def serve(self) -> None:
        """Answer until `close`."""
        self._server.serve_forever(poll_interval=0.2)

    def close(self) -> None:
        """End."""
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, request: dict[str, object], start: Start) -> Iterable[bytes]:
        path, kind = request.get("PATH_INFO", ""), "application/json"
        if request.get("REQUEST_METHOD") not in ("GET", "HEAD"):
            status, body = "405 Method Not Allowed", b"{}"
        elif path == "/healthz":
            status, body = "200 OK", b'{"status": "ok"}'
        elif path == "/readyz":
            why = self.why_not_ready()
            status = "503 Service Unavailable" if why else "200 OK"
            body = json.dumps({"status": why or "ready"}).encode()
        elif path == "/metrics":
            status, body, kind = "200 OK", self.metrics.text(), "text/plain; version=0.0.4; charset=utf-8"
        else:
            status, body = "404 Not Found", b"{}"
        start(status, [("Content-Type", kind), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")])
        return [] if request.get("REQUEST_METHOD") == "HEAD" else [body]
