"""The highest rate of requests that keeps an objective, and what a target takes: replicas, cores, cost.

    python -m benchmarks.capacity --slo-p99 200ms [--slo-errors 0.1%] [--tower text] [--transport grpc]
    python -m benchmarks.capacity --slo-p99 200ms --address http://HOST:8000 [--key-file FILE] [--model NAME]
    … --target 500/s --price-per-core-hour 0.04 [--headroom 30%] [--spare 1] [--cores 8]

Requests arrive at random at a set rate (an open loop), whatever became of those before, and a latency counts
from the moment a request was due. The rate is doubled until the objective is missed, then bisected until two
rates are within 5 % of each other; the lower must keep it in further trials. A request that takes ten times
the objective is given up, and counts as an error; so does a refusal.

Without an address a server of this repository and a gateway before it are started, and share the cores with
the load. At an address the load is real: name a server that may be loaded so. The key is BABELCLIP_TOKEN, or
stands in the file that --key-file or BABELCLIP_TOKEN_FILE names.

A target's replicas are those that do its rate with the headroom free, and the spare ones: as if each did what
the one measured here does.
"""

import argparse
import asyncio
import contextlib
import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp

from babelclip.client.credentials import Credentials
from babelclip.embedding_pb2 import EmbedResponse
from babelclip.errors import AuthenticationError
from babelclip.transports.url import parse_address
from benchmarks.gateway import Gateway, GrpcSender, HttpSender, gateway_before, grpc_bodies, json_bodies
from benchmarks.support import inputs, load, report, towers, units
from benchmarks.support.capacity import Found, Objective, Plan, Search, Trial, UnsteadyError, plan, trial_of
from benchmarks.support.options import make_parser, parse
from benchmarks.support.server import serving
from handlers.runtime.machine import usable_cores

TEXTS_PER_IMAGE = 4  # where both are mixed
ALONE = 20  # requests of one caller alone, whose rate is the first that is tried
GIVEN_UP = 10  # times the objective
CALM_SECONDS = 60.0  # in which a server that was asked for too much must have answered all of it
WHY = {
    "p99": "callers wait longer than the objective allows",
    "errors": "more requests fail or are refused than the objective allows",
    "generator": "the load generator is too slow: it needs more cores, or a machine of its own",
    "": "it was not offered more: see --most",
}
QUICK = {
    "slo_p99": "5s",
    "slo_errors": "5%",
    "seconds": "0.5s",
    "warm_up": "100ms",
    "requests": 10,
    "confirmations": 1,
    "precision": "99%",
    "most": "40/s",
    "target": "100/s",
    "price_per_core_hour": "0.04",
}


@dataclass(frozen=True)
class Served:
    """What is asked, and what tells how much processor time it has used so far."""

    gateway: Gateway
    transport: str
    cpu_seconds: Callable[[], float] | None = None


class Impatient:
    """A sender that gives a request up after so many seconds."""

    def __init__(self, sender: load.Sender, seconds: float) -> None:
        self._sender, self._seconds = sender, seconds

    async def send(self, body: load.Body) -> EmbedResponse:
        """As the sender.

        Raises:
            TimeoutError: there is no answer yet.
        """
        async with asyncio.timeout(self._seconds):
            return await self._sender.send(body)

    async def close(self) -> None:
        await self._sender.close()


class Trials:
    """Trials of a server by an open loop; called with a rate, one after the other."""

    def __init__(
        self,
        open_sender: Callable[[], load.Sender],
        bodies: Sequence[load.Body],
        objective: Objective,
        options: argparse.Namespace,
        cpu_seconds: Callable[[], float] | None = None,
    ) -> None:
        self._open_sender = open_sender
        self._bodies = bodies
        self._objective = objective
        self._options = options
        self._cpu_seconds = cpu_seconds
        self._seeds = itertools.count()

    def alone(self) -> float:
        """Seconds that one caller alone waits, the median.

        Raises:
            SystemExit: a request failed, with the reason.
        """
        return asyncio.run(self._alone())

    def __call__(self, rate: float) -> Trial:
        """What comes of requests that arrive at `rate` a second."""
        began, used = time.monotonic(), self._used()
        trial = asyncio.run(self._trial(rate))
        trial = replace(trial, busy=(self._used() - used) / (time.monotonic() - began))
        missed = trial.missed(self._objective)
        print(
            f"capacity: {rate:8.2f}/s  p50 {1e3 * trial.p50:7.1f} ms  p99 {1e3 * trial.p99:7.1f} ms"
            f"  errors {trial.errors:.2%}  {'missed: ' + missed if missed else 'kept'}",
            flush=True,
        )
        return trial

    def _used(self) -> float:
        return self._cpu_seconds() if self._cpu_seconds else math.nan

    async def _alone(self) -> float:
        sender = self._open_sender()
        taken = []
        try:
            for body in itertools.islice(itertools.cycle(self._bodies), ALONE):
                found = await load.one(sender, body, time.monotonic(), load.all_embedded)
                if found.error:
                    raise SystemExit(f"capacity: a request of one caller alone failed: {found.error}")
                taken.append(found.end - found.start)
        finally:
            await sender.close()
        return statistics.median(taken)

    async def _trial(self, rate: float) -> Trial:
        given = self._options
        seconds = min(max(given.seconds, given.requests / rate), given.longest)
        sender = Impatient(self._open_sender(), GIVEN_UP * self._objective.p99)
        try:
            await self._calm(sender)
            outcomes = await load.open_loop(
                sender, self._bodies, rate=rate, seconds=seconds + given.warm_up, seed=next(self._seeds)
            )
        finally:
            await sender.close()
        return trial_of(outcomes, rate, warm_up=given.warm_up)

    async def _calm(self, sender: load.Sender) -> None:
        """Wait until a request is answered in time again, after a trial that asked for too much."""
        end = time.monotonic() + CALM_SECONDS
        while time.monotonic() < end:
            found = await load.one(sender, self._bodies[0], time.monotonic(), load.all_embedded)
            if not found.error and found.end - found.start <= self._objective.p99:
                return
            await asyncio.sleep(0.1)


