"""What callers see when something breaks on a running server, and that it heals without hands."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import httpx
import numpy as np
import psutil
import pytest
import yaml

from babelclip import BabelclipError, Client, DeadlineExceeded, Unavailable
from babelclip.client.retry import Backoff
from tests.e2e.support import PATIENCE, Server, alive, launched, post, predict, with_changed_text_tower

ONCE = Backoff(attempts=1)
TRANSPORTS = ("http", "grpc")
# The vision tower's jobQueueSize and batchSize, and more requests than both hold together.
QUEUE, BATCH, TOO_MANY = 200, 32, 300


@pytest.fixture(scope="module")
def fragile(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that these tests may break."""
    run = tmp_path_factory.mktemp("run")
    with launched("--store", store, "--run-dir", run, "--ports", "auto") as launcher:
        yield launcher.wait_ready()


def client(server: Server, transport: str, timeout: float = 60) -> Client:
    """A client that hides nothing by trying again."""
    return Client(server.url(transport), token_file=server.token_file, backoff=ONCE, timeout=timeout)


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


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_killed_worker_costs_its_batch_and_comes_back(fragile: Server, transport: str) -> None:
    """Each request in flight ends as a right vector or as Unavailable; the next ones are served again.

    TorchServe may forget those that it was collecting into a batch at that moment: they end at the client's
    timeout.
    """
    healed(fragile, transport)
    before = fragile.worker_pids()
    callers = 8
    with client(fragile, transport) as caller, ThreadPoolExecutor(callers) as pool:
        expected = caller.embed_texts(["a cat"]).vectors

        def ask(_: int) -> str:
            try:
                found = caller.embed_texts(["a cat"]).vectors
            except (Unavailable, DeadlineExceeded) as error:
                return type(error).__name__
            np.testing.assert_allclose(found, expected, atol=1e-4)
            return "served"

        answers = [pool.submit(ask, i) for i in range(400)]
        os.kill(before["text"][0], signal.SIGKILL)
        ended = Counter(answer.result(timeout=PATIENCE) for answer in answers)
    assert ended["served"]
    assert ended["DeadlineExceeded"] <= callers
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
                # The worker may have been given a batch before it stopped: so many are refused in any case.
                while sum(task.done() for task in sent) < TOO_MANY - QUEUE - BATCH:
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


# Of so many requests at once, HASTY["batchSize"] are one batch, in which each of the four kinds of callers
# has at least one; three are queued behind it.
CALLERS = 16
HASTY = {"responseTimeout": 3, "batchSize": 13, "maxBatchDelay": 5_000}


@pytest.fixture
def hasty(store: Path, tmp_path: Path) -> Iterator[Server]:
    """A server whose text tower is given up after three seconds and waits for its batches to fill."""

    def hurry(name: str, content: bytes) -> bytes:
        if name != "model-config.yaml":
            return content
        return yaml.safe_dump({**yaml.safe_load(content), **HASTY}).encode()

    changed = tmp_path / "store"
    with_changed_text_tower(store, changed, hurry)
    with launched("--store", changed, "--run-dir", tmp_path / "run", "--ports", "auto") as launcher:
        yield launcher.wait_ready()


def by_http(server: Server) -> str:
    """What any program hears over HTTP."""
    answer = post(server, "text", b"a cat", "text/plain")
    return "served" if answer.status_code == 200 else f"{answer.status_code} {answer.json()['message']}"


def by_grpc(server: Server) -> str:
    """What any program hears over gRPC."""
    try:
        return "served" if predict(server, "text", data=b"a cat").vectors else "no vector"
    except grpc.RpcError as error:
        return f"{error.code().name} {(error.details() or '').partition(chr(10))[0]}"


def by_client(server: Server, transport: str) -> str:
    """What a user of babelclip hears."""
    with client(server, transport) as caller:
        try:
            return "served" if len(caller.embed_texts(["a cat"])) == 1 else "no vector"
        except Unavailable as error:
            return f"Unavailable, retryable: {error.retryable}"


