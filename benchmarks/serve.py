"""The served towers under load, beside the limit of the machine.

    python -m benchmarks.serve [--seconds 6] [--repeats 2] [--full] [--quick]

One image or one text per request at concurrency 64, 32 images per request, one caller alone; over HTTP and
gRPC. Each is measured in turns with the in-process pipeline of `benchmarks.limit`, and the ratios are medians
of those pairs. Then requests arrive at set rates (open loop) for the latency–throughput curve. `--full` draws
it from more rates and for texts too, and adds concurrency 1 to 128 in a closed loop.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.support import load, report, towers
from benchmarks.support.inprocess import InProcess
from benchmarks.support.options import make_parser, parse
from benchmarks.support.server import Server, serving

GAUDI2_ARTICLE = 54.7  # images a second, one card: the figure of the public Gaudi 2 CLIP workflow
ANSWERS = 4
MANY = 32
# Of the throughput, for the curve.
SHARES, FULL_SHARES = (0.3, 0.6, 0.9), (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
CONCURRENCIES = (1, 2, 4, 8, 16, 32, 64, 128)


@dataclass
class Case:
    """A kind of load, and what was measured of it and of the limit, pair by pair."""

    name: str
    tower: str
    transport: str
    bodies: Sequence[load.Body]
    concurrency: int
    runs: list[dict[str, Any]] = field(default_factory=list)
    limits: list[float] = field(default_factory=list)

    def ratio(self) -> float:
        return round(report.ratio([run["items_per_s"] for run in self.runs], self.limits), 3)

    def rate(self) -> float:
        return round(report.median([run["items_per_s"] for run in self.runs]), 2)


def in_process_rate(process: InProcess, seconds: float) -> float:
    """Items a second of the pipeline in this process, after a pass that is not counted."""
    process.pipeline(64)
    start, done = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < seconds:
        process.pipeline(64)
        done += 64
    return done / elapsed


def in_process_single_ms(process: InProcess, repeats: int = 20) -> float:
    """Milliseconds of one item alone, all the way."""
    process.pipeline(1)
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        process.pipeline(1)
        taken.append(1e3 * (time.perf_counter() - start))
    return report.median(taken)


def window(case: Case, seconds: float) -> float:
    """Long enough that each caller has several answers, so that a batch more or less decides nothing."""
    in_flight = case.concurrency * case.bodies[0].items
    return max(seconds, ANSWERS * in_flight / case.limits[-1])


async def closed(server: Server, case: Case, seconds: float, warm_up: float) -> dict[str, Any]:
    """What came of a closed loop of `seconds` after `warm_up` seconds that are not counted."""
    sender = server.sender(case.transport, case.tower)
    try:
        before, begin = server.cpu_seconds(), time.monotonic()
        outcomes = await load.closed_loop(
            sender, case.bodies, concurrency=case.concurrency, seconds=seconds + warm_up
        )
        used = (server.cpu_seconds() - before) / (time.monotonic() - begin)
    finally:
        await sender.close()
    return {**load.summary(outcomes, warm_up=warm_up), "server_cores": round(used, 2)}


async def opened(server: Server, case: Case, rate: float, seconds: float) -> dict[str, Any]:
    """What came of an open loop of `rate` requests a second."""
    sender = server.sender(case.transport, case.tower)
    try:
        outcomes = await load.open_loop(sender, case.bodies, rate=rate, seconds=seconds)
    finally:
        await sender.close()
    return {**load.summary(outcomes, warm_up=0.0), "offered_per_s": round(rate, 2)}


async def settle(server: Server, seconds: float) -> None:
    """Thousands of empty requests, refused at once: Java compiles the front end's code while it is new."""
    for model in ("vision", "text"):
        for transport in ("http", "grpc"):
            sender = server.sender(transport, model)
            try:
                empty = [load.Body(b"", load.PROTOBUF, 1)]
                await load.closed_loop(sender, empty, concurrency=8, seconds=seconds)
            finally:
                await sender.close()


