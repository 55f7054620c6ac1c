"""The client for an event loop: the same answers as `Client`, with bounded work under way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from babelclip import (
    AsyncClient,
    Backoff,
    Call,
    Client,
    DeadlineExceeded,
    Embeddings,
    ItemErrors,
    TransportError,
    Unavailable,
)
from babelclip.client.items import ImageInput
from babelclip.client.semaphore import WeightedSemaphore
from babelclip.testing import InMemoryTransport
from tests.clients.fake_server import SPACE, FakeServer, vector_of

QUICK = Backoff(attempts=3, base=0.01)


def test_texts_and_images_come_back_in_order(server: FakeServer, tmp_path: Path) -> None:
    """Bytes, files, and the errors among them stand where the caller put them, over both protocols."""
    (tmp_path / "two").write_bytes(b"two")
    images: list[ImageInput] = [b"one", tmp_path / "two", b"broken", tmp_path / "none"]

    async def embed() -> None:
        async with AsyncClient(server.url) as client:
            texts = await client.embed_texts([f"text {number}" for number in range(600)])
            found = await client.embed_images(images, errors="return")
            assert await client.health() == SPACE
            with pytest.raises(ItemErrors, match="item 1: empty_item"):
                await client.embed_texts(["a", ""])
            assert (await client.similarity(["a"], [b"b", b"c"])).shape == (1, 2)
        np.testing.assert_array_equal(texts.vectors, [vector_of(f"text {n}".encode()) for n in range(600)])
        np.testing.assert_array_equal(found.vectors[:2], [vector_of(b"one"), vector_of(b"two")])
        assert [error.code for error in found.errors] == ["image_undecodable", "unreadable_file"]

    asyncio.run(embed())


def test_failures_are_those_of_the_client(server: FakeServer) -> None:
    """A full queue is waited for, a dead worker is told at once, a stall ends at the deadline."""

    async def embed() -> None:
        async with AsyncClient(server.url, backoff=QUICK) as client:
            server.failures.extend(["no_worker", "overloaded"])
            assert (await client.embed_texts(["a"])).ok.all()
            server.failures.append("worker_died")
            with pytest.raises(Unavailable, match="died"):
                await client.embed_texts(["a"])
        server.failures.append("stall")
        async with AsyncClient(server.url, timeout=0.3) as client:
            with pytest.raises(DeadlineExceeded, match=r"0\.3 s"):
                await client.embed_texts(["a"])
            server.released.set()

    asyncio.run(embed())


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_nobody_listening_is_unavailable(scheme: str) -> None:
    """A refused connection names the address and ends."""

    async def embed() -> None:
        async with AsyncClient(f"{scheme}://127.0.0.1:9", backoff=QUICK) as client:
            await client.embed_texts(["a"])

    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:9"):
        asyncio.run(embed())


class Gated:
    """Answers only when told; knows the most calls that were under way at a time."""

    def __init__(self) -> None:
        self.memory = InMemoryTransport()
        self.gate = asyncio.Event()
        self.under_way = self.most = 0

    async def send(self, call: Call) -> bytes:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await self.gate.wait()
        self.under_way -= 1
        return self.memory.send(call)

    async def close(self) -> None:
        pass


def test_a_stream_reads_only_so_far_ahead() -> None:
    """Back-pressure: an endless iterator is read only as fast as results are taken, and closed in the end."""
    taken = 0

    async def lines() -> AsyncIterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield f"text {taken}"

    async def embed() -> None:
        transport = Gated()
        transport.gate.set()
        async with AsyncClient("", transport=transport, concurrency=3) as client:
            stream = client.stream_texts(lines())
            part = await anext(stream)
            assert len(part) == 256
            assert taken <= 7 * 256 + 1
            await anext(stream)
            await stream.aclose()
            assert transport.under_way == 0
            assert transport.most <= 3
        assert taken <= 8 * 256 + 1

    asyncio.run(embed())


def test_an_answer_that_comes_last_does_not_hold_up_the_next_messages() -> None:
    """While the first message is computed, others leave one after the other; the order of results is kept."""

    class LastFirst:
        def __init__(self) -> None:
            self.memory = InMemoryTransport()
            self.others = asyncio.Semaphore(0)

        async def send(self, call: Call) -> bytes:
            if b"text 0" in call.body:
                for _ in range(3):
                    await asyncio.wait_for(self.others.acquire(), 30)
            else:
                self.others.release()
            return self.memory.send(call)

        async def close(self) -> None:
            pass

    async def embed() -> None:
        transport = LastFirst()
        async with AsyncClient("", transport=transport, concurrency=2) as client:
            found = await client.embed_texts(f"text {number}" for number in range(5 * 256))
        np.testing.assert_array_equal(found.vectors[0], transport.memory.vector("text 0"))
        np.testing.assert_array_equal(found.vectors[-1], transport.memory.vector("text 1279"))

    asyncio.run(embed())


def test_many_calls_share_the_room() -> None:
    """Ten thousand awaited calls do not stand in the server's queue: so many items, and no more."""

    async def embed() -> None:
        transport = Gated()
        async with AsyncClient("", transport=transport, max_in_flight=8) as client:
            calls = [asyncio.create_task(client.embed_texts([str(number)])) for number in range(50)]
            while transport.under_way < 8:
                await asyncio.sleep(0)
            calls[20].cancel()
            transport.gate.set()
            found = await asyncio.gather(*calls, return_exceptions=True)
        assert transport.most == 8
        assert isinstance(found.pop(20), asyncio.CancelledError)
        assert all(not isinstance(one, BaseException) and len(one) == 1 for one in found)

    asyncio.run(embed())


