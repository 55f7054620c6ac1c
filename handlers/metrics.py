"""Our metrics, sent through TorchServe to Prometheus; docs/metrics.md explains them.

TorchServe reads a metric as one line of the worker's output, at 0.02–0.04 ms each, so a batch sends a line
per metric and label, never one per item. They count gRPC as well as HTTP, which TorchServe's own do not.
TorchServe's frontend drops what its metrics_config (deploy/torchserve/metrics.yaml) does not declare.
"""

from __future__ import annotations

import importlib
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from handlers.batching import Group
from handlers.errors import ITEM_CODES, REQUEST_CODES, ItemError
from handlers.outcomes import Outcome
from handlers.protocol.rendering import truncated, unknown
from handlers.protocol.requests import Request

_log = logging.getLogger(__name__)

TRANSPORTS = ("grpc", "http")
FLAGS = ("truncated", "unknown")
_LABELS = ("tower", "version")
# Name → type, unit, labels beyond _LABELS. A histogram of TorchServe has fixed buckets from 0.005 to 10,
# which suit seconds; of babelclip_batch_items only sum and count are useful, which give the mean.
DEFINITIONS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "babelclip_requests_total": ("counter", "Count", ("transport", "code")),
    "babelclip_items_total": ("counter", "Count", ("code",)),
    "babelclip_flagged_items_total": ("counter", "Count", ("flag",)),
    "babelclip_slots_total": ("counter", "Count", ("use",)),
    "babelclip_rows_total": ("counter", "Count", ("use",)),
    "babelclip_passes_total": ("counter", "Count", ("bucket",)),
    "babelclip_decode_cpu_seconds_total": ("counter", "Seconds", ()),
    "babelclip_batch_items": ("histogram", "Count", ()),
    "babelclip_stage_seconds": ("histogram", "Seconds", ("stage",)),
    "babelclip_shapes": ("gauge", "Count", ()),
    "babelclip_worker_starts_total": ("counter", "Count", ()),
    "babelclip_info": ("gauge", "Count", ("space", "device", "dtype", "runtime")),
}


@dataclass
class BatchStats:
    """What happened in one batch."""

    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(grpc or http, "ok" or the code of the refusal) → requests."""
    items: Counter[str] = field(default_factory=Counter)
    """"ok" or the code of the failure → items."""
    flags: Counter[str] = field(default_factory=Counter)
    """What the response says of an embedded item, "truncated" or "unknown" → items."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Stage → seconds; the stages of all batches fill the whole time of the worker."""
    used_slots: int = 0
    """Tokens or images that were computed because a caller sent them."""
    all_slots: int = 0
    """Tokens or images that were computed."""
    passes: Counter[int] = field(default_factory=Counter)
    """Bucket → forward passes."""
    rows: int = 0
    """Items that went through the tower."""
    free_rows: int = 0
    """Items that would have fitted into the same passes."""
    decode_cpu_seconds: float = 0.0
    """Of the threads that decode images."""
    shapes: int = 0
    """Distinct shapes of the passes since the worker started; 0 where this batch had no new one."""

    def add_request(self, request: Request, outcomes: Sequence[Outcome]) -> None:
        """Count a request that has its response, and its items; the item of a probe is nobody's."""
        transport = "grpc" if request.envelope.grpc else "http"
        self.requests[transport, request.error.code if request.error else "ok"] += 1
        if not request.self_test:
            self.items.update(o.code if isinstance(o, ItemError) else "ok" for o in outcomes)
            self.flags["truncated"] += len(truncated(outcomes))
            self.flags["unknown"] += len(unknown(outcomes))

    def add_pass(self, group: Group, *, slots: int, max_batch: int) -> None:
        """Count a group's pass, in which `slots` tokens or images were computed."""
        self.passes[group.bucket] += 1
        self.rows += len(group.positions)
        self.free_rows += max_batch - len(group.positions)
        self.used_slots += group.used
        self.all_slots += slots


