"""What the client of a collection sends and repeats, against a server that answers as a test says."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from babelclip import (
    AuthenticationError,
    BabelclipError,
    Backoff,
    DeadlineExceeded,
    ModelNotFound,
    ProtocolError,
    RequestRefused,
    SpaceMismatch,
    TransportError,
    Unavailable,
)
from babelclip.collections import CollectionClient, NewItem
from tests.clients.collections.scripted import Scripted, scripted
from tests.e2e.support import PATIENCE

EMPTY: dict[str, Any] = {
    "hits": [],
    "threshold": None,
    "fits": False,
    "next_offset": None,
    "space": "s",
    "version": "1.0",
}


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted() as server:
        yield server


def patient(server: Scripted, **settings: Any) -> CollectionClient:
    """A client that waits little between attempts."""
    given = {"timeout": PATIENCE, "backoff": Backoff(attempts=3, base=0.001), **settings}
    return CollectionClient(server.url, "x", token="key", **given)


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (400, "malformed_request", RequestRefused),
        (401, "invalid_api_key", AuthenticationError),
        (403, "insufficient_scope", AuthenticationError),
        (404, "collection_not_found", RequestRefused),
        (404, "model_not_found", ModelNotFound),
        (409, "model_not_found", ModelNotFound),
        (409, "space_mismatch", SpaceMismatch),
        (413, "body_too_large", RequestRefused),
        (429, "rate_limit_exceeded", Unavailable),
        (503, "overloaded", Unavailable),
        (504, "deadline_exceeded", DeadlineExceeded),
        (500, "internal", TransportError),
    ],
)
def test_errors_are_those_of_the_package(
    server: Scripted, status: int, code: str, error: type[BabelclipError]
) -> None:
    """Whoever catches a branch of the error tree catches what a gateway says, too."""
    server.fails(status, code)
    with patient(server) as client, pytest.raises(error, match="so it is"):
        client.info()


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"hits": 3}', b'{"hits": [{"id": 1}]}', b"[" * 100_000, b"\xff"]
)
def test_what_no_gateway_says_is_a_protocol_error(server: Scripted, body: bytes) -> None:
    """Another server's answer is told from a gateway's, and never a traceback of ours."""
    server.will(200, body)
    with patient(server) as client, pytest.raises(ProtocolError, match="another server"):
        client.search("beach")


def test_a_busy_gateway_is_asked_again(server: Scripted) -> None:
    """What passes is waited for as long as the gateway asks; what lasts longer than a call may is told."""
    server.fails(503, "overloaded", retry_after="0.01")
    server.fails(429, "rate_limit_exceeded")
    server.will(200, EMPTY)
    with patient(server) as client:
        assert client.search("beach").hits == ()
    assert len(server.requests) == 3
    server.answers.clear()
    server.fails(429, "rate_limit_exceeded", retry_after="86400")
    with patient(server) as client, pytest.raises(Unavailable, match="no room"):
        client.search("beach")
    assert len(server.requests) == 4


def test_only_what_does_no_harm_is_repeated(server: Scripted) -> None:
    """After a connection that broke a search is asked again, and a job is not begun a second time."""
    server.breaks()
    server.will(200, EMPTY)
    with patient(server) as client:
        client.search("beach")
    assert len(server.requests) == 2
    server.answers.clear()
    server.breaks()
    with patient(server) as client, pytest.raises(Unavailable) as lost:
        client.start_job("dedup")
    assert not lost.value.retryable
    assert len(server.requests) == 3


def test_a_key_that_has_changed_is_read_again(server: Scripted, tmp_path: Path) -> None:
    """A key file that was written anew serves the next attempt, without a restart."""
    file = tmp_path / "key"
    file.write_text("old")
    server.will(200, EMPTY)
    with CollectionClient(server.url, "x", token_file=file) as client:
        client.search("beach")
        file.write_text("new")
        server.answers.clear()
        server.fails(401, "expired_api_key")
        server.will(200, EMPTY)
        client.search("beach")
    assert [token for _, _, token, _ in server.requests] == ["Bearer old", "Bearer old", "Bearer new"]


def test_no_more_is_read_than_was_asked_for(server: Scripted) -> None:
    """An original that is larger than the caller wants does not fill the caller's memory."""
    server.will(200, b"x" * 1000)
    with patient(server) as client, pytest.raises(RequestRefused, match="more than 999 bytes"):
        client.content("a", most_bytes=999)
    with patient(server) as client:
        assert len(client.content("a", most_bytes=1000).data) == 1000


def test_many_items_are_sent_in_pieces(server: Scripted) -> None:
    """However many items there are, no message is too large, and outcomes keep their order."""
    with patient(server) as client:
        sizes = [64, 64, 2]
        for size in sizes:
            server.will(200, {"items": [{"id": "a", "status": "added"}] * size})
        items = [NewItem(image=b"x", id=str(n)) for n in range(sum(sizes))]
        items.insert(70, NewItem(image="missing.png", id="missing"))
        outcomes = client.add(iter(items))
    assert [n for n, one in enumerate(outcomes) if not one.added] == [70]
    assert [len(body["items"]) for *_, body in server.requests] == sizes
    assert server.requests[0][3]["items"][1] == {"image": "eA==", "id": "1"}


def test_names_are_quoted_in_addresses(server: Scripted) -> None:
    """A name with a slash is a name, and not a way to another call."""
    server.fails(404, "item_not_found")
    with patient(server) as client, pytest.raises(RequestRefused):
        client.get("../jobs?x=1")
    assert server.requests[0][1] == "/v1/collections/x/items/..%2Fjobs%3Fx%3D1"


def test_errors_travel_between_processes(server: Scripted) -> None:
    """A pool of processes gets the error of a worker, and does not break over it."""
    server.fails(503, "overloaded", retry_after="0.01")
    with patient(server) as client, pytest.raises(Unavailable) as busy:
        client.search("beach")
    assert str(pickle.loads(pickle.dumps(busy.value))) == str(busy.value)  # noqa: S301
