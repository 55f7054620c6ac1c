"""A handler's metrics on their way to Ray."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from babelclip.ray_serve.metrics import RelayedMetrics
from handlers.metrics import DEFINITIONS, BatchStats, Metrics


class RayMetrics:
    """ray.util.metrics in memory.

    Attributes:
        recorded: what was recorded, by the metric's name.
        kinds: of the metrics, by name.
    """

    def __init__(self) -> None:
        self.recorded: dict[str, list[tuple[float, dict[str, str]]]] = defaultdict(list)
        self.kinds: dict[str, str] = {}
        self.Counter = self._maker("counter")
        self.Gauge = self._maker("gauge")
        self.Histogram = self._maker("histogram")

    def _maker(self, kind: str) -> Any:
        outer = self

        class Made:
            def __init__(self, name: str, unit: str, *, tag_keys: tuple[str, ...], **more: Any) -> None:
                self._name, self._keys = name, tag_keys
                outer.kinds[name] = kind
                assert ("boundaries" in more) == (kind == "histogram")

            def inc(self, value: float, tags: dict[str, str]) -> None:
                assert value > 0, "Ray refuses it"
                self.set(value, tags)

            def set(self, value: float, tags: dict[str, str]) -> None:
                assert set(tags) == set(self._keys)
                outer.recorded[self._name].append((value, tags))

            observe = set

        return Made


def test_what_a_handler_records_is_recorded_with_ray() -> None:
    """All metrics are made, of the same kinds and labels, and none that rises is told to rise by nothing."""
    ray = RayMetrics()
    metrics = Metrics(RelayedMetrics(ray), tower="text", version="1.0")
    assert ray.kinds == {name: kind for name, (kind, _, _) in DEFINITIONS.items()}
    metrics.started()
    assert ray.recorded == {"babelclip_worker_starts_total": [(1, {"tower": "text", "version": "1.0"})]}
    stats = BatchStats()
    stats.items["ok"] = 3
    stats.seconds["forward"] = 0.25
    metrics.record(stats)
    of_tower = {"tower": "text", "version": "1.0"}
    assert ray.recorded["babelclip_items_total"] == [(3, {**of_tower, "code": "ok"})]
    assert ray.recorded["babelclip_stage_seconds"] == [(0.25, {**of_tower, "stage": "forward"})]
    assert ray.recorded["babelclip_batch_items"] == [(3, of_tower)]
