"""The items of a call, divided into messages below the size limit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from babelclip.client.pace import Pace
from babelclip.item_errors import ItemError
from babelclip.wire import ENVELOPE_BYTES, ITEM_OVERHEAD, MAX_ITEMS, Tower, oversized


@dataclass(frozen=True)
class Message:
    """A stretch of the caller's items, and the request that carries those of them that can travel.

    Positions count from the beginning of the stretch. Without `items` there is nothing to send.
    """

    count: int
    indices: list[int]
    items: list[bytes]
    failed: tuple[ItemError, ...]


class Splitter:
    """Items, one after the other → messages below `max_message_bytes`, each of as many items as `pace` tells
    when it is begun; without one, of at most `MAX_ITEMS`. An item may have a message of up to `largest` bytes
    for itself."""

    def __init__(
        self, tower: Tower, max_message_bytes: int, pace: Pace | None = None, *, largest: int | None = None
    ) -> None:
        self._tower = tower
        self._max_message_bytes = max_message_bytes
        self._largest = largest or max_message_bytes
        self._pace = pace
        self._begin()

    def add(self, item: bytes | ItemError) -> Message | None:
        """Takes the next item; returns the message before it when that is full.

        An ItemError, or an item that no message can carry, becomes an error of the stretch it stands in.
        """
        cost = 0 if isinstance(item, ItemError) else len(item) + ITEM_OVERHEAD
        if cost > self._largest - ENVELOPE_BYTES:
            item = oversized(self._tower, self._count, cost - ITEM_OVERHEAD, self._largest)
            cost = 0
        full = self.rest() if cost > self._room or self._count == self._most else None
        if isinstance(item, ItemError):
            self._failed.append(ItemError(self._count, item.code, item.message))
        else:
            self._indices.append(self._count)
            self._items.append(item)
        self._room -= cost
        self._count += 1
        return full

    def rest(self) -> Message | None:
        """The message of the items since the last one, if there are any."""
        if not self._count:
            return None
        message = Message(self._count, self._indices, self._items, tuple(self._failed))
        self._begin()
        return message

    def _begin(self) -> None:
        self._count, self._room = 0, self._max_message_bytes - ENVELOPE_BYTES
        self._most = MAX_ITEMS if self._pace is None else self._pace.items
        self._indices: list[int] = []
        self._items: list[bytes] = []
        self._failed: list[ItemError] = []


def split(
    items: Iterable[bytes | ItemError],
    *,
    tower: Tower,
    max_message_bytes: int,
    pace: Pace | None = None,
    largest: int | None = None,
) -> Iterator[Message]:
    """Items in order → messages, see `Splitter`.

    Items are taken only as a message needs them, so a long list of files is never in memory at once.
    """
    splitter = Splitter(tower, max_message_bytes, pace, largest=largest)
    for item in items:
        if (message := splitter.add(item)) is not None:
            yield message
    if (message := splitter.rest()) is not None:
        yield message
