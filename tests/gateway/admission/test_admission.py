"""Admission before the towers: requests in pieces, refusals over both ways in, nothing lost or kept."""

import asyncio
import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest

from babelclip import AsyncClient, Call, DeadlineExceeded, RequestRefused
from babelclip.keys.file import add
from babelclip.testing import InMemoryTransport
from babelclip.wire import Tower
from gateway.admission.queue import TowerQueue
from gateway.admission.towers import Admission, AdmittedTowers
from tests.e2e.support import PATIENCE, summed
from tests.gateway.engine import Engine, towers
from tests.gateway.front import Front, gateway

Queues = Mapping[Tower, TowerQueue]


def run(
    engine: Engine, work: Callable[[AdmittedTowers, Queues], Coroutine[Any, Any, Any]], at_once: int = 64
) -> Any:
    """What `work` returns, of towers with admission before an engine in memory."""

    async def main() -> Any:
        admission = Admission(at_once=at_once, max_wait=0.0)
        admitted = admission.before("clip", towers(engine))
        try:
            return await work(admitted, admission.queues["clip"])
        finally:
            for queue in admission.queues["clip"].values():
                assert (queue.at_tower, queue.waiting) == (0, 0)
            await admitted.close()

    return asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_a_request_in_pieces_has_the_outcomes_of_a_whole_one() -> None:
    """Vectors, errors and flags are in their places, as the engine's client gives them."""
    texts = [f"text {number}" for number in range(200)]
    texts[50], texts[150], texts[199] = "poison", "ⴰⵣⵓⵍ", "poison"
    memory = InMemoryTransport(failing={"poison": ("empty_item", "nothing to see")}, unknown=["ⴰⵣⵓⵍ"])

    async def work(admitted: AdmittedTowers, queues: Mapping[Tower, TowerQueue]) -> Any:
        return await admitted.embed("text", texts, await admitted.version())

    async def whole() -> Any:
        return await AsyncClient("grpc://127.0.0.1:1", transport=Engine(memory)).embed_texts(
            texts, errors="return"
        )

    found, expected = run(Engine(memory), work), asyncio.run(whole())
    np.testing.assert_array_equal(found.vectors, expected.vectors)
    for name in ("errors", "truncated", "unknown", "tokens", "space", "logit_scale", "version"):
        assert getattr(found, name) == getattr(expected, name), name
    assert [error.index for error in found.errors] == [50, 199]


def test_a_piece_that_fails_ends_the_request_and_frees_its_places() -> None:
    """A refusal of the engine reaches the caller as it is, and what has not been sent is not."""
    engine = Engine()

    def before(call: Call) -> None:
        if b"text 40" in call.body:
            raise RequestRefused("malformed_request", "no")

    async def work(admitted: AdmittedTowers, queues: Mapping[Tower, TowerQueue]) -> None:
        version = await admitted.version()
        engine.before = before
        with pytest.raises(RequestRefused):
            await admitted.embed("text", [f"text {number}" for number in range(2000)], version)
        assert (await admitted.embed("text", ["a"], version)).ok.all()

    run(engine, work)
    assert len(engine.calls) < 30


def test_a_caller_who_leaves_frees_its_places() -> None:
    """At the tower and in the queue; those who wait have their turns."""
    engine = Engine()

    async def during(call: Call) -> None:
        if b"long" in call.body:
            await asyncio.Event().wait()

    async def work(admitted: AdmittedTowers, queues: Mapping[Tower, TowerQueue]) -> None:
        version = await admitted.version()
        engine.during = during
        leaving = asyncio.create_task(admitted.embed("text", ["long"] * 500, version))
        queue = queues["text"]
        while queue.waiting == 0:
            await asyncio.sleep(0)
        patient = asyncio.create_task(admitted.embed("text", ["a", "b"], version))
        await asyncio.sleep(0)
        assert not patient.done()
        leaving.cancel()
        assert (await patient).ok.all()
        with pytest.raises(asyncio.CancelledError):
            await leaving

    run(engine, work)


