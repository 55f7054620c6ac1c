"""uvicorn's HTTP with a bound on the head of a request, which it lacks: in bytes, and in seconds."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class BoundedProtocol(HttpToolsProtocol):
    """One connection. A head that is too large or too slow closes it; bodies have their own limits.

    Attributes:
        head_bytes: that may come without an end of the headers or a byte of the body: a request line and its
            headers, but also what may stand between and after the chunks of a body.
        head_seconds: from the connection, or the first byte of a later request, to the end of the headers.
    """

    head_bytes = 64 * 1024
    head_seconds = 20.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._progress = False
        self._received = 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """A caller connects: the first head is due."""
        super().connection_made(transport)
        self._expect_end()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is no more."""
        self._expect_nothing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of a head or a body, or of both."""
        self._progress = False
        super().data_received(data)
        self._received = 0 if self._progress else self._received + len(data)
        if self._received > self.head_bytes:
            self._refuse(_TOO_LARGE)

    def on_message_begin(self) -> None:
        """The first byte of a head."""
        super().on_message_begin()
        if self._timer is None:
            self._expect_end()

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._progress = True
        self._expect_nothing()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Some of the body."""
        self._progress = True
        super().on_body(body)

    def _expect_end(self) -> None:
        self._timer = self.loop.call_later(self.head_seconds, self._refuse, _TOO_SLOW)

    def _expect_nothing(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, answer: bytes) -> None:
        self._expect_nothing()
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()
