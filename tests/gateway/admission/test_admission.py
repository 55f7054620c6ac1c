"""Admission before the towers: turns that are fair, pieces, refusals in time, nothing lost or kept."""

import asyncio
import contextlib
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
from hypothesis import given, settings
from hypothesis import strategies as st

from babelclip import AsyncClient, Call, DeadlineExceeded, RequestRefused
from babelclip.keys.file import add
from babelclip.testing import InMemoryTransport
from babelclip.wire import Tower
from gateway.admission.alone import TimeAlone
from gateway.admission.queue import PIECE, TowerQueue, Waiting
from gateway.admission.rate import Rate
from gateway.admission.towers import Admission, AdmittedTowers
from gateway.errors import ApiError
from tests.e2e.support import PATIENCE, summed
from tests.gateway.engine import Engine, towers
from tests.gateway.front import Front, gateway


class Turns:
    """A queue, and whose turn it was for how many items, in order; `second` passes with each item."""

    def __init__(self, at_once: int = 64, **more: float) -> None:
        self.now = 0.0
        self.second = 1.0
        self.queue = TowerQueue(at_once, clock=lambda: self.now, **more)
        self.had: list[tuple[str, int]] = []
        self._at_tower: list[int] = []

    def enter(self, key: str, count: int, seconds: float | None = None, name: str = "") -> Waiting:
        """A request, in the list under `name`."""

        def begin(size: int) -> None:
            self.had.append((name or key, size))
            self._at_tower.append(size)

        return self.queue.enter(key, count, seconds, begin)

    def finish(self) -> None:
        """The tower is done with its oldest piece."""
        size = self._at_tower.pop(0)
        self.now += size * self.second
        self.queue.done(size)

    def finish_all(self) -> None:
        """Until nothing waits and nothing is at the tower."""
        while self._at_tower:
            self.finish()
        assert (self.queue.at_tower, self.queue.waiting) == (0, 0)


@pytest.mark.parametrize("modest", [(1,) * 16, (200,), (5, 1, 20)])
def test_keys_have_their_turns_by_items(modest: tuple[int, ...]) -> None:
    """A key with a thousand items takes no more than half from another, whose requests are of any size."""
    turns = Turns()
    turns.enter("greedy", 1000)
    before = len(turns.had)
    for count in modest:
        turns.enter("modest", count)
    while (had := totals(turns.had[before:]))["modest"] < sum(modest):
        assert had["greedy"] - had["modest"] <= 2 * PIECE
        turns.finish()
    turns.finish_all()
    assert totals(turns.had) == {"greedy": 1000, "modest": sum(modest)}


def totals(had: list[tuple[str, int]]) -> dict[str, int]:
    """The items of each key."""
    return {name: sum(size for key, size in had if key == name) for name in ("greedy", "modest")}


def served(turns: Turns, *, alone: float) -> None:
    """An item that has the tower for itself for so many seconds, then a key's items, which take one each."""
    assert turns.queue.pass_at_once("greedy", 1)
    turns.now += alone
    turns.queue.done(1)
    for _ in range(90):
        turns.enter("greedy", 1)
    for _ in range(70):
        turns.finish()
        turns.enter("greedy", 1)


@pytest.mark.parametrize(("alone", "most"), [(1.0, 2), (1.2, 2), (4.0, 8), (1000.0, 64)])
def test_what_a_slow_tower_has_is_what_its_workers_compute_and_as_much_again(alone: float, most: int) -> None:
    """Whoever comes next, of whatever key, waits for that; and it is the turn of who has had least."""
    turns = Turns()
    served(turns, alone=alone)
    assert turns.queue.at_tower == most
    turns.enter("modest", 1)
    turns.finish()
    assert turns.had[-1] == ("modest", 1)
    turns.finish_all()


def test_one_key_has_what_a_tower_embeds_in_half_a_second() -> None:
    """Batches stay large where the tower is not slow, and nobody waits long behind them."""
    turns = Turns()
    turns.second = 1 / 40
    served(turns, alone=1 / 40)
    assert turns.queue.at_tower == 20
    turns.enter("modest", 1)
    while ("modest", 1) not in turns.had:
        turns.finish()
    assert turns.queue.at_tower == 2
    turns.finish_all()


def test_a_large_request_is_cut_to_what_the_tower_has_at_a_time_while_several_keys_call() -> None:
    """A piece of 32 images would keep a slow tower from all others for seconds."""
    turns = Turns()
    served(turns, alone=1.0)
    turns.enter("modest", 1)
    before = len(turns.had)
    turns.enter("greedy", 20)
    turns.enter("modest", 20)
    turns.finish_all()
    assert max(size for _, size in turns.had[before:]) == 2


