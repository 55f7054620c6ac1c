"""TorchServe and Ray Serve with the same archives, each behind a gateway of its own, asked in turns.

    python -m benchmarks.engines [--pairs 6] [--seconds 6] [--concurrency 64] [--quick]

One image or one text per request, over the gateway's gRPC. Both engines run all the time, and one is asked
at a time; a ratio is that of a turn of Ray Serve to the turns of TorchServe before and after it, and the
median of those is told. Then one caller alone, in turns. Memory is that of the engine's processes when all
has been asked, the gateway's apart; a start is the time until both towers have proved themselves.
"""

import argparse
import asyncio
import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from benchmarks.client import between
from benchmarks.gateway import Gateway, GrpcSender, gateway_before, grpc_bodies
from benchmarks.support import inputs, load, report, towers
from benchmarks.support.options import make_parser, parse
from benchmarks.support.ray_server import RayServer, memory_mb, serving_ray
from benchmarks.support.server import Server, serving

ENGINES: dict[str, Callable[..., AbstractContextManager[Server | RayServer]]] = {
    "torchserve": serving,
    "ray": serving_ray,
}
WARM_UP = 1.0


@dataclass(frozen=True)
class Engine:
    """One that runs: the gateway before it, its launcher's process, and the seconds until it was ready."""

    gateway: Gateway
    pid: int
    start_seconds: float


@contextlib.contextmanager
def started(options: argparse.Namespace) -> Iterator[dict[str, Engine]]:
    """Both engines, one started after the other, so that neither start is slowed down by the other's."""
    store = towers.ensure(quick=options.quick).store
    with contextlib.ExitStack() as running:
        engines = {}
        for name, serve in ENGINES.items():
            began = time.perf_counter()
            server = running.enter_context(serve(store))
            seconds = time.perf_counter() - began
            gateway = running.enter_context(gateway_before(server))
            engines[name] = Engine(gateway, server.pid, seconds)
        yield engines


async def turn(engine: Engine, tower: str, concurrency: int, seconds: float) -> dict[str, Any]:
    """Items a second and latencies of a closed loop of single items."""
    bodies = grpc_bodies(inputs.texts() if tower == "text" else inputs.images())
    sender = GrpcSender(engine.gateway)
    try:
        outcomes = await load.closed_loop(sender, bodies, concurrency=concurrency, seconds=seconds + WARM_UP)
    finally:
        await sender.close()
    found = load.summary(outcomes, warm_up=WARM_UP)
    if found["errors"]:
        raise SystemExit(f"items failed: {found['errors']}")
    return found


def compare(
    engines: dict[str, Engine], tower: str, concurrency: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Turns of both, TorchServe's first and last: the rates, the ratios, and the medians of p50."""

    def one(name: str) -> dict[str, Any]:
        return asyncio.run(turn(engines[name], tower, concurrency, options.seconds))

    torchserve, ray = [one("torchserve")], []
    for _ in range(options.pairs):
        ray.append(one("ray"))
        torchserve.append(one("torchserve"))
    rates = [found["items_per_s"] for found in torchserve]
    ratios = [between(found["items_per_s"], *rates[n : n + 2]) for n, found in enumerate(ray)]
    turns = {"torchserve": torchserve, "ray": ray}
    return {
        "tower": tower,
        "concurrency": concurrency,
        "ratios": ratios,
        "ray_of_torchserve": round(statistics.median(ratios), 3),
        **{
            f"{name}_{figure}": report.median([found[figure] for found in turns[name]])
            for name in turns
            for figure in ("items_per_s", "p50_ms")
        },
    }


def main() -> None:
    parser = make_parser("engines", __doc__)
    parser.add_argument("--pairs", type=int, default=6, help="turns of Ray Serve, each between two others")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each turn")
    parser.add_argument("--concurrency", type=int, default=64)
    options = parse(parser, {"pairs": 1, "seconds": 0.5, "concurrency": 4})
    with started(options) as engines:
        compared = [
            compare(engines, tower, concurrency, options)
            for concurrency in (options.concurrency, 1)
            for tower in ("vision", "text")
        ]
        memory = {name: memory_mb(engine.pid) for name, engine in engines.items()}
    report.table(
        "single items through the gateway, gRPC",
        ("tower", "callers", "TorchServe/s", "Ray/s", "ratio", "TorchServe p50 ms", "Ray p50 ms"),
        [
            (
                found["tower"],
                found["concurrency"],
                found["torchserve_items_per_s"],
                found["ray_items_per_s"],
                found["ray_of_torchserve"],
                found["torchserve_p50_ms"],
                found["ray_p50_ms"],
            )
            for found in compared
        ],
    )
    report.table(
        "what it takes",
        ("engine", "start s", "memory MB"),
        [(name, engine.start_seconds, memory[name]) for name, engine in engines.items()],
    )
    many, texts, alone, text_alone = compared
    result = {
        "ray_of_torchserve": many["ray_of_torchserve"],
        "text_ray_of_torchserve": texts["ray_of_torchserve"],
        "added_p50_ms": round(alone["ray_p50_ms"] - alone["torchserve_p50_ms"], 2),
        "text_added_p50_ms": round(text_alone["ray_p50_ms"] - text_alone["torchserve_p50_ms"], 2),
        "added_memory_mb": round(memory["ray"] - memory["torchserve"]),
        "added_start_s": round(engines["ray"].start_seconds - engines["torchserve"].start_seconds, 1),
    }
    report.finish("engines", result, {"compared": compared, "memory_mb": memory})


if __name__ == "__main__":
    main()
