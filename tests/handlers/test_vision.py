"""The vision tower behind TorchServe's own message code."""

from __future__ import annotations

import base64
import dataclasses
import json
import time
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from handlers.batching import PreprocessResult
from handlers.clip_vision import VisionHandler
from handlers.embedding_pb2 import EmbedRequest
from handlers.preprocess.fast import decode_fast
from handlers.preprocess.memory import Memory
from tests.handlers.conftest import DIM, SIZE
from tests.handlers.images import encoded, motif
from tests.handlers.worker import Call, Reply, Worker, grpc, http

PROTOBUF = "application/x-protobuf"
JPEG = encoded(motif(60, 40), "JPEG")
PNG = encoded(motif(33, 57))


def protobuf(*images: bytes, texts: tuple[bytes, ...] = ()) -> bytes:
    return EmbedRequest(images=images, texts=texts).SerializeToString()


def as_json(*inputs: object) -> Call:
    return http(json.dumps({"inputs": inputs}).encode(), "application/json", accept=PROTOBUF)


def vectors(reply: Reply) -> np.ndarray:
    return np.frombuffer(reply.message.vectors, dtype="<f4").reshape(-1, DIM)


def codes(reply: Reply) -> dict[int, str]:
    return {error.index: error.code for error in reply.message.errors}


@pytest.fixture(scope="session")
def clean(vision: Worker) -> np.ndarray:
    """The vectors of JPEG and PNG, each embedded by itself."""
    return np.concatenate([vectors(vision.send(grpc(request=protobuf(image)))[0]) for image in (JPEG, PNG)])


@pytest.mark.parametrize(
    "call",
    [
        grpc(data=JPEG),
        http(protobuf(JPEG), PROTOBUF),
        http(JPEG, "image/jpeg", accept=PROTOBUF),
        http(JPEG, "application/octet-stream", accept=PROTOBUF),
        http(JPEG, accept=PROTOBUF),
        as_json(base64.b64encode(JPEG).decode()),
        as_json("data:image/jpeg;base64," + base64.b64encode(JPEG).decode()),
    ],
)
def test_every_form_gives_the_same_vector(vision: Worker, clean: np.ndarray, call: Call) -> None:
    """A vector does not depend on the wire form that its image came in."""
    (reply,) = vision.send(call)
    assert (reply.status, reply.content_type) == (200, PROTOBUF)
    np.testing.assert_array_equal(vectors(reply), clean[:1])


def test_json_for_people(vision: Worker, clean: np.ndarray) -> None:
    """A raw image answers with JSON that holds the same float32 bits."""
    (reply,) = vision.send(http(JPEG, "image/jpeg"))
    answer = json.loads(reply.body)
    assert np.array(answer["embeddings"], dtype=np.float32).tobytes() == clean[:1].tobytes()


def test_many_images_keep_their_order(vision: Worker, clean: np.ndarray) -> None:
    """More images than one forward pass takes come back in order, across requests."""
    pattern = [0, 1, 1, 0, 0, 0, 1, 0, 1, 1, 0]
    images = [(JPEG, PNG)[kind] for kind in pattern]
    replies = vision.send(grpc(request=protobuf(*images[:6])), http(protobuf(*images[6:]), PROTOBUF))
    rows = np.concatenate([vectors(reply) for reply in replies])
    np.testing.assert_allclose(rows, clean[pattern], atol=1e-6)


BAD_IMAGES = [
    (b"", "empty_item", 400),
    (b"no image at all", "image_undecodable", 400),
    (JPEG[:-300], "image_truncated", 400),
    (encoded(Image.new("1", (1001, 1000))), "image_too_large", 413),
    (JPEG + b"\0" * 50_000, "image_too_many_bytes", 413),
]


