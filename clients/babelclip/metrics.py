"""What a client does, as metrics for Prometheus; needs the package prometheus-client.

    metrics = ClientMetrics()          # in prometheus_client's default registry
    client = Client(url, metrics=metrics)

    babelclip_client_requests_total{tower, outcome}    outcome: ok, or the name of an exception
    babelclip_client_request_seconds{tower}            one request on its way, as a histogram
    babelclip_client_requests_in_flight{tower}
    babelclip_client_items_total{tower, outcome}       outcome: ok, or the code of the item's error

Retries and hedged requests count as requests. One object serves any number of clients.
"""

from __future__ import annotations

import time
from collections import Counter as Count
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from babelclip.embeddings import Embeddings
    from babelclip.transports.base import Call
    from babelclip.wire import Tower

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class ClientMetrics:
    """See the module.

    Args:
        registry: where the metrics are registered; prometheus_client's default one for None.

    Raises:
        ValueError: the registry already has metrics of these names.
        ImportError: prometheus-client is not installed.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        from prometheus_client import REGISTRY, Counter, Gauge, Histogram

        registry = registry or REGISTRY
        prefix = "babelclip_client"
        try:
            self._requests = Counter(
                f"{prefix}_requests", "Requests sent, by outcome.", ["tower", "outcome"], registry=registry
            )
        except ValueError:
            raise ValueError(
                "the registry has a client's metrics already: one ClientMetrics serves any number of clients,"
                " so share it, or give each a registry of its own"
            ) from None
        self._seconds = Histogram(
            f"{prefix}_request_seconds",
            "Seconds from a request to its answer.",
            ["tower"],
            registry=registry,
            buckets=SECONDS,
        )
        self._in_flight = Gauge(
            f"{prefix}_requests_in_flight", "Requests without an answer yet.", ["tower"], registry=registry
        )
        self._items = Counter(
            f"{prefix}_items", "Items of calls, by outcome.", ["tower", "outcome"], registry=registry
        )

    @contextmanager
    def timing(self, tower: Tower) -> Iterator[None]:
        """Count what happens inside as one request."""
        began = time.perf_counter()
        outcome = "ok"
        self._in_flight.labels(tower).inc()
        try:
            yield
        except BaseException as error:
            outcome = type(error).__name__
            raise
        finally:
            self._in_flight.labels(tower).dec()
            self._seconds.labels(tower).observe(time.perf_counter() - began)
            self._requests.labels(tower, outcome).inc()

    def timed(self, tower: Tower, send: Callable[[Call], bytes]) -> Callable[[Call], bytes]:
        """`send`, counted."""

        def counted(call: Call) -> bytes:
            with self.timing(tower):
                return send(call)

        return counted

    def items(self, tower: Tower, embeddings: Embeddings) -> None:
        """Count the items of a message that is done."""
        codes = Count(error.code for error in embeddings.errors)
        codes["ok"] = len(embeddings) - sum(codes.values())
        for outcome, count in codes.items():
            self._items.labels(tower, outcome).inc(count)
