"""Towers with a candidate in their shadow: a share of requests is computed by both, compared and thrown away.

No caller waits for it: one copy after the other goes to the candidate while no caller waits for a turn at the
tower, and what it cannot keep up with is dropped. Requests whose vectors were in the cache are not seen here.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from babelclip import Embeddings
from babelclip.shadow.observations import Observations
from babelclip.shadow.traffic_split import TrafficSplit
from babelclip.wire import Tower
from gateway.access.account import ACCOUNT
from gateway.access.spare import SPARE, Spare
from gateway.towers.base import ModelVersion, Towers
from gateway.versions import VersionFile

WAITING = 64  # copies of requests that wait for the candidate
WAITING_BYTES = 32 * 1024 * 1024  # of their items
_KEEP = 1000  # vectors of each tower
_ALIKE = 0.99  # the cosine above which two vectors of one space count as the same


@dataclass(frozen=True)
class _Copy:
    candidate: str
    tower: Tower
    items: Sequence[str] | Sequence[bytes]
    language: str
    served: Embeddings
    seconds: float
    size: int


class ShadowedTowers:
    """See `gateway.towers.base.Towers`; the file of versions says what stands in the shadow of a model.

    Attributes:
        counts: items by (tower, outcome): "same" or "other" by their two vectors in one space, "ok" in two
            spaces, the code where only the candidate failed, "dropped". May be read from any thread.
        observed: what the present candidate has shown so far; None before there was one.
    """

    def __init__(self, towers: Towers, model: str, versions: VersionFile) -> None:
        self._towers = towers
        self._model = model
        self._versions = versions
        self._copies: asyncio.Queue[_Copy] = asyncio.Queue(WAITING)
        self._bytes = 0
        self._working: asyncio.Task[None] | None = None
        self._candidate = ""
        self.counts: Counter[tuple[str, str]] = Counter()
        self.observed: Observations | None = None

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
        began = time.perf_counter()
        outcomes = await self._towers.embed(tower, items, version, language=language, timeout=timeout)
        decided = self._versions.latest(self._model)
        if decided.shadow is not None and version.version == (decided.version or self._followed()):
            self._observe(decided.shadow, tower, items, language, outcomes, time.perf_counter() - began)
        return outcomes

    async def version(self, name: str | None = None) -> ModelVersion:
        """See `Towers.version`."""
        return await self._towers.version(name)

    async def check(self, name: str | None = None) -> ModelVersion:
        """See `Towers.check`."""
        return await self._towers.check(name)

    def known(self) -> list[ModelVersion]:
        """See `Towers.known`."""
        return self._towers.known()

    async def close(self) -> None:
        """See `Towers.close`; copies that still wait are dropped."""
        if self._working is not None:
            self._working.cancel()
            await asyncio.gather(self._working, return_exceptions=True)
        await self._towers.close()

    def _followed(self) -> str:
        return next((known.version for known in self._towers.known()), "")

    def _observe(
        self,
        shadow: TrafficSplit,
        tower: Tower,
        items: Sequence[str] | Sequence[bytes],
        language: str,
        served: Embeddings,
        seconds: float,
    ) -> None:
        if not items or shadow.version == served.version or not _chosen(items[0], shadow.share):
            return
        if shadow.version != self._candidate:
            self._candidate, self.observed = shadow.version, Observations(_KEEP)
        if self._working is None:
            self._working = asyncio.create_task(self._work())
        size = sum(map(len, items))
        if self._copies.full() or self._bytes + size > WAITING_BYTES:
            self.counts[tower, "dropped"] += len(items)
            if self.observed is not None:
                self.observed.drop()
            return
        self._bytes += size
        self._copies.put_nowait(_Copy(shadow.version, tower, items, language, served, seconds, size))

    async def _work(self) -> None:
        ACCOUNT.set(None)  # No key pays for copies, least of all the one whose request was the first.
        while True:
            copy = await self._copies.get()
            spare = Spare()
            SPARE.set(spare)
            began = time.perf_counter()
            try:
                candidate = await self._towers.version(copy.candidate)
                found = await self._towers.embed(copy.tower, copy.items, candidate, language=copy.language)
            except Exception as error:  # Whatever it is, the next copies are still to be compared.
                self._lost(copy, type(error).__name__)
            else:
                self._compare(copy, found, time.perf_counter() - began - spare.waited)
            finally:
                self._bytes -= copy.size

    def _lost(self, copy: _Copy, code: str) -> None:
        if copy.candidate == self._candidate and self.observed is not None:
            self.counts[copy.tower, code] += self.observed.lost(copy.served, code)

    def _compare(self, copy: _Copy, found: Embeddings, seconds: float) -> None:
        if copy.candidate != self._candidate or self.observed is None:
            return  # Another one stands in the shadow by now.
        compared = self.observed.enter(copy.tower, copy.served, found, (copy.seconds, seconds))
        for code in compared.alone:
            self.counts[copy.tower, code] += 1
        both = int(compared.both.sum())
        if compared.cosines is None:
            self.counts[copy.tower, "ok"] += both
        else:
            same = int((compared.cosines >= _ALIKE).sum())
            self.counts[copy.tower, "same"] += same
            self.counts[copy.tower, "other"] += both - same


def _chosen(item: str | bytes, share: float) -> bool:
    """By a hash of a request's first item, so that the same request is always copied, or never."""
    data = item.encode("utf-8", "surrogatepass") if isinstance(item, str) else item
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big") < share * 2**64
