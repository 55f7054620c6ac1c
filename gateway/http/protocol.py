"""uvicorn's HTTP with bounds that it lacks: on heads, on what is sent unasked, on answers nobody takes."""

from __future__ import annotations

import asyncio
import resource
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.errors import MALFORMED_REQUEST, UNAVAILABLE, ApiError
from gateway.http.dialects.openai import error_body
from gateway.http.joined_writes import JoinedWrites

# Descriptors that connections of callers leave to the engine's, to files and to gRPC.
_KEPT_FREE = 256


def _closing(status: str, code: str, message: str) -> bytes:
    body = error_body(ApiError(int(status[:3]), code, message))
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
    return f"{head}connection: close\r\n\r\n".encode() + body


_NO_HTTP = _closing("400 Bad Request", MALFORMED_REQUEST, "this is no request of HTTP/1.1")
_TOO_LARGE = _closing(
    "431 Request Header Fields Too Large",
    "headers_too_large",
    "the head of the request has too many bytes or fields",
)
_TOO_SLOW = _closing(
    "408 Request Timeout", "request_timeout", "the head of the request did not arrive in time"
)
_TOO_MANY = _closing("503 Service Unavailable", UNAVAILABLE, "there are too many connections; try again")


class BoundedProtocol(HttpToolsProtocol):
    """One connection. What goes beyond a bound closes it; bodies that are read have their own limits.

    Attributes:
        head_bytes: that may come without an end of the headers or a byte of the body: a request line and its
            headers, but also what may stand between and after the chunks of a body.
        most_fields: of a head and behind its body together; each costs some hundred bytes more than it has.
        head_seconds: from the connection, or the first byte of a later request, to the end of the headers.
        rest_seconds, rest_bytes: for the rest of a body after the answer to its request, thrown away so
            that a caller who writes first and reads then finds why the request was refused.
        reader_seconds: within which some of an answer must be taken.
        most_ahead: requests that may be sent ahead of the answers to those before them.
        most_connections: that may be open at once.
    """

    head_bytes = 64 * 1024
    most_fields = 256
    head_seconds = 20.0
    rest_seconds = 20.0
    rest_bytes = 256 * 1024 * 1024
    reader_seconds = 60.0
    most_ahead = 32
    most_connections = max(64, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _KEPT_FREE)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._progress = False
        self._received = 0
        self._rest = 0
        self._upgrade = False
        self._timer: asyncio.TimerHandle | None = None
        self._rest_timer: asyncio.TimerHandle | None = None
        self._reader_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """A caller connects: the first head is due."""
        super().connection_made(JoinedWrites(transport, self.loop))  # type: ignore[arg-type]  # all that is used of one
        if len(self.connections) > self.most_connections:
            self._refuse(_TOO_MANY)
        else:
            self._expect_end()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is no more."""
        self._expect_nothing()
        for timer in (self._rest_timer, self._reader_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of a head or a body, or of both. An offer of another protocol is ignored."""
        if self.transport.is_closing():
            return
        self._progress = False
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse(_NO_HTTP)
            return
        self._received = 0 if self._progress else self._received + len(data)
        if self._received > self.head_bytes:
            self._refuse(_TOO_LARGE)

    def on_message_begin(self) -> None:
        """The first byte of a head."""
        super().on_message_begin()
        if self._rest_timer is not None:
            self._rest_timer.cancel()
            self._rest_timer = None
        if self._timer is None:
            self._expect_end()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of a head, or behind a body."""
        if len(self.headers) >= self.most_fields:
            self._refuse(_TOO_LARGE)
            raise ConnectionAbortedError
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._progress = True
        self._expect_nothing()
        self._upgrade = self.parser.should_upgrade()
        if self._upgrade:
            return
        if len(self.pipeline) >= self.most_ahead:
            self.transport.abort()
            raise ConnectionAbortedError
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Some of the body."""
        self._progress = True
        if self._rest_timer is not None:
            self._rest += len(body)
            if self._rest > self.rest_bytes:
                self.transport.close()
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The body is whole."""
        if self._upgrade:
            return
        super().on_message_complete()
        if self._rest_timer is not None:
            self._rest_timer.cancel()
            self._rest_timer = None

    def on_response_complete(self) -> None:
        """An answer is written; if its request has not ended, the rest of that is due."""
        super().on_response_complete()
        if self.cycle.response_complete and self.cycle.more_body and not self.transport.is_closing():
            self._rest = 0
            self._rest_timer = self.loop.call_later(self.rest_seconds, self.transport.close)

    def pause_writing(self) -> None:
        """The caller takes its answer more slowly than it is written."""
        super().pause_writing()
        self._watch_reader(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """The caller has taken what there was."""
        super().resume_writing()
        if self._reader_timer is not None:
            self._reader_timer.cancel()
            self._reader_timer = None

    def _watch_reader(self, left: int) -> None:
        self._reader_timer = self.loop.call_later(self.reader_seconds, self._look_at_reader, left)

    def _look_at_reader(self, left: int) -> None:
        still = self.transport.get_write_buffer_size()
        if still >= left:
            self.transport.abort()
        else:
            self._watch_reader(still)

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Read a request again without its offer of HTTP/2 or WebSockets, as a server may; some clients make
        it with every first call, and the parser would take no body after it.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._refuse(_NO_HTTP)
            return
        head = [method, b" ", self.url, b" HTTP/", self.parser.get_http_version().encode(), b"\r\n"]
        for name, value in self.headers:
            if name == b"connection":
                value = b"close" if b"close" in value.lower() else b"keep-alive"
            if name != b"upgrade":
                head += [name, b": ", value, b"\r\n"]
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"".join([*head, b"\r\n", rest]))

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
