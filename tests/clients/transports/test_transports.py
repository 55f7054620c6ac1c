"""Addresses, and the answers of what stands between a client and a server."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from babelclip.client.retry import Backoff, RetryState
from babelclip.errors import (
    AuthenticationError,
    BabelclipError,
    DeadlineExceeded,
    ModelNotFound,
    ProtocolError,
    TransportError,
    Unavailable,
)
from babelclip.transports.base import Call
from babelclip.transports.http_wire import ssl_context, torchserve_error
from babelclip.transports.url import open_async_transport, open_transport, parse_address
from tests.clients.fake_server import FakeServer

CALL = Call(model="text", version=None, body=b"", token=None, timeout=5.0)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("127.0.0.1:8080", "must start with"),
        ("ftp://host", "must start with"),
        ("http://", "names no host"),
        ("http://::1:8080", "in brackets"),
        ("grpc://::1", "in brackets"),
        ("http://user:secret@host", "no user name"),
        ("http://host/?a=b", "query"),
        ("http://host:99999", "port"),
        ("grpc://host/path", "path"),
        ("http://host\x00", "address"),
        ("mar:", "names no model store"),
        ("mar:/no/such", "is no model store"),
    ],
)
def test_an_address_that_is_none_is_refused(url: str, words: str) -> None:
    """A wrong address is a sentence at once, not a failed connection later, and shows no password."""
    with pytest.raises(ValueError, match=words) as caught:
        open_transport(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://Host:8080/", "host:8080"),
        ("https://host/clip/", "host"),
        ("grpc://host", "host:7070"),
        ("grpcs://host", "host:443"),
        ("grpc://[::1]:9", "[::1]:9"),
    ],
)
def test_an_address_is_read(url: str, target: str) -> None:
    """Ports have the defaults that the documentation names."""
    assert parse_address(url).target == target


def test_a_path_before_torchserve_is_kept(web: FakeServer) -> None:
    """A server behind a proxy's prefix is reached there and nowhere else."""
    transport = open_transport(f"{web.url}/prefix")
    with pytest.raises(
        ModelNotFound, match="predictions"
    ):  # The test server takes the second part for the model.
        transport.send(CALL)
    transport.close()


@given(url=st.text(max_size=30) | st.from_regex(r"(http|grpc)s?://\S{0,20}", fullmatch=True))
def test_any_text_is_an_address_or_a_value_error(url: str) -> None:
    """No text makes the parser fail in another way."""
    with contextlib.suppress(ValueError):
        address = parse_address(url)
        assert address.scheme in ("http", "https", "grpc", "grpcs")
        assert address.host
        assert parse_address(f"{address.scheme}://{address.target}{address.path}") == address


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, AuthenticationError),
        (403, AuthenticationError),
        (429, Unavailable),
        (502, Unavailable),
        (503, Unavailable),
        (504, DeadlineExceeded),
        (500, TransportError),
        (404, ProtocolError),
        (302, ProtocolError),
        (200, ProtocolError),
    ],
)
def test_a_proxy_is_understood(web: FakeServer, status: int, kind: type[BabelclipError]) -> None:
    """An answer that is neither a tower's nor TorchServe's is mapped by its status."""
    web.failures.append(f"status {status}")
    transport = open_transport(web.url)
    with pytest.raises(kind):
        transport.send(CALL)
    transport.close()


def request_from(connection: socket.socket) -> bytes:
    """A whole request, with its body."""
    read = b""
    while part := connection.recv(65_536):
        read += part
        head, end, body = read.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: *(\d+)", head.lower())
        if end and len(body) >= (int(length[1]) if length else 0):
            break
    return read


