"""Items as they come, a line of JSON each, and a line for what became of each (application/x-ndjson).

    {"id": "a", "image": "base64…"}            →  {"id":"a","status":"added"}
    {"id": "b", "image": "no image"}           →  {"id":"b","status":"failed","code":"…","message":"…"}

Outcomes are sent while items still come, in their order. No more is read while a piece is being added, so
that a caller sends as fast as images are embedded. A caller who reads nothing before it has sent everything
is served, too: outcomes wait for it, up to a bound.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.access.account import ACCOUNT, STREAMING
from gateway.collections.adding import PIECE, Adding
from gateway.collections.messages import NewItem, Outcome
from gateway.errors import ApiError
from gateway.http import body
from gateway.http.collections import answers, bodies
from gateway.http.room import PLACE

NDJSON = "application/x-ndjson"
PIECE_BYTES = 16_000_000
"""Bytes of a piece, as they were sent, after which it is added without waiting for more."""
PAUSE = 0.2
"""Seconds without another line after which a piece is added."""
MOST_WAITING = 16_000_000
"""Bytes of outcomes that may wait for a caller who does not read them."""
_TRIES = 20  # of a piece that finds no room


class Lines(Response):
    """The answer to a stream of items, which reads them. One of Starlette's own would read for itself.

    Args:
        max_bytes: of a line.
        seconds: within which the next bytes must come.
    """

    media_type = NDJSON

    def __init__(self, request: Request, adding: Adding, name: str, max_bytes: int, seconds: float) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers(None)
        del self.headers["content-length"]
        self._request = request
        self._adding = adding
        self._name = name
        self._max_bytes = max_bytes
        self._seconds = seconds
        self._waiting: list[bytes] = []
        self._size = 0
        self._changed = asyncio.Condition()
        self._ended = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        reading = asyncio.create_task(self._read())
        try:
            while waiting := await self._take():
                await send({"type": "http.response.body", "body": waiting, "more_body": True})
            await reading
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except (ClientDisconnect, OSError):
            raise body.CallerGone from None
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _take(self) -> bytes:
        """The outcomes that wait; nothing at the end."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._waiting or self._ended)
            found, self._waiting, self._size = b"".join(self._waiting), [], 0
            self._changed.notify_all()
            return found

    async def _tell(self, told: Sequence[dict[str, object]]) -> None:
        text = b"".join(orjson.dumps(one) + b"\n" for one in told)
        async with self._changed:
            await self._changed.wait_for(lambda: self._size < MOST_WAITING)
            self._waiting.append(text)
            self._size += len(text)
            self._changed.notify_all()

    async def _read(self) -> None:
        STREAMING.set(True)
        try:
            async for piece in self._pieces():
                await self._tell([answers.outcome(one) for one in await self._added(piece)])
        except ApiError as error:  # The status is sent; the last line says why there are no more.
            await self._tell([{"error": {"code": error.code, "message": error.message}}])
        finally:
            async with self._changed:
                self._ended = True
                self._changed.notify_all()

    async def _added(self, items: Sequence[NewItem]) -> list[Outcome]:
        account = ACCOUNT.get()
        if account is not None:
            await account.keep_pace()
        for tried in range(_TRIES):
            try:
                return await self._adding.add(self._name, items)
            except ApiError as error:
                if error.retry_after is None or tried == _TRIES - 1:
                    raise
                await asyncio.sleep(error.retry_after)
        raise AssertionError("the last try returns or raises")

    async def _pieces(self) -> AsyncGenerator[list[NewItem]]:
        """Items that are added together: those that come without a pause between them, up to a bound."""
        lines = self._lines()
        piece: list[NewItem] = []
        size = 0
        following: asyncio.Task[bytes | None] | None = None
        try:
            while True:
                if following is None:
                    following = asyncio.create_task(anext(lines, None))
                await asyncio.wait((following,), timeout=PAUSE if piece else None)
                if following.done():
                    if piece and following.exception() is not None:
                        yield piece  # What was whole before it comes first.
                    line = following.result()
                    following = None
                    if line is None:
                        break
                    piece.append(await body.apart(len(line), _item, line))
                    size += len(line)
                    if len(piece) < PIECE and size < PIECE_BYTES:
                        continue
                yield piece
                piece, size = [], 0
                if (place := PLACE.get()) is not None:
                    place.release()  # What was sent is added; a stream has no end of its bytes.
            if piece:
                yield piece
        finally:
            if following is not None:
                following.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await following
            await lines.aclose()

    async def _lines(self) -> AsyncGenerator[bytes]:
        """Lines that are not empty."""
        rest = bytearray()
        stream = self._request.stream()
        while True:
            try:
                async with asyncio.timeout(self._seconds):
                    part = await anext(stream, None)
            except TimeoutError:
                message = f"nothing came within {self._seconds:g} s"
                raise ApiError(408, "request_timeout", message) from None
            if part is None:
                break
            rest += part
            *whole, last = rest.split(b"\n") if b"\n" in part else [rest]
            for line in whole:
                if line.strip():
                    yield bytes(line)
            rest = last
            if len(rest) > self._max_bytes:
                message = f"a line has too many bytes; at most {self._max_bytes:,} are allowed"
                raise ApiError(413, "body_too_large", message)
        if rest.strip():
            yield bytes(rest)


def _item(line: bytes) -> NewItem:
    try:
        return bodies.read_item(body.parse(line))
    except ApiError as error:
        return bodies.fault(f"the line holds no item: {error.message}")
