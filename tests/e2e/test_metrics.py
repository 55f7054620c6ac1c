"""What an operator sees on the metrics address."""

import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest

from babelclip import Client
from babelclip.embedding_pb2 import EmbedRequest
from tests.e2e.support import PATIENCE, Server, embed

# More requests than the text tower takes at once (batchSize 64), so that some must wait.
CALLERS = 90


def wait_for(server: Server, expected: float, name: str, **labels: str) -> float:
    """Wait until a metric reaches `expected`; TorchServe reads it from a worker's output a moment later."""
    give_up = time.monotonic() + PATIENCE
    while (value := server.counted(name, **labels)) < expected and time.monotonic() < give_up:
        time.sleep(0.05)
    return value


def wait_until_still(server: Server, name: str, **labels: str) -> float:
    """Wait until what earlier tests caused has been counted as well."""
    earlier, value = -1.0, server.counted(name, **labels)
    while value != earlier:
        time.sleep(0.5)
        earlier, value = value, server.counted(name, **labels)
    return value


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_requests_and_items_are_counted_on_both_transports(server: Server, transport: str) -> None:
    """TorchServe's own counters leave gRPC out; ours count both, items by their outcome."""
    good = wait_until_still(server, "babelclip_items_total", tower="text", code="ok")
    requests = server.counted("babelclip_requests_total", tower="text", transport=transport, code="ok")
    empty = server.counted("babelclip_items_total", tower="text", code="empty_item")
    embed(server, transport, "text", EmbedRequest(texts=[b"a cat", b"", b"a dog"]))
    found = wait_for(
        server, requests + 1, "babelclip_requests_total", tower="text", transport=transport, code="ok"
    )
    assert found == requests + 1
    assert wait_for(server, good + 2, "babelclip_items_total", tower="text", code="ok") == good + 2
    assert wait_for(server, empty + 1, "babelclip_items_total", tower="text", code="empty_item") == empty + 1


def test_a_refused_request_is_counted_by_its_code(server: Server) -> None:
    """An operator sees callers that come with another space."""
    labels = {"tower": "text", "transport": "grpc", "code": "space_mismatch"}
    before = server.counted("babelclip_requests_total", **labels)
    embed(server, "grpc", "text", EmbedRequest(texts=[b"a"], space="0" * 16))
    assert wait_for(server, before + 1, "babelclip_requests_total", **labels) == before + 1


def test_what_is_served_is_a_metric(server: Server, images: list[bytes]) -> None:
    """A dashboard can show the space of each tower, and the time each stage takes."""
    with Client(server.http, token_file=server.token_file) as client:
        client.embed_texts(["a cat"])
        client.embed_images(images)
    for tower in ("text", "vision"):
        assert wait_for(server, 1, "babelclip_info", tower=tower, space=server.space) == 1
        assert wait_for(server, 1, "babelclip_stage_seconds_count", tower=tower) >= 1


def test_a_batch_is_explained(server: Server, images: list[bytes]) -> None:
    """TorchServe passes on every metric that a handler sends: stages, passes, rows, decoding."""
    names = ("babelclip_passes_total", "babelclip_rows_total", "babelclip_decode_cpu_seconds_total")
    before = [server.counted(name, tower="vision") for name in names]
    with Client(server.http, token_file=server.token_file) as client:
        client.embed_images(images)
    for name, value in zip(names, before, strict=True):
        assert wait_for(server, value + 1e-9, name, tower="vision") > value
    for stage in ("idle", "parse", "decode", "forward", "encode"):
        assert server.counted("babelclip_stage_seconds_count", tower="vision", stage=stage) >= 1


@pytest.mark.usefixtures("unharmed")
def test_waiting_requests_are_a_metric(server: Server) -> None:
    """While a worker is busy the queue's depth shows who waits, and it is empty again afterwards."""
    free = server.queue("babelclip_queue_free", tower="text")
    assert server.queue("babelclip_queue_up") == 1
    assert free == 1000
    worker = psutil.Process(server.worker_pids()["text"][0])
    with ThreadPoolExecutor(CALLERS) as pool:
        worker.suspend()
        try:
            asked = [
                pool.submit(embed, server, "http", "text", EmbedRequest(texts=[b"a"])) for _ in range(CALLERS)
            ]
            give_up = time.monotonic() + PATIENCE
            # The first batch has been taken from the queue and sent to the worker.
            while not (waiting := server.queue("babelclip_queue_depth", tower="text")):
                assert time.monotonic() < give_up
            assert server.queue("babelclip_queue_free", tower="text") <= free - waiting
        finally:
            worker.resume()
        assert all(len(one.result().vectors) for one in asked)
    assert server.queue("babelclip_queue_depth", tower="text") == 0
    assert server.queue("babelclip_queue_free", tower="text") == free


def test_a_renewed_management_key_is_taken_up(server: Server) -> None:
    """An operator who renews the key does not lose sight of the queues."""
    before = server.key("management")
    headers = {"authorization": f"Bearer {server.key('API')}"}
    renewed = httpx.get(f"{server.management}/token", params={"type": "management"}, headers=headers)
    assert renewed.status_code == 200
    assert server.key("management") != before
    assert server.queue("babelclip_queue_up") == 1
