"""The memory that decoding threads share: never more than there is, and nobody waits for ever."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from handlers.preprocess.fast import decode_fast
from handlers.preprocess.memory import Memory
from tests.handlers.images import encoded, motif

PATIENCE = 60.0


def test_threads_take_no_more_than_there_is() -> None:
    """Eight threads that need a third each are at most three at a time, and all get their turn."""
    memory, lock, now, most = Memory(300), threading.Lock(), 0, 0

    def use(_: int) -> None:
        nonlocal now, most
        with memory.taking(100):
            with lock:
                now += 1
                most = max(most, now)
            threading.Event().wait(0.01)
            with lock:
                now -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, range(24), timeout=PATIENCE))
    assert 1 <= most <= 3


def test_one_that_needs_more_is_alone() -> None:
    """What needs more than there is waits until nobody else has any, and then goes on."""
    memory, entered = Memory(100), threading.Event()

    def large() -> None:
        with memory.taking(10_000):
            entered.set()

    with ThreadPoolExecutor(1) as pool:
        with memory.taking(1):
            future = pool.submit(large)
            assert not entered.wait(0.05)
        future.result(PATIENCE)
    assert entered.is_set()


def test_an_error_gives_its_part_back() -> None:
    """Images that fail while they are decoded leave nothing taken."""
    memory = Memory(1_000_000)
    broken = encoded(motif(), "JPEG")[:-300]
    for _ in range(3):
        with pytest.raises(Exception, match="ends too early"):
            decode_fast(broken, size=16, max_pixels=10**6, max_bytes=10**6, reduction=0, memory=memory)
    with memory.taking(1_000_000):
        assert memory._free == 0
    assert memory._free == 1_000_000
