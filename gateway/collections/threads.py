"""Threads for what would hold up the event loop: an index's calls, the decoding of images.

They are few and of their own, so that collections never take the threads that embeddings use, and so many
calls may wait for one that those behind them are refused instead.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from babelclip.errors import OVERLOADED
from gateway.errors import ApiError

MOST_WAITING = 256
"""Calls that may wait for a thread."""

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Threads:
    """A bounded pool, and a bounded line before it.

    Args:
        name: of the threads.
        size: how many there are.
    """

    def __init__(self, name: str, size: int, most_waiting: int = MOST_WAITING) -> None:
        self._executor = ThreadPoolExecutor(size, thread_name_prefix=name)
        self._most = size + most_waiting
        self._lock = threading.Lock()
        self._taken = 0

    async def call(
        self, work: Callable[Arguments, Result], *given: Arguments.args, **named: Arguments.kwargs
    ) -> Result:
        """What `work` returns, called in a thread.

        Raises:
            ApiError: too many calls wait already.
        """
        with self._lock:
            if self._taken >= self._most:
                message = "the gateway has too many calls on collections under way; try again"
                raise ApiError(503, OVERLOADED, message, retry_after=1)
            self._taken += 1
        future = self._executor.submit(work, *given, **named)
        future.add_done_callback(self._done)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Take no more calls, and forget those that wait; those under way end by themselves."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _done(self, future: Future[Any]) -> None:
        with self._lock:
            self._taken -= 1
