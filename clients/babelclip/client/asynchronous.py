"""The client for an event loop: `babelclip.Client` with `await`.

    async with AsyncClient("grpc://127.0.0.1:7070") as client:
        async for part in client.stream_texts(lines):  # lines: any iterable, or an asynchronous one
            store(part.vectors)

Settings, splitting, retries, pinning and errors are those of `Client`; only who waits differs.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, TypeVar

from babelclip.client.calls import (
    AHEAD,
    NOT_TO_BE_SENT,
    Course,
    OnError,
    Progress,
    check_on_error,
    check_settings,
    finished,
    message_limits,
)
from babelclip.client.credentials import Credentials
from babelclip.client.delivery import Delivery, undelivered
from babelclip.client.hedging import later
from babelclip.client.items import ImageInput, image_item, is_one_image, text_item, text_items
from babelclip.client.pace import Pace
from babelclip.client.retry import Backoff, Patience
from babelclip.client.room import Room
from babelclip.client.session import Headers, Session
from babelclip.client.splitting import Message, Splitter, split
from babelclip.embedding_pb2 import EmbedRequest
from babelclip.embeddings import Embeddings, Vectors
from babelclip.errors import (
    MESSAGE_TOO_LARGE,
    BabelclipError,
    DeadlineExceeded,
    RequestRefused,
    TransportError,
)
from babelclip.item_errors import ItemError
from babelclip.similarity import concatenate, similarity
from babelclip.transports.base import AsyncTransport, Call, Tls
from babelclip.transports.url import is_local, open_async_transport
from babelclip.wire import TOWERS, Batch, Tower, parse_response

if TYPE_CHECKING:
    from babelclip.client.observer import Observer
    from babelclip.metrics import ClientMetrics

Item = TypeVar("Item")
Many = Iterable[Item] | AsyncIterable[Item]


class AsyncClient:
    """A connection to one babelclip server, used within one event loop. Close it, or use `async with`.

    Args:
        max_in_flight: items that all calls together have under way at a time; further messages wait. It keeps
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
        served = transport is not None or not is_local(url)
        self._max_message_bytes, self._largest = message_limits(max_message_bytes, served=served)
        check_settings(timeout=timeout, concurrency=concurrency, hedge_after=hedge_after)
        credentials = Credentials(token, token_file, environment=served)
        models: dict[Tower, str] = {"text": text_model, "vision": vision_model}
        self._session = Session(credentials, models, space=space, version=version, headers=headers)
        self._timeout = timeout
        self._concurrency = concurrency
        self._backoff = backoff or Backoff()
        self._paces: dict[Tower, Pace] = {tower: Pace(timeout) for tower in TOWERS}
        self._hedge_after = hedge_after
        self._metrics = metrics
        self._shadow = shadow
        self._room = Room(max_in_flight)
        self._transport = transport or open_async_transport(url, tls)

    @property
    def space(self) -> str | None:
        """The embedding space this client is pinned to; None before the first answer if none was named."""
        return self._session.space

    @property
    def version(self) -> str | None:
        """The version both towers are asked for; None before the first answer if none was named."""
        return self._session.version

    def pin(self, space: str, version: str = "") -> None:
        """See `Client.pin`."""
        self._session.pin(space, version)

    async def embed_texts(
        self, texts: Many[str], *, errors: OnError = "raise", progress: Progress | None = None
    ) -> Embeddings:
        """See `Client.embed_texts`."""
        return await _collect(self._texts(texts, Course(keep=errors == "return")), errors, progress)

    async def embed_images(
        self, images: Many[ImageInput], *, errors: OnError = "raise", progress: Progress | None = None
    ) -> Embeddings:
        """See `Client.embed_images`; files are read and pixels encoded in threads."""
        return await _collect(self._images(images, Course(keep=errors == "return")), errors, progress)

    def stream_texts(self, texts: Many[str]) -> AsyncGenerator[Embeddings, None]:
        """See `Client.stream_texts`."""
        return self._texts(texts, Course())

    def stream_images(self, images: Many[ImageInput]) -> AsyncGenerator[Embeddings, None]:
        """See `Client.stream_images`."""
        return self._images(images, Course())

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
            probe = EmbedRequest(canary=True, space=self._session.space or "").SerializeToString()
            patience = Patience(self._timeout, self._backoff)
            batch = await self._answer(tower, probe, 1, patience)
        return batch.space

    async def close(self) -> None:
        """Gives the connections back."""
        await self._transport.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError(NOT_TO_BE_SENT)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _texts(self, texts: Many[str], course: Course) -> AsyncGenerator[Embeddings, None]:
        limit, pace = self._max_message_bytes, self._paces["text"]
        if not isinstance(texts, AsyncIterable):
            # Taken and split without a turn of the event loop for each text.
            found = split(
                text_items(texts), tower="text", max_message_bytes=limit, pace=pace, largest=self._largest
            )
            return self._stream("text", _each(found), course)

        async def items() -> AsyncIterator[bytes | ItemError]:
            index = 0
            async for text in texts:
                yield text_item(index, text)
                index += 1

        splitter = Splitter("text", limit, pace, largest=self._largest)
        return self._stream("text", _messages(items(), splitter), course)

    def _images(self, images: Many[ImageInput], course: Course) -> AsyncGenerator[Embeddings, None]:
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

        splitter = Splitter("vision", self._max_message_bytes, self._paces["vision"], largest=self._largest)
        return self._stream("vision", _messages(items(), splitter), course)

    async def _stream(
        self, tower: Tower, messages: AsyncIterator[Message], course: Course
    ) -> AsyncGenerator[Embeddings, None]:
        turn = asyncio.Semaphore(self._concurrency)

        async def delivered(message: Message) -> Embeddings:
            async with turn:
                return await self._delivered(tower, message, course)

        made: deque[asyncio.Task[Embeddings]] = deque()
        try:
            async for message in messages:
                made.append(asyncio.create_task(delivered(message)))
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

    async def _delivered(self, tower: Tower, message: Message, course: Course) -> Embeddings:
        """`_deliver`, as long as the server has not been found to be gone."""
        if course.gone is None:
            try:
                return await self._deliver(tower, message)
            except DeadlineExceeded as error:
                if not course.keep:
                    raise
                course.gone = error
        result = undelivered(message, self._session, course.gone)
        if self._metrics is not None:
            self._metrics.items(tower, result)
        return result

    async def _deliver(self, tower: Tower, message: Message) -> Embeddings:
        async with self._room.of(len(message.items)):
            began = time.perf_counter()
            patience = Patience(self._timeout, self._backoff)
            delivery = Delivery(tower, message, self._paces[tower], patience)
            while delivery.count:
                body = delivery.body(self._session.space)
                try:
                    batch = await self._answer(tower, body, delivery.sent, patience)
                except DeadlineExceeded as error:
                    delivery.unanswered(error)
                except RequestRefused as error:
                    if error.code != MESSAGE_TOO_LARGE:
                        raise
                    delivery.too_large(error)
                else:
                    if pause := delivery.take(batch):
                        await asyncio.sleep(pause)
            seconds = time.perf_counter() - began
        result = delivery.result(self._session)
        if self._metrics is not None:
            self._metrics.items(tower, result)
        if self._shadow is not None:
            self._shadow.observe(tower, message, result, seconds)
        return result

    async def _answer(self, tower: Tower, body: bytes, count: int, patience: Patience) -> Batch:
        """The answer to a body of `count` items, after as many attempts as it takes.

        Raises:
            BabelclipError: the last attempt's, when patience is at its end or another cannot help.
        """
        while True:
            call = self._session.call(tower, body, patience.left(), self._timeout)
            try:
                batch, call = await self._attempt(tower, call, count)
            except BabelclipError as error:
                await asyncio.sleep(patience.pause_after(error))
                continue
            if self._session.accept(call, batch):
                return batch

    async def _attempt(self, tower: Tower, call: Call, count: int) -> tuple[Batch, Call]:
        """One attempt and what it makes necessary at once: the answer, and the call that got it."""
        while True:
            try:
                return parse_response(await self._send(tower, call), count), call
            except BabelclipError as error:
                call = self._session.instead(call, error)

    async def _send(self, tower: Tower, call: Call) -> bytes:
        if self._hedge_after is None:
            return await self._sent(tower, call)
        attempts = {asyncio.create_task(self._sent(tower, call))}
        try:
            done, _ = await asyncio.wait(attempts, timeout=self._hedge_after)
            if not done:
                attempts.add(asyncio.create_task(self._sent(tower, later(call, self._hedge_after))))
                done, waiting = await asyncio.wait(attempts, return_when=asyncio.FIRST_COMPLETED)
                if waiting and all(task.exception() for task in done):
                    done, _ = await asyncio.wait(waiting)
            return next((task for task in done if not task.exception()), next(iter(done))).result()
        finally:
            for task in attempts:
                task.cancel()
            await asyncio.gather(*attempts, return_exceptions=True)

    async def _sent(self, tower: Tower, call: Call) -> bytes:
        if self._metrics is None:
            return await self._transport.send(call)
        with self._metrics.timing(tower):
            return await self._transport.send(call)


async def _each(items: Many[Item]) -> AsyncIterator[Item]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


async def _messages(items: AsyncIterator[bytes | ItemError], splitter: Splitter) -> AsyncIterator[Message]:
    async for item in items:
        if (message := splitter.add(item)) is not None:
            yield message
    if (message := splitter.rest()) is not None:
        yield message


async def _collect(
    parts: AsyncIterable[Embeddings], errors: OnError, progress: Progress | None
) -> Embeddings:
    check_on_error(errors)
    found = []
    done = 0
    try:
        async for part in parts:
            found.append(part)
            done += len(part)
            if progress is not None:
                progress(done)
    except TransportError as error:
        error.embeddings = concatenate(found)
        raise
    return finished(found, errors)
