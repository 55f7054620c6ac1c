"""What looks on as a client works: any object with `observe`, and none of its faults is a caller's."""

from __future__ import annotations

import asyncio
import logging

import numpy as np
import pytest

from babelclip import AsyncClient, Client, Embeddings
from babelclip.client.observer import Observer
from babelclip.client.splitting import RequestChunk
from babelclip.testing import InMemoryTransport
from babelclip.wire import Tower


class Recorder:
    """Keeps what it is shown."""

    def __init__(self) -> None:
        self.seen: list[tuple[Tower, list[bytes], int]] = []

    def observe(self, tower: Tower, chunk: RequestChunk, served: Embeddings, seconds: float) -> None:
        assert seconds > 0
        self.seen.append((tower, chunk.items, len(served)))


class Failing(Recorder):
    """Raises after it was shown something."""

    def observe(self, tower: Tower, chunk: RequestChunk, served: Embeddings, seconds: float) -> None:
        super().observe(tower, chunk, served, seconds)
        raise RuntimeError("the disk of the observer is full")


def embed(kind: str, observer: Observer) -> tuple[InMemoryTransport, Embeddings]:
    """300 texts in two chunks, one after the other, by the one client or by the other."""
    transport = InMemoryTransport()
    texts = [str(number) for number in range(300)]
    if kind == "sync":
        with Client("", transport=transport, concurrency=1, shadow=observer) as client:
            return transport, client.embed_texts(texts)

    async def embedded() -> Embeddings:
        there = transport.asynchronous()
        async with AsyncClient("", transport=there, concurrency=1, shadow=observer) as client:
            return await client.embed_texts(texts)

    return transport, asyncio.run(embedded())


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_any_object_can_look_on(kind: str) -> None:
    """An observer of one's own is shown every chunk once, with its items and embeddings."""
    recorder = Recorder()
    embed(kind, recorder)
    assert [(tower, count) for tower, _, count in recorder.seen] == [("text", 256), ("text", 44)]
    assert recorder.seen[1][1][-1] == b"299"


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_an_observer_that_raises_costs_no_caller_anything(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Vectors come back as without it, nothing is sent twice, and the log says what failed."""
    failing = Failing()
    with caplog.at_level(logging.ERROR, logger="babelclip"):
        transport, found = embed(kind, failing)
    np.testing.assert_array_equal(found.vectors[299], transport.vector("299"))
    assert found.ok.all()
    assert len(transport.calls) == len(failing.seen) == 2
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == [
        "the disk of the observer is full"
    ] * 2
