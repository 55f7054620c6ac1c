"""The metrics of all processes of a gateway at one address, each series with the label `worker`.

    babelclip_gateway_worker_up{worker}       1 while the process serves

Prometheus adds them up, `sum without (worker) (…)`, and sees in each series by itself when a process, and its
counters with it, began anew; a sum made here would hide that, and go down.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping

import httpx
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

_SECONDS = 5.0  # for a process to tell its metrics; Prometheus gives up after ten
_NOTHING = "# EOF\n"
_log = logging.getLogger(__name__)


def merged(addresses: Callable[[], Mapping[int, str]]) -> CollectorRegistry:
    """What is exposed in the place of each process's own metrics.

    Args:
        addresses: where each process's metrics are at the moment, by its number; "" for one that does not
            serve.
    """
    registry = CollectorRegistry()
    registry.register(_Merged(addresses))
    return registry


class _Merged(Collector):
    def __init__(self, addresses: Callable[[], Mapping[int, str]]) -> None:
        self._addresses = addresses

    def collect(self) -> Iterator[Metric]:
        """Asks all processes."""
        up = Metric("babelclip_gateway_worker_up", "Whether a process of the gateway serves", "gauge")
        families: dict[str, Metric] = {}
        # Over plain HTTP: to read whom TLS trusts would cost each scrape 30 ms of processor time.
        with httpx.Client(trust_env=False, verify=False, timeout=_SECONDS) as client:
            for number, address in self._addresses().items():
                worker = {"worker": str(number)}
                text = _fetch(client, address)
                up.add_sample(up.name, worker, float(text is not None))
                for family in text_string_to_metric_families(text or _NOTHING):
                    one = Metric(family.name, family.documentation, family.type)
                    one = families.setdefault(family.name, one)
                    for sample in family.samples:
                        labels = {**sample.labels, **worker}
                        one.add_sample(sample.name, labels, sample.value, exemplar=sample.exemplar)
        yield up
        yield from families.values()


def _fetch(client: httpx.Client, address: str) -> str | None:
    if not address:
        return None
    try:
        # The only format that has exemplars.
        answer = client.get(address, headers={"accept": CONTENT_TYPE_LATEST})
        return answer.raise_for_status().text
    except httpx.HTTPError as error:
        _log.warning("the metrics at %s cannot be read: %s", address, error)
        return None
