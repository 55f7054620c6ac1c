"""Messages: items into requests below the size limit, answers into checked arrays.

An item travels as bytes: a text in UTF-8, or an encoded image. The bytes of an answer come from outside and
are believed only after every length, index and number in them has been checked.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from google.protobuf.message import DecodeError

from babelclip import errors
from babelclip.embedding_pb2 import EmbedRequest, EmbedResponse
from babelclip.embeddings import Vectors
from babelclip.errors import ItemError, ProtocolError, RequestRefused, SpaceMismatch, Unavailable

Tower = Literal["text", "vision"]
TOWERS: tuple[Tower, ...] = ("text", "vision")

# Items of one message. The server takes more (`max_items` in the models' configuration, 1024 unless changed),
# but a message has one timeout, and few of its items should be lost with it.
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


@dataclass(frozen=True)
class Message:
    """The items of one request, with their positions in the caller's list."""

    indices: list[int]
    items: list[bytes]

    def encode(self, tower: Tower, space: str | None) -> bytes:
        """A serialized EmbedRequest, which is refused unless the tower serves `space` (if one is given)."""
        request = EmbedRequest(space=space or "")
        (request.texts if tower == "text" else request.images).extend(self.items)
        return request.SerializeToString()


def smallest_message() -> int:
    """The least `max_message_bytes` that leaves room for an item of reasonable size, 64 KiB."""
    return ENVELOPE_BYTES + 64 * 1024


def largest_item(max_message_bytes: int) -> int:
    """The most bytes one item may have in a message of `max_message_bytes`."""
    return max_message_bytes - ENVELOPE_BYTES - _ITEM_OVERHEAD


def oversized(tower: Tower, index: int, size: int, max_message_bytes: int) -> ItemError:
    """The error of an item of `size` bytes that no message can carry."""
    code = errors.TEXT_TOO_LONG if tower == "text" else errors.IMAGE_TOO_MANY_BYTES
    return ItemError(
        index,
        code,
        f"the item has {size:,} bytes; at most {largest_item(max_message_bytes):,} fit in a message"
        f" (max_message_bytes={max_message_bytes:,})",
    )


def split(
    items: Iterable[bytes | ItemError], *, tower: Tower, max_message_bytes: int, failed: list[ItemError]
) -> Iterator[Message]:
    """Items in order → messages below `max_message_bytes`, each of at most `MAX_ITEMS` items.

    An ItemError among the items, or an item that no message can carry, goes to `failed` instead. Items are
    taken only as a message needs them, so a long list of files is never in memory at once.
    """
    indices: list[int] = []
    chosen: list[bytes] = []
    room = max_message_bytes - ENVELOPE_BYTES
    for index, item in enumerate(items):
        if isinstance(item, ItemError):
            failed.append(item)
            continue
        cost = len(item) + _ITEM_OVERHEAD
        if cost > max_message_bytes - ENVELOPE_BYTES:
            failed.append(oversized(tower, index, len(item), max_message_bytes))
            continue
        if cost > room or len(chosen) == MAX_ITEMS:
            yield Message(indices, chosen)
            indices, chosen, room = [], [], max_message_bytes - ENVELOPE_BYTES
        indices.append(index)
        chosen.append(item)
        room -= cost
    if chosen:
        yield Message(indices, chosen)


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
    for what, indices in (("errors", failed), ("truncated", list(response.truncated))):
        ascending = all(first < second for first, second in itertools.pairwise(indices))
        if not ascending or (indices and indices[-1] >= count):
            raise ProtocolError(f"the answer's `{what}` do not ascend below the {count} items of the request")
    vectors[failed] = 0.0
    return Batch(
        vectors=vectors,
        space=response.space,
        logit_scale=float(response.logit_scale),
        errors=tuple(ItemError(error.index, error.code, error.message) for error in response.errors),
        truncated=tuple(response.truncated),
    )
