"""What callers notice while versions change: promotions and rollbacks under load, over HTTP and gRPC.

    python -m benchmarks.rollout [--gateway] [--engine ray] [--switches 20] [--pause 3] [--quick]

Two spaces are served, the committed model and the same with other weights, and the default goes to and fro.
Thirty-two callers: a quarter are clients that live for one text and one image each, half of them by HTTP and
half by gRPC; the others send single texts and images, whose latencies are compared. Nothing is tried again.
With `--gateway` they call a gateway before that server, and it is the gateway that switches: see
`benchmarks.rollout.through_gateway`. With `--engine ray` that server is Ray Serve.
"""

import argparse
import asyncio
import itertools
import shutil
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from babelclip import BabelclipError, Client, Registry, SpaceMismatch
from babelclip.client.retry import Backoff
from babelclip.embedding_pb2 import EmbedResponse
from benchmarks.rollout import through_gateway
from benchmarks.support import inputs, load, report, towers
from benchmarks.support.options import make_parser, parse
from benchmarks.support.ray_server import add_version, serving_ray
from benchmarks.support.server import Server, serving

KINDS = [(transport, tower) for transport in ("http", "grpc") for tower in ("text", "vision")]
CALLERS = 6  # of each kind
SESSIONS = 4  # at a time, of each transport
SETTLE = 0.5  # so long after the last step a request still counts as one of the switch


@dataclass
class Sessions:
    """What became of the clients that lived for one text and one image."""

    done: int = 0
    mixed: int = 0
    failed: int = 0


def live(server: Server, transport: str, stop: threading.Event) -> Sessions:
    """One client after the other until `stop`."""
    counted = Sessions()
    items = zip(itertools.cycle(inputs.texts()), itertools.cycle(inputs.images()), strict=False)
    while not stop.is_set():
        text, image = next(items)
        url, once = server.grpc if transport == "grpc" else server.http, Backoff(attempts=1)
        try:
            with Client(url, token_file=server.token_file, backoff=once, timeout=load.TIMEOUT) as client:
                spaces = {client.embed_texts([text]).space, client.embed_images([image]).space}
            counted.done += 1
            counted.mixed += len(spaces) > 1
        except SpaceMismatch:  # How a client says that its two answers were of two spaces.
            counted.mixed += 1
        except BabelclipError as error:
            print(f"rollout: a client failed: {error}", flush=True)
            counted.failed += 1
    return counted


async def call(
    server: Server, transport: str, tower: str, stop: threading.Event, versions: set[str]
) -> list[load.Outcome]:
    """`CALLERS` callers of single items until `stop`."""

    def check(body: load.Body, answer: EmbedResponse) -> str:
        versions.add(answer.version)
        return load.all_embedded(body, answer)

    items: Sequence[str | bytes] = inputs.texts() if tower == "text" else inputs.images()
    turn = itertools.cycle(load.single(items))
    sender = server.sender(transport, tower)
    outcomes: list[load.Outcome] = []

    async def caller() -> None:
        while not stop.is_set():
            outcomes.append(await load.one(sender, next(turn), time.monotonic(), check))

    try:
        await asyncio.gather(*(caller() for _ in range(CALLERS)))
    finally:
        await sender.close()
    return outcomes


def switch(registry: Registry, switches: int, pause: float, warm_up: float) -> list[tuple[float, float]]:
    """Promotions and rollbacks in turns; when each began and was done."""
    windows = []
    time.sleep(warm_up + pause)
    for number in range(switches):
        begin = time.monotonic()
        if number % 2 == 0:
            registry.promote("2.0")
        else:
            registry.rollback()
        windows.append((begin, time.monotonic()))
        time.sleep(pause)
    return windows


async def run(
    server: Server, registry: Registry, options: argparse.Namespace
) -> tuple[list[load.Outcome], list[Sessions], list[tuple[float, float]], set[str]]:
    """All callers, for as long as versions change."""
    stop, loop, versions = threading.Event(), asyncio.get_running_loop(), set[str]()
    with ThreadPoolExecutor(2 * SESSIONS + 1) as pool:
        calls = [asyncio.create_task(call(server, *kind, stop, versions)) for kind in KINDS]
        clients = [
            loop.run_in_executor(pool, live, server, transport, stop)
            for transport in ["http", "grpc"] * SESSIONS
        ]
        try:
            windows = await loop.run_in_executor(
                pool, switch, registry, options.switches, options.pause, options.warm_up
            )
        finally:
            stop.set()
            outcomes = [outcome for found in await asyncio.gather(*calls) for outcome in found]
            sessions = list(await asyncio.gather(*clients))
    return outcomes, sessions, windows, versions


