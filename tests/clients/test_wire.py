"""Splitting into messages, and reading answers that may hold anything."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from babelclip.client.splitting import Splitter, split
from babelclip.embedding_pb2 import EmbedRequest, EmbedResponse
from babelclip.errors import BabelclipError, ProtocolError, RequestRefused, SpaceMismatch, Unavailable
from babelclip.item_errors import ItemError
from babelclip.transports.torchserve_pb2 import PredictionsRequest
from babelclip.wire import ENVELOPE_BYTES, MAX_ITEMS, Tower, encode, largest_item, parse_response

ROOM = st.integers(min_value=ENVELOPE_BYTES + 8, max_value=ENVELOPE_BYTES + 400)
ITEMS = st.lists(st.one_of(st.binary(max_size=300), st.just(None)), max_size=40)


@given(items=ITEMS, limit=ROOM, tower=st.sampled_from(["text", "vision"]))
def test_split_keeps_every_item_once_and_every_message_small(
    items: list[bytes | None], limit: int, tower: Tower
) -> None:
    """No item is lost, doubled or moved, and no message exceeds the limit even inside TorchServe's own."""
    given_items = [ItemError(i, "bad", "") if item is None else item for i, item in enumerate(items)]
    messages = list(split(given_items, Splitter(tower, limit)))
    starts = np.cumsum([0, *(message.count for message in messages)]).tolist()
    sent, failed = [], []
    for start, m in zip(starts, messages, strict=False):
        sent += [(start + index, item) for index, item in zip(m.indices, m.items, strict=True)]
        failed += [start + error.index for error in m.failed]
    fits = [(i, x) for i, x in enumerate(items) if x is not None and len(x) <= largest_item(limit)]
    assert sent == fits
    assert failed == sorted(set(range(len(items))) - {i for i, _ in fits})
    assert starts[-1] == len(items)
    for message in messages:
        body = encode(tower, message.items, "f" * 16)
        wrapped = PredictionsRequest(model_name="m" * 64, model_version="1.0", input={"request": body})
        assert len(wrapped.SerializeToString()) <= limit
        assert (EmbedRequest.FromString(body).texts or EmbedRequest.FromString(body).images) == message.items


def test_split_counts_items() -> None:
    """A message never has more items than a server takes."""
    messages = split([b"x"] * (2 * MAX_ITEMS + 1), Splitter("text", 6_000_000))
    assert [len(message.items) for message in messages] == [MAX_ITEMS, MAX_ITEMS, 1]


def test_split_takes_items_late() -> None:
    """A long list of files is read as messages need it, not all at once."""
    taken = 0

    def items() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(100):
            taken += 1
            yield b"x" * 50_000

    next(split(items(), Splitter("vision", 200_000)))
    assert taken < 10


def test_oversized_items_name_the_limit() -> None:
    """An item that no message can carry is told so before anything is sent, with what is allowed."""
    (message,) = split([b"x" * 99_000], Splitter("vision", 70_000))
    assert message.items == []
    (failed,) = message.failed
    assert failed.code == "image_too_many_bytes"
    assert "99,000 bytes" in failed.message
    assert f"{largest_item(70_000):,}" in failed.message


def good(count: int = 2, dim: int = 3) -> EmbedResponse:
    """A valid answer."""
    vectors = np.ones((count, dim), "<f4").tobytes()
    return EmbedResponse(space="s", dim=dim, logit_scale=20.0, vectors=vectors)


@given(data=st.binary(max_size=200), count=st.integers(0, 5))
def test_arbitrary_bytes_never_escape_the_error_tree(data: bytes, count: int) -> None:
    """Whatever a server sends, the caller meets a babelclip error or a checked result."""
    try:
        batch = parse_response(data, count)
    except BabelclipError:
        return
    assert batch.vectors.shape[0] == count


@given(
    space=st.sampled_from(["", "s"]),
    dim=st.integers(0, 3) | st.just(2**32 - 1),
    scale=st.floats(width=32),
    vectors=st.lists(st.floats(width=32), max_size=8).map(lambda v: np.array(v, "<f4").tobytes())
    | st.binary(),
    indices=st.lists(st.integers(0, 4) | st.just(2**32 - 1), max_size=4),
    truncated=st.lists(st.integers(0, 4), max_size=4),
    unknown=st.lists(st.integers(0, 4), max_size=4),
    tokens=st.lists(st.integers(0, 2**32 - 1), max_size=4),
    count=st.integers(0, 4),
)
def test_well_formed_lies_are_noticed(
    space: str,
    dim: int,
    scale: float,
    vectors: bytes,
    indices: list[int],
    truncated: list[int],
    unknown: list[int],
    tokens: list[int],
    count: int,
) -> None:
    """An answer that contradicts itself or the request is refused; one that is accepted is consistent."""
    response = EmbedResponse(space=space, dim=dim, logit_scale=scale, vectors=vectors)
    response.truncated.extend(truncated)
    response.unknown.extend(unknown)
    response.tokens.extend(tokens)
    for index in indices:
        response.errors.add(index=index, code="c", message="m")
    try:
        batch = parse_response(response.SerializeToString(), count)
    except ProtocolError:
        return
    assert batch.space
    assert batch.vectors.shape == (count, dim)
    assert np.isfinite(batch.vectors).all()
    assert np.isfinite(batch.logit_scale)
    assert len(batch.tokens) in (0, count)
    for found in (batch.truncated, batch.unknown, [error.index for error in batch.errors]):
        assert list(found) == sorted(set(found))
        assert all(0 <= index < count for index in found)


def test_a_failed_row_is_zero() -> None:
    """A vector that a server sends beside the item's error is not believed."""
    response = good()
    response.errors.add(index=1, code="image_undecodable", message="no image")
    batch = parse_response(response.SerializeToString(), 2)
    assert batch.vectors[0].all()
    assert not batch.vectors[1].any()
    assert batch.errors == (ItemError(1, "image_undecodable", "no image"),)


@pytest.mark.parametrize(
    ("code", "kind"),
    [("too_many_items", RequestRefused), ("space_mismatch", SpaceMismatch), ("overloaded", Unavailable)],
)
def test_a_refused_request_raises_its_code(code: str, kind: type[Exception]) -> None:
    """A request error becomes an exception that carries the server's sentence."""
    response = EmbedResponse()
    response.error.code, response.error.message = code, "a sentence"
    with pytest.raises(kind, match="a sentence"):
        parse_response(response.SerializeToString(), 1)