def items_of(tower: str) -> Sequence[str | bytes]:
    """What is embedded: texts, images, or an image after every four texts."""
    if tower == "text":
        return inputs.texts()
    if tower == "vision":
        return inputs.images()
    images = itertools.cycle(inputs.images())
    mixed: list[str | bytes] = []
    for number, text in enumerate(inputs.texts(), 1):
        mixed.append(text)
        if number % TEXTS_PER_IMAGE == 0:
            mixed.append(next(images))
    return mixed[:500]  # A body of each lies in memory.


@contextlib.contextmanager
def served(options: argparse.Namespace) -> Iterator[Served]:
    """The server at the address, or one that is started."""
    if options.address:
        token = Credentials(token_file=options.key_file).token() or ""
        transport = "grpc" if parse_address(options.address).scheme in ("grpc", "grpcs") else "http"
        yield Served(Gateway(options.address, options.address, token, 0, Path()), transport)
        return
    store = towers.ensure(quick=options.quick).store
    with serving(store) as server, gateway_before(server) as gateway:

        def cpu_seconds() -> float:
            return server.cpu_seconds() + gateway.cpu_seconds()

        yield Served(gateway, options.transport, cpu_seconds)


def measure(one: Served, options: argparse.Namespace) -> tuple[Found, list[Trial]]:
    """The search on a server, and all its trials."""
    objective = Objective(options.slo_p99, options.slo_errors)
    make = json_bodies if one.transport == "http" else grpc_bodies
    bodies = make(items_of(options.tower), options.items, options.model)
    sender = HttpSender if one.transport == "http" else GrpcSender
    trials = Trials(lambda: sender(one.gateway), bodies, objective, options, one.cpu_seconds)
    alone = trials.alone()
    print(f"capacity: one caller alone waits {1e3 * alone:.1f} ms", flush=True)
    search = Search(
        trials,
        objective,
        precision=options.precision,
        confirmations=options.confirmations,
        most=options.most,
    )
    return search.run(1 / alone), search.trials


def result_of(
    found: Found, target: Plan | None, cores: float | None, options: argparse.Namespace
) -> dict[str, Any]:
    """The last line: medians of the confirming trials, and what the target takes."""

    def median(values: Sequence[float]) -> float | None:
        known = [value for value in values if not math.isnan(value)]
        return round(statistics.median(known), 3) if known else None

    confirmed = found.confirmed
    return {
        "tower": options.tower,
        "slo_p99_ms": round(1e3 * options.slo_p99, 3),
        "slo_errors": options.slo_errors,
        "capacity_per_s": round(found.rate, 3),
        "limit": found.limit,
        "p50_ms": median([1e3 * trial.p50 for trial in confirmed]),
        "p99_ms": median([1e3 * trial.p99 for trial in confirmed]),
        "errors": median([trial.errors for trial in confirmed]),
        "busy_cores": median([trial.busy for trial in confirmed]),
        "cores": cores,
        "replicas": target and target.replicas,
        "target_cores": target and target.cores,
        "cost_per_hour": target and target.per_hour and round(target.per_hour, 4),
        "cost_per_month": target and target.per_month and round(target.per_month, 2),
        "cost_per_million": target and target.per_million and round(target.per_million, 4),
    }


