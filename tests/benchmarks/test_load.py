"""The load generator: what it counts, and from when."""

import asyncio
import time

import numpy as np
import pytest

from babelclip.embedding_pb2 import EmbedResponse, ItemError
from benchmarks.support import inputs, load, report


class Echo:
    """A server in memory: answers after `seconds`; `failing` bodies with an error."""

    def __init__(self, seconds: float = 0.0, failing: bytes = b"") -> None:
        self.seconds, self.failing = seconds, failing
        self.flying = self.most_flying = 0

    async def send(self, body: load.Body) -> EmbedResponse:
        self.flying += 1
        self.most_flying = max(self.most_flying, self.flying)
        await asyncio.sleep(self.seconds)
        self.flying -= 1
        if body.data == self.failing:
            return EmbedResponse(errors=[ItemError(index=0, code="empty_item")])
        return EmbedResponse(dim=1, vectors=bytes(4 * body.items))

    async def close(self) -> None:
        """Nothing to close."""


def test_a_closed_loop_keeps_its_concurrency() -> None:
    """Never more and never fewer callers than asked for have a request under way."""
    server = Echo(0.01)
    outcomes = asyncio.run(load.closed_loop(server, load.single(["a"]), concurrency=7, seconds=0.2))
    assert server.most_flying == 7
    assert len(outcomes) >= 7
    assert {outcome.error for outcome in outcomes} == {""}


def test_an_open_loop_counts_from_when_a_request_was_due() -> None:
    """A generator that is held up does not hide it: the latency includes the time before it could send."""

    class Stalling(Echo):
        async def send(self, body: load.Body) -> EmbedResponse:
            time.sleep(0.02)  # holds up the loop, as a busy generator is
            return await super().send(body)

    outcomes = asyncio.run(load.open_loop(Stalling(), load.single(["a"]), rate=500, seconds=0.1))
    assert len(outcomes) == 50
    # Fifty requests of 20 ms each were due within about 0.1 s, so the last waited for most of a second.
    assert max(outcome.end - outcome.start for outcome in outcomes) > 0.5


def test_errors_are_counted_and_bring_no_items() -> None:
    """A failed item is not throughput."""
    server = Echo(failing=b"")
    bodies = [load.Body(b"", "text/plain", 1), load.Body(b"x", "text/plain", 1)]
    outcomes = [asyncio.run(load.one(server, body, time.monotonic(), load.all_embedded)) for body in bodies]
    assert [(outcome.items, outcome.error) for outcome in outcomes] == [(0, "empty_item"), (1, "")]
    assert load.summary(outcomes, warm_up=0)["errors"] == {"empty_item": 1}


@pytest.mark.parametrize("offset", [0.0, 0.3, 0.9])
def test_the_rate_does_not_depend_on_where_the_window_cuts(offset: float) -> None:
    """Batches of 16 that come back once a second are 16 a second, wherever counting begins."""
    outcomes = [
        load.Outcome(start=second - 1.0, end=second + 0.001 * row, items=1, error="")
        for second in range(1, 30)
        for row in range(16)
    ]
    assert load.summary(outcomes, warm_up=offset)["items_per_s"] == pytest.approx(16, rel=0.01)


def test_one_burst_is_no_rate_of_its_own() -> None:
    """A server so slow that all comes back at once is not credited with the burst's speed."""
    outcomes = [load.Outcome(start=0.0, end=10 + 0.001 * row, items=1, error="") for row in range(20)]
    assert load.summary(outcomes, warm_up=0)["items_per_s"] == pytest.approx(2, rel=0.01)


def test_many_items_are_cut_into_whole_requests() -> None:
    """Each request has exactly the items it is counted for."""
    for item in (b"x", "x"):
        bodies = load.many([item] * 10, 4)
        assert [body.items for body in bodies] == [4, 4]


def test_ratios_are_of_pairs() -> None:
    """Drift that slows both halves of a pair does not change the ratio."""
    assert report.ratio([9.0, 4.5, 18.0], [10.0, 5.0, 20.0]) == pytest.approx(0.9)


def test_inputs_are_what_the_docs_say() -> None:
    """Photographs of about 66 kB, and texts in many scripts."""
    assert 60_000 < np.mean([len(image) for image in inputs.images()]) < 70_000
    texts = inputs.texts()
    assert len(texts) == len(set(texts)) or len(set(texts)) > 1_900
    assert len(texts) == 2000
