"""What an exchange counts, for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from fedbits.errors import ConfigError
from nodes.exchange.identity import split_address

_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)


class Metrics:
    """Counters in a registry of their own, so that several exchanges can run in one process."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        name = "fedbits_exchange_"
        self.received = Counter(name + "received_bytes", "Bytes of blobs that arrived", registry=registry)
        self.sent = Counter(name + "sent_bytes", "Bytes of blobs that were sent", registry=registry)
        self.published = Counter(name + "published_sets", "Sets published", registry=registry)
        self.removed = Counter(name + "removed_sets", "Sets removed by retention", registry=registry)
        self.refusals = Counter(name + "refusals", "Calls refused", ["method", "reason"], registry=registry)
        self.calls = Histogram(
            name + "call_seconds",
            "Calls by how they ended (watches last as long as their callers want)",
            ["method", "outcome"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.running = Gauge(name + "running_calls", "Calls going on", ["method"], registry=registry)
        self.examinations = Histogram(
            name + "examination_seconds", "Decoding of uploads", buckets=_SECONDS, registry=registry
        )
        self.examiner_starts = Counter(
            name + "examiner_starts", "Decoding processes started", registry=registry
        )
        self.stored_sets = Gauge(name + "stored_sets", "Sets that are there", registry=registry)
        self.stored_bytes = Gauge(
            name + "stored_bytes", "Bytes of the sets that are there", registry=registry
        )
        self.partial_bytes = Gauge(name + "partial_bytes", "Bytes of unfinished uploads", registry=registry)

    @contextmanager
    def call(self, method: str) -> Iterator[list[str]]:
        """Time a call; what it yields is a list whose last word says how the call ended."""
        outcome, started = ["ok"], time.monotonic()
        self.running.labels(method).inc()
        try:
            yield outcome
        finally:
            self.running.labels(method).dec()
            self.calls.labels(method, outcome[-1]).observe(time.monotonic() - started)

    def serve(self, address: str) -> tuple[Any, int]:
        """Answer ``GET /metrics`` on ``address``, in a thread; the HTTP server and its port.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        host, port = split_address(address)
        try:
            server, _ = start_http_server(port, host, self.registry)
        except OSError as error:
            raise ConfigError(f"cannot serve metrics on {address}: {error.strerror}") from error
        return server, server.server_port
