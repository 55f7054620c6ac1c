"""What callers notice while replicas change and fail: three of them, of two versions, behind HAProxy.

    python -m benchmarks.replicas [--switches 20] [--rate 40] [--pause 3] [--quick]

Each replica is scripts/serve: a gateway before a TorchServe. Track blue has two of version 1.0, the committed
model, track green one of version 2.0, the same with other weights: another space. HAProxy has the routes of
the chart (deploy/haproxy translates them). Under a steady load by HTTP and gRPC the route moves to green by
weight and back; then a replica is killed (SIGKILL), one hangs (SIGSTOP), one gives wrong vectors because its
weights change under it, and all are replaced one after the other.

    failed_requests  that had no answer after the retries of their client, or an error
    mixed_space      answers with vectors of another space than they name, pairs of a client of two spaces
    lost             items of which nothing was heard
    p99_ratio        the 99th percentile of latency while something changes, to that of the time between

A replica that starts comes after all others for the cores, for on a machine of its own it would take none
from them. With --quick the replicas are gateways whose towers sleep.
"""

import argparse
import asyncio
import logging
import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from babelclip.keys.file import add
from benchmarks.replicas.callers import Callers, Counts, Outcome
from benchmarks.replicas.changes import Change, Operator
from benchmarks.support import haproxy, report, towers
from benchmarks.support.options import make_parser, parse
from benchmarks.support.replicas import Replica, Served, Sleeping, start_all
from benchmarks.support.routing import Routing, wait_all_up

VERSIONS = {"blue": "1.0", "green": "2.0"}
TRACKS = {"blue": 2, "green": 1}
SETTLE = 0.5  # so long after a change a request still counts as one of it
SLOWEST = 50  # requests of which kind and time are told
SLEEP = 0.005  # seconds of an item at a tower that sleeps


def percentiles(outcomes: Sequence[Outcome], changes: Sequence[Change], begin: float) -> dict[str, Any]:
    """Latencies in milliseconds, of what met a change by what it was, of all these, and of the others."""
    taken: dict[str, list[float]] = {"steady": [], "changes": []}
    for outcome in outcomes:
        if outcome.start < begin or outcome.error:
            continue
        milliseconds = 1e3 * (outcome.end - outcome.start)
        met = {
            change.what
            for change in changes
            if outcome.end >= change.begin and outcome.start <= change.end + SETTLE
        }
        for name in (*met, "changes" if met else "steady"):
            taken.setdefault(name, []).append(milliseconds)
    return {
        name: {
            "requests": len(found),
            **{f"p{p}_ms": round(float(np.percentile(found or [np.nan], p)), 1) for p in (50, 99)},
            "most_ms": round(max(found, default=float("nan")), 1),
        }
        for name, found in taken.items()
    }


