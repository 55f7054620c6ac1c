"""What is let through of a connection before the settings are acknowledged."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rpc.preface import MAGIC, MOST_HEAD_BYTES, Preface
from tests.gateway import frames
from tests.gateway.frames import frame

BEGIN = frames.PREFACE + frame(frames.SETTINGS)
ACKNOWLEDGED = frame(frames.SETTINGS, frames.ACK)


def taken(*parts: bytes, most: int = MOST_HEAD_BYTES) -> tuple[bool, Preface]:
    """Whether all of it may pass, and what is known then."""
    preface = Preface(most)
    return all(preface.take(part) for part in parts), preface


def test_a_client_that_acknowledges_is_watched_no_longer() -> None:
    """Calls before the acknowledgement count, whatever comes behind it does not."""
    head = frame(frames.HEADERS, frames.END_HEADERS, 1, frames.call_headers())
    passed, preface = taken(BEGIN, head, most=len(head))
    assert passed
    assert (preface.begun, preface.acknowledged) == (True, False)
    assert preface.take(ACKNOWLEDGED + head * 100)
    assert preface.acknowledged
    assert preface.take(b"anything")


@pytest.mark.parametrize("kind", [frames.HEADERS, frames.CONTINUATION])
def test_heads_before_it_have_a_bound(kind: int) -> None:
    """By what their frames announce, before their bytes are there, on all streams together."""
    assert taken(BEGIN, frame(kind, 0, 1, b"x" * 60), frame(kind, 0, 3, b"x" * 40), most=100)[0]
    assert not taken(BEGIN, frame(kind, 0, 1, b"x" * 60), frame(kind, 0, 3, b"x" * 41)[:9], most=100)[0]
    assert taken(BEGIN, frame(frames.DATA, 0, 1, b"x" * 1000), most=100)[0]


def test_another_protocol_is_refused_at_its_first_byte() -> None:
    """gRPC's server is not asked about it."""
    assert not taken(b"GET / HTTP/1.1\r\n")[0]
    assert not taken(MAGIC[:10] + b"x")[0]
    passed, preface = taken(MAGIC[:10])
    assert (passed, preface.begun) == (True, False)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([*range(10), 255]), st.integers(0, 255), st.integers(0, 9), st.binary(max_size=60)
        ),
        max_size=8,
    ),
    st.lists(st.integers(0, 700), max_size=20),
)
def test_it_does_not_matter_how_the_bytes_are_cut(
    sent: list[tuple[int, int, int, bytes]], cuts: list[int]
) -> None:
    """In whatever pieces a stream of frames arrives, the same is found in it."""
    data = frames.PREFACE + b"".join(frame(*one) for one in sent)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[start:end] for start, end in itertools.pairwise(places)]
    whole, at_once = taken(data, most=100)
    parts, in_pieces = taken(*pieces, most=100)
    assert whole == parts
    if whole:
        assert at_once.acknowledged == in_pieces.acknowledged


@given(st.binary(max_size=300))
def test_any_bytes_are_taken_or_refused(data: bytes) -> None:
    """Nothing that a stranger sends raises anything."""
    taken(frames.PREFACE + data)
    taken(data)
