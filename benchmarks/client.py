"""100,000 texts through the asynchronous client, from an iterator, beside the load generator's best.

    python -m benchmarks.client [--texts 100000] [--turns 24] [--turn-texts 10240] [--quick]

The committed model is served, which computes a text in less than a millisecond, so that what the client costs
shows. The load generator sends the same texts, many in a request, without looking at the vectors; the best of
several concurrencies counts. A machine's speed drifts by more than what the client costs within one long run,
so client and generator take many short turns, each of the client's between two of the generator's. Then the
client takes all texts at once, between two such runs of the generator.

    ratio               median of the turns: the client's texts a second over those of the generator's turns
                        before and after it
    generator_ratio     the same of the generator's turns over their neighbours: what the method itself shows
    whole_ratio         the client's texts a second with all texts at once, over the generator's beside it
    memory_growth_mb    largest resident memory of this process while the client takes all texts at once, over
                        that after its first tenth
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Iterator
from typing import Any

import psutil

from babelclip import AsyncClient
from babelclip.wire import MAX_ITEMS
from benchmarks.support import inputs, load, report, towers
from benchmarks.support.options import make_parser, parse
from benchmarks.support.server import Server, serving

CONCURRENCIES = (2, 4, 8)
TRIES = 3


def texts(count: int) -> Iterator[str]:
    """As many different texts as asked, made when they are taken."""
    known = inputs.texts()
    for number in range(count):
        yield f"{known[number % len(known)]} {number}"


async def by_client(server: Server, transport: str, count: int, concurrency: int) -> tuple[float, float]:
    """Texts a second, and the growth of resident memory in MB."""
    own = psutil.Process()
    address = {"http": server.http, "grpc": server.grpc}[transport]
    settled = largest = done = 0.0
    async with AsyncClient(
        address, token=server.key, concurrency=concurrency, max_in_flight=concurrency * MAX_ITEMS
    ) as client:
        began = time.perf_counter()
        async for part in client.stream_texts(texts(count)):
            assert part.ok.all()
            done += len(part)
            memory = own.memory_info().rss / 1e6
            settled = memory if done <= count / 10 else settled
            largest = max(largest, memory) if done > count / 10 else largest
        rate = done / (time.perf_counter() - began)
    assert done == count
    return rate, largest - settled


async def by_generator(server: Server, transport: str, count: int, concurrency: int) -> float:
    """Texts a second of plain requests, made before the clock runs."""
    bodies = load.many(list(texts(count)), MAX_ITEMS)
    sender = server.sender(transport, "text")
    waiting = iter(bodies)

    async def caller() -> None:
        for body in waiting:
            await sender.send(body)

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(concurrency)))
    seconds = time.perf_counter() - began
    await sender.close()
    return len(bodies) * MAX_ITEMS / seconds


def best_concurrency(server: Server, transport: str, count: int) -> int:
    """Requests in flight with which the generator is fastest."""
    tried: dict[int, list[float]] = {one: [] for one in CONCURRENCIES}
    for _ in range(TRIES):
        for one in CONCURRENCIES:
            tried[one].append(asyncio.run(by_generator(server, transport, count, one)))
    return max(tried, key=lambda one: statistics.median(tried[one]))


def between(rate: float, before: float, after: float) -> float:
    """A rate over that of its neighbours, whose seconds a text are averaged."""
    return rate * (1 / before + 1 / after) / 2


def measure(
    server: Server, transport: str, options: argparse.Namespace
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The best concurrency of the generator, then the turns, then all texts at once; figures, and turns."""

    concurrency = best_concurrency(server, transport, options.turn_texts)

    def generator(count: int) -> float:
        return asyncio.run(by_generator(server, transport, count, concurrency))

    def client(count: int) -> tuple[float, float]:
        return asyncio.run(by_client(server, transport, count, concurrency))

    clients: list[float] = []
    generators = [generator(options.turn_texts)]
    for _ in range(options.turns):
        clients.append(client(options.turn_texts)[0])
        generators.append(generator(options.turn_texts))
    ratios = [between(rate, *generators[turn : turn + 2]) for turn, rate in enumerate(clients)]
    own = [between(rate, *generators[turn : turn + 3 : 2]) for turn, rate in enumerate(generators[1:-1])]

    before = generator(options.texts)
    whole, grown = client(options.texts)
    after = generator(options.texts)
    figures = {
        "texts_per_s": round(statistics.median(clients), 1),
        "generator_texts_per_s": round(statistics.median(generators), 1),
        "ratio": round(statistics.median(ratios), 3),
        "generator_ratio": round(statistics.median(own), 3),
        "whole_ratio": round(between(whole, before, after), 3),
        "memory_growth_mb": round(grown, 1),
        "concurrency": concurrency,
    }
    turns = {
        "clients": clients,
        "generators": generators,
        "ratios": ratios,
        "generator_ratios": own,
        "whole": {"generators": [before, after], "client": whole},
    }
    return figures, turns


def main() -> None:
    parser = make_parser("client", __doc__)
    parser.add_argument("--texts", type=int, default=100_000)
    parser.add_argument("--turns", type=int, default=24)
    parser.add_argument("--turn-texts", type=int, default=10_240)
    options = parse(parser, {"texts": MAX_ITEMS, "turns": 2, "turn_texts": MAX_ITEMS})
    if options.turns < 2:
        parser.error("--turns must be at least 2")
    if min(options.texts, options.turn_texts) < MAX_ITEMS:
        parser.error(f"--texts and --turn-texts must be at least {MAX_ITEMS}, one request's")
    with serving(towers.mini_store()) as server:
        measured = {name: measure(server, name, options) for name in ("http", "grpc")}
    figures = {name: one for name, (one, _) in measured.items()}
    columns = (
        "transport",
        "texts/s",
        "generator's",
        "ratio",
        "its own",
        "all at once",
        "MB grown",
        "in flight",
    )
    report.table("the asynchronous client", columns, [(name, *one.values()) for name, one in figures.items()])
    turns = {name: one for name, (_, one) in measured.items()}
    report.finish("client", {"texts": options.texts, **figures}, {"turns": turns})


if __name__ == "__main__":
    main()
