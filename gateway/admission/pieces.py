"""One request in pieces, each of which begins when it has its turn; put together again at the end."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from babelclip import Embeddings, ItemError
from babelclip.errors import DEADLINE_EXCEEDED, DeadlineExceeded
from gateway.admission.waiting import Turns

_NO_TURN = "the item had no turn at the model within the time that its caller waits"
# A piece that has its turn at the last moment is asked for all the same, and fails as the engine says.
_SHORTEST = 0.001


class Pieces:
    """A request of `count` items.

    Args:
        embed: embeds the items from a position on, so many of them, within so many seconds.
        timeout: seconds that the caller waits.

    Attributes:
        waited: seconds until the first turn.
    """

    def __init__(
        self,
        turns: Turns,
        embed: Callable[[int, int, float | None], Coroutine[Any, Any, Embeddings]],
        count: int,
        timeout: float | None,
    ) -> None:
        self._turns = turns
        self._embed = embed
        self._count = count
        self._timeout = timeout
        self.waited = 0.0
        self._loop = asyncio.get_running_loop()
        self._since = self._loop.time()
        # A turn comes while something else ends: what it begins belongs to this request and not to that.
        self._context = contextvars.copy_context()
        self._finished: asyncio.Future[None] = self._loop.create_future()
        self._begun: dict[int, asyncio.Task[Embeddings]] = {}
        self._next = 0
        self._last = count

    async def run(self, key: str) -> Embeddings:
        """The outcomes of all items; those that had no turn in time have an error.

        Raises:
            ApiError: they would wait too long.
            DeadlineExceeded: none had a turn in time.
            BabelclipError: as `embed`, of the first piece that fails as a whole; the others are given up.
        """
        waiting = self._turns.enter(key, self._count, self._timeout, self._begin)
        late = None
        if self._timeout is not None:
            late = self._loop.call_later(self._timeout, self._give_up, partial(self._turns.leave, waiting))
        try:
            await self._finished
        finally:
            if late is not None:
                late.cancel()
            self._turns.leave(waiting)
            for task in self._begun.values():
                task.cancel()
            await asyncio.gather(*self._begun.values(), return_exceptions=True)
        if not self._begun:
            raise DeadlineExceeded(_NO_TURN)
        return self._joined()

    def _begin(self, size: int) -> None:
        now = self._loop.time()
        if not self._begun:
            self.waited = now - self._since
        seconds = self._timeout
        if seconds is not None:
            seconds = max(_SHORTEST, seconds - (now - self._since))
        work = self._embed(self._next, size, seconds)
        task = self._loop.create_task(work, context=self._context)
        self._begun[self._next] = task
        self._next += size
        task.add_done_callback(partial(self._end, size))

    def _end(self, size: int, task: asyncio.Task[Embeddings]) -> None:
        embedded = not task.cancelled() and task.exception() is None and not task.result().errors
        self._turns.done(size, embedded=embedded)
        if self._finished.done():
            return
        if not task.cancelled() and (error := task.exception()) is not None:
            self._finished.set_exception(error)
        else:
            self._check_finished()

    def _give_up(self, leave: Callable[[], None]) -> None:
        """What has had no turn by now has none any more."""
        leave()
        self._last = self._next
        self._check_finished()

    def _check_finished(self) -> None:
        if self._next == self._last and all(task.done() for task in self._begun.values()):
            self._finished.set_result(None)

    def _joined(self) -> Embeddings:
        parts = {start: task.result() for start, task in self._begun.items()}
        if len(parts) == 1 and self._next == self._count:
            return parts[0]
        # Of a piece whose items all failed before they were sent, no more is known than that.
        known = next((part for part in parts.values() if part.dim), parts[0])
        vectors = np.zeros((self._count, known.dim), np.float32)
        errors: list[ItemError] = []
        truncated: list[int] = []
        unknown: list[int] = []
        tokens = [0] * self._count if any(part.tokens for part in parts.values()) else []
        for start, part in sorted(parts.items()):
            if part.dim:
                vectors[start : start + len(part)] = part.vectors
            errors += (replace(error, index=start + error.index) for error in part.errors)
            truncated += (start + index for index in part.truncated)
            unknown += (start + index for index in part.unknown)
            if part.tokens:
                tokens[start : start + len(part)] = part.tokens
        errors += (ItemError(index, DEADLINE_EXCEEDED, _NO_TURN) for index in range(self._next, self._count))
        return replace(
            known,
            vectors=vectors,
            errors=tuple(errors),
            truncated=tuple(truncated),
            unknown=tuple(unknown),
            tokens=tuple(tokens),
        )
