"""Towers with a memory: an item whose vector is known, or is just being computed, is not computed again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from babelclip import Embeddings, ItemError
from babelclip.errors import DEADLINE_EXCEEDED, DeadlineExceeded
from babelclip.wire import Tower
from gateway.towers.base import ModelVersion, Towers
from gateway.towers.cache import CachedVector, VectorCache, keys

# Above this many bytes items are hashed in a thread, so that other requests go on meanwhile.
_LARGE = 256 * 1024
_TOO_LATE = ItemError(0, DEADLINE_EXCEEDED, "the model gave no answer in time")
_Outcome: TypeAlias = CachedVector | ItemError


@dataclass(eq=False)
class _Computation:
    """Items that one request has computed, for whoever needs the same; without those that have no vector."""

    done: asyncio.Event = field(default_factory=asyncio.Event)
    vectors: dict[bytes, CachedVector] = field(default_factory=dict)


class CachedTowers:
    """See `gateway.towers.base.Towers`; with the vectors of `towers` in a cache.

    An error is not kept, and not shared: it may be the other request's deadline that was over.

    Args:
        model: the name of the model, whose vectors are kept apart from those of others.
    """

    def __init__(self, towers: Towers, cache: VectorCache, model: str) -> None:
        self._towers = towers
        self._cache = cache
        self._model = model
        self._computing: dict[bytes, _Computation] = {}

    async def embed(
        self,
        tower: Tower,
        items: Sequence[str] | Sequence[bytes],
        version: ModelVersion,
        *,
        language: str = "",
        timeout: float | None = None,
    ) -> Embeddings:
        """See `Towers.embed`."""
        clock = asyncio.get_running_loop().time
        give_up = None if timeout is None else clock() + timeout
        keyed = await self._keyed(tower, items, version, language)
        known: dict[bytes, _Outcome] = {}
        own: dict[bytes, Any] = {}
        others: dict[bytes, _Computation] = {}
        hits = 0
        for key, item in zip(keyed, items, strict=True):
            if (kept := self._cache.get(key)) is not None:
                known[key] = kept
                hits += 1
            elif (computation := self._computing.get(key)) is not None:
                others[key] = computation
            else:
                own[key] = item
        self._count(tower, hit=hits, miss=len(own), shared=len(keyed) - hits - len(own))
        if own and len(own) == len(keyed):  # As it is where nothing repeats itself.
            return await self._compute(tower, own, version, language, timeout)
        if own:
            known |= await _told(own, self._compute(tower, own, version, language, timeout))
        if others:
            again = await self._await(others, known, give_up)
            alone: dict[bytes, Any] = {
                key: item for key, item in zip(keyed, items, strict=True) if key in again
            }
            left = None if give_up is None else give_up - clock()
            if left is not None and left <= 0:
                known |= dict.fromkeys(alone, _TOO_LATE)
            elif alone:
                work = self._towers.embed(
                    tower, list(alone.values()), version, language=language, timeout=left
                )
                known |= await _told(alone, work)
        return _assembled(tower, [known[key] for key in keyed], version)

    async def version(self, name: str | None = None) -> ModelVersion:
        """See `Towers.version`."""
        return await self._towers.version(name)

    async def check(self, name: str | None = None) -> ModelVersion:
        """See `Towers.check`; nothing of it comes from the cache."""
        return await self._towers.check(name)

    def known(self) -> list[ModelVersion]:
        """See `Towers.known`."""
        return self._towers.known()

    async def close(self) -> None:
        """See `Towers.close`."""
        await self._towers.close()

    async def _keyed(
        self,
        tower: Tower,
        items: Sequence[str] | Sequence[bytes],
        version: ModelVersion,
        language: str,
    ) -> list[bytes]:
        if sum(map(len, items)) > _LARGE:
            return await asyncio.to_thread(keys, self._model, version, tower, items, language)
        return keys(self._model, version, tower, items, language)

    async def _compute(
        self,
        tower: Tower,
        own: dict[bytes, Any],
        version: ModelVersion,
        language: str,
        timeout: float | None,
    ) -> Embeddings:
        """What this request is the first to need; others that need the same meanwhile wait for it."""
        computation = _Computation()
        self._computing.update(dict.fromkeys(own, computation))
        try:
            outcomes = await self._towers.embed(
                tower, list(own.values()), version, language=language, timeout=timeout
            )
            for key, outcome in _by_key(own, outcomes).items():
                if isinstance(outcome, CachedVector):
                    computation.vectors[key] = outcome
                    self._cache.put(key, outcome)
            return outcomes
        finally:  # Also where the caller has hung up.
            for key in own:
                del self._computing[key]
            computation.done.set()

    async def _await(
        self, others: dict[bytes, _Computation], known: dict[bytes, _Outcome], give_up: float | None
    ) -> set[bytes]:
        """Take what other requests compute into `known` → what has come to nothing there."""
        try:
            async with asyncio.timeout_at(give_up):
                for computation in set(others.values()):
                    await computation.done.wait()
        except TimeoutError:
            pass
        known |= {key: one.vectors[key] for key, one in others.items() if key in one.vectors}
        return others.keys() - known.keys()

    def _count(self, tower: Tower, **results: int) -> None:
        for result, count in results.items():
            if count:
                self._cache.counts[self._model, tower, result] += count


async def _told(sent: Iterable[bytes], work: Awaitable[Embeddings]) -> dict[bytes, _Outcome]:
    """What came of each item; no answer in time costs these items, and not the others of the request."""
    try:
        return _by_key(sent, await work)
    except DeadlineExceeded:
        return dict.fromkeys(sent, _TOO_LATE)


def _by_key(sent: Iterable[bytes], outcomes: Embeddings) -> dict[bytes, _Outcome]:
    errors = {error.index: error for error in outcomes.errors}
    truncated, unknown = frozenset(outcomes.truncated), frozenset(outcomes.unknown)
    found: dict[bytes, _Outcome] = {}
    for index, key in enumerate(sent):
        if index in errors:
            found[key] = errors[index]
        else:
            vector = outcomes.vectors[index].tobytes()
            tokens = outcomes.tokens[index] if outcomes.tokens else 0
            found[key] = CachedVector(vector, index in truncated, index in unknown, tokens)
    return found


def _assembled(tower: Tower, rows: Sequence[_Outcome], version: ModelVersion) -> Embeddings:
    none = bytes(4 * version.dim)
    joined = bytearray().join(none if isinstance(row, ItemError) else row.vector for row in rows)
    found = [(index, row) for index, row in enumerate(rows) if isinstance(row, CachedVector)]
    return Embeddings(
        vectors=np.frombuffer(joined, np.float32).reshape(len(rows), version.dim),
        space=version.space,
        logit_scale=version.logit_scale,
        errors=tuple(
            ItemError(index, row.code, row.message)
            for index, row in enumerate(rows)
            if isinstance(row, ItemError)
        ),
        truncated=tuple(index for index, row in found if row.truncated),
        version=version.version,
        unknown=tuple(index for index, row in found if row.unknown),
        tokens=tuple(0 if isinstance(row, ItemError) else row.tokens for row in rows)
        if tower == "text"
        else (),
    )
