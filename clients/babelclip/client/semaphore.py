"""How many items the calls of an event loop may have under way together."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any


class WeightedSemaphore:
    """An asyncio.Semaphore whose holders count for as many items as they have, served in the order of asking.

    Whoever asks for more than `limit` gets in alone.
    """

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"max_in_flight must be at least 1 item, not {limit}")
        self._limit = limit
        self._held = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def hold(self, items: int) -> _Hold:
        """A context that holds `items` of the limit."""
        return _Hold(self, items)

    async def acquire(self, items: int) -> None:
        """Waits until `items` fit below the limit, and takes them."""
        if not self._waiting and self._fits(items):
            self._held += items
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((items, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # It got its turn in the same moment.
                self.release(items)
            else:
                self._admit()
            raise

    def release(self, items: int) -> None:
        """Gives `items` back, to whoever waits."""
        self._held -= items
        self._admit()

    def _admit(self) -> None:
        while self._waiting:
            items, turn = self._waiting[0]
            if not turn.cancelled():
                if not self._fits(items):
                    return
                self._held += items
                turn.set_result(None)
            self._waiting.popleft()

    def _fits(self, items: int) -> bool:
        return self._held == 0 or self._held + items <= self._limit


class _Hold:
    def __init__(self, semaphore: WeightedSemaphore, items: int) -> None:
        self._semaphore, self._items = semaphore, items

    async def __aenter__(self) -> None:
        await self._semaphore.acquire(self._items)

    async def __aexit__(self, *_: Any) -> None:
        self._semaphore.release(self._items)
