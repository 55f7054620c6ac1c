"""What two more replicas bring, and how soon a HorizontalPodAutoscaler would have asked for them.

    python -m benchmarks.scaling [--seconds 20] [--callers 108] [--item-seconds 0.02] [--quick]

Replicas are gateways whose towers sleep, so that three of them do not share what one has; HAProxy is before
them. The same callers, each with one text under way, are served by one replica and then by three:
`throughput_ratio`. All along the metrics of each replica are read: how many items wait in it or are at its
tower. With what one replica had, Kubernetes' formula is asked every fifteen seconds of a simulated clock.
`pods_asked` is what it asks for and `asked_after_s` since when. The pods that it asked for are ready after
`--start-seconds`; from then on it is given what three had, and must not change its mind.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from babelclip.keys.file import add
from benchmarks.gateway import Gateway, HttpSender, json_bodies
from benchmarks.support import haproxy, inputs, load, report
from benchmarks.support.autoscaler import SYNC_SECONDS, Autoscaler, Direction, Policy
from benchmarks.support.options import make_parser, parse
from benchmarks.support.replicas import Replica, Sleeping, start_all
from benchmarks.support.routing import Routing, wait_all_up

REPLICAS = 3
WARM_UP = 1.0
IN_PROGRESS = ("babelclip_gateway_waiting_items", "babelclip_gateway_tower_items")
SIMULATED_SECONDS = 600.0
# As the chart has them, of items in progress.
TARGET = 48.0
UP = Direction(0.0, (Policy("Percent", 100, 30.0), Policy("Pods", 2, 30.0)))
DOWN = Direction(300.0, (Policy("Pods", 1, 60.0),))

Record = list[tuple[float, float]]
"""Seconds since the begin, and the items in progress in all replicas."""


async def in_progress(replicas: Sequence[Replica], seconds: float, each: float) -> Record:
    """Reads the replicas' metrics again and again, as Prometheus does."""
    record, begin = [], time.monotonic()
    async with httpx.AsyncClient(trust_env=False, timeout=30.0) as client:
        while (now := time.monotonic() - begin) < seconds:
            answers = await asyncio.gather(*(client.get(replica.facts["metrics"]) for replica in replicas))
            items = [
                sample.value
                for answer in answers
                for family in text_string_to_metric_families(answer.text)
                for sample in family.samples
                if sample.name in IN_PROGRESS
            ]
            record.append((now, sum(items)))
            await asyncio.sleep(each)
    return record


async def measure(
    url: str, key: str, replicas: Sequence[Replica], options: argparse.Namespace
) -> tuple[dict[str, Any], Record]:
    """What came of the callers, and what was in progress meanwhile."""
    sender = HttpSender(Gateway(url, "", key, 0, Path()))
    seconds = options.seconds + WARM_UP
    try:
        outcomes, record = await asyncio.gather(
            load.closed_loop(
                sender, json_bodies(inputs.texts()), concurrency=options.callers, seconds=seconds
            ),
            in_progress(replicas, seconds, options.scrape_seconds),
        )
    finally:
        await sender.close()
    return load.summary(outcomes, warm_up=WARM_UP), record


def simulate(few: Record, many: Record, target: float, start_seconds: float) -> list[tuple[float, int]]:
    """How many pods are asked for, at each time that the controller looks.

    The record of few replicas holds until those that were asked for are there, and then that of many.
    """
    autoscaler, asked = Autoscaler(target, up=UP, down=DOWN), []
    pods = there = 1
    now = since = 0.0
    ready_at = float("inf")
    while now <= SIMULATED_SECONDS:
        if now >= ready_at:
            there, since, ready_at = pods, now, float("inf")
        in_each = _at(few if there == 1 else many, now - since) / there
        told: list[float | None] = [in_each] * min(there, pods)
        wanted = autoscaler.desired(now, [*told, *[None] * (pods - len(told))])
        if wanted > pods:
            ready_at = now + start_seconds
        pods = wanted
        asked.append((now, pods))
        now += SYNC_SECONDS
    return asked


def _at(record: Record, seconds: float) -> float:
    """The last value until then; the first one holds before, and the last one from then on."""
    return [value for when, value in record if when <= max(seconds, record[0][0])][-1]


def compared(options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """The result, and what it was made of."""
    with tempfile.TemporaryDirectory(prefix="babelclip-scaling") as made:
        folder = Path(made)
        key = add(folder / "keys.json", "benchmark")
        replicas: list[Replica] = [
            Sleeping(
                f"pod-{n + 1}", folder / f"pod-{n + 1}", folder / "keys.json", "1.0", options.item_seconds
            )
            for n in range(REPLICAS)
        ]
        try:
            start_all(replicas)
            routing = Routing({"only": "1.0"}, {"only": replicas[:1]})
            with haproxy.running(routing.configure) as proxy:
                wait_all_up(proxy, routing)
                one, few = asyncio.run(measure(routing.http, key, replicas[:1], options))
                routing.replicas["only"] = replicas
                proxy.reload(routing.configure(proxy.folder))
                wait_all_up(proxy, routing)
                three, many = asyncio.run(measure(routing.http, key, replicas, options))
        finally:
            for replica in replicas:
                replica.close()
    if one["errors"] or three["errors"]:
        raise SystemExit(f"requests failed: {one['errors']} {three['errors']}")
    asked = simulate(few, many, options.target, options.start_seconds)
    final = asked[-1][1]
    result = {
        "replicas": REPLICAS,
        "one_per_s": one["items_per_s"],
        "three_per_s": three["items_per_s"],
        "throughput_ratio": round(three["items_per_s"] / one["items_per_s"], 3),
        "pods_asked": final,
        "asked_after_s": next(
            when for when, _ in asked if all(pods == final for at, pods in asked if at >= when)
        ),
    }
    report.table(
        f"{options.callers} callers",
        ("replicas", "texts/s", "p50 ms", "p99 ms", "in progress"),
        [
            (
                count,
                found["items_per_s"],
                found["p50_ms"],
                found["p99_ms"],
                report.median([v for _, v in record]),
            )
            for count, found, record in ((1, one, few), (REPLICAS, three, many))
        ],
    )
    return result, {"one": one, "three": three, "record_of_one": few, "record_of_three": many, "asked": asked}


def main() -> None:
    parser = make_parser("scaling", __doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each load")
    parser.add_argument("--callers", type=int, default=108, help="each with one text under way")
    parser.add_argument("--item-seconds", type=float, default=0.02, help="that a tower sleeps for an item")
    parser.add_argument(
        "--target", type=float, default=TARGET, help="items in progress that a pod should have"
    )
    parser.add_argument(
        "--scrape-seconds", type=float, default=1.0, help="between two readings of the metrics"
    )
    parser.add_argument(
        "--start-seconds", type=float, default=60.0, help="that a pod takes until it is ready"
    )
    options = parse(parser, {"seconds": 1.0, "item_seconds": 0.005, "scrape_seconds": 0.2})
    result, details = compared(options)
    report.finish("scaling", result, details)


if __name__ == "__main__":
    main()
