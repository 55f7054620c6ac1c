"""Addresses, and the answers of what stands between a client and a server."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from babelclip.errors import (
    AuthenticationError,
    BabelclipError,
    DeadlineExceeded,
    ModelNotFound,
    ProtocolError,
    TransportError,
    Unavailable,
)
from babelclip.retry import Backoff, Patience
from babelclip.transport import Call, open_transport, parse_address
from babelclip.transport_http import torchserve_error
from tests.clients.fake_server import FakeServer

CALL = Call(model="text", version=None, body=b"", token=None, timeout=5.0)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("127.0.0.1:8080", "must start with"),
        ("ftp://host", "must start with"),
        ("http://", "names no host"),
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


@given(st.binary(max_size=40) | st.just(b"[" * 100_000) | st.just(b'{"type": 1, "message": []}'))
def test_any_error_body_can_be_read(body: bytes) -> None:
    """An error page of any content never hides the failure behind another one."""
    kind, message = torchserve_error(body)
    assert isinstance(kind, str)
    assert isinstance(message, str)


def test_attempts_stop_at_the_deadline() -> None:
    """Retries never outlast the timeout that the caller set for the whole message."""
    patience = Patience(0.05, Backoff(attempts=1000, base=0.02))
    left = [patience.left()]
    while (pause := patience.pause()) is not None:
        time.sleep(pause)
        left.append(patience.left())
    assert 1 < len(left) < 1000
    assert left == sorted(left, reverse=True)
    assert min(left) > 0


def test_only_what_may_pass_is_tried_again() -> None:
    """A failure that another attempt could repeat or make worse is raised as it is, at once."""
    patience = Patience(5.0, Backoff())
    patience.left()
    for error in (Unavailable("died", retryable=False), ProtocolError("no EmbedResponse")):
        with pytest.raises(type(error)) as caught:
            patience.pause_after(error)
        assert caught.value is error
    assert patience.pause_after(Unavailable("busy")) >= 0
