"""What travels: items in requests, and answers read into checked arrays.

An item travels as bytes: a text in UTF-8, or an encoded image. The bytes of an answer come from outside and
are believed only after every length, index and number in them has been checked.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from google.protobuf.message import DecodeError

from babelclip import errors, item_errors
from babelclip.embedding_pb2 import EmbedRequest, EmbedResponse
from babelclip.embeddings import Vectors
from babelclip.errors import ProtocolError, RequestRefused, SpaceMismatch, Unavailable
from babelclip.item_errors import ItemError

Tower = Literal["text", "vision"]
TOWERS: tuple[Tower, ...] = ("text", "vision")

# The most items of one request; `babelclip.client.pace` says how many it has. The server takes more
# (`max_items` in the models' configuration, 2048 unless changed), but a message has one timeout.
MAX_ITEMS = 256
# What is kept free in a message for the space, and for what TorchServe's gRPC call puts around the request.
ENVELOPE_BYTES = 1024
# Tag and length before an item; the length of what fits in a message takes at most five bytes.
ITEM_OVERHEAD = 6


@dataclass(frozen=True)
class EmbedResult:
    """A checked answer: float32 [n, D] and what belongs to it; indices are those of the request."""

    vectors: Vectors
    space: str
    logit_scale: float
    errors: tuple[ItemError, ...]
    truncated: tuple[int, ...]
    version: str = ""
    unknown: tuple[int, ...] = ()
    tokens: tuple[int, ...] = ()
    languages: tuple[str, ...] = ()
    """Of a text tower that is told the language of texts, asked for its canary."""


def encode(
    tower: Tower, items: Iterable[bytes], space: str | None, timeout: float = 0.0, language: str = ""
) -> bytes:
    """A serialized EmbedRequest, which is refused unless the tower serves `space` (if one is given).

    `timeout` is how many seconds the caller will wait for the answer, 0 for any time; `language` that of
    texts, "" for the model's default.
    """
    request = EmbedRequest(
        space=space or "", timeout_ms=int(min(timeout * 1000, 0xFFFF_FFFF)), language=language
    )
    (request.texts if tower == "text" else request.images).extend(items)
    return request.SerializeToString()


def smallest_message() -> int:
    """The least `max_message_bytes` that leaves room for an item of reasonable size, 64 KiB."""
    return ENVELOPE_BYTES + 64 * 1024


def largest_item(max_message_bytes: int) -> int:
    """The most bytes one item may have in a message of `max_message_bytes`."""
    return max_message_bytes - ENVELOPE_BYTES - ITEM_OVERHEAD


def oversized(tower: Tower, index: int, size: int, max_message_bytes: int) -> ItemError:
    """The error of an item of `size` bytes that no message can carry."""
    return ItemError(
        index,
        item_errors.too_many_bytes(tower),
        f"the item has {size:,} bytes; at most {largest_item(max_message_bytes):,} fit in a message"
        f" (max_message_bytes={max_message_bytes:,})",
    )


def parse_response(data: bytes, count: int) -> EmbedResult:
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
    values = response.vectors  # Once: each reading copies them.
    if len(values) != count * response.dim * 4:
        raise ProtocolError(
            f"the answer holds {len(values):,} bytes of vectors;"
            f" {count} of {response.dim} float32 values take {count * response.dim * 4:,}"
        )
    vectors = np.frombuffer(values, dtype="<f4").astype(np.float32).reshape(count, response.dim)
    if not np.isfinite(vectors).all() or not math.isfinite(response.logit_scale):
        raise ProtocolError("the answer holds numbers that are not finite")
    failed = [error.index for error in response.errors]
    truncated, unknown = list(response.truncated), list(response.unknown)
    for what, indices in (("errors", failed), ("truncated", truncated), ("unknown", unknown)):
        ascending = all(first < second for first, second in itertools.pairwise(indices))
        if not ascending or (indices and indices[-1] >= count):
            raise ProtocolError(f"the answer's `{what}` do not ascend below the {count} items of the request")
    if len(response.tokens) not in (0, count):
        raise ProtocolError(f"the answer's `tokens` are {len(response.tokens)}, for {count} items")
    if failed:
        vectors[failed] = 0.0
    return EmbedResult(
        vectors=vectors,
        space=response.space,
        logit_scale=float(response.logit_scale),
        errors=tuple(ItemError(error.index, error.code, error.message) for error in response.errors),
        truncated=tuple(truncated),
        version=response.version,
        unknown=tuple(unknown),
        tokens=tuple(response.tokens),
        languages=tuple(response.languages),
    )
