"""100,000 texts through the asynchronous client, from an iterator, beside the load generator's best.

    python -m benchmarks.client [--texts 100000] [--pairs 3]

The committed model is served, which computes a text in less than a millisecond, so that what the client costs
shows. The load generator sends the same texts, many in a request, without looking at the vectors; the best of
several concurrencies counts. Client and generator take turns.

    ratio               median of the pairs: the client's texts a second over the generator's
    memory_growth_mb    largest resident memory of this process while the client runs, over that after its
                        first tenth
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
from benchmarks import inputs, load, report
from benchmarks.server import Server, serving
from benchmarks.soak import mini_store

CONCURRENCIES = (2, 4, 8)


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


def measure(server: Server, transport: str, count: int, pairs: int) -> dict[str, Any]:
    """The best concurrency of the generator, then the pairs."""
    tried = {c: asyncio.run(by_generator(server, transport, count // 4, c)) for c in CONCURRENCIES}
    best = max(tried, key=lambda c: tried[c])
    rates, growths = [], []
    for _ in range(pairs):
        generator = asyncio.run(by_generator(server, transport, count, best))
        client, grown = asyncio.run(by_client(server, transport, count, best))
        rates.append((client, generator))
        growths.append(grown)
    return {
        "texts_per_s": round(statistics.median(client for client, _ in rates), 1),
        "generator_texts_per_s": round(statistics.median(generator for _, generator in rates), 1),
        "ratio": round(report.ratio(*zip(*rates, strict=True)), 3),
        "memory_growth_mb": round(max(growths), 1),
        "concurrency": best,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.client",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--texts", type=int, default=100_000)
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    with serving(mini_store()) as server:
        found = {name: measure(server, name, options.texts, options.pairs) for name in ("http", "grpc")}
    columns = ("transport", "texts/s", "generator's", "ratio", "MB grown", "requests in flight")
    report.table("the asynchronous client", columns, [(name, *one.values()) for name, one in found.items()])
    report.finish("client", {"texts": options.texts, **found}, {"pairs": options.pairs})


if __name__ == "__main__":
    main()
