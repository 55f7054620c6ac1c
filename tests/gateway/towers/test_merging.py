"""Small requests that come together: one message to the engine, and to each its own part of the answer."""

import asyncio
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from babelclip import Call, DeadlineExceeded, Embeddings, RequestRefused, Unavailable
from babelclip.embedding_pb2 import EmbedRequest
from babelclip.testing import InMemoryTransport
from gateway.towers.base import ModelVersion
from gateway.towers.merging import MAX_ITEMS, MergingTowers
from tests.gateway.engine import Engine, towers

BROKEN: dict[str | bytes, tuple[str, str]] = {
    b"broken": ("image_undecodable", "no image"),
    b"": ("empty_item", "nothing in it"),
}


class Held:
    """An engine whose calls wait until they are let go."""

    def __init__(self, **memory: Any) -> None:
        self.engine = Engine(InMemoryTransport(**memory))
        self.let_go = asyncio.Event()
        self.arrived = asyncio.Event()
        self.held = False

        async def during(call: Call) -> None:
            if self.held:
                self.arrived.set()
                await self.let_go.wait()

        self.engine.during = during
        self.merging = MergingTowers(towers(self.engine))

    async def version(self) -> ModelVersion:
        """The default one; from now on calls are held."""
        found = await self.merging.version()
        self.held = True
        self.engine.calls.clear()
        return found

    def sent(self) -> list[int]:
        """The number of items of each message so far."""
        requests = [EmbedRequest.FromString(call.body) for call in self.engine.calls]
        return [len(request.texts) + len(request.images) for request in requests]


def test_whoever_comes_while_the_engine_is_busy_shares_a_message() -> None:
    """The first is sent at once and alone; those behind it go together, each with its own answer."""

    async def run() -> None:
        held = Held()
        version = await held.version()
        texts = [f"text {number}" for number in range(20)]
        calls = [asyncio.create_task(held.merging.embed("text", [text], version)) for text in texts]
        await held.arrived.wait()
        assert held.sent()[0] == 1
        held.let_go.set()
        found = await asyncio.gather(*calls)
        assert sum(held.sent()) == 20
        assert len(held.sent()) < 20
        memory = held.engine.versions["1.0"]
        for text, outcomes in zip(texts, found, strict=True):
            np.testing.assert_allclose(outcomes.vectors, [memory.vector(text)], atol=1e-6)
        await held.merging.close()

    asyncio.run(run())


@settings(max_examples=30)
@given(
    st.lists(
        st.lists(st.sampled_from([b"one", b"two", b"broken", b""]), min_size=1, max_size=MAX_ITEMS + 3),
        max_size=8,
    )
)
def test_outcomes_are_those_of_requests_alone(requests: list[list[bytes]]) -> None:
    """Whatever comes together, with broken items or without, vectors and errors stand in their own places."""

    async def run() -> None:
        engine = Engine(InMemoryTransport(failing=BROKEN))
        alone, merging = towers(engine), MergingTowers(towers(engine))
        version = await merging.version()
        expected = [await alone.embed("vision", items, version) for items in requests]
        found = await asyncio.gather(*(merging.embed("vision", items, version) for items in requests))
        for one, other in zip(expected, found, strict=True):
            assert_same(one, other)
        await merging.close()
        await alone.close()

    asyncio.run(run())


def assert_same(one: Embeddings, other: Embeddings) -> None:
    """Vectors, errors and facts are the same."""
    # Where every item failed no vector came, alone; together with others there are rows of zeros.
    if one.ok.any():
        np.testing.assert_allclose(one.vectors, other.vectors, atol=1e-6)
        assert one.space == other.space
    else:
        assert not other.vectors.any()
    assert one.errors == other.errors
    assert len(one) == len(other)


def test_towers_are_never_mixed() -> None:
    """A text and an image that come together go to their own towers."""

    async def run() -> None:
        held = Held()
        version = await held.version()
        held.let_go.set()
        text, image = await asyncio.gather(
            held.merging.embed("text", ["a"], version), held.merging.embed("vision", [b"a"], version)
        )
        assert (len(text), len(image)) == (1, 1)
        assert {call.model for call in held.engine.calls} == {"text", "vision"}
        await held.merging.close()

    asyncio.run(run())


def test_a_callers_deadline_is_its_own() -> None:
    """Who cannot wait is told so, and the others of the message get their answers."""

    async def run() -> None:
        held = Held()
        version = await held.version()
        first = asyncio.create_task(held.merging.embed("text", ["first"], version))
        await held.arrived.wait()
        patient = asyncio.create_task(held.merging.embed("text", ["patient"], version))
        with pytest.raises(DeadlineExceeded):
            await held.merging.embed("text", ["hurried"], version, timeout=0.05)
        held.let_go.set()
        assert len(await first) == len(await patient) == 1
        await held.merging.close()

    asyncio.run(run())


def test_a_failure_of_the_engine_is_told_to_all_of_the_message() -> None:
    """A message that fails as a whole leaves nobody waiting."""

    async def run() -> None:
        held = Held()
        version = await held.version()
        first = asyncio.create_task(held.merging.embed("text", ["first"], version))
        await held.arrived.wait()
        others = [asyncio.create_task(held.merging.embed("text", ["x"], version)) for _ in range(3)]
        await asyncio.sleep(0)
        held.engine.fail_with(Unavailable("no room"))
        held.let_go.set()
        await first
        for other in others:
            with pytest.raises(Unavailable):
                await other
        await held.merging.close()

    asyncio.run(run())


def test_a_request_that_is_refused_costs_no_other() -> None:
    """What the engine refuses whole is asked for again, request by request."""

    async def run() -> None:
        held = Held()
        version = await held.version()
        held.let_go.set()

        def before(call: Call) -> None:
            if b"refused" in call.body:
                raise RequestRefused("malformed_request", "not so")

        held.engine.before = before
        first = asyncio.create_task(held.merging.embed("text", ["first"], version))
        await held.arrived.wait()
        calls = [held.merging.embed("text", [text], version) for text in ("a", "refused", "b")]
        a, refused, b = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(refused, RequestRefused)
        memory = held.engine.versions["1.0"]
        for text, outcomes in (("a", a), ("b", b), ("first", await first)):
            assert isinstance(outcomes, Embeddings)
            np.testing.assert_allclose(outcomes.vectors, [memory.vector(text)], atol=1e-6)
        await held.merging.close()

    asyncio.run(run())


def test_what_nobody_waits_for_is_given_up() -> None:
    """When all callers of a message have left, the engine's call is cancelled."""

    async def run() -> None:
        held = Held()
        version = await held.version()
        given_up = asyncio.Event()
        during = held.engine.during

        async def watched(call: Call) -> None:
            try:
                await during(call)
            except asyncio.CancelledError:
                given_up.set()
                raise

        held.engine.during = watched
        call = asyncio.create_task(held.merging.embed("text", ["a"], version))
        await held.arrived.wait()
        call.cancel()
        await given_up.wait()
        await held.merging.close()

    asyncio.run(run())
