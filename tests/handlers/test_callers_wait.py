"""A batch ends before its callers give up, and each batch gets done some."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest

from babelclip import Call, Client
from handlers.batching import Group, part_of
from handlers.clip_vision import VisionHandler
from handlers.deadline import Deadline, DeadlineExceeded
from handlers.embedding_pb2 import EmbedRequest
from tests.handlers.conftest import DIM
from tests.handlers.images import encoded, motif
from tests.handlers.slow import Clock, Slow
from tests.handlers.worker import Worker, grpc, http

JPEG = encoded(motif(60, 40), "JPEG")


def images(count: int, seconds: float = 0.0) -> Any:
    """A request for so many images, by a caller that waits so long."""
    return grpc(
        request=EmbedRequest(images=[JPEG] * count, timeout_ms=round(seconds * 1000)).SerializeToString()
    )


def refused(reply: Any) -> int:
    """How many items had no turn."""
    assert {error.code for error in reply.message.errors} <= {"overloaded"}
    return len(reply.message.errors)


@pytest.mark.parametrize(("seconds", "least"), [(0.5, 12), (1.0, 6), (5.0, 1)])
def test_a_batch_ends_before_its_caller_gives_up(
    clock: Clock, vision: Worker, monkeypatch: pytest.MonkeyPatch, seconds: float, least: int
) -> None:
    """Of the 30 seconds of a caller a batch takes 12, and what it has by then is sent."""
    monkeypatch.setattr(vision.handler, "runner", Slow(vision, clock, seconds, a_row=True))
    for _ in range(2):  # The first batch of a worker, which knows nothing of its tower, and a later one.
        began = clock.now
        (reply,) = vision.send(images(16, 30))
        assert clock.now - began <= 12
        assert least <= 16 - refused(reply) < 16 or not refused(reply)
        assert all("the 12 seconds" in error.message for error in reply.message.errors)


def test_each_batch_gets_done_some(clock: Clock, vision: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tower that takes longer for one item than a caller waits embeds one, however often it is asked."""
    monkeypatch.setattr(vision.handler, "runner", Slow(vision, clock, seconds=20, a_row=True))
    for _ in range(3):
        (reply,) = vision.send(images(8, 1))
        assert refused(reply) == 7
        vectors = np.frombuffer(reply.message.vectors, dtype="<f4").reshape(-1, DIM)
        assert vectors.any(axis=1).tolist() == [True] + [False] * 7


def test_texts_too(clock: Clock, text: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text tower keeps the time of its callers in passes of any length."""
    monkeypatch.setattr(text.handler, "runner", Slow(text, clock, seconds=2, a_row=True))
    texts = [
        text + b" " * again  # which is no token: of one length, but not the same
        for again in range(5)
        for text in (b"a", b"a red heart blue star", b"a red heart blue star a red heart")
    ]
    body = EmbedRequest(texts=texts, timeout_ms=30_000).SerializeToString()
    (reply,) = text.send(http(body, "application/x-protobuf"))
    assert clock.now <= 12
    assert 8 <= refused(reply) <= 14


def test_callers_who_do_not_say_lose_nothing(
    clock: Clock, vision: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another request's caller gives up early: the batch goes on for those who wait for all of it."""
    monkeypatch.setattr(vision.handler, "runner", Slow(vision, clock, seconds=1, a_row=True))
    hasty, patient, none = vision.send(images(2, 5), images(16), images(0, 1))
    assert (refused(hasty), refused(patient)) == (0, 0)
    assert none.message.error.code == "empty_request"
    assert clock.now == 18


def test_the_first_who_gives_up_ends_the_batch_of_those_who_say(
    clock: Clock, vision: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TorchServe sends the answers together: who waits 5 seconds has theirs before those are over."""
    monkeypatch.setattr(vision.handler, "runner", Slow(vision, clock, seconds=0.5, a_row=True))
    hasty, patient = vision.send(images(2, 5), images(16, 60))
    assert refused(hasty) == 0
    assert 0 < refused(patient) < 16
    assert clock.now <= 2


def test_images_that_are_decoded_by_then_are_not_lost(
    clock: Clock, vision: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoding takes all of the time: the few images of an unfinished pass are embedded."""
    assert isinstance(vision.handler, VisionHandler)
    release = threading.Event()
    decode = vision.handler._decode

    def stuck(payload: bytes) -> Any:
        if payload != JPEG:
            release.wait()
        return decode(payload)

    monkeypatch.setattr(vision.handler, "_decode", stuck)
    body = EmbedRequest(images=[JPEG, JPEG, JPEG + b" ", *[JPEG] * 5], timeout_ms=5000).SerializeToString()
    rescue = threading.Timer(10, release.set)
    rescue.start()
    (reply,) = vision.send(grpc(request=body))
    released = release.is_set()
    rescue.cancel()
    release.set()
    vision.handler.pool.submit(int).result()
    assert not released
    assert [error.index for error in reply.message.errors] == [2, 3, 4, 5, 6, 7]


def test_a_pass_that_was_slow_by_accident_is_forgotten(clock: Clock) -> None:
    """After a machine slept, passes grow again as smaller ones turn out to be quick."""
    deadline = Deadline(60, clock)
    deadline.record(32, 1000.0)
    deadline.restart()
    deadline.callers_wait(30)
    assert deadline.largest(32, lambda rows: rows) == 1
    for rows in (1, 2, 4, 8, 16):
        deadline.record(rows, 0.1)
    assert deadline.largest(32, lambda rows: rows) == 32
    deadline.check(32)
    clock.now += 12
    with pytest.raises(DeadlineExceeded):
        deadline.check(1)
    deadline.callers_wait(None)
    deadline.check(1)


def test_the_parts_of_a_group_are_the_group() -> None:
    """Rows, used and computed slots of the parts add up, and the whole is the group itself."""
    group = Group([5, 6, 7], (np.arange(12).reshape(3, 4),), used=10, slots=12, bucket=4)
    parts = [part_of(group, 0, 2), part_of(group, 2, 3)]
    assert [part.positions for part in parts] == [[5, 6], [7]]
    assert sum(part.used for part in parts) == 10
    assert [part.slots for part in parts] == [8, 4]
    np.testing.assert_array_equal(np.concatenate([part.arrays[0] for part in parts]), group.arrays[0])
    assert part_of(group, 0, 3) is group


def test_a_client_gets_everything_from_a_slow_handler(
    vision: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handler's promise and the client's together: 48 images at 50 ms, a timeout of 1.5 s, 16 a batch."""

    class Sleeping(Slow):
        def __call__(self, *arrays: Any) -> np.ndarray:
            time.sleep(self.seconds * len(arrays[0]))
            return self._run(*arrays)

    class Queue:
        """One worker, which takes one request after the other."""

        def __init__(self) -> None:
            self.lock = threading.Lock()
            self.late: list[float] = []

        def send(self, call: Call) -> bytes:
            began = time.monotonic()
            with self.lock:
                (reply,) = vision.send(grpc(request=call.body))
            self.late.append(time.monotonic() - began - call.timeout)
            return reply.body

        def close(self) -> None:
            pass

    monkeypatch.setattr(vision.handler, "deadline", Deadline(60, time.perf_counter))
    monkeypatch.setattr(vision.handler, "settings", vision.handler.settings.__class__(max_items=256))
    monkeypatch.setattr(vision.handler, "runner", Sleeping(vision, Clock(), 0.05))
    queue = Queue()
    with Client("", transport=queue, timeout=1.5) as client:
        assert client.embed_images([JPEG] * 48).ok.all()
    assert len(queue.late) >= 4
    assert max(queue.late) < 0
