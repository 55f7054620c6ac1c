"""The course of a call without input or output: what it asks for, step by step, and how it is carried out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from dataclasses import replace

import pytest

from babelclip import Backoff, Call, Client, Unavailable
from babelclip.client.calls import CallState
from babelclip.client.flows import drive, drive_async
from babelclip.client.hedging import Begin, Outcome, Wait, hedge
from babelclip.client.splitting import RequestChunk
from babelclip.testing import InMemoryTransport

Counting = Generator[int, int, list[int | str]]
CALL = Call("text", None, b"", None, 5.0)


def counting() -> Counting:
    """Asks for 1, 2 and 3; returns the replies, and the words of errors."""
    found: list[int | str] = []
    for number in (1, 2, 3):
        try:
            found.append((yield number))
        except ValueError as error:
            found.append(str(error))
    return found


@pytest.fixture(params=["threads", "event loop"])
def driven(request: pytest.FixtureRequest) -> Callable[[Counting, Callable[[int], int]], list[int | str]]:
    """Takes a flow to its end in the one way or in the other."""

    def in_loop(flow: Counting, carry_out: Callable[[int], int]) -> list[int | str]:
        async def awaited(step: int) -> int:
            await asyncio.sleep(0)
            return carry_out(step)

        return asyncio.run(drive_async(flow, awaited))

    return in_loop if request.param == "event loop" else drive


def test_replies_and_errors_of_steps_go_into_the_flow(
    driven: Callable[[Counting, Callable[[int], int]], list[int | str]],
) -> None:
    """A flow is sent what its steps gave, and decides itself what an error means."""

    def carry_out(step: int) -> int:
        if step == 2:
            raise ValueError("two failed")
        return step * 10

    assert driven(counting(), carry_out) == [10, "two failed", 30]


def test_an_error_that_a_flow_does_not_expect_ends_it(
    driven: Callable[[Counting, Callable[[int], int]], list[int | str]],
) -> None:
    """A bug of a transport is raised as it is, with the place where it happened."""

    def carry_out(step: int) -> int:
        raise KeyError(step)

    with pytest.raises(KeyError) as caught:
        driven(counting(), carry_out)
    assert "carry_out" in [entry.name for entry in caught.traceback]


def test_a_step_cannot_end_the_flow(
    driven: Callable[[Counting, Callable[[int], int]], list[int | str]],
) -> None:
    """StopIteration of a transport is an error, and never passes for the flow's own result."""

    def carry_out(step: int) -> int:
        raise StopIteration(["not", "the", "result"])

    with pytest.raises(RuntimeError):
        driven(counting(), carry_out)


def hedged(*outcomes: Outcome | None) -> tuple[list[Begin | Wait], bytes]:
    """The steps of a hedged call whose waits have these outcomes, and its answer."""
    steps: list[Begin | Wait] = []
    coming = iter(outcomes)

    def carry_out(step: Begin | Wait) -> Outcome | None:
        steps.append(step)
        return next(coming) if isinstance(step, Wait) else None

    return steps, drive(hedge(CALL, 0.5), carry_out)


def test_a_quick_answer_needs_no_second_attempt() -> None:
    """A hedged call that is answered in time costs the server nothing more."""
    assert hedged(b"first") == ([Begin(CALL), Wait(0.5)], b"first")


def test_the_second_attempt_has_the_time_that_is_left() -> None:
    """After half a second without an answer another attempt is made, and either may answer."""
    second = Begin(replace(CALL, timeout=4.5))
    assert hedged(None, b"one") == ([Begin(CALL), Wait(0.5), second, Wait(None)], b"one")


def test_one_attempt_of_two_is_enough() -> None:
    """An error of the attempt that ends first is forgotten when the other has an answer."""
    assert hedged(None, Unavailable("gone"), b"other")[1] == b"other"
    with pytest.raises(Unavailable, match="first"):
        hedged(None, Unavailable("first"), Unavailable("second"))
    with pytest.raises(Unavailable, match="at once"):
        hedged(Unavailable("at once"))


def test_a_call_is_decided_without_being_sent() -> None:
    """The core alone: a refused attempt asks for a pause and for the same call, an answer ends it."""
    server = InMemoryTransport()
    with Client("", transport=server, backoff=Backoff(attempts=2, base=0.5)) as client:
        flow = client._embed_chunk("text", RequestChunk(1, [0], [b"a"], ()), CallState())
        first = next(flow)
        assert isinstance(first, Call)
        pause = flow.throw(Unavailable("no free worker"))
        assert isinstance(pause, float)
        assert 0 <= pause <= 0.5
        second = next(flow)
        assert isinstance(second, Call)
        assert second.body == first.body
        with pytest.raises(StopIteration) as ended:
            flow.send(server.send(second))
        assert len(ended.value.value) == 1
        assert client.space == "in-memory"
    assert len(server.calls) == 1
