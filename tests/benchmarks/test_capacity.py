"""The search for a server's capacity: on servers whose capacity is known, and what a target takes."""

import argparse
import asyncio
import contextlib
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from babelclip.embedding_pb2 import EmbedResponse
from benchmarks import capacity
from benchmarks.support import load, units
from benchmarks.support.capacity import (
    MOST_TRIALS,
    Objective,
    Search,
    Trial,
    UnsteadyError,
    plan,
    trial_of,
)

OBJECTIVE = Objective(p99=0.2, errors=0.001)


def trial(rate: float, p99: float, errors: float = 0.0, late: float = 0.0) -> Trial:
    return Trial(rate=rate, answered_per_s=rate, p50=p99 / 3, p99=p99, errors=errors, late=late)


class Queue:
    """A server of one request after the other, each as long as chance has it, `served` a second (M/M/1).

    A request then waits, and is served, ln(100) / (served - rate) seconds in the 99th percentile.
    """

    def __init__(self, served: float) -> None:
        self.served = served
        self.random = np.random.default_rng(7)

    def __call__(self, rate: float) -> Trial:
        gaps = self.random.exponential(1 / rate, 40_000)
        services = self.random.exponential(1 / self.served, 40_000)
        # Lindley: what waits is the walk above its lowest point so far.
        walk = np.concatenate([[0.0], np.cumsum(services[:-1] - gaps[1:])])
        taken = walk - np.minimum.accumulate(walk) + services
        return trial(rate, float(np.percentile(taken[1000:], 99)))


@pytest.mark.parametrize("first", [1.0, 70.0, 400.0])
def test_the_rate_of_a_queue_is_found(first: float) -> None:
    """From below, near and far above, the search ends at the rate that theory has for this p99."""
    found = Search(Queue(100.0), OBJECTIVE, precision=0.03).run(first)
    assert found.rate == pytest.approx(100 - math.log(100) / OBJECTIVE.p99, rel=0.06)
    assert found.limit == "p99"
    assert len(found.confirmed) >= 3
    assert all(one.rate == found.rate and one.p99 <= OBJECTIVE.p99 for one in found.confirmed)


def test_a_server_that_refuses_is_judged_by_its_errors() -> None:
    """A gateway that answers fast and refuses the rest has the capacity that it does not refuse."""
    search = Search(lambda rate: trial(rate, 0.05, max(0.0, 1 - 50 / rate)), OBJECTIVE, precision=0.02)
    found = search.run(3.0)
    assert 50 / 1.02 <= found.rate <= 50.1
    assert found.limit == "errors"


def test_one_hiccup_is_not_the_limit() -> None:
    """A single slow trial, whenever it comes, does not lower what is found."""
    for unlucky in range(12):
        offered: list[float] = []

        def measure(rate: float, offered: list[float] = offered, unlucky: int = unlucky) -> Trial:
            offered.append(rate)
            return trial(rate, 0.3 if len(offered) == unlucky + 1 or rate > 100 else 0.1)

        found = Search(measure, OBJECTIVE).run(10.0)
        assert 100 / 1.05 <= found.rate <= 100


def test_luck_is_not_the_capacity() -> None:
    """A rate that kept the objective once and then no more is not told; the search goes on below it."""
    seen: dict[float, int] = {}

    def measure(rate: float) -> Trial:
        seen[rate] = seen.get(rate, 0) + 1
        lucky = rate <= 120 and seen[rate] == 1
        return trial(rate, 0.1 if rate <= 80 or lucky else 0.9)

    found = Search(measure, OBJECTIVE).run(10.0)
    assert 80 / 1.05 <= found.rate <= 80


def test_no_rate_and_every_rate() -> None:
    """A server that never keeps the objective has no capacity; one that always does has what was offered."""
    never = Search(lambda rate: trial(rate, 5.0), OBJECTIVE).run(10.0)
    assert (never.rate, never.confirmed, never.limit) == (0.0, (), "p99")
    always = Search(lambda rate: trial(rate, 0.01), OBJECTIVE, most=100.0).run(7.0)
    assert (always.rate, always.limit) == (100.0, "")
    nothing = Search(lambda rate: trial(rate, math.nan, 1.0), OBJECTIVE).run(10.0)
    assert (nothing.rate, nothing.limit) == (0.0, "errors")


def test_a_generator_that_is_late_is_named() -> None:
    """What the load generator could not send in time is not held against the server."""
    found = Search(lambda rate: trial(rate, 0.01 if rate < 50 else 1.0, late=0.5), OBJECTIVE).run(10.0)
    assert found.limit == "generator"


def test_a_server_without_order_is_given_up() -> None:
    """Trials that contradict each other end with a sentence, and not never."""
    random = np.random.default_rng(1)
    search = Search(
        lambda rate: trial(rate, float(random.choice([0.1, 0.3]))),
        OBJECTIVE,
        precision=0.001,
        confirmations=50,
    )
    with pytest.raises(UnsteadyError, match="not steady"):
        search.run(10.0)
    assert len(search.trials) == MOST_TRIALS


