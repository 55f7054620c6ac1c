"""Two model stores against each other: how many items a second the second serves, as a ratio to the first.

    python -m benchmarks.compare OLD_STORE NEW_STORE [--tower text] [--pairs 8] [--seconds 10]

Both are served at once and asked in turns, old and new first in alternate pairs, so that a machine's drift
cancels: an archive holds the code it was exported with. The vectors of both are compared too.
"""

import argparse
import asyncio
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.support import inputs, load, report
from benchmarks.support.options import make_parser, parse
from benchmarks.support.server import Server, serving

WARM_UP = 1.0
COMPARED = 64


async def rate(
    server: Server, tower: str, bodies: list[load.Body], concurrency: int, seconds: float
) -> float:
    """Items a second over gRPC."""
    sender = server.sender("grpc", tower)
    try:
        outcomes = await load.closed_loop(sender, bodies, concurrency=concurrency, seconds=seconds + WARM_UP)
    finally:
        await sender.close()
    found = load.summary(outcomes, warm_up=WARM_UP)
    if found["errors"]:
        raise SystemExit(f"items failed: {found['errors']}")
    return float(found["items_per_s"])


async def vectors(server: Server, tower: str, items: list[Any]) -> NDArray[np.float32]:
    """float32 [N, dim], each of length 1."""
    sender = server.sender("grpc", tower)
    try:
        answer = await sender.send(load.many(items, len(items))[0])
    finally:
        await sender.close()
    return np.frombuffer(answer.vectors, "<f4").reshape(len(items), answer.dim)


async def compare(old: Server, new: Server, options: argparse.Namespace) -> dict[str, Any]:
    """Rates of both, pair by pair, and the least cosine between their vectors."""
    items: list[Any] = inputs.images() if options.tower == "vision" else inputs.texts()
    items = [items[index % len(items)] for index in range(max(len(items), COMPARED))]
    bodies = load.single(items) if options.items == 1 else load.many(items, options.items)
    first, second = [await vectors(server, options.tower, items[:COMPARED]) for server in (old, new)]
    rates: dict[str, list[float]] = {"old": [], "new": []}
    servers = {"old": old, "new": new}
    for pair in range(options.pairs):
        for name in sorted(servers, reverse=pair % 2 == 0):
            found = await rate(servers[name], options.tower, bodies, options.concurrency, options.seconds)
            rates[name].append(found)
    return {"rates": rates, "least_cosine": float((first * second).sum(1).min())}


def main() -> None:
    parser = make_parser("compare", __doc__)
    parser.add_argument("old", type=Path, help="the model store that the ratio is to")
    parser.add_argument("new", type=Path)
    parser.add_argument("--tower", choices=("text", "vision"), default="text")
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each turn")
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--items", type=int, default=1, help="in a request")
    options = parse(parser, {"pairs": 2, "seconds": 0.5, "concurrency": 4})
    with serving(options.old, name="old") as old, serving(options.new, name="new") as new:
        found = asyncio.run(compare(old, new, options))
    rates = found["rates"]
    ratios = [new / old for old, new in zip(rates["old"], rates["new"], strict=True)]
    result = {
        "tower": options.tower,
        "old_per_s": round(report.median(rates["old"]), 1),
        "new_per_s": round(report.median(rates["new"]), 1),
        "ratio": round(report.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in sorted(ratios)],
        "least_cosine": round(found["least_cosine"], 6),
    }
    report.table(
        "items a second",
        ("pair", "old", "new", "ratio"),
        list(zip(range(len(ratios)), *rates.values(), ratios, strict=True)),
    )
    report.finish(f"compare-{options.tower}", result, found)


if __name__ == "__main__":
    main()