@pytest.mark.parametrize("position", range(6))
@pytest.mark.parametrize(("image", "code", "status"), BAD_IMAGES)
def test_a_bad_image_costs_only_itself(
    vision: Worker, clean: np.ndarray, image: bytes, code: str, status: int, position: int
) -> None:
    """Wherever a bad image stands in a batch of requests, all others have the vectors of a clean run."""
    images = [JPEG] * 5
    images.insert(position, image)
    calls = [grpc(request=protobuf(*images[:2])), http(protobuf(*images[2:4]), PROTOBUF)]
    replies = vision.send(*calls, grpc(request=protobuf(*images[4:])), http(image, "image/jpeg"))
    rows = np.concatenate([vectors(reply) for reply in replies[:3]])
    np.testing.assert_allclose(np.delete(rows, position, axis=0), np.tile(clean[0], (5, 1)), atol=1e-6)
    assert not rows[position].any()
    assert codes(replies[position // 2]) == {position % 2: code}
    assert [reply.status for reply in replies] == [200, 200, 200, status]
    assert json.loads(replies[3].body)["error"]["code"] == code


@pytest.mark.parametrize(
    ("item", "code"),
    [
        ("https://example.org/cat.jpg", "invalid_item"),
        ("file:///etc/passwd", "invalid_item"),
        ("data:text/plain;base64,AAAA", "invalid_item"),
        ("a red heart", "invalid_item"),
        ("AAAAA", "invalid_item"),
        ("ÄÄÄÄ", "invalid_item"),
        (None, "invalid_item"),
        ({"url": "x"}, "invalid_item"),
        ("", "empty_item"),
        ("data:image/png;base64,", "empty_item"),
        ("A" * 80_000, "image_too_many_bytes"),
        ("AAAA", "image_undecodable"),
    ],
)
def test_every_bad_json_item(vision: Worker, clean: np.ndarray, item: object, code: str) -> None:
    """A JSON item that is no image is refused by itself; addresses are never fetched."""
    (reply,) = vision.send(as_json(item, base64.b64encode(JPEG).decode()))
    assert codes(reply) == {0: code}
    np.testing.assert_allclose(vectors(reply)[1:], clean[:1], atol=1e-6)


def test_texts_are_the_wrong_tower(vision: Worker) -> None:
    """Texts sent to the vision tower are refused one by one, before the images of the same request."""
    mixed, raw = vision.send(grpc(request=protobuf(JPEG, texts=(b"a",))), http(b"a", "text/plain"))
    assert codes(mixed) == {0: "wrong_tower"}
    assert vectors(mixed)[1].any()
    assert (raw.status, json.loads(raw.body)["error"]["code"]) == (400, "wrong_tower")


def test_a_failing_forward_pass_costs_only_its_image(
    vision: Worker, clean: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a forward pass fails, its images are tried one by one and only the one at fault is refused."""
    run = vision.handler.runner

    class Touchy:
        placement, padded_rows = run.placement, staticmethod(run.padded_rows)
        group_rows = staticmethod(run.group_rows)

        def __call__(self, pixels: np.ndarray) -> np.ndarray:
            if (pixels == 255).all(axis=(1, 2, 3)).any():
                raise RuntimeError("out of memory")
            return run(pixels)

    monkeypatch.setattr(vision.handler, "runner", Touchy())
    white = encoded(motif().point(lambda _: 255))
    (reply,) = vision.send(grpc(request=protobuf(JPEG, white, PNG)))
    assert codes(reply) == {1: "internal"}
    np.testing.assert_allclose(vectors(reply)[[0, 2]], clean, atol=1e-6)


def test_an_unexpected_decoding_failure_costs_only_its_image(
    vision: Worker, clean: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Running out of memory on one image is that image's failure, with an id instead of a trace."""
    import handlers.clip_vision as module

    def greedy(data: bytes, **limits: Any) -> np.ndarray:
        if data == PNG:
            raise MemoryError
        return decode_fast(data, **limits)

    monkeypatch.setattr(module, "decode_fast", greedy)
    (reply,) = vision.send(grpc(request=protobuf(PNG, JPEG)))
    assert codes(reply) == {0: "internal"}
    np.testing.assert_allclose(vectors(reply)[1], clean[0], atol=1e-6)


@settings(max_examples=60)
@given(
    items=st.lists(st.one_of(st.text(max_size=40), st.binary(max_size=40).map(base64.b64encode)), max_size=6)
)
def test_any_json_strings_have_outcomes(vision: Worker, items: list[str | bytes]) -> None:
    """Random strings and random base64 never fail a request: each has a vector or one error."""
    strings = [item.decode() if isinstance(item, bytes) else item for item in items]
    (reply,) = vision.send(as_json(*strings, base64.b64encode(JPEG).decode()))
    rows = vectors(reply)
    assert len(rows) == len(items) + 1
    assert list(codes(reply)) == [index for index, row in enumerate(rows) if not row.any()]
    assert "internal" not in codes(reply).values()


def test_pixels_arrive_as_preprocessed(vision: Worker) -> None:
    """The tower gets uint8 [N, size, size, 3] by serving's decoding, with the model's reduction."""
    (group,) = vision.handler.groups([JPEG, PNG], PreprocessResult(), vision.handler.deadline)
    limits: dict[str, Any] = {"size": SIZE, "max_pixels": 10**6, "max_bytes": 10**6, "reduction": 1.25}
    expected = [decode_fast(image, **limits) for image in (JPEG, PNG)]
    np.testing.assert_array_equal(group.arrays[0], np.stack(expected))


def test_all_threads_share_one_memory(vision: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker's images take what they decode to of 40 bytes for each of max_pixels, and give it back."""
    taken: list[int] = []
    take = Memory.taking

    def noting(self: Memory, amount: int) -> AbstractContextManager[None]:
        taken.append(amount)
        return take(self, amount)

    monkeypatch.setattr(Memory, "taking", noting)
    (group,) = vision.handler.groups([JPEG, PNG, b"broken"], PreprocessResult(), vision.handler.deadline)
    assert len(group.positions) == 2
    assert 33 * 57 * 8 in taken
    assert len(taken) == 2
    assert isinstance(vision.handler, VisionHandler)
    assert vision.handler.memory._free == 40 * 1_000_000


def test_decoding_overlaps_with_the_device(vision: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """While an accelerator computes the first half of a batch, the second is being decoded."""
    handler = vision.handler
    assert isinstance(handler, VisionHandler)
    placement = dataclasses.replace(handler.runner.placement, kind="cuda")
    monkeypatch.setattr(handler.runner, "placement", placement)
    monkeypatch.setattr(handler.runner, "row_buckets", (1, 2, 4, 8))
    decode = handler._decode
    started: list[bytes] = []

    def noting(payload: bytes) -> Any:
        started.append(payload)
        return decode(payload)

    monkeypatch.setattr(handler, "_decode", noting)
    groups = handler.groups([JPEG, PNG] * 4, PreprocessResult(), handler.deadline)
    first = next(groups)
    give_up = time.monotonic() + 60
    while len(started) < 8 and time.monotonic() < give_up:
        time.sleep(0.001)
    assert (len(first.positions), len(started)) == (4, 8)
    assert [len(group.positions) for group in groups] == [4]
