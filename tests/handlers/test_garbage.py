"""What a request leaves behind."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator

import pytest

from benchmarks.poison import poison
from tests.handlers.images import encoded, motif
from tests.handlers.worker import Worker, http


@pytest.fixture
def garbage() -> Iterator[list[object]]:
    """What only the garbage collector could free, of that which the test does."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield gc.garbage
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def kinds(garbage: list[object]) -> Counter[str]:
    gc.collect()
    return Counter(type(one).__name__ for one in garbage if type(one).__name__ in ("frame", "traceback"))


@pytest.mark.parametrize("tower", ["text", "vision"])
def test_a_bad_item_leaves_no_frames(tower: str, text: Worker, vision: Worker, garbage: list[object]) -> None:
    """A refusal must not hold the images of its batch until the garbage collector comes by."""
    worker = text if tower == "text" else vision
    for body in poison(tower):
        worker.send(http(body.data, body.content_type))
    assert not kinds(garbage)


def test_a_failing_pass_leaves_no_frames(
    vision: Worker, garbage: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same of a tower that raises, and of a batch that is broken off."""

    def fail(*_: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(vision.handler.runner, "_run", fail)
    vision.send(http(encoded(motif(), "PNG")), http(encoded(motif(), "JPEG")))
    monkeypatch.setattr(vision.handler, "groups", fail)
    vision.send(http(encoded(motif(), "PNG")))
    assert not kinds(garbage)
