"""The client for an event loop: `babelclip.Client` with `await`.

    async with AsyncClient("grpc://127.0.0.1:7070") as client:
        async for part in client.stream_texts(lines):  # lines: any iterable, or an asynchronous one
            store(part.vectors)

Settings, splitting, retries, pinning and errors are those of `Client`; only who waits differs.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from babelclip.client.calls import AHEAD, CallState, Collector, OnError, Progress
from babelclip.client.core import BaseClient, Flow
from babelclip.client.flows import drive_async
from babelclip.client.hedging import Begin, Outcome, Wait, hedge
from babelclip.client.items import ImageInput, image_item, is_one_image, text_item, text_items
from babelclip.client.retry import Backoff
from babelclip.client.semaphore import WeightedSemaphore
from babelclip.client.session import Headers
from babelclip.client.splitting import RequestChunk, Splitter, split
from babelclip.embeddings import Embeddings, Vectors
from babelclip.item_errors import ItemError
from babelclip.similarity import similarity
from babelclip.transports.base import AsyncTransport, Call, Tls
from babelclip.transports.url import is_local, open_async_transport
from babelclip.wire import TOWERS, Tower

if TYPE_CHECKING:
    from babelclip.client.observer import Observer
    from babelclip.metrics import ClientMetrics

Result = TypeVar("Result")
Item = TypeVar("Item")
Many = Iterable[Item] | AsyncIterable[Item]


class AsyncClient(BaseClient):
    """A connection to one babelclip server, used within one event loop. Close it, or use `async with`.

    Args:
        max_in_flight: items that all calls together have under way at a time; further ones wait. It keeps
            ten thousand awaited calls from standing in the server's queue, which would refuse them.
        transport: carries the calls instead of what `url` names.

    The others, and what is raised, are as in `babelclip.Client`.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        token_file: str | os.PathLike[str] | None = None,
        text_model: str = "text",
        vision_model: str = "vision",
        version: str | None = None,
        space: str | None = None,
        timeout: float = 30.0,
        max_message_bytes: int | None = None,
        concurrency: int = 2,
        max_in_flight: int = 1024,
        backoff: Backoff | None = None,
        hedge_after: float | None = None,
        headers: Headers | None = None,
        tls: Tls | None = None,
        metrics: ClientMetrics | None = None,
        shadow: Observer | None = None,
        transport: AsyncTransport | None = None,
    ) -> None:
        super().__init__(
            served=transport is not None or not is_local(url),
            token=token,
            token_file=token_file,
            text_model=text_model,
            vision_model=vision_model,
            version=version,
            space=space,
            timeout=timeout,
            max_message_bytes=max_message_bytes,
            concurrency=concurrency,
            backoff=backoff,
            hedge_after=hedge_after,
            headers=headers,
            metrics=metrics,
            shadow=shadow,
        )
        self._in_flight = WeightedSemaphore(max_in_flight)
        self._transport = transport or open_async_transport(url, tls)

    async def embed_texts(
        self,
        texts: Many[str],
        *,
        language: str | None = None,
        errors: OnError = "raise",
        progress: Progress | None = None,
    ) -> Embeddings:
        """See `Client.embed_texts`."""
        parts = self._texts(texts, language, CallState(keep=errors == "return"))
        return await _collect(parts, errors, progress)

    async def embed_images(
        self, images: Many[ImageInput], *, errors: OnError = "raise", progress: Progress | None = None
    ) -> Embeddings:
        """See `Client.embed_images`; files are read and pixels encoded in threads."""
        parts = self._images(images, CallState(keep=errors == "return"))
        return await _collect(parts, errors, progress)

    def stream_texts(
        self, texts: Many[str], *, language: str | None = None
    ) -> AsyncGenerator[Embeddings, None]:
        """See `Client.stream_texts`."""
        return self._texts(texts, language, CallState())

    def stream_images(self, images: Many[ImageInput]) -> AsyncGenerator[Embeddings, None]:
        """See `Client.stream_images`."""
        return self._images(images, CallState())

    async def similarity(
        self, texts: Embeddings | Many[str], images: Embeddings | Many[ImageInput]
    ) -> Vectors:
        """See `Client.similarity`."""
        rows = texts if isinstance(texts, Embeddings) else await self.embed_texts(texts)
        columns = images if isinstance(images, Embeddings) else await self.embed_images(images)
        return similarity(rows, columns)

    async def health(self, *, towers: Sequence[Tower] = TOWERS) -> str:
        """See `Client.health`."""
        for tower in towers:
            await self._drive(tower, self._embed_canary(tower))
        return self.space or ""

    async def close(self) -> None:
        """Closes the connections."""
        await self._transport.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _texts(
        self, texts: Many[str], language: str | None, state: CallState
    ) -> AsyncGenerator[Embeddings, None]:
        splitter = self._splitter("text", language)
        if not isinstance(texts, AsyncIterable):
            # Taken and split without a turn of the event loop for each text.
            return self._stream("text", _each(split(text_items(texts), splitter)), state)

        async def items() -> AsyncIterator[bytes | ItemError]:
            index = 0
            async for text in texts:
                yield text_item(index, text)
                index += 1

        return self._stream("text", _split(items(), splitter), state)

    def _images(self, images: Many[ImageInput], state: CallState) -> AsyncGenerator[Embeddings, None]:
        if is_one_image(images):
            raise TypeError("pass a list of images, not one image")

        async def items() -> AsyncIterator[bytes | ItemError]:
            index = 0
            async for image in _each(images):
                if isinstance(image, bytes):
                    yield image
                else:
                    yield await asyncio.to_thread(image_item, index, image, self._largest)
                index += 1

        return self._stream("vision", _split(items(), self._splitter("vision")), state)

    async def _stream(
        self, tower: Tower, chunks: AsyncIterator[RequestChunk], state: CallState
    ) -> AsyncGenerator[Embeddings, None]:
        turn = asyncio.Semaphore(self._concurrency)

        async def embedded(chunk: RequestChunk) -> Embeddings:
            async with turn:
                return await self._embedded(tower, chunk, state)

        made: deque[asyncio.Task[Embeddings]] = deque()
        try:
            async for chunk in chunks:
                made.append(asyncio.create_task(embedded(chunk)))
                if len(made) == AHEAD * self._concurrency or made[0].done():
                    yield await made[0]
                    made.popleft()
            while made:
                yield await made[0]
                made.popleft()
        finally:
            for task in made:
                task.cancel()
            await asyncio.gather(*made, return_exceptions=True)

    async def _embedded(self, tower: Tower, chunk: RequestChunk, state: CallState) -> Embeddings:
        flow = self._embed_chunk(tower, chunk, state)
        if state.gone is not None:  # Nothing is sent, so it waits for nobody.
            return await self._drive(tower, flow)
        async with self._in_flight.hold(len(chunk.items)):
            return await self._drive(tower, flow)

    async def _drive(self, tower: Tower, flow: Flow[Result]) -> Result:
        async def carry_out(step: Call | float) -> bytes | None:
            if isinstance(step, Call):
                return await self._send(tower, step)
            await asyncio.sleep(step)
            return None

        return await drive_async(flow, carry_out)

    async def _send(self, tower: Tower, call: Call) -> bytes:
        if self._hedge_after is not None:
            return await self._hedged(tower, call, self._hedge_after)
        with self._timing(tower):
            return await self._transport.send(call)

    async def _hedged(self, tower: Tower, call: Call, after: float) -> bytes:
        outcomes: asyncio.Queue[Outcome] = asyncio.Queue()
        attempts: list[asyncio.Task[None]] = []

        async def attempt(call: Call) -> None:
            try:
                with self._timing(tower):
                    outcomes.put_nowait(await self._transport.send(call))
            except Exception as error:
                outcomes.put_nowait(error)

        async def carry_out(step: Begin | Wait) -> Outcome | None:
            if isinstance(step, Begin):
                attempts.append(asyncio.create_task(attempt(step.call)))
                return None
            try:
                return await asyncio.wait_for(outcomes.get(), step.seconds)
            except TimeoutError:
                return None

        try:
            return await drive_async(hedge(call, after), carry_out)
        finally:
            for task in attempts:
                task.cancel()
            await asyncio.gather(*attempts, return_exceptions=True)


async def _each(items: Many[Item]) -> AsyncIterator[Item]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


async def _split(items: AsyncIterator[bytes | ItemError], splitter: Splitter) -> AsyncIterator[RequestChunk]:
    async for item in items:
        if (chunk := splitter.add(item)) is not None:
            yield chunk
    if (chunk := splitter.rest()) is not None:
        yield chunk


async def _collect(
    parts: AsyncIterable[Embeddings], errors: OnError, progress: Progress | None
) -> Embeddings:
    with Collector(errors, progress) as found:
        async for part in parts:
            found.add(part)
    return found.result()