@given(st.lists(st.tuples(st.integers(1, 12), st.booleans()), max_size=12))
def test_room_is_never_overdrawn_nor_lost(wanted: list[tuple[int, bool]]) -> None:
    """Whoever waits, gives up or finishes, at most the limit is taken, and all of it is free afterwards."""

    async def play() -> None:
        semaphore, inside = WeightedSemaphore(8), 0

        async def one(items: int) -> None:
            nonlocal inside
            async with semaphore.hold(items):
                inside += items
                try:
                    assert inside <= 8 or inside == items
                    await asyncio.sleep(0)
                finally:
                    inside -= items

        tasks = [(asyncio.create_task(one(items)), stop) for items, stop in wanted]
        await asyncio.sleep(0)
        for task, stop in tasks:
            if stop:
                task.cancel()
        outcomes = await asyncio.gather(*(task for task, _ in tasks), return_exceptions=True)
        assert not any(isinstance(one, AssertionError) for one in outcomes)
        async with asyncio.timeout(5), semaphore.hold(8):
            pass

    asyncio.run(play())


def test_archives_in_this_process_are_computed_beside_the_loop() -> None:
    """Any transport that blocks can serve an event loop."""
    from babelclip.transports.url import InThreads

    transport = InMemoryTransport()

    async def embed() -> None:
        async with AsyncClient("", transport=InThreads(transport)) as client:
            np.testing.assert_array_equal((await client.embed_texts(["a"])).vectors[0], transport.vector("a"))

    asyncio.run(embed())


class SlowOnce:
    """Its first call has no answer; later ones have."""

    def __init__(self) -> None:
        self.memory = InMemoryTransport()
        self.cancelled = False

    async def send(self, call: Call) -> bytes:
        answer = self.memory.send(call)
        if len(self.memory.calls) == 1:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled = True
                raise
        return answer

    async def close(self) -> None:
        pass


def test_a_hedged_message_takes_the_first_answer() -> None:
    """One attempt that hangs costs the time after which another is made, and is given up then."""

    async def embed() -> None:
        transport = SlowOnce()
        async with AsyncClient("", transport=transport, hedge_after=0.01) as client:
            found = await client.embed_texts(["a"])
        np.testing.assert_array_equal(found.vectors[0], transport.memory.vector("a"))
        assert len(transport.memory.calls) == 2
        assert transport.cancelled

    asyncio.run(embed())


def test_both_clients_say_the_same(web: FakeServer) -> None:
    """One set of semantics: vectors, errors and cut texts of a mixed call are equal."""
    texts = ["a", "", "x" * 2000, "b\ud800", "unknown", *map(str, range(300))]

    async def embed() -> Embeddings:
        async with AsyncClient(web.url) as client:
            return await client.embed_texts(texts, errors="return")

    found = asyncio.run(embed())
    with Client(web.url) as client:
        expected = client.embed_texts(texts, errors="return")
    np.testing.assert_array_equal(found.vectors, expected.vectors)
    assert found.unknown == (4,)
    assert (found.errors, found.truncated, found.unknown, found.space) == (
        expected.errors,
        expected.truncated,
        expected.unknown,
        expected.space,
    )


def test_a_client_belongs_to_one_event_loop(server: FakeServer) -> None:
    """Each asyncio.run has its own: used in a second, a client says so instead of "Event loop is closed"."""
    client = AsyncClient(server.url)

    async def embed() -> int:
        return len(await client.embed_texts(["a"]))

    async def both() -> None:
        assert await embed() == 1
        with pytest.raises(TransportError, match="belongs to one event loop"):
            await asyncio.to_thread(asyncio.run, embed())
        await client.close()

    asyncio.run(both())
    with pytest.raises(TransportError, match="belongs to one event loop"):
        asyncio.run(embed())
