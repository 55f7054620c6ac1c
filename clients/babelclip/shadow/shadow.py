"""A candidate version in the shadow of the one that serves: the same requests, compared and thrown away.

    candidate = Client(url, version="2.0", token_file=…)
    with Shadow(candidate, share=0.1) as shadow, Client(url, token_file=…, shadow=shadow) as client:
        …                                    # the service as always; a tenth of its requests goes to both
    print(shadow.report())                   # promote: no: image → image neighbours overlap by 0.31, …

The caller waits for nothing: a thread sends the copies, and drops them where it cannot keep up. Vectors of
one space are compared directly. Those of two spaces cannot be, but their neighbours can: of each item seen,
the k nearest others by the serving version and by the candidate overlap by so much. What is kept of an item
are its two vectors.
"""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

from babelclip.client.splitting import RequestChunk
from babelclip.embeddings import Embeddings
from babelclip.shadow.comparison import Limits, Report
from babelclip.shadow.observations import Comparison, Observations
from babelclip.wire import Tower

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from babelclip.client.sync import Client

WAITING = 64  # copies of requests that wait for the thread


@dataclass(frozen=True)
class _Copy:
    tower: Tower
    items: list[bytes]
    language: str
    served: Embeddings
    seconds: float


class Shadow:
    """Compares a candidate with what a client serves. Close it, or use `with`: that waits for the copies.

    Args:
        candidate: a client that names the candidate's version.
        share: of the requests that are copied, from 0 to 1; by a hash of their first item, so that a request
            that comes again is always, or never, copied.
        keep: vectors of each tower, of the latest items.
        wait: drop no copy; the caller waits where the thread cannot keep up. For replays, not for a service.
        registry: a registry of prometheus_client that gets the figures as metrics.

    Raises:
        ValueError: `share` or `keep` is out of range, or the candidate names no version.
    """

    def __init__(
        self,
        candidate: Client,
        *,
        share: float = 0.1,
        keep: int = 2000,
        wait: bool = False,
        registry: CollectorRegistry | None = None,
    ) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, not {share}")
        if keep < 2:
            raise ValueError(f"keep must be at least 2 vectors, not {keep}")
        if candidate.version is None:
            raise ValueError("the candidate must be a client with a version of its own")
        self._candidate = candidate
        self._share = share
        self._wait = wait
        self._observations = Observations(keep)
        self._closed = False
        self._metrics = None if registry is None else _Metrics(registry)
        self._copies: queue.Queue[_Copy | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._work, name="babelclip-shadow", daemon=True)
        self._thread.start()

    def observe(self, tower: Tower, chunk: RequestChunk, served: Embeddings, seconds: float) -> None:
        """Called by a client with each chunk of items it has embedded."""
        if self._closed or not chunk.items or not self._chosen(chunk.items[0]):
            return
        copy = _Copy(tower, chunk.items, chunk.language, served[chunk.indices], seconds)
        try:
            self._copies.put(copy, block=self._wait)
        except queue.Full:
            self._observations.drop()

    def report(self, limits: Limits | None = None) -> Report:
        """What has been compared so far, and whether the candidate may be promoted."""
        return self._observations.report(limits)

    def close(self) -> None:
        """Takes no more, and waits until the copies so far are compared; the candidate stays open."""
        self._closed = True
        if self._thread.is_alive():
            self._copies.put(None)
            self._thread.join()

    def __enter__(self) -> Shadow:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _chosen(self, item: bytes) -> bool:
        digest = hashlib.sha256(item).digest()
        return int.from_bytes(digest[:8], "big") < self._share * 2**64

    def _work(self) -> None:
        while (copy := self._copies.get()) is not None:
            began = time.perf_counter()
            try:
                if copy.tower == "text":
                    texts = (item.decode() for item in copy.items)
                    found = self._candidate.embed_texts(texts, language=copy.language, errors="return")
                else:
                    found = self._candidate.embed_images(copy.items, errors="return")
            except Exception as error:  # Whatever it is, the next copies are still to be compared.
                self._lost(copy, type(error).__name__)
            else:
                self._enter(copy, found, time.perf_counter() - began)

    def _lost(self, copy: _Copy, code: str) -> None:
        count = self._observations.lost(copy.served, code)
        if self._metrics is not None:
            self._metrics.failed(copy.tower, code, count)

    def _enter(self, copy: _Copy, found: Embeddings, seconds: float) -> None:
        compared = self._observations.enter(copy.tower, copy.served, found, (copy.seconds, seconds))
        if self._metrics is not None:
            self._metrics.compared(copy, compared, seconds)
            for code in compared.alone:
                self._metrics.failed(copy.tower, code, 1)


class _Metrics:
    """The figures as they come, for Prometheus."""

    def __init__(self, registry: CollectorRegistry) -> None:
        from prometheus_client import Counter as Count
        from prometheus_client import Histogram

        self._items = Count(
            "babelclip_shadow_items", "Items compared, by outcome.", ["tower", "outcome"], registry=registry
        )
        self._cosine = Histogram(
            "babelclip_shadow_cosine",
            "Cosine of an item's two vectors, in one space.",
            ["tower"],
            registry=registry,
            buckets=(0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 0.9999, 1.0),
        )
        self._seconds = Histogram(
            "babelclip_shadow_request_seconds",
            "Seconds of a request that went to both.",
            ["tower", "version"],
            registry=registry,
        )

    def compared(self, copy: _Copy, compared: Comparison, seconds: float) -> None:
        self._items.labels(copy.tower, "ok").inc(int(compared.both.sum()))
        self._seconds.labels(copy.tower, "serving").observe(copy.seconds)
        self._seconds.labels(copy.tower, "candidate").observe(seconds)
        for cosine in compared.cosines if compared.cosines is not None else ():
            self._cosine.labels(copy.tower).observe(float(cosine))

    def failed(self, tower: Tower, code: str, count: int) -> None:
        self._items.labels(tower, code).inc(count)
