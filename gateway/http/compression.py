"""Compressed bodies: those of requests, within the limit of bytes, and large answers for who accepts them."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.errors import ApiError, malformed

# By Content-Encoding's names: zlib's window, with 16 more for gzip's frame.
_WINDOWS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
# Of vectors as text the fastest level takes away half, and slower ones little more.
_LEVEL = 1


def is_known(encoding: str) -> bool:
    """Whether bodies of this Content-Encoding are read."""
    return encoding in _WINDOWS


def names() -> str:
    """The encodings that are read."""
    return "gzip or deflate"


def unpack(data: bytes, encoding: str, max_bytes: int) -> bytes:
    """A body of one of the known encodings → what was packed.

    Raises:
        ApiError: that has more than `max_bytes`, or the body is not of this encoding.
    """
    unpacking = zlib.decompressobj(_WINDOWS[encoding])
    try:
        found = unpacking.decompress(data, max_bytes + 1)
    except zlib.error:
        raise malformed(f"the body is not {encoding}, as its Content-Encoding says") from None
    if len(found) > max_bytes:
        message = f"the body has too many bytes when it is unpacked; at most {max_bytes:,} are allowed"
        raise ApiError(413, "body_too_large", message)
    if not unpacking.eof:
        raise malformed(f"the body in {encoding} ends too early")
    if unpacking.unused_data:
        raise malformed(f"the body holds more than one stream of {encoding}")
    return found


class CompressLarge:
    """ASGI middleware: answers of `min_bytes` and more are gzipped, where the caller accepts that.

    Args:
        apart: calls a function in a thread where its size in bytes would keep others waiting.
    """

    def __init__(
        self, app: ASGIApp, min_bytes: int, apart: Callable[[int, Callable[[], bytes]], Awaitable[bytes]]
    ) -> None:
        self._app = app
        self._min_bytes = min_bytes
        self._apart = apart

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, and its answer, which it may pack."""
        start: Message | None = None

        async def sending(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            if start is not None:
                began, start = start, None
                body = message.get("body", b"")
                if len(body) >= self._min_bytes and not message.get("more_body"):
                    headers = MutableHeaders(raw=began["headers"])
                    headers.add_vary_header("Accept-Encoding")
                    if "content-encoding" not in headers and accepts_gzip(Headers(scope=scope)):
                        body = await self._apart(len(body), lambda: zlib.compress(body, _LEVEL, 31))
                        headers["Content-Encoding"] = "gzip"
                        headers["Content-Length"] = str(len(body))
                        message = {**message, "body": body}
                await send(began)
            await send(message)

        await self._app(scope, receive, sending if scope["type"] == "http" else send)


def accepts_gzip(headers: Headers) -> bool:
    """Whether who sent these headers reads gzip."""
    for given in headers.get("accept-encoding", "").split(","):
        coding, _, weight = given.partition(";")
        if coding.strip().lower() in ("gzip", "*"):
            return weight.replace(" ", "").lower() not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
