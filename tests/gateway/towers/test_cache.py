"""The vector cache: the same outcomes with it and without, bounded, and each item computed once."""

import asyncio
import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from babelclip import DeadlineExceeded, Embeddings, ItemError, Unavailable
from babelclip.testing import InMemoryTransport
from babelclip.wire import Tower
from gateway.towers.base import ModelVersion
from gateway.towers.cache import ENTRY_BYTES, CachedVector, VectorCache, keys
from gateway.towers.cached import CachedTowers
from tests.gateway.engine import Engine, towers

OLD = ModelVersion("1.0", "old", 8, 20.0)
NEW = ModelVersion("2.0", "new", 16, 20.0)
ROOM = 1_000_000


class Computer:
    """Towers that count what they compute, fail what begins with "bad", and may be held up.

    Attributes:
        computed: the items of each call.
        held: calls wait for it.
        error: raised by the next call, once.
    """

    def __init__(self) -> None:
        self.computed: list[list[str | bytes]] = []
        self.timeouts: list[float | None] = []
        self.held = asyncio.Event()
        self.held.set()
        self.error: Exception | None = None

    async def embed(
        self,
        tower: Tower,
        items: Sequence[str] | Sequence[bytes],
        version: ModelVersion,
        *,
        language: str = "",
        timeout: float | None = None,
    ) -> Embeddings:
        asked: list[str | bytes] = [*items]
        self.computed.append(asked)
        self.timeouts.append(timeout)
        await self.held.wait()
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        memory = InMemoryTransport(dim=version.dim)
        texts = [item if isinstance(item, str) else item.decode("latin-1") for item in items]
        bad = [index for index, text in enumerate(texts) if text.startswith("bad")]
        rows = [
            np.zeros(version.dim) if index in bad else memory.vector(item) for index, item in enumerate(asked)
        ]
        return Embeddings(
            vectors=np.array(rows, np.float32).reshape(len(items), version.dim),
            space=version.space,
            logit_scale=version.logit_scale,
            errors=tuple(ItemError(index, "bad", f"{texts[index]} is bad") for index in bad),
            truncated=tuple(index for index, text in enumerate(texts) if text.startswith("long")),
            version=version.version,
            unknown=tuple(index for index, text in enumerate(texts) if text.startswith("odd")),
            tokens=tuple(0 if text.startswith("bad") else len(text) for text in texts if tower == "text"),
        )

    async def version(self, name: str | None = None) -> ModelVersion:
        return OLD

    async def check(self, name: str | None = None) -> ModelVersion:
        return OLD

    def known(self) -> list[ModelVersion]:
        return [OLD]

    async def close(self) -> None:
        pass


def same(one: Embeddings, other: Embeddings) -> None:
    """Two outcomes are equal in all that they say."""
    np.testing.assert_array_equal(one.vectors, other.vectors)
    for name in ("space", "logit_scale", "errors", "truncated", "version", "unknown", "tokens"):
        assert getattr(one, name) == getattr(other, name), name


async def begun(computer: Computer, calls: int) -> None:
    """Waits until that many calls have reached the towers."""
    while len(computer.computed) < calls:
        await asyncio.sleep(0)


TEXTS = st.sampled_from(["a", "b", "long", "odd", "long odd", "bad", "bad too", "", "ሰዓት", "bad \ud800"])
CALLS = st.tuples(
    st.sampled_from(["text", "vision"]), st.sampled_from([OLD, NEW]), st.lists(TEXTS, max_size=6)
)


@given(calls=st.lists(CALLS, max_size=8), room=st.sampled_from([1, 900, ROOM]), together=st.booleans())
@settings(deadline=None, max_examples=60)
def test_outcomes_are_the_same_with_and_without_a_cache(
    calls: list[tuple[Tower, ModelVersion, list[str]]], room: int, together: bool
) -> None:
    """Whatever is asked, in turn or at once, in little room or much: no caller can tell the difference."""

    async def run() -> None:
        plain, cache = Computer(), VectorCache(room)
        cached = CachedTowers(Computer(), cache, "clip")
        sent = []
        for tower, version, texts in calls:
            items = [text.encode("utf-8", "surrogatepass") for text in texts] if tower == "vision" else texts
            sent.append((tower, items, version))
        if together:
            found = await asyncio.gather(*(cached.embed(*one) for one in sent))
        else:
            found = [await cached.embed(*one) for one in sent]
        for one, outcomes in zip(sent, found, strict=True):
            same(outcomes, await plain.embed(*one))
        assert cache.bytes <= room

    asyncio.run(run())


def test_what_is_known_is_not_computed_again_and_what_failed_is() -> None:
    """A repeated text costs nothing, and an error is asked about again."""

    async def run() -> None:
        computer, cache = Computer(), VectorCache(ROOM)
        cached = CachedTowers(computer, cache, "clip")
        await cached.embed("text", ["a", "bad", "a"], OLD)
        await cached.embed("text", ["a", "b", "bad"], OLD)
        assert computer.computed == [["a", "bad"], ["b", "bad"]]
        assert cache.counts == {
            ("clip", "text", "miss"): 4,
            ("clip", "text", "hit"): 1,
            ("clip", "text", "shared"): 1,
        }

    asyncio.run(run())


def test_models_versions_spaces_and_towers_are_kept_apart() -> None:
    """The bytes of a text as an image, or the same text in another space, is something else."""

    async def run() -> None:
        computer, cache = Computer(), VectorCache(ROOM)
        for model in ("clip", "other"):
            cached = CachedTowers(computer, cache, model)
            await cached.embed("text", ["a"], OLD)
            await cached.embed("vision", [b"a"], OLD)
            await cached.embed("text", ["a"], NEW)
            await cached.embed("text", ["a"], ModelVersion("1.0", "new", 8, 20.0))
        assert len(computer.computed) == len(cache) == 8

    asyncio.run(run())


