"""Metrics that are read from where they are counted, when Prometheus asks.

babelclip_gateway_cache_items_total{model, tower, result}   result: hit, miss, or shared: computed for another
babelclip_gateway_cache_bytes, babelclip_gateway_cache_vectors
babelclip_gateway_shadow_items_total{model, tower, outcome}
babelclip_gateway_waiting_items{model, tower}               that wait for their turn
babelclip_gateway_tower_items{model, tower}                 that the tower has
babelclip_gateway_disk_free_bytes{folder}, babelclip_gateway_disk_size_bytes{folder}
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import product

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from babelclip.wire import TOWERS
from gateway.admission.towers import Admission
from gateway.outcomes import ITEM_CODES
from gateway.towers.cache import VectorCache
from gateway.towers.shadow import ShadowedTowers

_PREFIX = "babelclip_gateway_"
_SHADOWED = dict.fromkeys(product(TOWERS, ("same", "other", "ok", "dropped", *ITEM_CODES)), 0)


class CacheCollector(Collector):
    """How often a vector was known, and how many there are."""

    def __init__(self, cache: VectorCache, models: Iterable[str]) -> None:
        self._cache = cache
        results = ("hit", "miss", "shared")
        self._known = dict.fromkeys(product(models, TOWERS, results), 0)

    def collect(self) -> Iterator[Metric]:
        """The metrics now."""
        items = CounterMetricFamily(
            f"{_PREFIX}cache_items",
            "Items by whether their vectors were known",
            labels=("model", "tower", "result"),
        )
        for labels, count in (self._known | dict(self._cache.counts)).items():
            items.add_metric(labels, count)
        yield items
        yield GaugeMetricFamily(f"{_PREFIX}cache_bytes", "Bytes of memory taken", self._cache.bytes)
        yield GaugeMetricFamily(f"{_PREFIX}cache_vectors", "Vectors that are kept", len(self._cache))


class ShadowCollector(Collector):
    """What came of the items that a candidate computed beside what answered."""

    def __init__(self, shadowed: Mapping[str, ShadowedTowers]) -> None:
        self._shadowed = shadowed

    def collect(self) -> Iterator[Metric]:
        """The metrics now."""
        items = CounterMetricFamily(
            f"{_PREFIX}shadow_items",
            "Items that a candidate computed in the shadow, by what came of them",
            labels=("model", "tower", "outcome"),
        )
        for model, shadowed in self._shadowed.items():
            for (tower, outcome), count in (_SHADOWED | dict(shadowed.counts)).items():
                items.add_metric((model, tower, outcome), count)
        yield items


class QueueCollector(Collector):
    """How many items wait for their turn, and how many the towers have."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    def collect(self) -> Iterator[Metric]:
        """The metrics now."""
        waiting = GaugeMetricFamily(
            f"{_PREFIX}waiting_items", "Items that wait for their turn", labels=("model", "tower")
        )
        at_tower = GaugeMetricFamily(
            f"{_PREFIX}tower_items", "Items that a tower has", labels=("model", "tower")
        )
        for model, queues in self._admission.queues.items():
            for tower, queue in queues.items():
                waiting.add_metric((model, tower), queue.waiting)
                at_tower.add_metric((model, tower), queue.at_tower)
        yield waiting
        yield at_tower


class DiskCollector(Collector):
    """How much room there is where the gateway writes."""

    def __init__(self, folders: Mapping[str, str]) -> None:
        """`folders` by the names that the label has."""
        self._folders = folders

    def collect(self) -> Iterator[Metric]:
        """The metrics now; a folder that is not there has none."""
        free = GaugeMetricFamily(
            f"{_PREFIX}disk_free_bytes", "Bytes that are left on the disk of a folder", labels=("folder",)
        )
        size = GaugeMetricFamily(
            f"{_PREFIX}disk_size_bytes", "Bytes that the disk of a folder has", labels=("folder",)
        )
        for name, folder in self._folders.items():
            with suppress(OSError):
                usage = shutil.disk_usage(folder)
                free.add_metric((name,), usage.free)
                size.add_metric((name,), usage.total)
        yield free
        yield size