KINDS: dict[str, tuple[Callable[[Server], str], str]] = {
    "HTTP": (by_http, "500 Worker died."),
    "gRPC": (by_grpc, "INTERNAL Worker died."),
    "client, HTTP": (lambda server: by_client(server, "http"), "Unavailable, retryable: False"),
    "client, gRPC": (lambda server: by_client(server, "grpc"), "Unavailable, retryable: False"),
}


def test_a_worker_that_hangs_is_replaced(hasty: Server) -> None:
    """A hang costs its batch once responseTimeout is over; what is queued is served by a new worker."""
    before = hasty.worker_pids()
    hung = psutil.Process(before["text"][0])
    hung.suspend()
    kinds = list(KINDS) * (CALLERS // len(KINDS))
    with ThreadPoolExecutor(CALLERS) as pool:
        heard = list(pool.map(lambda kind: KINDS[kind][0](hasty), kinds))
    lost = [(kind, words) for kind, words in zip(kinds, heard, strict=True) if words != "served"]
    assert set(lost) == {(kind, expected) for kind, (_, expected) in KINDS.items()}
    assert len(lost) == HASTY["batchSize"]
    healed(hasty)
    after = hasty.worker_pids()
    assert after["text"] != before["text"]
    assert after["vision"] == before["vision"]
    assert not alive([hung])


def wait_until(happened: Callable[[], bool]) -> None:
    """Look again and again, until it has happened."""
    give_up = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def listeners(server: Server) -> list[str]:
    """The options that start a server on the ports of this one."""
    addresses = {
        "inference": server.http,
        "management": server.management,
        "metrics": server.metrics,
        "grpc-inference": server.grpc,
        "grpc-management": server.management_grpc,
    }
    return [word for name, url in addresses.items() for word in (f"--{name}-port", str(urlsplit(url).port))]


def test_clients_outlive_a_killed_front_end(store: Path, tmp_path: Path) -> None:
    """From kill -9 until the next start is ready there is Unavailable alone; then the same clients go on.

    Whoever supervises the server learns of its end by the exit status and reads why; no worker is left.
    """
    folder = ("--store", store, "--run-dir", tmp_path)
    seen: dict[str, Counter[str]] = {transport: Counter() for transport in TRANSPORTS}
    stop = threading.Event()

    def call(caller: Client, heard: Counter[str]) -> None:
        while not stop.wait(0.02):
            try:
                # Not to the last digit: of several runtimes a worker takes the one that it finds faster.
                assert float(caller.embed_texts(["a cat"]).vectors[0] @ expected[0]) > 0.999
                heard["served"] += 1
            except Exception as error:
                heard[type(error).__name__] += 1

    def each_has(what: str, more_than: dict[str, int]) -> bool:
        return all(seen[transport][what] > more_than[transport] for transport in TRANSPORTS)

    with contextlib.ExitStack() as stack:
        launcher = stack.enter_context(launched(*folder, "--ports", "auto"))
        server = launcher.wait_ready()
        # What is sent while the workers load waits for them; only a hang waits for so long.
        callers = {
            transport: stack.enter_context(client(server, transport, timeout=PATIENCE))
            for transport in TRANSPORTS
        }
        expected = callers["http"].embed_texts(["a cat"]).vectors
        pool = stack.enter_context(ThreadPoolExecutor(8))
        stack.callback(stop.set)
        for transport in TRANSPORTS * 4:
            pool.submit(call, callers[transport], seen[transport])
        none_yet = dict.fromkeys(TRANSPORTS, 0)
        wait_until(lambda: each_has("served", none_yet))

        family = launcher.family()
        (java,) = [process for process in family if process.name() == "java"]
        java.kill()
        status, printed = launcher.wait_ended()
        assert status == 1
        assert "TorchServe ended by itself" in printed
        assert "torchserve.log" in printed
        assert not alive(family)
        wait_until(lambda: each_has("Unavailable", none_yet))

        again = stack.enter_context(launched(*folder, *listeners(server)))
        assert again.wait_ready().http == server.http
        so_far = {transport: seen[transport]["served"] for transport in TRANSPORTS}
        wait_until(lambda: each_has("served", so_far))
        # Before the server is stopped, which is another matter.
        stop.set()
        pool.shutdown()
    for transport in TRANSPORTS:
        assert set(seen[transport]) == {"served", "Unavailable"}, seen
