"""The items of a call, divided into chunks that fit into messages below the size limit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from babelclip.client.pace import Pace
from babelclip.item_errors import ItemError
from babelclip.wire import ENVELOPE_BYTES, ITEM_OVERHEAD, MAX_ITEMS, Tower, oversized


@dataclass(frozen=True)
class RequestChunk:
    """Consecutive items of a call that are sent in one request, those of them that can be sent.

    Positions count from the beginning of the chunk. Without `items` there is nothing to send.

    Attributes:
        count: how many of the caller's items these are.
        indices: the positions of `items`.
        items: texts in UTF-8, or encoded images.
        failed: the errors of the others.
        language: that of all texts, by BCP 47; "" for the model's default.
    """

    count: int
    indices: list[int]
    items: list[bytes]
    failed: tuple[ItemError, ...]
    language: str = ""


class Splitter:
    """Items, one after the other → chunks.

    A chunk fits into a message of `max_message_bytes`, and has as many items as `pace` says when it is begun;
    without a pace at most `MAX_ITEMS`. An item may have a message of up to `largest` bytes for itself.
    """

    def __init__(
        self,
        tower: Tower,
        max_message_bytes: int,
        pace: Pace | None = None,
        *,
        largest: int | None = None,
        language: str = "",
    ) -> None:
        self.tower = tower
        self._max_message_bytes = max_message_bytes
        self._largest = largest or max_message_bytes
        self._pace = pace
        self._language = language
        self._begin()

    def add(self, item: bytes | ItemError) -> RequestChunk | None:
        """Takes the next item; returns the chunk before it when that is full.

        An ItemError, or an item that no message can carry, becomes an error of its chunk.
        """
        cost = 0 if isinstance(item, ItemError) else len(item) + ITEM_OVERHEAD
        if cost > self._largest - ENVELOPE_BYTES:
            item = oversized(self.tower, self._count, cost - ITEM_OVERHEAD, self._largest)
            cost = 0
        full = self.rest() if cost > self._bytes_left or self._count == self._most else None
        if isinstance(item, ItemError):
            self._failed.append(ItemError(self._count, item.code, item.message))
        else:
            self._indices.append(self._count)
            self._items.append(item)
        self._bytes_left -= cost
        self._count += 1
        return full

    def rest(self) -> RequestChunk | None:
        """The chunk of the items since the last one, if there are any."""
        if not self._count:
            return None
        chunk = RequestChunk(self._count, self._indices, self._items, tuple(self._failed), self._language)
        self._begin()
        return chunk

    def _begin(self) -> None:
        self._count, self._bytes_left = 0, self._max_message_bytes - ENVELOPE_BYTES
        self._most = MAX_ITEMS if self._pace is None else self._pace.items
        self._indices: list[int] = []
        self._items: list[bytes] = []
        self._failed: list[ItemError] = []


def split(items: Iterable[bytes | ItemError], splitter: Splitter) -> Iterator[RequestChunk]:
    """Items in order → chunks.

    Items are taken only as a chunk needs them, so a long list of files is never in memory at once.
    """
    for item in items:
        if (chunk := splitter.add(item)) is not None:
            yield chunk
    if (chunk := splitter.rest()) is not None:
        yield chunk
