"""What callers see when something breaks on a running server, and that it heals without hands."""

import asyncio
import json
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import psutil
import pytest

from babelclip import BabelclipError, Client, Unavailable
from babelclip.retry import Backoff
from tests.e2e.support import PATIENCE, Server, launched

ONCE = Backoff(attempts=1)
# The vision tower's jobQueueSize, and more requests than it holds.
QUEUE, TOO_MANY = 200, 260


@pytest.fixture(scope="module")
def fragile(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that these tests may break."""
    run = tmp_path_factory.mktemp("run")
    with launched("--store", store, "--run-dir", run, "--ports", "auto") as launcher:
        yield launcher.wait_ready()


def client(server: Server, transport: str) -> Client:
    """A client that hides nothing by trying again."""
    return Client(server.url(transport), token_file=server.token_file, backoff=ONCE, timeout=60)


def healed(server: Server, transport: str = "http") -> None:
    """Wait until both towers pass their canaries."""
    give_up = time.monotonic() + PATIENCE
    with client(server, transport) as probe:
        while True:
            try:
                assert probe.health() == server.space
                return
            except BabelclipError:
                assert time.monotonic() < give_up
                time.sleep(0.2)


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_a_killed_worker_costs_its_batch_and_comes_back(fragile: Server, transport: str) -> None:
    """Each request in flight ends as a right vector or as Unavailable; the next ones are served again."""
    healed(fragile, transport)
    before = fragile.worker_pids()
    with client(fragile, transport) as caller, ThreadPoolExecutor(8) as pool:
        expected = caller.embed_texts(["a cat"]).vectors

        def ask(_: int) -> bool:
            try:
                found = caller.embed_texts(["a cat"]).vectors
            except Unavailable:
                return False
            np.testing.assert_allclose(found, expected, atol=1e-4)
            return True

        answers = [pool.submit(ask, i) for i in range(400)]
        os.kill(before["text"][0], signal.SIGKILL)
        served = [answer.result(timeout=PATIENCE) for answer in answers]
    assert any(served)
    healed(fragile, transport)
    after = fragile.worker_pids()
    assert after["text"] != before["text"]
    assert after["vision"] == before["vision"]


def test_a_probe_sees_a_dead_worker_at_once(fragile: Server) -> None:
    """A tower whose worker is gone fails its probe within seconds, while /ping is content."""
    healed(fragile)
    worker = psutil.Process(fragile.worker_pids()["text"][0])
    worker.suspend()
    try:
        with Client(fragile.http, token_file=fragile.token_file, timeout=2, backoff=ONCE) as probe:
            started = time.monotonic()
            with pytest.raises(BabelclipError):
                probe.health()
            assert time.monotonic() - started < 10
        headers = {"authorization": f"Bearer {fragile.key('inference')}"}
        assert httpx.get(f"{fragile.http}/ping", headers=headers).status_code == 200
    finally:
        worker.resume()
    healed(fragile)
    assert worker.is_running()


def test_a_full_queue_refuses_and_loses_nothing(fragile: Server, images: list[bytes]) -> None:
    """What the queue cannot take is refused at once with 503; all that it took is answered."""
    healed(fragile)
    pid = fragile.worker_pids()["vision"][0]
    headers = {"authorization": f"Bearer {fragile.key('inference')}", "content-type": "image/jpeg"}
    url = f"{fragile.http}/predictions/vision"

    async def flood() -> list[int]:
        limits = httpx.Limits(max_connections=TOO_MANY)
        async with httpx.AsyncClient(headers=headers, timeout=120, limits=limits) as http:
            os.kill(pid, signal.SIGSTOP)
            try:
                sent = [asyncio.create_task(http.post(url, content=images[0])) for _ in range(TOO_MANY)]
                while sum(task.done() for task in sent) < (TOO_MANY - QUEUE) // 2:
                    await asyncio.sleep(0.05)
            finally:
                os.kill(pid, signal.SIGCONT)
            return [answer.status_code for answer in await asyncio.gather(*sent)]

    statuses = asyncio.run(flood())
    assert set(statuses) == {200, 503}
    assert statuses.count(200) >= QUEUE
    assert fragile.worker_pids()["vision"] == [pid]


def raw_request(server: Server, body: bytes) -> tuple[socket.socket, bytes]:
    """A connection to the server, and a request to write to it."""
    address = urlsplit(server.http)
    assert address.hostname
    connection = socket.create_connection((address.hostname, address.port or 80), timeout=60)
    head = (
        f"POST /predictions/text HTTP/1.1\r\nHost: {address.netloc}\r\n"
        f"Authorization: Bearer {server.key('inference')}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return connection, head.encode() + body


BODY = b'{"inputs": [' + b",".join([b'"a cat"'] * 256) + b"]}"


def test_callers_that_hang_up_harm_nobody(fragile: Server) -> None:
    """Connections that end before, within and after a request leave the workers and the others alone."""
    healed(fragile)
    before = fragile.worker_pids()
    for end in (0, 40, -20, None):
        connection, request = raw_request(fragile, BODY)
        connection.sendall(request[:end])
        connection.close()
    healed(fragile)
    assert fragile.worker_pids() == before


def test_a_slow_reader_holds_up_nobody(fragile: Server) -> None:
    """While one caller takes its megabyte in drops, others are served; and it gets every byte."""
    healed(fragile)
    connection, request = raw_request(fragile, BODY)
    with connection:
        connection.sendall(request)
        received = connection.recv(64)
        with client(fragile, "http") as caller:
            for _ in range(20):
                caller.embed_texts(["a dog"])
        while b"\r\n\r\n" not in received:
            received += connection.recv(4096)
        head, _, body = received.partition(b"\r\n\r\n")
        found = re.search(rb"content-length: (\d+)", head)
        assert found
        while len(body) < int(found[1]):
            part = connection.recv(65_536)
            assert part
            body += part
    assert head.startswith(b"HTTP/1.1 200")
    assert len(json.loads(body)["embeddings"]) == 256
