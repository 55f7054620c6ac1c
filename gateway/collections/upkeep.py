"""Collections are put in order by themselves: many small commits make searches slow until they are."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from typing import Any

from gateway.collections.jobs import Jobs
from gateway.collections.store import Opened
from gateway.errors import ApiError

COMMITS = 50
"""Commits of this process to a collection after which it is compacted."""


class Upkeep:
    """Counts commits. Used within one event loop."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._commits: Counter[str] = Counter()
        self._under_way: set[asyncio.Task[Any]] = set()

    def committed(self, opened: Opened) -> None:
        """Something was added to a collection."""
        uid = opened.record.uid
        self._commits[uid] += 1
        if self._commits[uid] >= COMMITS:
            del self._commits[uid]
            task = asyncio.get_running_loop().create_task(self._compact(opened.record.name))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _compact(self, name: str) -> None:
        with suppress(ApiError):  # Too many jobs run: after as many commits again it is tried again.
            await self._jobs.start(name, "compact", {})
