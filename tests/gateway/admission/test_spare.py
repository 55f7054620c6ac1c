"""Copies for a candidate have their turns while no caller waits, and take nothing from callers."""

import asyncio
from pathlib import Path

from babelclip import Call
from babelclip.shadow.traffic_split import TrafficSplit
from gateway.access.spare import SPARE, Spare
from gateway.admission.queue import TowerQueue
from gateway.admission.towers import Admission
from gateway.admission.waiting import PIECE
from tests.e2e.support import PATIENCE
from tests.gateway.engine import Engine, towers
from tests.gateway.three_versions import NEXT, OLD, switched, version_of


def test_a_copy_waits_until_no_caller_does() -> None:
    """Who waits for a turn has it before any copy, and the copy goes on with what room there is then."""
    queue = TowerQueue(PIECE, clock=lambda: 0.0)
    callers: list[int] = []
    copies: list[int] = []
    queue.enter("", 2 * PIECE, None, callers.append)
    queue.spare.enter("", PIECE + 1, None, copies.append)
    assert (callers, copies) == ([PIECE], [])
    queue.done(PIECE)
    assert (callers, copies) == ([PIECE, PIECE], [])
    queue.done(PIECE)
    assert copies == [PIECE]
    queue.spare.done(PIECE)
    assert copies == [PIECE, 1]
    queue.spare.done(1)
    assert (queue.at_tower, queue.waiting, queue.spare.at_tower) == (0, 0, 0)


def test_copies_come_one_after_the_other() -> None:
    """However much room there is, the candidate has one piece at a time; one that leaves is passed over."""
    queue = TowerQueue(64, clock=lambda: 0.0)
    had: list[str] = []
    queue.spare.enter("", 1, None, lambda size: had.append("first"))
    second = queue.spare.enter("", 1, None, lambda size: had.append("second"))
    queue.spare.enter("", 1, None, lambda size: had.append("third"))
    assert had == ["first"]
    queue.spare.leave(second)
    queue.spare.done(1)
    assert had == ["first", "third"]


def test_what_a_copy_has_is_not_counted() -> None:
    """Beside a copy that hangs, callers have as many items at the tower as without it, and wait no sooner."""
    queue = TowerQueue(PIECE, clock=lambda: 0.0)
    queue.spare.enter("", PIECE, None, lambda size: None)
    assert queue.spare.at_tower == PIECE
    assert queue.at_tower == 0
    assert queue.pass_at_once("", PIECE)
    assert not queue.pass_at_once("", 1)


def test_what_a_copy_waited_is_not_its_candidates_time() -> None:
    """A candidate is not judged slow for the callers who went before its copies."""
    engine = Engine()
    release = asyncio.Event()

    async def during(call: Call) -> None:
        if b"held" in call.body:
            await release.wait()

    async def run() -> None:
        admission = Admission(at_once=1, max_wait=0.0)
        admitted = admission.before("clip", towers(engine))
        version = await admitted.version()
        engine.during = during
        held = asyncio.create_task(admitted.embed("text", ["held"], version))
        while admission.queues["clip"]["text"].at_tower == 0:
            await asyncio.sleep(0)
        spare = Spare()
        SPARE.set(spare)
        copy = asyncio.create_task(admitted.embed("text", ["copy"], version))
        await asyncio.sleep(0)
        assert not copy.done()
        release.set()
        assert (await held).ok.all()
        assert (await copy).ok.all()
        assert spare.waited > 0
        await admitted.close()

    asyncio.run(asyncio.wait_for(run(), PATIENCE))


def test_a_candidate_that_hangs_keeps_no_caller_waiting(tmp_path: Path) -> None:
    """Without keys, where all callers look alike, the copies of their requests are still told from them."""
    engine = Engine(OLD, NEXT)
    hangs = asyncio.Event()

    async def during(call: Call) -> None:
        if call.version == "3.0":
            hangs.set()
            await asyncio.Event().wait()

    async def run() -> None:
        admission = Admission(at_once=1, max_wait=0.0)
        models = switched(engine, tmp_path, admission, version="1.0", shadow=TrafficSplit("3.0", 1.0))
        for name in ("clip@1.0", "clip@3.0"):
            await version_of(models, name)
        engine.during = during
        await version_of(models)
        await hangs.wait()
        queues = admission.queues["clip"].values()
        assert [queue.at_tower for queue in queues] == [0, 0]
        assert sum(queue.spare.at_tower for queue in queues) == 1
        for _ in range(3):
            assert await version_of(models) == "1.0"
        await models.close()
        assert sum(queue.spare.at_tower for queue in queues) == 0

    asyncio.run(asyncio.wait_for(run(), PATIENCE))
