"""Requests that never end or come slowly, answers nobody takes: a bounded place each, and others go on."""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from babelclip.testing import InMemoryTransport
from gateway.http.protocol import BoundedProtocol
from tests.e2e.support import PATIENCE
from tests.gateway.engine import Engine
from tests.gateway.front import Front, gateway

LINE = b"X-Header: " + b"x" * 1000 + b"\r\n"


SHORT = 0.3  # seconds that a head may take, in tests of one that does not come


@pytest.fixture
def front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Front]:
    """A gateway that waits for the head of a request as long as it takes, until a test says otherwise."""
    monkeypatch.setattr(BoundedProtocol, "head_seconds", PATIENCE)
    with gateway(Engine(), tmp_path) as front:
        yield front


@contextlib.contextmanager
def caller(front: Front) -> Iterator[socket.socket]:
    """A connection of somebody who writes HTTP by hand."""
    parts = urlsplit(front.addresses.http)
    with socket.create_connection((str(parts.hostname), parts.port or 0), timeout=PATIENCE) as connection:
        yield connection


def rest(connection: socket.socket) -> bytes:
    """All that comes until the gateway closes the connection."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65536):
            found += part
    return found


CHUNKED = b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("begin", [b"GET /healthz HTTP/1.1\r\n", CHUNKED + b"0\r\n"], ids=["head", "trailer"])
@pytest.mark.parametrize("part", [LINE, b"x" * 1000], ids=["many headers", "one endless header"])
def test_headers_without_end_are_cut_off(front: Front, begin: bytes, part: bytes) -> None:
    """Nobody without a key fills the memory with headers, before a body or after one."""
    with caller(front) as connection:
        connection.sendall(begin + b"X: ")
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 200_000_000:
                connection.sendall(part)
                sent += len(part)
        assert sent < 200_000_000
    assert front.get("/healthz").status_code == 200


@pytest.mark.parametrize("begin", [b"GET /healthz HTTP/1.1\r\n", CHUNKED + b"0\r\n"], ids=["head", "trailer"])
def test_tiny_headers_have_a_bound_too(front: Front, begin: bytes) -> None:
    """Sixteen thousand of them fit into 64 KiB, and take many times as much memory."""
    with caller(front) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(begin + b"a:\r\n" * 16_000 + b"\r\n")
        assert b"HTTP/1.1 200 " not in rest(connection)
    assert front.get("/healthz").status_code == 200


def test_large_headers_that_end_are_read(front: Front) -> None:
    """Cookies of a browser and traces of proxies pass."""
    assert front.get("/healthz", **{f"x-{number}": "x" * 1000 for number in range(40)}).status_code == 200


@pytest.mark.parametrize("sent", [b"", b"GET /heal", b"GET /healthz HTTP/1.1\r\nHost: x\r\n"])
def test_a_head_that_does_not_come_is_not_waited_for(
    front: Front, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that says nothing, or half of something, is closed."""
    monkeypatch.setattr(BoundedProtocol, "head_seconds", SHORT)
    with caller(front) as connection:
        connection.sendall(sent)
        assert rest(connection).startswith(b"HTTP/1.1 408 ")