class Metrics:
    """The metrics of one worker; a failure to record is logged and hurts no request."""

    def __init__(self, cache: Any, *, tower: str, version: str) -> None:
        """`cache` is TorchServe's `context.metrics`; None records nothing."""
        self._labels = [tower, version]
        self._metrics: dict[str, Any] = {}
        if cache is not None:
            types = importlib.import_module("ts.metrics.metric_type_enum").MetricTypes
            for name, (kind, unit, labels) in DEFINITIONS.items():
                self._metrics[name] = _find_or_add(cache, name, types(kind), unit, [*_LABELS, *labels])

    def started(self) -> None:
        """Count the start of a worker, and show all outcomes that there may be as 0.

        Prometheus sees no increase where a series begins: the first failure of a kind would be missed. As the
        frontend adds what it is sent, a worker that is started again changes nothing of what was counted.
        """
        lines: list[tuple[str, float, tuple[str, ...]]] = [("babelclip_worker_starts_total", 1, ())]
        lines += [("babelclip_items_total", 0, (code,)) for code in ("ok", *ITEM_CODES)]
        lines += [("babelclip_flagged_items_total", 0, (flag,)) for flag in FLAGS]
        lines += [
            ("babelclip_requests_total", 0, (transport, code))
            for transport in TRANSPORTS
            for code in ("ok", *REQUEST_CODES)
        ]
        self._safely(lines)

    def info(self, *, space: str, device: str, dtype: str, runtime: str) -> None:
        """What this worker serves, as the labels of a gauge that is 1."""
        # TorchServe splits labels at commas and colons ("cuda:1").
        self._safely([("babelclip_info", 1, (space, device.replace(":", "_"), dtype, runtime))])

    def record(self, stats: BatchStats) -> None:
        """Send what happened in one batch."""
        lines: list[tuple[str, float, tuple[str, ...]]] = [
            ("babelclip_requests_total", count, labels) for labels, count in stats.requests.items()
        ]
        lines += [("babelclip_items_total", count, (code,)) for code, count in stats.items.items()]
        lines += [("babelclip_flagged_items_total", n, (flag,)) for flag, n in stats.flags.items() if n]
        if stats.all_slots:
            padding = stats.all_slots - stats.used_slots
            lines.append(("babelclip_slots_total", stats.used_slots, ("content",)))
            lines.append(("babelclip_slots_total", padding, ("padding",)))
            lines.append(("babelclip_rows_total", stats.rows, ("item",)))
            lines.append(("babelclip_rows_total", stats.free_rows, ("free",)))
        lines += [("babelclip_passes_total", n, (str(bucket),)) for bucket, n in stats.passes.items()]
        if stats.decode_cpu_seconds:
            lines.append(("babelclip_decode_cpu_seconds_total", round(stats.decode_cpu_seconds, 6), ()))
        if stats.shapes:
            lines.append(("babelclip_shapes", stats.shapes, ()))
        lines.append(("babelclip_batch_items", stats.items.total(), ()))
        lines += [("babelclip_stage_seconds", round(s, 6), (stage,)) for stage, s in stats.seconds.items()]
        self._safely(lines)

    def _safely(self, lines: list[tuple[str, float, tuple[str, ...]]]) -> None:
        try:
            for name, value, labels in lines:
                if name in self._metrics:
                    self._metrics[name].add_or_update(value, [*self._labels, *labels])
        except Exception as error:
            _log.warning("metrics were not recorded: %s", type(error).__name__)


def _find_or_add(cache: Any, name: str, kind: Any, unit: str, labels: list[str]) -> Any:
    errors = importlib.import_module("ts.metrics.metric_cache_errors")
    try:
        return cache.get_metric(name, kind)
    except errors.MetricsCacheKeyError:
        return cache.add_metric_to_cache(name, unit, dimension_names=labels, metric_type=kind)