def test_a_deadline_that_passes_in_the_queue_costs_what_had_no_turn() -> None:
    """What was embedded in time is given, the rest says why not; with nothing in time the request fails."""
    engine = Engine()
    release = asyncio.Event()

    async def work(admitted: AdmittedTowers, queues: Mapping[Tower, TowerQueue]) -> None:
        version = await admitted.version()

        async def hold(call: Call) -> None:
            if b"long" in call.body:
                await release.wait()

        engine.during = hold
        long = asyncio.create_task(admitted.embed("text", ["long"] * 64, version))
        while queues["text"].at_tower < 64:
            await asyncio.sleep(0)
        with pytest.raises(DeadlineExceeded):
            await admitted.embed("text", ["a"], version, timeout=0.02)
        release.set()
        assert (await long).ok.all()

    run(engine, work)


def test_an_overloaded_tower_refuses_over_both_ways_in_and_keys_have_their_turns(tmp_path: Path) -> None:
    """The greedy key is told to come again, another one is served, and the metrics say who waits."""
    engine = Engine()
    release = threading.Event()

    async def during(call: Call) -> None:
        if b"long" in call.body:
            await asyncio.to_thread(release.wait, PATIENCE)

    engine.during = during
    with ThreadPoolExecutor(16) as pool, gateway(engine, tmp_path, items_at_tower=4) as front:
        other = add(front.keys_file, "other")

        def gauge(name: str) -> float:
            return summed(
                httpx.get(front.addresses.metrics).text,
                f"babelclip_gateway_{name}",
                model="clip",
                tower="text",
            )

        def until(name: str, value: float) -> None:
            give_up = time.monotonic() + PATIENCE
            while gauge(name) != value:
                assert time.monotonic() < give_up
                time.sleep(0.02)

        try:
            sent = [pool.submit(front.post, json={"input": "long"}) for _ in range(4)]
            until("tower_items", 4)
            for waiting in range(1, 5):
                sent.append(pool.submit(front.post, json={"input": "long"}))
                until("waiting_items", waiting)
            refused = front.post(json={"input": "long"})
            assert refused.status_code == 429, refused.text
            assert refused.json()["error"]["code"] == "overloaded"
            assert int(refused.headers["retry-after"]) >= 1
            bearer = {"authorization": f"Bearer {other}"}
            modest = pool.submit(front.post, json={"input": "a"}, headers=bearer)
            until("waiting_items", 5)
        finally:
            release.set()
        assert [answer.result(PATIENCE).status_code for answer in [*sent, modest]] == [200] * 9
        exposition = httpx.get(front.addresses.metrics).text
        assert summed(exposition, "babelclip_gateway_refusals_total", key="test", limit="overloaded") == 1
        assert summed(exposition, "babelclip_gateway_wait_seconds_count", key="test") == 4
        assert summed(exposition, "babelclip_gateway_wait_seconds_count", key="other") == 1


def test_slow_uploads_and_unread_answers_cost_nobody_a_turn(tmp_path: Path) -> None:
    """A tower is held while items are computed, and not while a body arrives or an answer is taken."""
    with gateway(Engine(), tmp_path, items_at_tower=1) as front:
        opened = [connection(front) for _ in range(20)]
        body = json.dumps({"input": ["a"] * 2000}).encode()
        for number, caller in enumerate(opened):
            head = f"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {front.key}\r\n"
            sent = body[:-1] if number % 2 else body  # Half never finish, half never read.
            caller.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + sent)
        for _ in itertools.repeat(None, 5):
            answer = front.post(json={"input": "a"})
            while answer.status_code == 429:  # The ten large requests have their turns first.
                answer = front.post(json={"input": "a"})
            assert answer.status_code == 200
        for caller in opened:
            caller.close()


def connection(front: Front) -> socket.socket:
    """A connection that reads nothing by itself."""
    parts = urlsplit(front.addresses.http)
    return socket.create_connection((str(parts.hostname), parts.port or 0))
