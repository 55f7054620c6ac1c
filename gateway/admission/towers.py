"""Towers that take no more than they can do in time, in turns that are fair between the keys that call."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from babelclip import Embeddings
from babelclip.wire import TOWERS, Tower
from gateway.access.account import ACCOUNT
from gateway.access.spare import SPARE, Spare
from gateway.admission.pieces import Pieces
from gateway.admission.queue import TowerQueue
from gateway.admission.waiting import PIECE
from gateway.errors import OVERLOADED, ApiError
from gateway.towers.base import ModelVersion, Towers


class Observer(Protocol):
    """Who is told what admission does, such as the metrics."""

    def refused(self, key: str, limit: str) -> None:
        """A request was refused; `limit` is "overloaded"."""

    def waited(self, key: str, tower: str, seconds: float) -> None:
        """A request had its first turn after so long."""


class _Nobody:
    def refused(self, key: str, limit: str) -> None: ...

    def waited(self, key: str, tower: str, seconds: float) -> None: ...


class Admission:
    """The queues of all models.

    Args:
        at_once, max_wait: as `gateway.admission.queue.TowerQueue` has them.

    Attributes:
        observer: is told what happens; nobody, to begin with.
        queues: of each model, by tower.
    """

    def __init__(self, *, at_once: int, max_wait: float) -> None:
        self._at_once = at_once
        self._max_wait = max_wait
        self.observer: Observer = _Nobody()
        self.queues: dict[str, dict[Tower, TowerQueue]] = {}

    def before(self, model: str, towers: Towers) -> AdmittedTowers:
        """The towers of a model, with queues before them."""
        self.queues[model] = {tower: TowerQueue(self._at_once, self._max_wait) for tower in TOWERS}
        return AdmittedTowers(towers, self, self.queues[model])


class AdmittedTowers:
    """See `gateway.towers.base.Towers`.

    The key that calls is that of `gateway.access.account.ACCOUNT`, unless the call is part of something that
    nobody waits for (`gateway.access.spare.SPARE`).
    """

    def __init__(self, towers: Towers, admission: Admission, queues: Mapping[Tower, TowerQueue]) -> None:
        self._towers = towers
        self._admission = admission
        self._queues = queues
        self.version = towers.version
        self.check = towers.check
        self.known = towers.known
        self.close = towers.close

    async def embed(
        self,
        tower: Tower,
        items: Sequence[str] | Sequence[bytes],
        version: ModelVersion,
        *,
        language: str = "",
        timeout: float | None = None,
    ) -> Embeddings:
        """See `Towers.embed`.

        Raises:
            ApiError: the key has a limit of items and is beyond it, or the tower has too much to do.
        """
        if (spare := SPARE.get()) is not None:
            return await self._for_nobody(spare, tower, items, version, language, timeout)
        account = ACCOUNT.get()
        name = "" if account is None else account.name
        if account is None or not account.limited:
            return await self._in_turn(name, tower, items, version, language, timeout)
        await account.begin(len(items))
        try:
            return await self._in_turn(name, tower, items, version, language, timeout)
        finally:
            account.end(len(items))

    async def _in_turn(
        self,
        name: str,
        tower: Tower,
        items: Sequence[str] | Sequence[bytes],
        version: ModelVersion,
        language: str,
        timeout: float | None,
    ) -> Embeddings:
        queue = self._queues[tower]
        if len(items) <= PIECE and queue.pass_at_once(name, len(items)):
            embedded = False
            try:
                outcomes = await self._towers.embed(tower, items, version, language=language, timeout=timeout)
                embedded = not outcomes.errors
            finally:
                queue.done(len(items), embedded=embedded)
            return outcomes

        async def embed(start: int, size: int, seconds: float | None) -> Embeddings:
            part = items[start : start + size]
            return await self._towers.embed(tower, part, version, language=language, timeout=seconds)

        pieces = Pieces(queue, embed, len(items), timeout)
        try:
            outcomes = await pieces.run(name)
        except ApiError as error:
            if error.code == OVERLOADED:
                self._admission.observer.refused(name, OVERLOADED)
            raise
        self._admission.observer.waited(name, tower, pieces.waited)
        return outcomes

    async def _for_nobody(
        self,
        spare: Spare,
        tower: Tower,
        items: Sequence[str] | Sequence[bytes],
        version: ModelVersion,
        language: str,
        timeout: float | None,
    ) -> Embeddings:
        began = time.perf_counter()
        had = 0.0

        async def embed(start: int, size: int, seconds: float | None) -> Embeddings:
            nonlocal had
            part = items[start : start + size]
            turn = time.perf_counter()
            outcomes = await self._towers.embed(tower, part, version, language=language, timeout=seconds)
            had += time.perf_counter() - turn
            return outcomes

        outcomes = await Pieces(self._queues[tower].spare, embed, len(items), timeout).run("")
        spare.waited += time.perf_counter() - began - had
        return outcomes
