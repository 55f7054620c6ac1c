"""What callers meet when they ask for more than there is: who is served, how late, and how soon others learn.

    python -m benchmarks.overload [--tower text] [--transport grpc] [--seconds 60] [--times 3] [--quick]

All of it through the gateway. Its capacity is the rate of 64 callers in a closed loop, and so are the
latencies at capacity. Then requests arrive at random at three times that rate (an open loop), whatever
became of those before: the goodput is the rate of those that are answered, and the others must be refused at
once. The capacity is measured before and after, and the mean of both is told.

Then two keys: a modest one, which asks for a part of the capacity, alone and beside a greedy one, which asks
for three times the capacity; `both_of_capacity` is what fair turns leave of it. A refusal counts from the
moment it was asked for, everything else from the moment it was due.
"""

import argparse
import asyncio
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from babelclip.embedding_pb2 import EmbedResponse
from benchmarks.gateway import Gateway, GrpcSender, HttpSender, gateway_before, grpc_bodies, json_bodies
from benchmarks.support import inputs, load, report, towers
from benchmarks.support.options import make_parser, parse
from benchmarks.support.server import serving

CALLERS = 64
FEWEST = 10  # requests that are to arrive after the warm-up
# How the senders say that the gateway has refused a request because there is too much.
REFUSALS = ("HTTP 429", "gRPC RESOURCE_EXHAUSTED")


class TimedSender:
    """A sender that notes how long each refusal took, in milliseconds from its sending."""

    def __init__(self, sender: load.Sender) -> None:
        self._sender = sender
        self.refused: list[float] = []

    async def send(self, body: load.Body) -> EmbedResponse:
        """As the sender."""
        began = time.perf_counter()
        try:
            return await self._sender.send(body)
        except RuntimeError as error:
            if str(error).startswith(REFUSALS):
                self.refused.append(1e3 * (time.perf_counter() - began))
            raise

    async def close(self) -> None:
        await self._sender.close()


class Overload:
    """Loads of single items of one tower through a gateway."""

    def __init__(self, gateway: Gateway, options: argparse.Namespace) -> None:
        self._gateway = gateway
        self._options = options
        items: Sequence[str | bytes] = inputs.texts() if options.tower == "text" else inputs.images()
        self._bodies = json_bodies(items) if options.transport == "http" else grpc_bodies(items)

    async def capacity(self) -> dict[str, Any]:
        """What came of as many callers as keep a tower busy."""
        sender = self._sender(self._gateway)
        try:
            seconds = self._options.capacity_seconds + self._options.warm_up
            outcomes = await load.closed_loop(sender, self._bodies, concurrency=CALLERS, seconds=seconds)
        finally:
            await sender.close()
        return self._found(outcomes, sender)

    async def offered(self, gateway: Gateway, rate: float, seconds: float) -> dict[str, Any]:
        """What came of requests that arrived at this rate; for longer where so few would tell nothing."""
        seconds = max(seconds, FEWEST / rate)
        sender = self._sender(gateway)
        try:
            outcomes = await load.open_loop(
                sender, self._bodies, rate=rate, seconds=seconds + self._options.warm_up
            )
        finally:
            await sender.close()
        return {**self._found(outcomes, sender), "offered_per_s": round(rate, 2)}

    async def beside(
        self, modest: Gateway, greedy: Gateway, share: float, rate: float
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """What came of a modest key beside a greedy one, and of the greedy one."""
        seconds = max(self._options.fair_seconds, FEWEST / share)
        both = (self.offered(modest, share, seconds), self.offered(greedy, rate, seconds))
        of_modest, of_greedy = await asyncio.gather(*both)
        return of_modest, of_greedy

    def _sender(self, gateway: Gateway) -> TimedSender:
        return TimedSender(HttpSender(gateway) if self._options.transport == "http" else GrpcSender(gateway))

    def _found(self, outcomes: Sequence[load.Outcome], sender: TimedSender) -> dict[str, Any]:
        found = load.summary(outcomes, warm_up=self._options.warm_up)
        errors = {error: count for error, count in found["errors"].items() if not error.startswith(REFUSALS)}
        if errors:
            raise SystemExit(f"requests failed: {errors}")
        found["refused"] = len(sender.refused)
        found["refused_p99_ms"] = round(float(np.percentile(sender.refused or [0.0], 99)), 2)
        del found["errors"]
        return found


def measure(gateway: Gateway, options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """The result, and what it was made of."""
    overload = Overload(gateway, options)
    before = asyncio.run(overload.capacity())
    rate = options.times * before["items_per_s"]
    crowd = asyncio.run(overload.offered(gateway, rate, options.seconds))
    after = asyncio.run(overload.capacity())
    capacity, p99 = ((before[figure] + after[figure]) / 2 for figure in ("items_per_s", "p99_ms"))
    share = options.share * capacity
    modest, greedy = gateway.with_key("modest"), gateway.with_key("greedy")
    alone = asyncio.run(overload.offered(modest, share, options.fair_seconds))
    beside, crowding = asyncio.run(overload.beside(modest, greedy, share, options.times * capacity))
    loads = {
        "at capacity, before": before,
        f"{options.times:g} times the capacity": crowd,
        "at capacity, after": after,
        "a modest key alone": alone,
        "the same beside a greedy one": beside,
        "the greedy one": crowding,
    }
    figures = ("offered_per_s", "items_per_s", "p50_ms", "p99_ms", "refused", "refused_p99_ms")
    report.table(
        f"{options.tower} over {options.transport}",
        ("load", "offered/s", "answered/s", "p50 ms", "p99 ms", "refused", "refused in, p99 ms"),
        [(name, *(found.get(figure, "") for figure in figures)) for name, found in loads.items()],
    )
    result = {
        "tower": options.tower,
        "transport": options.transport,
        "capacity_per_s": round(capacity, 2),
        "goodput_of_capacity": round(crowd["items_per_s"] / capacity, 3),
        "p99_of_capacity_p99": round(crowd["p99_ms"] / p99, 3),
        "refused": crowd["refused"],
        "refused_within_ms_p99": crowd["refused_p99_ms"],
        "other_p99_of_alone": round(beside["p99_ms"] / alone["p99_ms"], 3),
        "other_refused": beside["refused"],
        "both_of_capacity": round((beside["items_per_s"] + crowding["items_per_s"]) / capacity, 3),
    }
    return result, {"loads": loads}


def main() -> None:
    parser = make_parser("overload", __doc__)
    parser.add_argument("--tower", choices=("vision", "text"), default="vision")
    parser.add_argument("--transport", choices=("http", "grpc"), default="http")
    parser.add_argument("--seconds", type=float, default=60.0, help="of the overload")
    parser.add_argument("--times", type=float, default=3.0, help="the capacity is offered")
    parser.add_argument("--capacity-seconds", type=float, default=20.0, help="of each closed loop")
    parser.add_argument("--fair-seconds", type=float, default=30.0, help="of each load of the modest key")
    parser.add_argument("--share", type=float, default=0.3, help="of the capacity, for the modest key")
    parser.add_argument("--warm-up", type=float, default=5.0, help="seconds before a load counts")
    options = parse(parser, {"seconds": 1.0, "capacity_seconds": 0.5, "fair_seconds": 0.5, "warm_up": 0.2})
    store = towers.ensure(quick=options.quick).store
    with serving(store) as server, gateway_before(server) as gateway:
        result, details = measure(gateway, options)
    report.finish("overload", result, details)


if __name__ == "__main__":
    main()