def percentiles(
    outcomes: Sequence[load.Outcome], windows: Sequence[tuple[float, float]], warm_up: float
) -> dict[str, dict[str, float]]:
    """Latencies in milliseconds of the requests that met a switch, and of the others."""
    begin = min(outcome.start for outcome in outcomes) + warm_up
    taken: dict[str, list[float]] = {"steady": [], "switch": []}
    for outcome in outcomes:
        if outcome.start >= begin and not outcome.error:
            met = any(outcome.end >= start and outcome.start <= end + SETTLE for start, end in windows)
            taken["switch" if met else "steady"].append(1e3 * (outcome.end - outcome.start))
    return {
        name: {
            "requests": len(found),
            **{f"p{p}_ms": round(float(np.percentile(found or [np.nan], p)), 1) for p in (50, 95, 99)},
        }
        for name, found in taken.items()
    }


def tell_of_gateway(
    counts: through_gateway.Counts, switches: Sequence[through_gateway.Switch], warm_up: float
) -> None:
    """Reports what was seen through the gateway."""
    latencies = percentiles(counts.outcomes, [(switch.begin, switch.end) for switch in switches], warm_up)
    failed = [*counts.failed, *(outcome.error for outcome in counts.outcomes if outcome.error)]
    seconds = [switch.end - switch.begin for switch in switches]
    result: dict[str, Any] = {
        "switches": len(switches),
        "requests": counts.requests,
        "failed_requests": len(failed),
        "mixed_space": counts.mixed,
        "stale": through_gateway.stale(counts, switches),
        "p99_ratio": round(latencies["switch"]["p99_ms"] / latencies["steady"]["p99_ms"], 3),
    }
    show(latencies, result, counts.clients, {space for _, _, space in counts.answered}, seconds)
    report.finish("rollout", result, {"latencies": latencies, "seconds": seconds, "failed": failed})


def show(
    latencies: dict[str, dict[str, float]],
    result: dict[str, Any],
    clients: int,
    answered: set[str],
    seconds: Sequence[float],
) -> None:
    """Prints both tables."""
    report.table(
        "single texts and images",
        ("while", "requests", "p50 ms", "p95 ms", "p99 ms"),
        [(name, *found.values()) for name, found in latencies.items()],
    )
    report.table(
        "versions",
        ("figure", "value"),
        [
            *result.items(),
            ("clients", clients),
            ("versions or spaces that answered", ", ".join(sorted(answered))),
            ("seconds a switch", report.median(seconds)),
        ],
    )


def main() -> None:
    parser = make_parser("rollout", __doc__)
    parser.add_argument("--gateway", action="store_true", help="switch and call through a gateway")
    parser.add_argument(
        "--engine",
        choices=("torchserve", "ray"),
        default="torchserve",
        help="ray: Ray Serve, behind a gateway",
    )
    parser.add_argument("--switches", type=int, default=20, help="promotions and rollbacks, in turns")
    parser.add_argument("--pause", type=float, default=3.0, help="seconds between two of them")
    parser.add_argument("--warm-up", type=float, default=5.0, help="seconds before latencies count")
    options = parse(parser, {"switches": 2, "pause": 0.5, "warm_up": 0.5})
    store = towers.FOLDER / "rollout-store"
    shutil.rmtree(store, ignore_errors=True)
    shutil.copytree(towers.mini_store(), store)
    other = towers.other_store()
    if options.engine == "ray":
        add_version(store, other)
        with serving_ray(store) as cluster:
            tell_of_gateway(*through_gateway.measure(cluster, options), options.warm_up)
        return
    with serving(store) as server:
        registry = Registry(
            store,
            management=server.management_grpc,
            url=server.http,
            grpc_url=server.grpc,
            token_file=server.token_file,
        )
        with registry:
            registry.add(other)
            if options.gateway:
                tell_of_gateway(*through_gateway.measure(server, options), options.warm_up)
                return
            outcomes, sessions, windows, versions = asyncio.run(run(server, registry, options))
    latencies = percentiles(outcomes, windows, options.warm_up)
    failed = [outcome.error for outcome in outcomes if outcome.error]
    seconds = [end - begin for begin, end in windows]
    result: dict[str, Any] = {
        "switches": len(windows),
        "failed_requests": len(failed) + sum(one.failed for one in sessions),
        "mixed_space": sum(one.mixed for one in sessions),
        "p99_ratio": round(latencies["switch"]["p99_ms"] / latencies["steady"]["p99_ms"], 3),
    }
    show(latencies, result, sum(one.done for one in sessions), versions, seconds)
    details = {"latencies": latencies, "seconds": seconds, "failed": failed, "versions": sorted(versions)}
    report.finish("rollout", result, details)


if __name__ == "__main__":
    main()