@contextlib.contextmanager
def scripted(*parts: bytes, pause: float = 0.0) -> Iterator[tuple[str, list[bytes]]]:
    """A server that reads a request and writes these parts, then hangs up; its URL and what it read."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with connection:
                        asked.append(request_from(connection))
                        for part in parts:
                            connection.sendall(part)
                            time.sleep(pause)

        threading.Thread(target=answer, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", asked
        listening.shutdown(socket.SHUT_RDWR)


def send(kind: str, url: str, call: Call = CALL) -> bytes:
    """One call over HTTP, by the transport of the one client or of the other."""
    if kind == "sync":
        transport = open_transport(url)
        try:
            return transport.send(call)
        finally:
            transport.close()

    async def sent() -> bytes:
        transport = open_async_transport(url)
        try:
            return await transport.send(call)
        finally:
            await transport.close()

    return asyncio.run(sent())


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 20\r\n"


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize(
    ("parts", "error", "says"),
    [
        ([HEAD + b"\r\n", *[b"x"] * 20], DeadlineExceeded, "no complete answer .* within 0.5 s"),
        ([HEAD + b"\r\nxxx"], Unavailable, "no answer from"),
        ([HEAD + b"content-encoding: gzip\r\n\r\n" + b"x" * 20], ProtocolError, "not encoded as"),
        ([b"SSH-2.0-OpenSSH_9.6\r\n"], Unavailable, "no answer from"),
        ([b""], Unavailable, "no answer from"),
        ([b"HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n"], ProtocolError, "status 302"),
    ],
    ids=["trickle", "cut", "encoding", "other protocol", "hung up", "redirect"],
)
def test_a_bad_answer_has_one_name_over_both_libraries(
    kind: str, parts: list[bytes], error: type[BabelclipError], says: str
) -> None:
    """No error of a library reaches a caller, no redirect is followed, no trickle outlasts the timeout."""
    call = replace(CALL, timeout=0.5) if error is DeadlineExceeded else CALL
    with scripted(*parts, pause=0.05) as (url, asked), pytest.raises(error, match=says):
        send(kind, url, call)
    assert len(asked) == 1


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_whole_answer_arrives(kind: str) -> None:
    """The request names model, version and token; the answer's bytes come as they are."""
    call = Call("text", "2.0", b"body", "key", 5.0, (("x-tenant", "shop"),))
    with scripted(HEAD + b"\r\n", b"0123456789", b"abcdefghij") as (url, asked):
        assert send(kind, f"{url}/prefix/", call) == b"0123456789abcdefghij"
    head, _, body = asked[0].partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    assert (first, body) == ("POST /prefix/predictions/text/2.0 HTTP/1.1", b"body")
    sent = {name: headers[name] for name in ("authorization", "x-tenant", "content-length", "content-type")}
    assert sent == {
        "authorization": "bearer key",
        "x-tenant": "shop",
        "content-length": "4",
        "content-type": "application/x-protobuf",
    }


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_the_environments_proxy_is_asked(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a company's machines reach the outside through a proxy only, the client finds it too."""
    with scripted(HEAD + b"\r\n" + b"x" * 20) as (url, asked):
        monkeypatch.setenv("http_proxy", url)
        assert send(kind, "http://elsewhere.example:80") == b"x" * 20
        assert asked[0].startswith(b"POST http://elsewhere.example")
        monkeypatch.setenv("http_proxy", url.removeprefix("http://"))
        assert send(kind, "http://elsewhere.example:80") == b"x" * 20
        monkeypatch.setenv("no_proxy", "127.0.0.1,elsewhere.example")
        assert send(kind, url) == b"x" * 20
        assert [request.split(b" ")[1] for request in asked[1:]] == [
            b"http://elsewhere.example/predictions/text",
            b"/predictions/text",
        ]


def test_a_proxy_that_cannot_be_used_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """SOCKS, for instance, is a sentence when the client is made, without the proxy's password in it."""
    monkeypatch.setenv("all_proxy", "socks5://user:secret@127.0.0.1:1")
    with pytest.raises(ValueError, match="kind socks5; only HTTP") as caught:
        open_async_transport("http://elsewhere.example")
    assert "secret" not in str(caught.value)


def test_authorities_of_the_environment_are_trusted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A company's own authority in $SSL_CERT_FILE or $SSL_CERT_DIR stands in place of the public ones."""
    authority = tmp_path / "authority.pem"
    trustme.CA().cert_pem.write_to_path(authority)
    assert len(ssl_context(None).get_ca_certs()) > 10
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    assert len(ssl_context(None).get_ca_certs()) == 1
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert ssl_context(None).get_ca_certs() == [], "of a folder each is read when it is needed"


@pytest.mark.parametrize("opened", [open_transport, open_async_transport])
def test_certificates_matter_to_tls_alone(
    opened: Callable[[str], object], web: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable that conda left behind, of a file that is gone, costs HTTPS a sentence, and HTTP nothing."""
    monkeypatch.setenv("SSL_CERT_FILE", "/gone/cacert.pem")
    opened(web.url)
    with pytest.raises(ValueError, match=r"no file /gone/cacert\.pem, which SSL_CERT_FILE names"):
        opened(web.url.replace("http:", "https:"))


@given(st.binary(max_size=40) | st.just(b"[" * 100_000) | st.just(b'{"type": 1, "message": []}'))
def test_any_error_body_can_be_read(body: bytes) -> None:
    """An error page of any content never hides the failure behind another one."""
    kind, message = torchserve_error(body)
    assert isinstance(kind, str)
    assert isinstance(message, str)


def test_attempts_stop_at_the_deadline() -> None:
    """Retries never outlast the timeout that the caller set for the whole message."""
    retry = RetryState(0.05, Backoff(attempts=1000, base=0.02))
    left = [retry.begin_attempt()]
    while (pause := retry.pause()) is not None:
        time.sleep(pause)
        left.append(retry.begin_attempt())
    assert 1 < len(left) < 1000
    assert left == sorted(left, reverse=True)
    assert min(left) > 0


def test_only_what_may_pass_is_tried_again() -> None:
    """A failure that another attempt could repeat or make worse is raised as it is, at once."""
    retry = RetryState(5.0, Backoff())
    retry.begin_attempt()
    for error in (Unavailable("died", retryable=False), ProtocolError("no EmbedResponse")):
        with pytest.raises(type(error)) as caught:
            retry.pause_after(error)
        assert caught.value is error
    assert retry.pause_after(Unavailable("busy")) >= 0