def test_a_trial_counts_what_its_requests_met() -> None:
    """Warm-up is left out, failures have no latency, and errors are counted by their first word."""
    outcomes = [load.Outcome(start=0.1 * n, end=0.1 * n + 0.05, items=1, error="") for n in range(20)]
    outcomes += [load.Outcome(1.5, 1.51, 0, f"HTTP 429: wait {n}", late=0.001) for n in range(2)]
    outcomes += [load.Outcome(0.2, 9.9, 0, "TimeoutError")]  # in the warm-up
    made = trial_of(outcomes, 10.0, warm_up=1.0)
    assert made.p99 == pytest.approx(0.05)
    assert made.errors == pytest.approx(2 / 12)
    assert made.kinds == {"HTTP 429": 2}


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (units.duration, "200ms", 0.2),
        (units.duration, "1.5s", 1.5),
        (units.duration, "2 min", 120.0),
        (units.rate, "500/s", 500.0),
        (units.rate, "30000/min", 500.0),
        (units.rate, "8.64e6/day", 100.0),
        (units.share, "0.1%", 0.001),
        (units.share, "0%", 0.0),
        (units.amount, "0.04", 0.04),
        (units.whole(1), "12", 12),
    ],
)
def test_units_are_read(parse: Callable[[str], float], text: str, value: float) -> None:
    """Each unit that the help names is understood."""
    assert parse(text) == pytest.approx(value)


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (units.duration, "200"),
        (units.duration, "0s"),
        (units.duration, "-1s"),
        (units.duration, "inf s"),
        (units.duration, "2m"),
        (units.rate, "500"),
        (units.rate, "0/s"),
        (units.rate, "500/ms"),
        (units.share, "0.001"),
        (units.share, "100%"),
        (units.share, "nan%"),
        (units.amount, "4 cents"),
        (units.amount, "-1"),
        (units.whole(1), "0"),
        (units.whole(0), "1.5"),
    ],
)
def test_what_has_no_unit_is_refused(parse: Callable[[str], float], text: str) -> None:
    """A figure that could mean two things is refused, and the message shows one that is allowed."""
    with pytest.raises(argparse.ArgumentTypeError, match="write") as refused:
        parse(text)
    assert repr(text) in str(refused.value)


@given(st.text(max_size=12))
def test_no_text_breaks_a_unit(text: str) -> None:
    """Whatever is typed is a finite number or refused in the command line's own way."""
    for parse in (units.duration, units.rate, units.share, units.amount, units.whole(0)):
        with contextlib.suppress(argparse.ArgumentTypeError):
            assert 0 <= parse(text) < math.inf


def test_a_plan_has_headroom_and_spare_replicas() -> None:
    """500/s of replicas that do 100/s each with 30 % free are 8, and one may be away."""
    made = plan(100.0, 500.0, cores=4.0, headroom=0.3, spare=1, price=0.05)
    assert (made.replicas, made.cores) == (9, 36.0)
    assert made.per_hour == pytest.approx(1.8)
    assert made.per_month == pytest.approx(1314)
    assert made.per_million == pytest.approx(1.0)
    exact = plan(100.0, 300.0, cores=None, headroom=0.0, spare=0, price=0.05)
    assert (exact.replicas, exact.cores, exact.per_hour) == (3, None, None)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--slo-p99", "200"], "is no duration: write 200ms"),
        (["--price-per-core-hour", "0.04"], "needs a --target"),
        (["--address", "127.0.0.1:8000"], "is no address"),
        (["--address", "http://127.0.0.1:1", "--transport", "grpc"], "said by the address"),
        (
            ["--address", "http://127.0.0.1:1", "--target", "1/s", "--price-per-core-hour", "1"],
            "needs --cores",
        ),
        (["--key-file", "key"], "for a server at an --address"),
        (["--precision", "0%"], "more than 0%"),
        (["--cores", "0"], "more than 0"),
    ],
)
def test_a_wrong_command_line_is_said_in_a_line(
    options: list[str], words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What does not go together is refused before anything is started."""
    monkeypatch.setattr("sys.argv", ["capacity", *options])
    with pytest.raises(SystemExit) as ended:
        capacity.main()
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


class Slow:
    """A server in memory that works on one request at a time, 5 ms each."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.asked = 0

    async def send(self, body: load.Body) -> EmbedResponse:
        self.asked += 1
        if body.data == b"hang":
            await asyncio.Event().wait()
        async with self.turn:
            await asyncio.sleep(0.005)
        return EmbedResponse(dim=1, vectors=bytes(4))

    async def close(self) -> None:
        """Nothing to close."""


def test_a_real_open_loop_is_tried() -> None:
    """Trials offer the rate that they are told, as many requests as are due, and give up what hangs."""
    options = argparse.Namespace(seconds=0.2, requests=20, longest=1.0, warm_up=0.05)
    objective = Objective(p99=5.0, errors=0.0)
    trials = capacity.Trials(Slow, load.single(["a"]), objective, options)
    assert trials.alone() >= 0.005
    assert not trials(40.0).missed(objective)
    hanging = Objective(p99=0.02, errors=0.0)
    bodies = load.single(["a", "hang"])
    found = capacity.Trials(Slow, bodies, hanging, options)(40.0)
    assert found.kinds["TimeoutError"] > 0
    assert found.missed(hanging)
