"""How many items the calls of an event loop may have under way together."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any


class Room:
    """So many items may be under way; a message that has more than all of them goes alone."""

    def __init__(self, items: int) -> None:
        if items < 1:
            raise ValueError(f"max_in_flight must be at least 1 item, not {items}")
        self._most = items
        self._taken = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def of(self, items: int) -> _Place:
        """A context that is entered when there is room for `items`, in the order of asking."""
        return _Place(self, items)

    async def take(self, items: int) -> None:
        """Wait for room."""
        if not self._waiting and self._fits(items):
            self._taken += items
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((items, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # It got its room in the same moment.
                self.give(items)
            else:
                self._admit()
            raise

    def give(self, items: int) -> None:
        """Give room back."""
        self._taken -= items
        self._admit()

    def _admit(self) -> None:
        while self._waiting:
            items, turn = self._waiting[0]
            if not turn.cancelled():
                if not self._fits(items):
                    return
                self._taken += items
                turn.set_result(None)
            self._waiting.popleft()

    def _fits(self, items: int) -> bool:
        return self._taken == 0 or self._taken + items <= self._most


class _Place:
    def __init__(self, room: Room, items: int) -> None:
        self._room, self._items = room, items

    async def __aenter__(self) -> None:
        await self._room.take(self._items)

    async def __aexit__(self, *_: Any) -> None:
        self._room.give(self._items)
