"""A tower that takes longer than a client waits for one message: the client gets everything nevertheless."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable

import numpy as np
import pytest

from babelclip import (
    AsyncClient,
    Backoff,
    Client,
    DeadlineExceeded,
    Embeddings,
    ItemError,
    ItemErrors,
    Unavailable,
)
from babelclip.client.calls import OnError
from babelclip.client.credentials import Credentials
from babelclip.client.pace import Pace
from babelclip.client.pending import PendingChunk
from babelclip.client.retry import RetryState
from babelclip.client.session import Session
from babelclip.client.splitting import RequestChunk
from babelclip.testing import InMemoryTransport
from babelclip.transports.base import Call
from babelclip.wire import MAX_ITEMS, EmbedResult
from tests.clients.fake_server import FakeServer, vector_of

# A tower takes a second for an item, and a client waits for 30: really so with BABELCLIP_TEST_SECOND=1.
SECOND = float(os.environ.get("BABELCLIP_TEST_SECOND", "0.05"))
TIMEOUT = 30 * SECOND
SESSION = Session(Credentials(None, None), {"text": "text"}, space=None, version=None, headers=None)
ITEMS = [f"image {number}".encode() for number in range(64)]

waits = pytest.mark.slow  # for several timeouts

Calling = Callable[[InMemoryTransport, int, OnError], Embeddings]


def embed(
    kind: str, server: FakeServer, *, errors: OnError = "raise", items: list[bytes] = ITEMS
) -> Embeddings:
    """One call of the one client or of the other."""
    if kind == "sync":
        with Client(server.url, timeout=TIMEOUT) as client:
            return client.embed_images(items, errors=errors)

    async def embedded() -> Embeddings:
        async with AsyncClient(server.url, timeout=TIMEOUT) as client:
            return await client.embed_images(items, errors=errors)

    return asyncio.run(embedded())


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which client."""
    return str(request.param)


@pytest.fixture
def slow(server: FakeServer) -> FakeServer:
    """A server, once for each protocol, whose towers take their time."""
    server.seconds_per_item = SECOND
    return server


@waits
def test_a_slow_tower_embeds_everything_once(kind: str, slow: FakeServer) -> None:
    """A message of twice the timeout's work: all items come back, and none was computed for nobody."""
    found = embed(kind, slow)
    np.testing.assert_array_equal(found.vectors, [vector_of(item) for item in ITEMS])
    assert sorted(slow.embedded) == sorted(ITEMS)
    sizes = [len(request.images) for _, _, request in slow.requests]
    assert sizes[0] == len(ITEMS)
    assert max(sizes[1:]) < len(ITEMS) / 2
    assert all(request.timeout_ms > 0 for _, _, request in slow.requests)


@waits
def test_a_server_that_knows_no_timeout_is_asked_for_less(kind: str, slow: FakeServer) -> None:
    """An earlier server computes the first message to its end for nobody; what follows is small enough."""
    slow.keeps_time = False
    found = embed(kind, slow, items=ITEMS[:48])
    np.testing.assert_array_equal(found.vectors, [vector_of(item) for item in ITEMS[:48]])


@waits
def test_messages_that_wait_for_each_other_all_come(kind: str, web: FakeServer) -> None:
    """Several messages of a call at a tower that takes one after the other: none is given up or mixed up."""
    web.seconds_per_item = SECOND / 10
    items = [f"image {number}".encode() for number in range(600)]
    found = embed(kind, web, items=items)
    np.testing.assert_array_equal(found.vectors, [vector_of(item) for item in items])


@waits
def test_a_tower_that_hung_and_came_back_costs_no_item(kind: str, web: FakeServer) -> None:
    """A worker hangs over an item and is replaced: what waited behind it is asked for again."""
    web.seconds_per_item = SECOND / 10
    web.hanging = {ITEMS[5]}
    replaced = threading.Timer(2.2 * TIMEOUT, web.released.set)
    replaced.start()
    found = embed(kind, web, items=ITEMS[:16])
    replaced.join()
    np.testing.assert_array_equal(found.vectors, [vector_of(item) for item in ITEMS[:16]])


class Leaving(InMemoryTransport):
    """Answers so many messages, then never again."""

    def __init__(self, messages: int) -> None:
        super().__init__()
        self.messages = messages

    def send(self, call: Call) -> bytes:
        answer = super().send(call)
        if len(self.calls) > self.messages:
            raise DeadlineExceeded(f"no complete answer within {call.limit}")
        return answer


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Calling:
    """`embed_texts` of a client with a transport, of the one kind or of the other."""

    def made(transport: InMemoryTransport, count: int, errors: OnError) -> Embeddings:
        texts = map(str, range(count))
        if request.param == "sync":
            with Client("", transport=transport, concurrency=1, timeout=60) as client:
                return client.embed_texts(texts, errors=errors)

        async def embedded() -> Embeddings:
            there = transport.asynchronous()
            async with AsyncClient("", transport=there, concurrency=1, timeout=60) as client:
                return await client.embed_texts(texts, errors=errors)

        return asyncio.run(embedded())

    return made