def plot(curves: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Latency against the rate of an open loop, one pair of lines for each kind of load."""
    figure, axes = report.pyplot().subplots(figsize=(7, 4))
    for name, points in curves.items():
        rates = [point["offered_per_s"] for point in points]
        (line,) = axes.plot(rates, [point["p50_ms"] for point in points], marker="o", label=f"{name}, median")
        axes.plot(
            *(rates, [point["p99_ms"] for point in points]),
            *(":",),
            marker=".",
            color=line.get_color(),
            label="99th percentile",
        )
    axes.set(xlabel="requests a second, arriving at random", ylabel="latency from due time, ms", yscale="log")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = make_parser("serve", __doc__)
    parser.add_argument(
        "--seconds", type=float, default=6.0, help="of each load; more where requests take longer"
    )
    parser.add_argument("--repeats", type=int, default=2, help="pairs of load and limit")
    parser.add_argument("--full", action="store_true", help="also concurrency 1 to 128")
    parser.add_argument("--warm-up", type=float, default=2.0, help="seconds before a load counts")
    parser.add_argument(
        "--settle",
        type=float,
        default=4.0,
        help="seconds of empty requests before, for each model and transport",
    )
    options = parse(parser, {"seconds": 0.5, "repeats": 1, "warm_up": 0.2, "settle": 0.2})
    made = towers.ensure(quick=options.quick)
    limits = {tower: InProcess(made.archive(tower), tower) for tower in ("vision", "text")}
    images, texts = limits["vision"].take(MANY * 6), limits["text"].items
    cases = {
        "http": Case("image over HTTP", "vision", "http", load.single(images), 64),
        "grpc": Case("image over gRPC", "vision", "grpc", load.single(images), 64),
        "http_many": Case(f"{MANY} images over HTTP", "vision", "http", load.many(images, MANY), 4),
        "text": Case("text over gRPC", "text", "grpc", load.single(texts), 64),
    }
    alone = [
        Case(f"{kind} alone over {transport}", tower, transport, bodies, 1)
        for kind, tower, bodies in (
            ("image", "vision", load.single(images)),
            ("text", "text", load.single(texts)),
        )
        for transport in (("http", "grpc") if options.full else ("http",))
    ]
    details: dict[str, Any] = {}
    with serving(made.store) as server:
        asyncio.run(settle(server, options.settle))
        for _ in range(options.repeats):
            for case in cases.values():
                case.limits.append(in_process_rate(limits[case.tower], options.seconds / 2))
                seconds = window(case, options.seconds)
                case.runs.append(asyncio.run(closed(server, case, seconds, options.warm_up)))
        singles: dict[str, list[float]] = {tower: [] for tower in limits}
        for _ in range(options.repeats):
            for case in alone:
                singles[case.tower].append(in_process_single_ms(limits[case.tower]))
                case.runs.append(asyncio.run(closed(server, case, options.seconds / 3, options.warm_up)))
        curves = {}
        shares = FULL_SHARES if options.full else SHARES
        for name in ("http", "text") if options.full else ("http",):
            case = cases[name]
            curves[case.name] = [
                asyncio.run(opened(server, case, share * case.rate(), options.seconds)) for share in shares
            ]
        if options.full:
            sweep = [
                replace(case, concurrency=callers) for case in cases.values() for callers in CONCURRENCIES
            ]
            details["closed_loop"] = [
                {
                    "load": case.name,
                    "concurrency": case.concurrency,
                    **asyncio.run(closed(server, case, options.seconds, options.warm_up)),
                }
                for case in sweep
            ]
    single = {case.tower: case for case in alone if case.transport == "http"}
    result = {
        "images_per_s": cases["http"].rate(),
        "texts_per_s": cases["text"].rate(),
        "http_of_limit": cases["http"].ratio(),
        "grpc_of_limit": cases["grpc"].ratio(),
        "http_many_of_limit": cases["http_many"].ratio(),
        "text_of_limit": cases["text"].ratio(),
        "p50_single_ms": report.median([run["p50_ms"] for run in single["vision"].runs]),
        "single_in_process_ms": round(report.median(singles["vision"]), 2),
        "p50_single_text_ms": report.median([run["p50_ms"] for run in single["text"].runs]),
        "single_text_in_process_ms": round(report.median(singles["text"]), 2),
        "vs_gaudi2_article": round(cases["http"].rate() / GAUDI2_ARTICLE, 3),
        "errors": sum(sum(run["errors"].values()) for case in cases.values() for run in case.runs),
    }
    shown = [*cases.values(), *alone]
    report.table(
        "closed loop, medians",
        ("load", "concurrency", "items/s", "of limit", "p50 ms", "p95 ms", "p99 ms", "server's cores"),
        [
            (
                *(case.name, case.concurrency, case.rate(), case.ratio() if case.limits else ""),
                *(report.median([run[key] for run in case.runs]) for key in ("p50_ms", "p95_ms", "p99_ms")),
                report.median([run["server_cores"] for run in case.runs]),
            )
            for case in shown
        ],
    )
    report.table(
        "open loop",
        ("load", "offered/s", "items/s", "p50 ms", "p95 ms", "p99 ms"),
        [
            (name, *(point[key] for key in ("offered_per_s", "items_per_s", "p50_ms", "p95_ms", "p99_ms")))
            for name, points in curves.items()
            for point in points
        ],
    )
    plot(curves, towers.FOLDER / "serve.png")
    details |= {"open_loop": curves, "closed": {case.name: case.runs for case in shown}}
    details["limits"] = {case.name: case.limits for case in cases.values()}
    report.finish("serve", result, details)


if __name__ == "__main__":
    main()
