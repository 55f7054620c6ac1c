"""What broken items cost the others: a tenth of the requests is poison, at concurrency 64.

    python -m benchmarks.poison [--tower text] [--seconds 15] [--repeats 2] [--quick]

A clean load and a poisoned one in turns. Every good item must come back with the vector of the clean load, no
worker may be replaced, and the good items' throughput is compared with their share of the clean one's.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from babelclip.embedding_pb2 import EmbedResponse
from benchmarks.support import inputs, load, report, towers
from benchmarks.support.options import make_parser, parse
from benchmarks.support.server import Server, serving

Vector = NDArray[np.float32]

CONCURRENCY = 64
EVERY = 10  # one request in so many is poison


def poison(tower: str) -> list[load.Body]:
    """Requests that must fail by themselves: broken files, wrong kinds, too much, nothing."""
    photograph = inputs.images()[0]
    if tower == "text":
        return [
            load.Body(b"\xff\xfe broken", "text/plain", 1),
            load.Body(b"   ", "text/plain", 1),
            load.Body(b"a " * 20_000, "text/plain", 1),
            load.Body(b'{"inputs": [17, null]}', "application/json", 2),
            load.Body(b"\x0a\xff\xff", load.PROTOBUF, 1),
        ]
    return [
        load.Body(photograph[: len(photograph) // 2], "image/jpeg", 1),
        load.Body(b"no image at all", "image/jpeg", 1),
        load.Body(b"\x89PNG\r\n\x1a\n" + bytes(400), "image/png", 1),
        load.Body(photograph.replace(b"\xff\xda", b"\xff\xd0", 1), "image/jpeg", 1),
        load.Body(b"\x0a\xff\xff", load.PROTOBUF, 1),
    ]


def vector(answer: EmbedResponse) -> Vector:
    return np.frombuffer(answer.vectors, dtype="<f4")


async def clean_vectors(server: Server, tower: str, bodies: Sequence[load.Body]) -> dict[bytes, Vector]:
    """Each good body's vector, sent alone."""
    sender = server.sender("http", tower)
    try:
        return {body.data: vector(await sender.send(body)) for body in bodies}
    finally:
        await sender.close()


async def run(
    server: Server, tower: str, bodies: Sequence[load.Body], known: dict[bytes, Vector], seconds: float
) -> tuple[list[load.Outcome], list[float]]:
    """The outcomes of a load, and the cosine of every good item with its clean vector."""
    cosines: list[float] = []

    def check(body: load.Body, answer: EmbedResponse) -> str:
        if body.data not in known:
            return "poison" if load.all_embedded(body, answer) else "poison was embedded"
        failed = load.all_embedded(body, answer)
        if not failed:
            cosines.append(float(vector(answer) @ known[body.data]))
        return failed

    sender = server.sender("http", tower)
    try:
        outcomes = await load.closed_loop(
            sender, bodies, concurrency=CONCURRENCY, seconds=seconds, check=check
        )
    finally:
        await sender.close()
    return outcomes, cosines


def main() -> None:
    parser = make_parser("poison", __doc__)
    parser.add_argument("--tower", choices=("vision", "text"), default="vision")
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--warm-up", type=float, default=3.0, help="seconds before a load counts")
    options = parse(parser, {"seconds": 1.0, "repeats": 1, "warm_up": 0.2})
    made = towers.ensure(quick=options.quick)
    items: list[Any] = inputs.images() if options.tower == "vision" else inputs.texts()[:50]
    good, bad = load.single(items), poison(options.tower)
    mixed = [
        bad[index // EVERY % len(bad)] if index % EVERY == 0 else good[index % len(good)]
        for index in range(EVERY * len(bad) * len(good))
    ]
    runs: list[dict[str, Any]] = []
    with serving(made.store) as server:
        workers = {one.pid for one in server.workers()}
        known = asyncio.run(clean_vectors(server, options.tower, good))
        whole = options.seconds + options.warm_up
        for _ in range(options.repeats):
            clean, _ = asyncio.run(run(server, options.tower, good, known, whole))
            poisoned, cosines = asyncio.run(run(server, options.tower, mixed, known, whole))
            lost = [one.error for one in poisoned if one.error not in ("", "poison")]
            runs.append(
                {
                    "clean_per_s": load.summary(clean, warm_up=options.warm_up)["items_per_s"],
                    "good_per_s": load.summary(
                        [one for one in poisoned if not one.error], warm_up=options.warm_up
                    )["items_per_s"],
                    "good": len(cosines),
                    "poison": sum(one.error == "poison" for one in poisoned),
                    "lost": lost,
                    "min_cosine": min(cosines),
                }
            )
        replaced = len(workers - {one.pid for one in server.workers()})
    share = 1 - 1 / EVERY
    result = {
        "tower": options.tower,
        "good_items": sum(one["good"] for one in runs),
        "good_lost": sum(len(one["lost"]) for one in runs),
        "poison": sum(one["poison"] for one in runs),
        "min_cosine": round(min(one["min_cosine"] for one in runs), 6),
        "workers_replaced": replaced,
        "good_of_clean_share": round(
            report.median([one["good_per_s"] / (share * one["clean_per_s"]) for one in runs]), 3
        ),
    }
    report.table("a tenth is poison", ("figure", "value"), list(result.items()))
    report.finish(f"poison-{options.tower}", result, {"runs": runs})


if __name__ == "__main__":
    main()
