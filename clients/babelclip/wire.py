"""Messages: items into requests below the size limit, answers into checked arrays.

An item travels as bytes: a text in UTF-8, or an encoded image. The bytes of an answer come from outside and
are believed only after every length, index and number in them has been checked.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from google.protobuf.message import DecodeError

from babelclip import errors
from babelclip.embedding_pb2 import EmbedRequest, EmbedResponse
from babelclip.embeddings import Vectors
from babelclip.errors import ItemError, ProtocolError, RequestRefused, SpaceMismatch, Unavailable

if TYPE_CHECKING:
    from babelclip.pace import Pace

Tower = Literal["text", "vision"]
TOWERS: tuple[Tower, ...] = ("text", "vision")

# Items of one message at most; how many it has, `babelclip.pace` tells. The server takes more (`max_items` in
# the models' configuration, 2048 unless changed), but a message has one timeout.
MAX_ITEMS = 256
# What is kept free in a message for the space, and for what TorchServe's gRPC call puts around the request.
ENVELOPE_BYTES = 1024
# Tag and length before an item; the length of what fits in a message takes at most five bytes.
_ITEM_OVERHEAD = 6


@dataclass(frozen=True)
class Batch:
    """One answer: float32 [n, D] and what belongs to it; indices count from the first item of its request."""

    vectors: Vectors
    space: str
    logit_scale: float
    errors: tuple[ItemError, ...]
    truncated: tuple[int, ...]
    version: str = ""
    unknown: tuple[int, ...] = ()


@dataclass(frozen=True)
class Message:
    """A stretch of the caller's items, and the request that carries those of them that can travel.

    Positions count from the beginning of the stretch. Without `items` there is nothing to send.
    """

    count: int
    indices: list[int]
    items: list[bytes]
    failed: tuple[ItemError, ...]


def encode(tower: Tower, items: Iterable[bytes], space: str | None, timeout: float = 0.0) -> bytes:
    """A serialized EmbedRequest, which is refused unless the tower serves `space` (if one is given).

    `timeout` is how many seconds the caller will wait for the answer, 0 for any time.
    """
    request = EmbedRequest(space=space or "", timeout_ms=int(min(timeout * 1000, 0xFFFF_FFFF)))
    (request.texts if tower == "text" else request.images).extend(items)
    return request.SerializeToString()


def smallest_message() -> int:
    """The least `max_message_bytes` that leaves room for an item of reasonable size, 64 KiB."""
    return ENVELOPE_BYTES + 64 * 1024


def largest_item(max_message_bytes: int) -> int:
    """The most bytes one item may have in a message of `max_message_bytes`."""
    return max_message_bytes - ENVELOPE_BYTES - _ITEM_OVERHEAD


def oversized(tower: Tower, index: int, size: int, max_message_bytes: int) -> ItemError:
    """The error of an item of `size` bytes that no message can carry."""
    return ItemError(
        index,
        errors.too_many_bytes(tower),
        f"the item has {size:,} bytes; at most {largest_item(max_message_bytes):,} fit in a message"
        f" (max_message_bytes={max_message_bytes:,})",
    )


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
        cost = 0 if isinstance(item, ItemError) else len(item) + _ITEM_OVERHEAD
        if cost > self._largest - ENVELOPE_BYTES:
            item = oversized(self._tower, self._count, cost - _ITEM_OVERHEAD, self._largest)
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


def parse_response(data: bytes, count: int) -> Batch:
    """A serialized EmbedResponse to a request of `count` items → its checked contents.

    Raises:
        RequestRefused: the tower refused the request; its code and message.
        SpaceMismatch: the tower serves another space than the request named.
        Unavailable: the tower had no room for the answer this time.
        ProtocolError: the bytes are no EmbedResponse, or contradict themselves or the request.
    """
    try:
        response = EmbedResponse.FromString(data)
    except DecodeError as error:
        raise ProtocolError("the answer is no EmbedResponse; is this a babelclip server?") from error
    if response.HasField("error"):
        if response.error.code == errors.SPACE_MISMATCH:
            raise SpaceMismatch(response.error.message)
        if response.error.code == errors.OVERLOADED:
            raise Unavailable(response.error.message)
        raise RequestRefused(response.error.code, response.error.message)
    if not response.space or not response.dim:
        raise ProtocolError("the answer names no space or no dimension; is this a babelclip server?")
    if len(response.vectors) != count * response.dim * 4:
        raise ProtocolError(
            f"the answer holds {len(response.vectors):,} bytes of vectors;"
            f" {count} of {response.dim} float32 values take {count * response.dim * 4:,}"
        )
    vectors = np.frombuffer(response.vectors, dtype="<f4").astype(np.float32).reshape(count, response.dim)
    if not np.isfinite(vectors).all() or not np.isfinite(response.logit_scale):
        raise ProtocolError("the answer holds numbers that are not finite")
    failed = [error.index for error in response.errors]
    truncated, unknown = list(response.truncated), list(response.unknown)
    for what, indices in (("errors", failed), ("truncated", truncated), ("unknown", unknown)):
        ascending = all(first < second for first, second in itertools.pairwise(indices))
        if not ascending or (indices and indices[-1] >= count):
            raise ProtocolError(f"the answer's `{what}` do not ascend below the {count} items of the request")
    vectors[failed] = 0.0
    return Batch(
        vectors=vectors,
        space=response.space,
        logit_scale=float(response.logit_scale),
        errors=tuple(ItemError(error.index, error.code, error.message) for error in response.errors),
        truncated=tuple(truncated),
        version=response.version,
        unknown=tuple(unknown),
    )
