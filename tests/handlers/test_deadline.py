"""A batch that would take longer than TorchServe waits ends early, and says so item by item."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.batching import PreprocessResult, smallest_first
from handlers.clip_vision import VisionHandler
from handlers.config import response_timeout
from handlers.deadline import Deadline, DeadlineExceeded
from handlers.embedding_pb2 import EmbedRequest
from tests.handlers.conftest import DIM
from tests.handlers.images import encoded, motif
from tests.handlers.slow import Clock, Slow
from tests.handlers.worker import Reply, Worker, grpc, http

JPEG = encoded(motif(60, 40), "JPEG")


def codes(reply: Reply) -> dict[int, str]:
    return {error.index: error.code for error in reply.message.errors}


def good(reply: Reply) -> list[bool]:
    rows = np.frombuffer(reply.message.vectors, dtype="<f4").reshape(-1, DIM)
    return [bool(row.any()) for row in rows]


def test_a_slow_batch_ends_before_the_worker_is_killed(
    clock: Clock, vision: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pass that would end too late is not begun, vectors that are there are kept, the next batch is new."""
    slow = Slow(vision, clock, seconds=10)
    monkeypatch.setattr(vision.handler, "runner", slow)
    many = grpc(request=EmbedRequest(images=[JPEG] * 16).SerializeToString())
    (reply,) = vision.send(many)
    # Passes of 4 end at 10, 20 and 30 of 36 seconds; a fourth would at 40.
    assert slow.passes == [4, 4, 4]
    assert codes(reply) == dict.fromkeys(range(12, 16), "overloaded")
    assert good(reply) == [True] * 12 + [False] * 4
    assert "36 seconds" in reply.message.errors[0].message
    assert codes(vision.send(many)[0]) == codes(reply)


def test_every_pass_ends_within_the_timeout(
    clock: Clock, text: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts are refused as images are, whatever their lengths, and each has one outcome."""
    monkeypatch.setattr(text.handler, "runner", Slow(text, clock, seconds=17))
    texts = [
        text + b" " * again  # which is no token: of one length, but not the same
        for again in range(5)
        for text in (b"a", b"a red heart blue star", b"a red heart blue star a red heart")
    ]
    (reply,) = text.send(grpc(request=EmbedRequest(texts=texts).SerializeToString()))
    assert clock.now == 34
    assert set(codes(reply).values()) == {"overloaded"}
    assert good(reply) == [index not in codes(reply) for index in range(15)]


def test_a_large_request_does_not_starve_small_ones(
    clock: Clock, vision: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Single images that came after a large request go first; only the large one is cut short."""
    monkeypatch.setattr(vision.handler, "runner", Slow(vision, clock, seconds=15))
    large = grpc(request=EmbedRequest(images=[JPEG] * 16).SerializeToString())
    replies = vision.send(large, *[grpc(data=JPEG)] * 5)
    assert [codes(reply) for reply in replies[1:]] == [{}] * 5
    assert codes(replies[0]) == dict.fromkeys(range(3, 16), "overloaded")


def test_a_single_item_gets_503(clock: Clock, vision: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A raw request learns by its status that it may come again."""
    monkeypatch.setattr(vision.handler, "runner", Slow(vision, clock, seconds=36))
    replies = vision.send(*[http(JPEG, "image/jpeg")] * 5)
    assert [reply.status for reply in replies] == [200] * 4 + [503]
    assert json.loads(replies[4].body)["error"]["code"] == "overloaded"


def test_decoding_that_takes_too_long_is_given_up(
    clock: Clock, vision: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images not decoded when the time is over are refused, and those still queued are never decoded."""
    release = threading.Event()
    decoded = []

    def stuck(payload: bytes) -> np.ndarray:
        release.wait()
        decoded.append(payload)
        raise AssertionError("nobody waits for this")

    monkeypatch.setattr(vision.handler, "_decode", stuck)
    # The only wait in real time, of less than a millisecond, for something that cannot happen meanwhile.
    monkeypatch.setattr(vision.handler, "deadline", Deadline(1e-3, clock))
    (reply,) = vision.send(grpc(request=EmbedRequest(images=[JPEG] * 8).SerializeToString()))
    assert codes(reply) == dict.fromkeys(range(8), "overloaded")
    release.set()
    assert isinstance(vision.handler, VisionHandler)
    vision.handler.pool.submit(int).result()
    assert len(decoded) <= 2


def test_no_more_images_are_decoded_ahead_than_keep_the_threads_busy(
    vision: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many images a batch has, the pixels of only two groups wait in memory."""
    submitted = []

    class Pool:
        def submit(self, work: Any, *arguments: Any) -> Any:
            submitted.append(arguments)
            return pool.submit(work, *arguments)

    assert isinstance(vision.handler, VisionHandler)
    pool = vision.handler.pool
    monkeypatch.setattr(vision.handler, "pool", Pool())
    vision.handler.deadline.restart()  # as with each batch: its time runs since the last one
    groups = vision.handler.groups([JPEG] * 40, PreprocessResult(), vision.handler.deadline)
    ahead = [len(submitted) - 4 * (index + 1) for index, _ in enumerate(groups)]
    assert ahead[:8] == [8] * 8
    assert len(submitted) == 40


def test_one_slow_pass_does_not_shut_the_tower(clock: Clock) -> None:
    """After an accident, a machine that slept for instance, passes are tried again and measured anew."""
    deadline = Deadline(60, clock)
    deadline.record(32, 1000.0)
    deadline.restart()
    deadline.check(32)
    clock.now += 18
    with pytest.raises(DeadlineExceeded):
        deadline.check(32)
    deadline.record(32, 1.0)
    deadline.check(32)
    assert deadline.left() == 18


def test_an_unknown_size_counts_as_slow(clock: Clock) -> None:
    """A size of pass that was never met is not assumed to be quick."""
    deadline = Deadline(60, clock)
    deadline.record(8, 1.0)
    deadline.record(64, 10.0)
    clock.now = 27
    deadline.check(8)
    for slots in (64, 500):
        with pytest.raises(DeadlineExceeded):
            deadline.check(slots)
    deadline.check()


@given(st.lists(st.integers(0, 9), max_size=20))
def test_small_requests_go_first(sizes: list[int]) -> None:
    """Every position occurs once, by the size of its request; equals keep their order, and so do items."""
    ends = np.cumsum(sizes, dtype=int).tolist()
    requests = [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]
    order = smallest_first(requests)
    assert sorted(order) == list(range(sum(sizes)))
    owner = {
        position: (r.stop - r.start, i) for i, r in enumerate(requests) for position in range(*r.indices(999))
    }
    assert order == sorted(order, key=lambda position: (owner[position], position))


def test_the_timeout_is_the_archives() -> None:
    """The time of a batch follows model-config.yaml; where it says nothing, TorchServe waits two minutes."""
    configs: Iterator[Any] = iter([{"responseTimeout": 60}, {}, None, {"responseTimeout": None}])
    assert [response_timeout(config) for config in configs] == [60, 120, 120, 120]