def test_identical_items_at_the_same_time_are_computed_once() -> None:
    """A crowd that asks for the same is one question to the model; each has also what it alone asked for."""

    async def run() -> None:
        computer = Computer()
        computer.held.clear()
        cached = CachedTowers(computer, VectorCache(ROOM), "clip")
        calls = [asyncio.create_task(cached.embed("text", ["a", f"own {i}"], OLD)) for i in range(20)]
        await begun(computer, 20)
        computer.held.set()
        found = await asyncio.gather(*calls)
        assert sum(items.count("a") for items in computer.computed) == 1
        for index, outcomes in enumerate(found):
            same(outcomes, await Computer().embed("text", ["a", f"own {index}"], OLD))

    asyncio.run(run())


@pytest.mark.parametrize("how", ["cancelled", "failed", "item"])
def test_who_waits_for_another_request_does_not_fail_with_it(how: str) -> None:
    """A caller who hangs up, or whose own deadline is over, takes nothing from whoever asked for the same."""
    text = "bad" if how == "item" else "a"

    async def run() -> None:
        computer = Computer()
        computer.held.clear()
        cached = CachedTowers(computer, VectorCache(ROOM), "clip")
        first = asyncio.create_task(cached.embed("text", [text], OLD))
        await begun(computer, 1)
        second = asyncio.create_task(cached.embed("text", [text], OLD))
        await asyncio.sleep(0)
        assert computer.computed == [[text]]
        if how == "cancelled":
            first.cancel()
        elif how == "failed":
            computer.error = Unavailable("gone")
        computer.held.set()
        same(await second, await Computer().embed("text", [text], OLD))
        (one,) = await asyncio.gather(first, return_exceptions=True)
        assert isinstance(
            one, {"cancelled": asyncio.CancelledError, "failed": Unavailable}.get(how, Embeddings)
        )

    asyncio.run(run())


def test_who_waits_for_another_request_waits_no_longer_than_its_own_deadline() -> None:
    """What is known is answered, and what another request still computes is said to be late."""

    async def run() -> None:
        computer = Computer()
        cached = CachedTowers(computer, VectorCache(ROOM), "clip")
        await cached.embed("text", ["known"], OLD)
        computer.held.clear()
        first = asyncio.create_task(cached.embed("text", ["a"], OLD))
        await begun(computer, 2)
        outcomes = await cached.embed("text", ["a", "known"], OLD, timeout=0.01)
        assert [(error.index, error.code) for error in outcomes.errors] == [(0, "deadline_exceeded")]
        np.testing.assert_allclose(outcomes.vectors[1], InMemoryTransport(dim=8).vector("known"), atol=1e-6)
        computer.held.set()
        await first

    asyncio.run(run())


def test_a_late_answer_costs_no_vector_that_is_known() -> None:
    """Where the model gives no answer in time, the request fails only if it needed nothing else."""

    async def run() -> None:
        computer = Computer()
        cached = CachedTowers(computer, VectorCache(ROOM), "clip")
        await cached.embed("text", ["known"], OLD)
        computer.error = DeadlineExceeded("late")
        outcomes = await cached.embed("text", ["known", "a"], OLD)
        assert [(error.index, error.code) for error in outcomes.errors] == [(1, "deadline_exceeded")]
        computer.error = DeadlineExceeded("late")
        with pytest.raises(DeadlineExceeded):
            await cached.embed("text", ["b"], OLD)

    asyncio.run(run())


def test_what_was_used_longest_ago_goes_first() -> None:
    """The room is never exceeded, and what is asked for again and again stays."""
    cache = VectorCache(3 * (ENTRY_BYTES + 32))
    for name in "abc":
        cache.put(name.encode(), CachedVector(bytes(32), False, False, 1))
    assert cache.get(b"a") is not None
    cache.put(b"d", CachedVector(bytes(32), False, False, 1))
    assert [name for name in "abcd" if cache.get(name.encode()) is not None] == ["a", "c", "d"]
    cache.put(b"large", CachedVector(bytes(3 * (ENTRY_BYTES + 32)), False, False, 1))
    assert len(cache) == 3
    assert cache.bytes == 3 * (ENTRY_BYTES + 32)


def test_the_bound_is_one_of_memory() -> None:
    """A cache of a megabyte takes no more, with all that Python needs for an entry, for small vectors too."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        cache = VectorCache(ROOM)
        for number in range(20_000):
            (key,) = keys("clip", OLD, "text", [str(number)])
            cache.put(key, CachedVector(np.full(8, number, np.float32).tobytes(), False, False, 1))
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert cache.bytes <= ROOM
    assert taken <= ROOM


def test_a_large_request_is_hashed_aside() -> None:
    """Images of megabytes do not hold up the event loop, and are found again."""
    image = bytes(1_000_000)

    async def run() -> None:
        computer = Computer()
        cached = CachedTowers(computer, VectorCache(ROOM), "clip")
        one = await cached.embed("vision", [image, image[:-1]], OLD)
        same(await cached.embed("vision", [image, image[:-1]], OLD), one)
        assert len(computer.computed) == 1

    asyncio.run(run())


def test_health_and_versions_are_the_engines() -> None:
    """The golden items are computed each time: a cache never says that a tower is well."""
    engine = Engine()

    async def run() -> None:
        cached = CachedTowers(towers(engine), VectorCache(ROOM), "clip")
        version = await cached.version()
        for _ in range(2):
            sent = len(engine.calls)
            assert await cached.check() == version
            assert len(engine.calls) == sent + 2
        assert cached.known() == [version]
        await cached.close()

    asyncio.run(run())