class Night:
    """One run.

    Attributes:
        replicas: all that were ever started.
    """

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self._options = options
        self._folder = folder
        self._keys = folder / "keys.json"
        self._key = add(self._keys, "benchmark")
        self._stores = {} if options.quick else {"blue": towers.mini_store(), "green": towers.other_store()}
        self.replicas: list[Replica] = []

    def make(self, track: str, name: str) -> Replica:
        """A replica that is not started."""
        made: Replica
        if self._options.quick:
            made = Sleeping(name, self._folder / name, self._keys, VERSIONS[track], SLEEP)
        else:
            made = Served(name, self._folder / name, self._keys, self._stores[track], "clip")
        self.replicas.append(made)
        return made

    def run(self) -> tuple[Counts, Operator, float, int]:
        """All callers through all changes → what they counted, what was done, and from when it counts."""
        tracks = {
            track: [self.make(track, f"{track}-{number + 1}") for number in range(count)]
            for track, count in TRACKS.items()
        }
        try:
            start_all(self.replicas)
            routing = Routing(VERSIONS, tracks)
            with haproxy.running(routing.configure) as proxy:
                wait_all_up(proxy, routing)
                operator = Operator(
                    routing=routing,
                    proxy=proxy,
                    make=self.make,
                    versions=VERSIONS,
                    steps=self._options.steps,
                    pause=self._options.pause,
                    modest=not self._options.quick,
                )
                return asyncio.run(self._called(operator, routing))
        finally:
            for replica in self.replicas:
                replica.close()

    async def _called(self, operator: Operator, routing: Routing) -> tuple[Counts, Operator, float, int]:
        stop = asyncio.Event()
        async with Callers(routing, self._key) as callers:
            await callers.learn(list(VERSIONS))
            calling = asyncio.create_task(callers.call(self._options.rate, stop))
            changing = asyncio.create_task(asyncio.to_thread(self._changes, operator))
            try:
                await asyncio.wait([calling, changing], return_when=asyncio.FIRST_COMPLETED)
                begin, replaced = await changing
            finally:
                stop.set()
                await calling
        return callers.counts, operator, begin, replaced

    def _changes(self, operator: Operator) -> tuple[float, int]:
        operator.rest()
        begin = time.monotonic()
        operator.rest()
        for number in range(self._options.switches):
            operator.switch("green" if number % 2 == 0 else "blue")
            operator.rest()
        if self._options.switches % 2:
            operator.switch("blue")
            operator.rest()
        for fault, place in ((operator.kill, 0), (operator.hang, 1), (operator.spoil, 0)):
            fault("blue", place)
            operator.rest()
        replaced = operator.roll()
        operator.rest()
        return begin, replaced


def tell(
    counts: Counts, operator: Operator, begin: float, replaced: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The result, and what it was made of."""
    latencies = percentiles(counts.outcomes, operator.changes, begin)
    failed = [f"{outcome.kind}: {outcome.error}" for outcome in counts.outcomes if outcome.error]
    result = {
        "replicas": sum(TRACKS.values()),
        "switches": sum(change.what == "switch" for change in operator.changes),
        "requests": len(counts.outcomes),
        "failed_requests": len(failed),
        "mixed_space": counts.mixed,
        "killed": sum(change.what == "killed" for change in operator.changes),
        "restarted": replaced,
        "lost": counts.lost,
        "refused": counts.refused,
        "wrong_vectors": counts.wrong,
        "found_out_s": operator.found_out,
        "p99_ratio": round(latencies["changes"]["p99_ms"] / latencies["steady"]["p99_ms"], 3),
    }
    report.table(
        "latency of requests",
        ("while", "requests", "p50 ms", "p99 ms", "most ms"),
        [(name, *found.values()) for name, found in latencies.items()],
    )
    report.table("replicas", ("figure", "value"), list(result.items()))
    changes = [
        [change.what, round(change.begin - begin, 2), round(change.end - change.begin, 2)]
        for change in operator.changes
    ]
    slow = sorted(counts.outcomes, key=lambda outcome: outcome.start - outcome.end)[:SLOWEST]
    slowest = [
        [outcome.kind, round(outcome.start - begin, 2), round(outcome.end - outcome.start, 3)]
        for outcome in slow
    ]
    details = {"latencies": latencies, "failed": failed, "shares": counts.shares, "changes": changes}
    return result, {**details, "slowest": slowest}


def main() -> None:
    parser = make_parser("replicas", __doc__)
    parser.add_argument("--switches", type=int, default=20, help="promotions and rollbacks, in turns")
    parser.add_argument("--steps", type=int, nargs="+", default=[10, 50, 100], help="percents of a promotion")
    parser.add_argument(
        "--pause", type=float, default=3.0, help="seconds of a promotion, and between two changes"
    )
    parser.add_argument("--rate", type=float, default=40.0, help="requests a second")
    options = parse(parser, {"switches": 2, "steps": [50, 100], "pause": 0.5, "rate": 30.0})
    # What urllib3 says of each attempt that it repeats.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    folder = towers.FOLDER / "replicas"
    shutil.rmtree(folder, ignore_errors=True)
    result, details = tell(*Night(options, folder).run())
    report.finish("replicas", result, details)


if __name__ == "__main__":
    # Ends it at once, as SIGTERM does: the thread that changes the replicas would go on to its end. What was
    # started ends by its keeper (`benchmarks.support.keeper`).
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    main()