def test_what_was_received_is_kept(call: Calling) -> None:
    """The server is gone in the middle: with `return` the rest have an error, and nothing more is sent."""
    transport = Leaving(2)
    found = call(transport, 1000, "return")
    assert found.ok.sum() == 2 * MAX_ITEMS
    np.testing.assert_array_equal(found.vectors[511], transport.vector("511"))
    assert [error.index for error in found.errors] == list(range(512, 1000))
    assert {error.code for error in found.errors} == {"deadline_exceeded"}
    assert "within 60 s" in found.errors[0].message
    assert found.errors[0].retryable
    assert len(transport.calls) == 2 + 3  # one in full, then two items alone


def test_an_error_holds_what_was_received(call: Calling) -> None:
    """With `raise` a deadline, or a server that stops, loses nothing of what came before."""
    with pytest.raises(DeadlineExceeded, match="within 60 s") as caught:
        call(Leaving(2), 1000, "raise")
    assert caught.value.embeddings is not None
    assert caught.value.embeddings.ok.sum() == 2 * MAX_ITEMS

    class Ending(InMemoryTransport):
        def send(self, call: Call) -> bytes:
            if len(self.calls) == 2:
                raise Unavailable("the worker died", retryable=False)
            return super().send(call)

    with pytest.raises(Unavailable) as ended:
        call(Ending(), 1000, "return")
    assert ended.value.embeddings is not None
    assert len(ended.value.embeddings) == 2 * MAX_ITEMS


def test_single_items_that_are_late_are_told_as_such(call: Calling) -> None:
    """One item of several had no answer: the exception is that of a deadline, and has the others' vectors."""

    class Hanging(InMemoryTransport):
        def send(self, call: Call) -> bytes:
            answer = super().send(call)
            if b"\x0a\x017" in call.body:  # the text 7
                raise DeadlineExceeded(f"no complete answer within {call.limit}")
            return answer

    with pytest.raises(DeadlineExceeded, match="1 of 10 items") as caught:
        call(Hanging(), 10, "raise")
    assert caught.value.embeddings is not None
    assert [error.index for error in caught.value.embeddings.errors] == [7]
    assert not isinstance(caught.value, ItemErrors)
    transport = Hanging()
    found = call(transport, 300, "return")
    assert [error.index for error in found.errors] == [7]
    for index in (0, 6, 8, 255, 299):
        np.testing.assert_array_equal(found.vectors[index], transport.vector(str(index)))


def test_a_stream_ends_when_the_server_is_gone() -> None:
    """What came before has been given; a stream has no end that could be marked."""
    with Client("", transport=Leaving(1), concurrency=1) as client:
        stream = client.stream_texts(map(str, range(600)))
        assert len(next(stream)) == MAX_ITEMS
        with pytest.raises(DeadlineExceeded):
            next(stream)


def test_other_messages_progress_keeps_a_message_alive() -> None:
    """A message that gets no turn beside others is not given up while these get theirs."""
    pace, retry = Pace(30.0), RetryState(30.0, Backoff(attempts=1))
    pending = PendingChunk("text", RequestChunk(8, list(range(8)), [b"x"] * 8, ()), pace, retry)

    def refused() -> int:
        pending.body(None)
        retry.begin_attempt()
        errors = tuple(ItemError(index, "overloaded", "later") for index in range(pending.sent))
        pending.receive(EmbedResult(np.zeros((pending.sent, 2), np.float32), "space", 1.0, errors, ()))
        return pending.sent

    for sent in (8, 4, 2):
        pace.answered(1, 1, 100.0 if sent == 2 else 0.1)  # another message's
        pace.items = sent
        assert refused() == sent
        assert pending.count == 8
    assert refused() == 1
    assert pending.count == 0
    assert [error.code for error in pending.result(SESSION).errors] == ["overloaded"] * 8


def test_the_pace_follows_the_tower() -> None:
    """Messages hold what takes a fifth of the timeout: all of 256 of a fast tower, one of a very slow one."""
    pace = Pace(30.0)
    pace.answered(256, 256, 5.9)
    assert pace.items == MAX_ITEMS
    pace.answered(256, 96, 12.0)
    assert pace.items == 48
    pace.answered(48, 48, 12.0)
    assert pace.items == 24
    pace.answered(24, 24, 5.0)
    assert 24 <= pace.items <= 29
    pace.answered(24, 0, 12.0)
    assert pace.items == 12
    pace.answered(1, 1, 29.0)
    assert pace.items == 1
    for _ in range(4):
        pace.answered(pace.items, pace.items, 0.01)
    assert pace.items == MAX_ITEMS
    assert not pace.timed_out(256, 0.0)
    assert pace.items == 1
    endless = Pace(float("inf"))
    endless.answered(256, 8, 1e6)
    endless.answered(256, 0, 1e6)
    assert 1 <= endless.items <= 128
