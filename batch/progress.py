"""How far a job is: for people a bar, for programs `status.json` and metrics of Prometheus.

    {"state": "running", "shards": 400, "finished": 120, "failed": 1, "items": 1199031,
     "errors": {"image_undecodable": 12}, "items_per_s": 312.4, "seconds": 3838.1,
     "seconds_left": 8923.6, "updated": 1798000000.0}

`finished` counts outputs that are there, also of earlier runs; items, errors and the rate are of this run.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from batch.shards import Counts, Shard
from batch.storage.base import Storage

STATUS = "status.json"
LOOPBACK = "127.0.0.1"


@dataclass
class Progress:
    """What the driver tells; who looks is told by `status`, the bar and the metrics.

    Args:
        storage: of the output.
        metrics: counts for Prometheus, too.
        console: where failures are said; None for nowhere.
    """

    storage: Storage
    metrics: Metrics | None = None
    console: Console | None = None
    state: str = "starting"
    reason: str = ""
    shards: int = 0
    before: int = 0
    done: int = 0
    set_aside: int = 0
    counts: Counts = field(default_factory=Counts)
    _under_way: dict[int, Counts] = field(default_factory=dict)
    _began: float = field(default_factory=time.monotonic)
    _written: float = float("-inf")
    _bar: tuple[Bar, Any] | None = None

    def begin(self, shards: int, before: int) -> None:
        """So many shards, of which so many have their output from earlier runs."""
        self.shards, self.before, self.state = shards, before, "running"
        if self.metrics is not None:
            self.metrics.shards(shards, before)
        self.tell(now=True)

    def started(self) -> None:
        """A worker is ready: the first one's loading is no part of the rate."""
        if not self.counts.items and not self._under_way:
            self._began = time.monotonic()

    def advanced(self, worker: int, counts: Counts) -> None:
        """A worker has embedded some items."""
        self._under_way.setdefault(worker, Counts()).add(counts)

    def finished(self, worker: int, counts: Counts) -> None:
        """A worker has written the output of a shard."""
        self._under_way.pop(worker, None)
        self.counts.add(counts)
        self.done += 1
        if self.metrics is not None:
            self.metrics.finished(counts)

    def failed(self, worker: int, shard: Shard, reason: str, again: bool) -> None:
        """A shard was not embedded, and is tried again or set aside."""
        self._under_way.pop(worker, None)
        self.set_aside += not again
        if self.metrics is not None:
            self.metrics.failed(again)
        what = "is tried again" if again else "is set aside"
        self.say(f"shard {shard.number} {what}: {reason}")

    def say(self, text: str) -> None:
        """A line for people."""
        if self.console is not None:
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def end(self, state: str, reason: str = "") -> None:
        """The job is at its end."""
        self.state, self.reason = state, reason
        self._under_way.clear()
        self.tell(now=True)

    def tell(self, *, now: bool = False) -> None:
        """Bring the bar up to date, and as often as the storage has it the status file."""
        if self._bar is not None:
            bar, task = self._bar
            status = self.status()
            codes = ", ".join(f"{code} {count:,}" for code, count in sorted(status["errors"].items()))
            left = status["seconds_left"]
            bar.update(
                task,
                total=self.shards,
                completed=self.before + self.done,
                items=f"{status['items']:,} items, {status['items_per_s']:,.0f}/s",
                left="" if left is None else f"{_duration(left)} left",
                codes=f"failed: {codes}" if codes else "",
            )
        if now or time.monotonic() - self._written >= self.storage.status_seconds:
            with self.storage.writing(STATUS) as (partial,):
                partial.write_text(json.dumps(self.status()) + "\n", encoding="utf-8")
            self._written = time.monotonic()

    def status(self) -> dict[str, Any]:
        """What stands in the status file."""
        counts = Counts()
        for one in (self.counts, *self._under_way.values()):
            counts.add(one)
        seconds = max(time.monotonic() - self._began, 1e-6)
        rest = self.shards - self.before - self.done - self.set_aside
        return {
            "state": self.state,
            **({"reason": self.reason} if self.reason else {}),
            "shards": self.shards,
            "finished": self.before + self.done,
            "failed": self.set_aside,
            "items": counts.items,
            "errors": dict(sorted(counts.failed.items())),
            "items_per_s": round(counts.items / seconds, 1),
            "seconds": round(seconds, 1),
            "seconds_left": round(rest * seconds / self.done, 1) if self.done else None,
            "updated": round(time.time(), 1),
        }

    @contextmanager
    def shown(self) -> Iterator[None]:
        """With a bar, where the console is a terminal."""
        if self.console is None or not self.console.is_terminal:
            yield
            return
        columns = ("{task.description}", BarColumn(), "{task.completed}/{task.total} shards")
        told = (TextColumn(f"{{task.fields[{name}]}}") for name in ("items", "left", "codes"))
        with Bar(*columns, *told, console=self.console) as bar:
            self._bar = (bar, bar.add_task("embedding", total=None, items="", left="", codes=""))
            try:
                yield
            finally:
                self._bar = None


def _duration(seconds: float) -> str:
    minutes, hours = round(seconds / 60), seconds / 3600
    if hours >= 48:
        return f"{hours / 24:.1f} days"
    return f"{hours:.1f} h" if hours >= 1 else f"{minutes} min" if minutes else f"{seconds:.0f} s"


class Metrics:
    """Metrics of Prometheus, served on loopback from their making to `close`.

    Raises:
        OSError: the port is taken.
        ImportError: prometheus-client is not installed.
    """

    def __init__(self, port: int) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

        self.registry = registry = CollectorRegistry()
        self._items = Counter(
            "babelclip_batch_items",
            "Rows written, by code; of those with a vector it is ok.",
            ["code"],
            registry=registry,
        )
        self._failed = Counter(
            "babelclip_batch_shard_failures",
            "Attempts that failed, by what followed.",
            ["then"],
            registry=registry,
        )
        self._shards = Gauge("babelclip_batch_shards", "Shards of the job.", registry=registry)
        self._finished = Gauge(
            "babelclip_batch_shards_finished", "Shards whose output is there.", registry=registry
        )
        self._server, self._thread = start_http_server(port, LOOPBACK, registry=registry)
        self.address = f"http://{LOOPBACK}:{self._server.server_port}/metrics"

    def shards(self, count: int, finished: int) -> None:
        """So many, of which so many have their output."""
        self._shards.set(count)
        self._finished.set(finished)

    def finished(self, counts: Counts) -> None:
        """A shard's output is there."""
        self._finished.inc()
        self._items.labels("ok").inc(counts.items - sum(counts.failed.values()))
        for code, count in counts.failed.items():
            self._items.labels(code).inc(count)

    def failed(self, again: bool) -> None:
        """A shard was not embedded."""
        self._failed.labels("retry" if again else "set_aside").inc()

    def close(self) -> None:
        """Serve no longer."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
