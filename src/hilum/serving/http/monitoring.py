"""Counts what the service does, for Prometheus, and writes one log line a request. Neither ever holds a name."""

from __future__ import annotations

import time
from typing import TextIO

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from hilum.serving.json_log import JsonLog

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SIZES = (1, 2, 4, 8, 16)


class Monitoring(JsonLog):
    """Metrics of one service, in a registry of its own.

    Args:
        log: Where log lines go, as JSON; standard error by default.
    """

    def __init__(self, log: TextIO | None = None) -> None:
        super().__init__(log)
        self.registry = CollectorRegistry()
        here = self.registry
        self.requests = Counter("hilum_requests", "Requests by route and status.", ["route", "status"], registry=here)
        self.seconds = Histogram(
            "hilum_request_seconds", "Seconds until the answer is ready.", ["route"], buckets=SECONDS, registry=here
        )
        self.predictions = Counter(
            "hilum_predictions", "Images by model and triage decision.", ["model", "decision"], registry=here
        )
        self.batches = Histogram(
            "hilum_batch_images", "Images that the network got at a time.", buckets=SIZES, registry=here
        )
        self.images = Gauge("hilum_images_in_service", "Images that are uploaded, decoded or wait.", registry=here)
        self.bytes = Gauge("hilum_upload_bytes", "Bytes of uploads in memory.", registry=here)
        self.models = Gauge("hilum_model_info", "Models that are served.", ["model", "sha256"], registry=here)
        self.reloads = Counter("hilum_model_reloads", "Times that models were read again.", ["result"], registry=here)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def answered(self, method: str, route: str, status: int, begin: float) -> None:
        """Count a request and log it.

        Args:
            method: Of HTTP.
            route: The route's pattern, never the address that was asked for.
            status: Of HTTP.
            begin: When it came, by `time.perf_counter`.
        """
        seconds = time.perf_counter() - begin
        self.requests.labels(route, str(status)).inc()
        self.seconds.labels(route).observe(seconds)
        self.write("request", method=method, route=route, status=status, milliseconds=round(1000 * seconds, 1))
