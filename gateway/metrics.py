"""What Prometheus reads: calls and items, how long, and what came of them.

    babelclip_gateway_requests_total{call, model, key, status}        status: HTTP's number, or gRPC's name
    babelclip_gateway_answers_total{status}                           the same, without probes of health
    babelclip_gateway_request_seconds{call}                           a histogram
    babelclip_gateway_requests_in_progress{call}
    babelclip_gateway_refusals_total{key, limit}                      what a key, or a tower, had too much of
    babelclip_gateway_wait_seconds{key}                               a histogram, of those that had to wait
    babelclip_gateway_items_total{model, tower, outcome}              outcome: ok, or the item's error code
    babelclip_gateway_version_items_total{model, version, outcome}    outcome: ok, failed
    babelclip_gateway_self_tests_total{model, outcome}                outcome: ok, or why not
    babelclip_gateway_model_ready{model}                              1 while both towers embed
    babelclip_gateway_model_info{model, version, space}               1 for the default version
    babelclip_gateway_key_expiry_timestamp_seconds{key}               of keys that expire
    babelclip_gateway_jobs_total{kind, state}                         jobs of collections that have ended
    babelclip_gateway_jobs_in_progress{kind}
    process_…                                                         memory, files and processor time

Every outcome that there may be counts from 0. Labels hold what the operator has named, and codes of ours;
nothing that a caller may choose freely. Asked for OpenMetrics, the histogram of seconds has exemplars: the
traces of calls.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
)

from babelclip import Embeddings, ItemError
from babelclip.errors import BabelclipError
from babelclip.keys.entries import Key
from babelclip.wire import TOWERS
from gateway import outcomes as known
from gateway import request_log, tracing
from gateway.fetch import ImageAddress
from gateway.towers.base import ModelVersion

# Seconds: a text on an accelerator takes 5 ms, 2,048 images on a processor a minute.
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


@dataclass
class Observed:
    """What is to be known of a call when it ends.

    Attributes:
        status: how it ended.
        model: one that is served, without its version; "" where the call has none, or an unknown one.
        key: the name of the caller's key; "" where there is none.
        items: that have gone to a model.
    """

    status: str
    model: str = ""
    key: str = ""
    items: int = 0


_PRESENT: ContextVar[Observed | None] = ContextVar("present", default=None)


class Metrics:
    """Counts what goes through one gateway."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def named(name: str) -> str:
            return f"babelclip_gateway_{name}"

        self._requests = Counter(
            named("requests"),
            "Calls by what came of them",
            ("call", "model", "key", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            named("request_seconds"),
            "Seconds from a call's head to its answer",
            ("call",),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._answers = Counter(
            named("answers"),
            "Calls by what came of them, without probes of health",
            ("status",),
            registry=self.registry,
        )
        self._in_progress = Gauge(
            named("requests_in_progress"), "Calls under way", ("call",), registry=self.registry
        )
        self._items = Counter(
            named("items"),
            "Texts and images by what came of them",
            ("model", "tower", "outcome"),
            registry=self.registry,
        )
        self._refusals = Counter(
            named("refusals"),
            "Requests that were too much for a limit of their key, or for a tower",
            ("key", "limit"),
            registry=self.registry,
        )
        self._wait = Histogram(
            named("wait_seconds"),
            "Seconds from a request to its first turn at a tower, of those that had to wait",
            ("key",),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._versions = Counter(
            named("version_items"),
            "Texts and images by the version that answered",
            ("model", "version", "outcome"),
            registry=self.registry,
        )
        self._self_tests = Counter(
            named("self_tests"),
            "Times that both towers were asked for their golden items, by what came of it",
            ("model", "outcome"),
            registry=self.registry,
        )
        self._ready = Gauge(
            named("model_ready"), "Whether both towers embed", ("model",), registry=self.registry
        )
        self._info = Gauge(
            named("model_info"),
            "The default version of a model",
            ("model", "version", "space"),
            registry=self.registry,
        )
        self._expiry = Gauge(
            named("key_expiry_timestamp_seconds"),
            "When a key expires, in seconds since 1970",
            ("key",),
            registry=self.registry,
        )
        self._jobs = Counter(
            named("jobs"),
            "Jobs of collections that have ended, by what came of them",
            ("kind", "state"),
            registry=self.registry,
        )
        self._jobs_in_progress = Gauge(
            named("jobs_in_progress"), "Jobs of collections under way", ("kind",), registry=self.registry
        )
        ProcessCollector(registry=self.registry)
        for status in known.STATUSES:
            self._answers.labels(status)

    def expect(self, models: Iterable[str]) -> None:
        """Counts from 0 what may come of the items of these models, and of their checks."""
        for model in models:
            for tower in (*TOWERS, ""):
                for outcome in (known.OK, *known.ITEM_CODES):
                    self._items.labels(model, tower, outcome)
            for outcome in known.CHECKS:
                self._self_tests.labels(model, outcome)

    def expect_jobs(self, kinds: Iterable[str], states: Sequence[str]) -> None:
        """Counts from 0 what may come of jobs of these kinds."""
        for kind in kinds:
            self._jobs_in_progress.labels(kind)
            for state in states:
                self._jobs.labels(kind, state)

    def keys(self, keys: Iterable[Key]) -> None:
        """Takes over which keys there are."""
        self._expiry.clear()
        for key in keys:
            for limit in known.LIMITS:
                self._refusals.labels(key.name, limit)
            if key.expires is not None:
                self._expiry.labels(key.name).set(key.expires.timestamp())

    @contextmanager
    def call(self, name: str, left: str) -> Iterator[Observed]:
        """Counts and times one call; the body fills in what it comes to know.

        Args:
            left: the status where the caller hangs up before there is one.
        """
        observed = Observed(status=left)
        _PRESENT.set(observed)
        began = time.perf_counter()
        with self._in_progress.labels(name).track_inprogress(), tracing.call_span(name) as span:
            try:
                yield observed
            finally:
                took = time.perf_counter() - began
                self._seconds.labels(name).observe(took, tracing.exemplar(span))
                if span is not None:
                    facts = {f"babelclip.{key}": value for key, value in vars(observed).items()}
                    tracing.note(span, facts, failed=observed.status in known.ERRORS)
                request_log.write(call=name, seconds=took, **vars(observed))
                self._requests.labels(name, observed.model, observed.key, observed.status).inc()
                if name not in request_log.PROBES:
                    self._answers.labels(observed.status).inc()

    def items(self, model: str, items: Sequence[str | bytes | ItemError], outcomes: Embeddings) -> None:
        """Counts the items of a request, each by its tower and what came of it."""
        present = _PRESENT.get()
        if present is not None:
            present.items += len(items)
        failed = {error.index: error.code for error in outcomes.errors}
        counts: dict[tuple[str, str], int] = {}
        for index, item in enumerate(items):
            tower = (
                "text"
                if isinstance(item, str)
                else "vision"
                if isinstance(item, bytes | ImageAddress)
                else ""
            )
            label = tower, failed.get(index, "ok")
            counts[label] = counts.get(label, 0) + 1
        for (tower, outcome), count in counts.items():
            self._items.labels(model, tower, outcome).inc(count)
        for outcome, count in ((known.OK, len(items) - len(failed)), (known.FAILED, len(failed))):
            self._versions.labels(model, outcomes.version, outcome).inc(count)

    def refused(self, key: str, limit: str) -> None:
        """Counts a request that was refused because there was too much of something."""
        self._refusals.labels(key, limit).inc()

    def waited(self, key: str, tower: str, seconds: float) -> None:
        """Notes how long a request waited for its first turn."""
        self._wait.labels(key).observe(seconds)

    def states(self, states: Mapping[str, ModelVersion | BabelclipError]) -> None:
        """Takes over what the models were just found to be."""
        for name, found in states.items():
            self._ready.labels(name).set(not isinstance(found, BabelclipError))
            self._self_tests.labels(name, known.of_check(found)).inc()
        served = {name: found for name, found in states.items() if isinstance(found, ModelVersion)}
        self._info.clear()
        for name, version in served.items():
            self._info.labels(name, version.version, version.space).set(1)
            for outcome in (known.OK, known.FAILED):
                self._versions.labels(name, version.version, outcome)

    @contextmanager
    def job(self, kind: str) -> Iterator[Callable[[str], None]]:
        """A job under way → what is told the state in which it has ended."""
        with self._jobs_in_progress.labels(kind).track_inprogress():
            yield lambda state: self._jobs.labels(kind, state).inc()
