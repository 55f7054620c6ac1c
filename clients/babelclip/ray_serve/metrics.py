"""A handler's metrics, given to Ray, which exports those of a node at the node's port for Prometheus.

A handler records with what TorchServe gives it, and knows two names of TorchServe's package. Where that is
not installed, modules of the same names stand in for it, so that archives run that know nothing of Ray.
"""

from __future__ import annotations

import enum
import importlib.util
import sys
import types
from collections.abc import Sequence
from typing import Any

from babelclip.transports.ray_handles import import_ray

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_COUNTS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0)
_TYPES = "ts.metrics.metric_type_enum"
_ERRORS = "ts.metrics.metric_cache_errors"


class MetricTypes(enum.Enum):
    """TorchServe's kinds of metrics."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class MetricsCacheKeyError(Exception):
    """There is no such metric yet."""


class RelayedMetrics:
    """In place of TorchServe's cache of metrics: what is added to it is one of Ray's metrics.

    Args:
        metrics: the module ray.util.metrics; another one only in tests.
    """

    def __init__(self, metrics: Any = None) -> None:
        self._ray = metrics or import_ray("ray.util.metrics")
        self._missing: type[Exception] = MetricsCacheKeyError
        if importlib.util.find_spec("ts") is None:
            _stand_in(_TYPES, MetricTypes=MetricTypes)
            _stand_in(_ERRORS, MetricsCacheKeyError=MetricsCacheKeyError)
        else:
            self._missing = importlib.import_module(_ERRORS).MetricsCacheKeyError

    def get_metric(self, name: str, kind: Any) -> Any:
        """Never one that there is already: a process has one handler, which asks once for each.

        Raises:
            MetricsCacheKeyError: always.
        """
        raise self._missing(name)

    def add_metric_to_cache(
        self, name: str, unit: str, *, dimension_names: Sequence[str], metric_type: Any
    ) -> _Metric:
        """A metric to record with; `metric_type` is a member of MetricTypes, whose value is its name."""
        labels = tuple(dimension_names)
        kind = str(metric_type.value)
        if kind == "counter":
            return _Metric(self._ray.Counter(name, unit, tag_keys=labels).inc, labels, rises=True)
        if kind == "gauge":
            return _Metric(self._ray.Gauge(name, unit, tag_keys=labels).set, labels)
        bounds = list(_SECONDS if unit == "Seconds" else _COUNTS)
        histogram = self._ray.Histogram(name, unit, boundaries=bounds, tag_keys=labels)
        return _Metric(histogram.observe, labels)


class _Metric:
    def __init__(self, record: Any, labels: tuple[str, ...], *, rises: bool = False) -> None:
        self._record = record
        self._labels = labels
        self._rises = rises

    def add_or_update(self, value: float, dimension_values: Sequence[str]) -> None:
        # Ray refuses a counter that rises by nothing.
        if value or not self._rises:
            self._record(value, tags=dict(zip(self._labels, map(str, dimension_values), strict=True)))


def _stand_in(name: str, **content: object) -> None:
    module = types.ModuleType(name)
    vars(module).update(content)
    sys.modules.setdefault(name, module)