def test_only_an_item_that_is_embedded_tells_how_long_one_takes_alone() -> None:
    """What is refused at once, or shares the tower, makes no tower fast or slow."""
    alone = TimeAlone()
    alone.begin(1, 0, 10.0)
    alone.done(10.001, embedded=False)
    alone.begin(2, 0, 20.0)
    alone.done(25.0, embedded=True)
    alone.begin(1, 0, 30.0)
    alone.begin(1, 1, 30.1)
    alone.done(35.0, embedded=True)
    assert alone.seconds is None
    alone.begin(1, 0, 40.0)
    alone.done(40.5, embedded=True)
    assert alone.seconds == 0.5
    alone.begin(1, 0, 50.0)
    alone.done(51.5, embedded=True)
    assert alone.seconds == pytest.approx(0.6)


def test_a_small_request_passes_a_large_one_of_the_same_key() -> None:
    """Whoever asks for one vector does not wait for a colleague's thousand."""
    turns = Turns()
    turns.enter("shop", 1000, name="large")
    turns.enter("shop", 1, name="small")
    for _ in range(3):
        turns.finish()
    assert ("small", 1) in turns.had


def refusal(turns: Turns, key: str) -> ApiError:
    """Single items of a key until one is refused."""
    with pytest.raises(ApiError) as caught:  # noqa: PT012  # the last of them, whichever that is
        for _ in range(1000):
            turns.enter(key, 1)
    return caught.value


def test_what_would_wait_too_long_is_refused_at_once() -> None:
    """A queue is shorter than what the tower has, and another key still finds a place in it."""
    turns = Turns()
    turns.enter("greedy", 64)
    error = refusal(turns, "greedy")
    assert (error.status, error.code, error.retry_after) == (429, "overloaded", 1)
    assert turns.queue.waiting == 49
    turns.enter("modest", 1)
    for _ in range(3):  # The tower's rate, an item a second, is known from here on.
        turns.finish()
    known = refusal(turns, "greedy").retry_after
    assert known is not None
    assert 10 < known <= 60
    turns.finish_all()


def test_the_operator_may_let_requests_wait_longer() -> None:
    """Bursts can be waited for where that is better than to come again."""
    turns = Turns(max_wait=500.0)
    turns.enter("shop", 100)
    for _ in range(3):
        turns.finish()
    refusal(turns, "shop")
    assert 300 < turns.queue.waiting < 700
    turns.finish_all()


def test_what_cannot_be_done_within_the_callers_deadline_is_refused_at_once() -> None:
    """Nobody waits for an answer that comes too late, and no tower computes it."""
    turns = Turns()
    turns.enter("shop", 200)
    for _ in range(3):
        turns.finish()
    with pytest.raises(ApiError, match=r"the caller waits 5\.0 s"):
        turns.enter("shop", 10, seconds=5.0)
    turns.enter("shop", 10, seconds=1000.0)
    turns.finish_all()


def test_a_request_that_leaves_makes_room() -> None:
    """What a caller no longer waits for has no turn."""
    turns = Turns()
    leaving = turns.enter("shop", 1000)
    turns.enter("other", 40)
    turns.queue.leave(leaving)
    turns.queue.leave(leaving)
    turns.finish_all()
    assert sum(size for key, size in turns.had if key == "other") == 40
    assert sum(size for key, size in turns.had if key == "shop") == 64


@settings(max_examples=50)
@given(
    at_once=st.integers(1, 100),
    steps=st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(1, 200)) | st.none() | st.integers(0, 20), max_size=80
    ),
)
def test_every_item_has_one_turn_whatever_comes(at_once: int, steps: list[Any]) -> None:
    """No order of requests, ends and leavers loses an item, or gives a tower too much or too little."""
    turns = Turns(at_once)
    wanted = 0
    waiting: list[Waiting] = []
    for step in steps:
        if step is None:
            if turns.queue.at_tower:
                turns.finish()
        elif isinstance(step, int):
            if step < len(waiting):
                wanted -= waiting[step].left
                turns.queue.leave(waiting[step])
                waiting[step].left = 0
        else:
            with contextlib.suppress(ApiError):  # It would wait too long.
                waiting.append(turns.enter(*step))
                wanted += step[1]
        assert turns.queue.waiting == sum(request.left for request in waiting)
        most = max(at_once, turns.queue._limit())
        assert turns.queue.at_tower < most + PIECE
        assert not turns.queue.waiting or turns.queue.at_tower >= min(at_once, 2)
    turns.finish_all()
    assert sum(size for _, size in turns.had) == wanted


def test_a_rate_is_of_the_time_in_which_a_tower_was_busy() -> None:
    """A tower of which little is asked is not taken for a slow one."""
    rate = Rate()
    for second in range(10):
        rate.done(1, float(second), busy=False)
    assert rate.per_second is None
    for second in range(10, 20):
        rate.done(50, float(second), busy=True)
    assert rate.per_second is not None
    assert 45 < rate.per_second < 55
    for second in range(100, 130):
        rate.done(200, float(second), busy=True)
    assert 190 < rate.per_second < 210


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
