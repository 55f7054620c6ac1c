"""Towers that take no more than they can do in time, in turns that are fair between the keys that call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from babelclip import Embeddings
from babelclip.wire import TOWERS, Tower
from gateway.access.account import ACCOUNT
from gateway.admission.pieces import Pieces
from gateway.admission.queue import PIECE, TowerQueue
from gateway.errors import OVERLOADED, ApiError
from gateway.towers.base import ModelVersion, Towers


class Observer(Protocol):
    """Who is told what admission does."""

    def refused(self, key: str, limit: str) -> None:
        """A request was refused; `limit` is "overloaded"."""

    def waited(self, key: str, tower: str, seconds: float) -> None:
        """A request had its first turn after so long."""


class AdmittedTowers:
    """See `gateway.towers.base.Towers`; the key that calls is that of `gateway.access.account.ACCOUNT`.

    Args:
        at_once, max_wait: as `gateway.admission.queue.TowerQueue` has them.
    """

    def __init__(self, towers: Towers, observer: Observer, *, at_once: int, max_wait: float) -> None:
        self._towers = towers
        self._observer = observer
        self.queues: dict[Tower, TowerQueue] = {tower: TowerQueue(at_once, max_wait) for tower in TOWERS}

    async def version(self, name: str | None = None) -> ModelVersion:
        """See `Towers.version`."""
        return await self._towers.version(name)

    async def embed(
        self,
        tower: Tower,
        items: Sequence[str] | Sequence[bytes],
        version: ModelVersion,
        *,
        timeout: float | None = None,
    ) -> Embeddings:
        """See `Towers.embed`.

        Raises:
            ApiError: the key has a limit of items and is beyond it, or the tower has too much to do.
        """
        account = ACCOUNT.get()
        name = "" if account is None else account.name
        if account is None or not account.limited:
            return await self._in_turn(name, tower, items, version, timeout)
        await account.begin(len(items))
        try:
            return await self._in_turn(name, tower, items, version, timeout)
        finally:
            account.end(len(items))

    async def check(self) -> ModelVersion:
        """See `Towers.check`."""
        return await self._towers.check()

    def known(self) -> list[ModelVersion]:
        """See `Towers.known`."""
        return self._towers.known()

    async def close(self) -> None:
        """See `Towers.close`."""
        await self._towers.close()

    async def _in_turn(
        self,
        name: str,
        tower: Tower,
        items: Sequence[str] | Sequence[bytes],
        version: ModelVersion,
        timeout: float | None,
    ) -> Embeddings:
        queue = self.queues[tower]
        if len(items) <= PIECE and queue.pass_at_once(name, len(items)):
            try:
                return await self._towers.embed(tower, items, version, timeout=timeout)
            finally:
                queue.done(len(items))

        async def embed(start: int, size: int, seconds: float | None) -> Embeddings:
            part = items[start : start + size]
            return await self._towers.embed(tower, part, version, timeout=seconds)

        pieces = Pieces(queue, embed, len(items), timeout)
        try:
            outcomes = await pieces.run(name)
        except ApiError as error:
            if error.code == OVERLOADED:
                self._observer.refused(name, OVERLOADED)
            raise
        self._observer.waited(name, tower, pieces.waited)
        return outcomes