def show(result: dict[str, Any], options: argparse.Namespace) -> None:
    """A table of what was found, with the words that a figure needs."""
    rows: list[tuple[str, object]] = [
        ("highest rate that keeps it, requests/s", result["capacity_per_s"]),
        ("p50 and p99 there, ms", f"{result['p50_ms']} and {result['p99_ms']}"),
        ("requests that fail there", result["errors"]),
        ("above it", WHY[result["limit"]]),
    ]
    if result["busy_cores"] is not None:
        rows.append(("cores that gateway and engine kept busy", result["busy_cores"]))
    if result["replicas"] is not None:
        rows += [
            (f"replicas for {options.target:g}/s, {options.spare} of them spare", result["replicas"]),
            ("cores of all", result["target_cores"] or "unknown: see --cores"),
        ]
    for name, words in (("hour", "an hour"), ("month", "a month"), ("million", "a million requests")):
        if result[f"cost_per_{name}"] is not None:
            rows.append((f"cost, {words}", result[f"cost_per_{name}"]))
    title = f"{options.tower}: p99 up to {1e3 * options.slo_p99:g} ms, errors up to {options.slo_errors:.3%}"
    report.table(title, ("figure", "value"), rows)


def parser_of() -> argparse.ArgumentParser:
    """The command line; each figure has its unit."""
    parser = make_parser("capacity", __doc__)
    parser.add_argument("--slo-p99", type=units.duration, default="200ms", help="of all latencies but 1 %%")
    parser.add_argument("--slo-errors", type=units.share, default="0.1%", help="share that may fail")
    parser.add_argument("--address", default="", help="http(s)://… or grpc(s)://… of a gateway")
    parser.add_argument("--key-file", type=Path, help="holds the key for it")
    parser.add_argument("--model", default="", help="the first one of the gateway if absent")
    parser.add_argument("--tower", choices=("vision", "text", "mixed"), default="vision")
    parser.add_argument("--transport", choices=("http", "grpc"), help="to the server that is started")
    parser.add_argument("--items", type=units.whole(1), default=1, help="of each request")
    parser.add_argument("--seconds", type=units.duration, default="15s", help="of a trial, at least")
    parser.add_argument("--requests", type=units.whole(1), default=500, help="of a trial, at least")
    parser.add_argument(
        "--longest", type=units.duration, default="2min", help="that a trial may take for them"
    )
    parser.add_argument("--warm-up", type=units.duration, default="2s", help="before a trial counts")
    parser.add_argument("--precision", type=units.share, default="5%", help="to which the rate is found")
    parser.add_argument("--confirmations", type=units.whole(0), default=2, help="further trials that keep it")
    parser.add_argument("--most", type=units.rate, default="10000/s", help="that is offered")
    parser.add_argument("--target", type=units.rate, help="rate to plan for")
    parser.add_argument("--headroom", type=units.share, default="30%", help="of a replica that stays free")
    parser.add_argument("--spare", type=units.whole(0), default=1, help="replicas beyond that")
    parser.add_argument(
        "--cores", type=units.amount, help="of a replica; this machine's if it is started here"
    )
    parser.add_argument("--price-per-core-hour", type=units.amount, help="in any currency")
    return parser


def check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """End with a sentence where options do not go together."""
    if options.address:
        try:
            parse_address(options.address)
        except ValueError as error:
            parser.error(f"--address: {error}")
        if options.transport:
            parser.error("--transport is said by the address: http:// or grpc://")
        if options.price_per_core_hour is not None and options.cores is None:
            parser.error("--price-per-core-hour needs --cores: those of a replica at the address")
    elif options.key_file:
        parser.error("--key-file is for a server at an --address")
    if options.price_per_core_hour is not None and options.target is None:
        parser.error("--price-per-core-hour needs a --target, such as 500/s")
    if not options.precision:
        parser.error("--precision must be more than 0%")
    if options.cores == 0:
        parser.error("--cores must be more than 0")


def main() -> None:
    parser = parser_of()
    options = parse(parser, QUICK)
    check(parser, options)
    if not options.address:
        options.transport = options.transport or "http"
        options.cores = options.cores or float(usable_cores())
    try:
        with served(options) as one:
            found, trials = measure(one, options)
    except (AuthenticationError, UnsteadyError, aiohttp.ClientError) as error:
        raise SystemExit(f"capacity: {error}") from None
    target = None
    if options.target and found.rate:
        target = plan(
            found.rate,
            options.target,
            cores=options.cores,
            headroom=options.headroom,
            spare=options.spare,
            price=options.price_per_core_hour,
        )
    result = result_of(found, target, options.cores, options)
    show(result, options)
    details = {
        "trials": [
            {**vars(trial), "missed": trial.missed(Objective(options.slo_p99, options.slo_errors))}
            for trial in trials
        ]
    }
    report.finish("capacity", result, details)


if __name__ == "__main__":
    main()
