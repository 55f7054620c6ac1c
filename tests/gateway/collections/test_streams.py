"""Items that come as lines: outcomes are told while more are sent, and a bad line costs itself."""

import json
import queue
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.support import PATIENCE
from tests.gateway.collections.album import album, call, encoded, engine, picture, refused, told
from tests.gateway.front import Front

NDJSON = {"content-type": "application/x-ndjson"}


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A gateway with a collection that the tests fill."""
    with album(tmp_path_factory.mktemp("album"), max_body_bytes=100_000) as front:
        told(call(front, "POST", "", json={"name": "stream"}), 201)
        yield front


def line(**item: Any) -> bytes:
    """An item as a line."""
    return json.dumps(item).encode() + b"\n"


def sent(front: Front, *lines: bytes, name: str = "stream") -> list[dict[str, Any]]:
    """The outcomes of lines."""
    answer = call(front, "POST", f"/{name}/items", content=b"".join(lines), headers=NDJSON)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson"), answer.text
    return [json.loads(one) for one in answer.text.splitlines()]


def test_each_line_has_an_outcome_in_order(front: Front) -> None:
    """Also those that are no item, or no JSON; empty lines are none, and the last one needs no end."""
    good = encoded(picture(1))
    outcomes = sent(
        front,
        line(id="a", image=good),
        b"\r\n",
        b"{no json\n",
        b"\xff\xff\n",
        b"[" * 5000 + b"\n",
        line(id="b", image="no image"),
        b'{"id": "half", "image": "x", "caption": "\\ud800"}\n',
        line(id="c", image=good).rstrip(),
    )
    assert [one["status"] for one in outcomes] == ["added", *["failed"] * 5, "added"]
    assert [one["id"] for one in outcomes if one["status"] == "added"] == ["a", "c"]
    assert all(one["message"] for one in outcomes[1:-1])
    assert sent(front, b"") == []


def test_outcomes_come_while_items_still_do(front: Front) -> None:
    """A caller learns of its first item before it sends the second, on one request."""
    address = front.addresses.http.removeprefix("http://")
    host, port = address.split(":")
    first, second = line(id="first", image=encoded(picture(1))), line(id="second", image=encoded(picture(2)))
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
        head = (
            f"POST /v1/collections/stream/items HTTP/1.1\r\nHost: {address}\r\n"
            f"Authorization: Bearer {front.key}\r\nContent-Type: application/x-ndjson\r\n"
            f"Content-Length: {len(first + second)}\r\nConnection: close\r\n\r\n"
        )
        connection.sendall(head.encode() + first)
        seen = b""
        while b'"first"' not in seen:
            seen += connection.recv(4096)
        assert b'"second"' not in seen
        connection.sendall(second)
        while part := connection.recv(4096):
            seen += part
    assert b'{"id":"second","status":"added"}' in seen


def test_more_lines_than_a_piece_come_in_order(front: Front) -> None:
    """Every item has its outcome, whatever the pieces are that are added together."""
    items = [line(id=f"many-{number}", image=encoded(picture(number % 3))) for number in range(150)]
    outcomes = sent(front, *items)
    assert [one["id"] for one in outcomes] == [f"many-{number}" for number in range(150)]
    assert {one["status"] for one in outcomes} == {"added"}


def test_a_line_has_a_bound(front: Front) -> None:
    """What is too long for one item ends the stream with the reason, after what was before it."""
    outcomes = sent(front, line(id="before", image=encoded(picture(1))), b"x" * 200_000)
    assert outcomes[0]["status"] == "added"
    assert outcomes[-1]["error"]["code"] == "body_too_large"


def test_a_stream_needs_a_collection_and_plain_bytes(front: Front) -> None:
    """What cannot be begun is refused by a status, as any call is."""
    answer = call(front, "POST", "/nothing/items", content=b"", headers=NDJSON)
    refused(answer, 404, "collection_not_found")
    packed = {**NDJSON, "content-encoding": "gzip"}
    answer = call(front, "POST", "/stream/items", content=b"", headers=packed)
    refused(answer, 415, "unsupported_media_type")


def test_a_stream_waits_for_room_at_the_model(tmp_path: Path) -> None:
    """Where a tower has too much to do the stream is slowed, and no item is lost."""
    served = engine()
    began: queue.Queue[None] = queue.Queue()

    async def during(_: Any) -> None:
        began.put(None)

    served.during = during
    with album(tmp_path, served, items_at_tower=1) as front:
        told(call(front, "POST", "", json={"name": "slow"}), 201)
        items = [line(id=f"{number}", image=encoded(picture(number))) for number in range(70)]
        items = [one for one in items if b'"id": "5"' not in one]
        outcomes = sent(front, *items, name="slow")
    assert [one["status"] for one in outcomes] == ["added"] * 69
    assert began.qsize() > 0
