"""What all bodies have in memory at a time is bounded, for a key and for all of them."""

import gzip
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from babelclip.keys.file import add
from gateway.settings import Settings, SettingsError
from tests.e2e.support import PATIENCE
from tests.gateway.engine import Engine
from tests.gateway.front import Front, gateway

BODY = json.dumps({"input": "a" * 900}).encode()


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """Room for four bodies, and for two of a key."""
    folder = tmp_path_factory.mktemp("front")
    with gateway(Engine(), folder, max_body_bytes=1000, max_bodies_bytes=4 * len(BODY) - 2) as front:
        yield front


def half_sent(front: Front, left: ExitStack, key: str) -> None:
    """A request whose last byte does not come."""
    url = urlsplit(front.addresses.http)
    connection = left.enter_context(socket.create_connection((str(url.hostname), url.port or 0), PATIENCE))
    head = f"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
    connection.sendall(f"{head}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY[:-1])


def until(status: int, call: Callable[[], httpx.Response]) -> httpx.Response:
    """The first answer of this status: what others sent has come, or has gone, by then."""
    end = time.monotonic() + PATIENCE
    while (answer := call()).status_code != status:
        assert time.monotonic() < end, answer.text
    return answer


def test_large_bodies_of_a_key_leave_room_for_others(front: Front) -> None:
    """Whoever holds half of the room is refused more, others go on, and what has ended is free again."""
    greedy, other = (add(front.keys_file, name) for name in ("greedy", "other"))

    def call(key: str) -> httpx.Response:
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        return httpx.post(f"{front.addresses.http}/v1/embeddings", content=BODY, headers=headers, timeout=60)

    with ExitStack() as left:
        half_sent(front, left, greedy)
        half_sent(front, left, greedy)
        answer = until(429, lambda: call(greedy))
        assert (answer.json()["error"]["code"], answer.headers["retry-after"]) == ("overloaded", "1")
        assert [call(other).status_code for _ in range(5)] == [200] * 5
        half_sent(front, left, other)
        third = add(front.keys_file, "third")
        half_sent(front, left, third)
        answer = until(503, lambda: call(other))
        assert answer.json()["error"]["code"] == "overloaded"
        assert httpx.get(f"{front.addresses.http}/readyz").status_code == 200
    assert until(200, lambda: call(greedy)).json()["data"]


def test_what_was_packed_counts_by_its_size(tmp_path: Path) -> None:
    """A body that is small on its way takes the room that it has when it is unpacked."""
    with gateway(Engine(), tmp_path, max_body_bytes=10_000, max_bodies_bytes=20_000) as front:
        packed = gzip.compress(json.dumps({"input": "a" * 9_900}).encode())
        headers = {"content-encoding": "gzip", "content-type": "application/json"}
        assert front.post(content=packed, headers=headers).status_code == 200
        for _ in range(5):  # It is given back each time.
            assert front.post(content=packed, headers=headers).status_code == 200


def test_a_key_has_room_for_one_body() -> None:
    """Settings under which no large body could ever be sent are refused."""
    with pytest.raises(SettingsError, match="twice max_body_bytes"):
        Settings(max_body_bytes=1000, max_bodies_bytes=1999)