def test_a_second_request_has_its_own_time(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a connection that is kept open, half of a second request is not waited for either."""
    with caller(front) as connection:
        whole = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
        connection.sendall(whole)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        monkeypatch.setattr(BoundedProtocol, "head_seconds", SHORT)
        connection.sendall(whole[:-2])
        assert b"HTTP/1.1 408 " in rest(connection)


def test_a_call_that_takes_long_is_not_cut_off(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the head has to come at once: a body of many images takes its time."""
    monkeypatch.setattr(BoundedProtocol, "head_seconds", SHORT)
    body = b'{"input": "a"}'
    head = f"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {front.key}\r\n"
    head += f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    for _ in range(50):  # A busy machine may take too long even for a head that is sent at once.
        with caller(front) as connection, caller(front) as other:
            connection.sendall(head.encode() + body[:5])
            rest(other)  # It is closed when the time for a head is over.
            with contextlib.suppress(ConnectionError):
                connection.sendall(body[5:])
            answer = rest(connection)
        if not answer.startswith(b"HTTP/1.1 408 "):
            break
    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /healthz HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n",
        b"POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /healthz HTTP/1.1\r\n Host: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET http://[::1 HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_requests_that_two_servers_would_read_differently_are_refused(front: Front, request_: bytes) -> None:
    """What could smuggle a second request past a proxy is a 400, and the connection is closed."""
    with caller(front) as connection:
        connection.sendall(request_)
        answer = rest(connection)
    assert answer.startswith(b"HTTP/1.1 4"), answer
    assert answer.count(b"HTTP/1.1 ") == 1
    assert front.get("/healthz").status_code == 200


BODY = b'{"input": "a"}'


def call(front: Front, *headers: str) -> bytes:
    """A sound request with these headers."""
    lines = ["POST /v1/embeddings HTTP/1.1", "Host: x", f"Authorization: Bearer {front.key}", *headers]
    return "\r\n".join([*lines, f"Content-Length: {len(BODY)}", "", ""]).encode() + BODY


@pytest.mark.parametrize("upgrade", ["h2c", "websocket"])
def test_an_offer_of_another_protocol_is_passed_over(front: Front, upgrade: str) -> None:
    """A client that offers HTTP/2 with its first call, as Java's does, is answered in HTTP/1.1."""
    offer = f"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {upgrade}\r\nHTTP2-Settings: AAMAAABk"
    with caller(front) as connection:
        connection.sendall(call(front, offer) + call(front, "Connection: close"))
        answer = rest(connection)
    assert answer.count(b"HTTP/1.1 200 OK") == answer.count(b'"object":"embedding"') == 2
    with caller(front) as connection:
        connection.sendall(b"CONNECT 127.0.0.1:80 HTTP/1.1\r\nHost: x\r\n\r\n" + call(front))
        assert rest(connection).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("limit", [("rest_seconds", SHORT), ("rest_bytes", 10)], ids=["seconds", "bytes"])
@pytest.mark.parametrize("body", [b"Content-Length: 100000000", b"Transfer-Encoding: chunked"])
def test_a_body_that_nobody_reads_is_not_taken_for_ever(
    front: Front, body: bytes, limit: tuple[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has been refused cannot keep the connection by going on to send."""
    monkeypatch.setattr(BoundedProtocol, "rest_seconds", PATIENCE)
    monkeypatch.setattr(BoundedProtocol, *limit)
    with caller(front) as connection:
        connection.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\n" + body + b"\r\n\r\n")
        connection.settimeout(0.05)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while True:
                connection.sendall(b"1\r\nx\r\n")
                with contextlib.suppress(TimeoutError):
                    part = connection.recv(65536)
                    if not part:
                        break
                    answer += part
    assert answer.startswith(b"HTTP/1.1 401 ")


def test_a_connection_lives_on_after_a_body_that_came_late(front: Front) -> None:
    """The answer to a refused call may come before its body has, and the next call is answered as well."""
    refused = call(front).replace(front.key.encode(), b"wrong")
    with caller(front) as connection:
        connection.sendall(refused[: -len(BODY)])
        assert connection.recv(65536).startswith(b"HTTP/1.1 401 ")
        connection.sendall(BODY + call(front, "Connection: close"))
        assert b"HTTP/1.1 200 " in rest(connection)


def test_requests_far_ahead_of_their_answers_end_the_connection(front: Front) -> None:
    """A caller who sends on and on without reading does not fill the memory; a few at once are answered."""
    few = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * BoundedProtocol.most_ahead
    with caller(front) as connection:
        connection.sendall(few[:-2] + b"Connection: close\r\n\r\n")
        assert rest(connection).count(b"HTTP/1.1 200 OK") == BoundedProtocol.most_ahead
    with caller(front) as connection:
        connection.sendall(few * 100)
        assert rest(connection).count(b"HTTP/1.1 200 OK") <= BoundedProtocol.most_ahead
    assert front.get("/healthz").status_code == 200


def test_an_answer_that_nobody_takes_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A caller who asks for much and reads nothing loses the connection."""
    monkeypatch.setattr(BoundedProtocol, "reader_seconds", SHORT)
    lost = threading.Event()
    connection_lost = BoundedProtocol.connection_lost

    def noted(protocol: BoundedProtocol, error: Exception | None) -> None:
        connection_lost(protocol, error)
        lost.set()

    monkeypatch.setattr(BoundedProtocol, "connection_lost", noted)
    body = json.dumps({"input": ["a"] * 2048}).encode()
    with gateway(Engine(InMemoryTransport(dim=1024)), tmp_path) as front, caller(front) as connection:
        connection.sendall(call(front).partition(b"Content-Length")[0])
        connection.sendall(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert lost.wait(PATIENCE)
        assert front.get("/healthz").status_code == 200


def test_connections_beyond_the_limit_are_told_so(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """Descriptors are left for the engine and for files, whoever connects."""
    monkeypatch.setattr(BoundedProtocol, "most_connections", 2)
    with caller(front) as one, caller(front) as other:
        for connection in (one, other):
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        with caller(front) as third:
            assert rest(third).startswith(b"HTTP/1.1 503 ")
