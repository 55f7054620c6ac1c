"""Bad input costs one item and one sentence: never another item, another request or a worker."""

import functools
import json
import struct
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from babelclip import AuthenticationError, Client, ModelNotFound
from babelclip.embedding_pb2 import EmbedRequest, EmbedResponse
from babelclip.transports.torchserve import bearer
from babelclip.transports.torchserve_pb2 import PredictionResponse, PredictionsRequest
from tests.e2e.support import PROTOBUF, Server, embed, post, predict

pytestmark = pytest.mark.usefixtures("unharmed")
TRANSPORTS = ("http", "grpc")


def png(width: int, height: int, depth: int, colour: int, compressed: bytes) -> bytes:
    """A PNG with this header and this stream of compressed rows."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", compressed) + chunk(b"IEND", b"")


def claim() -> bytes:
    """A PNG of some bytes whose header announces 30,000 × 30,000 RGB pixels."""
    return png(30_000, 30_000, 8, 2, zlib.compress(bytes(3 * 64 + 1)))


@functools.cache
def bomb() -> bytes:
    """A whole, valid PNG of 30,000 × 30,000 black pixels: 900 million in half a megabyte."""
    compressor = zlib.compressobj(1)
    row = bytes(1 + 30_000 // 8)
    rows = b"".join(compressor.compress(row * 1_000) for _ in range(30)) + compressor.flush()
    return png(30_000, 30_000, 1, 0, rows)


BAD_IMAGES = [
    pytest.param(lambda photo: b"this is a text file\n", "image_undecodable", 400, id="no-image"),
    pytest.param(lambda photo: b"%PDF-1.7 \x00\xff" * 50, "image_undecodable", 400, id="pdf"),
    pytest.param(lambda photo: photo[: len(photo) // 2], "image_truncated", 400, id="truncated-jpeg"),
    pytest.param(lambda photo: claim(), "image_too_large", 413, id="header-of-a-bomb"),
    pytest.param(lambda photo: bomb(), "image_too_large", 413, id="bomb"),
    pytest.param(
        lambda photo: photo + bytes(20_000_001 - len(photo)), "image_too_many_bytes", 413, id="bytes"
    ),
    pytest.param(lambda photo: b"", "empty_item", 400, id="empty"),
]

BAD_TEXTS = [
    pytest.param(b"caf\xe9", "invalid_utf8", 400, id="latin-1"),
    pytest.param(b"\xff\xfe\x00", "invalid_utf8", 400, id="utf-16"),
    pytest.param(b"", "empty_item", 400, id="empty"),
    pytest.param(b" \n\t ", "empty_item", 400, id="blank"),
    pytest.param(b"\xe2\x80\x8b\x00", "empty_item", 400, id="invisible"),
    pytest.param(b"word " * 20_000, "text_too_long", 413, id="too-long"),
]


def only_the_middle_failed(good: EmbedResponse, mixed: EmbedResponse, code: str) -> None:
    """Check that of three items the second failed with `code`, and the others have their usual vectors."""
    assert [(error.index, error.code) for error in mixed.errors] == [(1, code)]
    assert len(mixed.errors[0].message.split()) >= 4
    assert "Traceback" not in mixed.errors[0].message
    expected = np.frombuffer(good.vectors, "<f4").reshape(2, good.dim)
    found = np.frombuffer(mixed.vectors, "<f4").reshape(3, mixed.dim)
    assert not found[1].any()
    assert np.all(np.sum(expected * found[[0, 2]], axis=1) > 0.999)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(("make", "code", "status"), BAD_IMAGES)
def test_a_bad_image_costs_only_itself(
    server: Server,
    images: list[bytes],
    photograph: bytes,
    transport: str,
    make: Callable[[bytes], bytes],
    code: str,
    status: int,
) -> None:
    """The images beside a broken or an enormous one get the vectors they get without it."""
    good = embed(server, transport, "vision", EmbedRequest(images=[images[0], images[1]]))
    request = EmbedRequest(images=[images[0], make(photograph), images[1]])
    only_the_middle_failed(good, embed(server, transport, "vision", request), code)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(("text", "code", "status"), BAD_TEXTS)
def test_a_bad_text_costs_only_itself(
    server: Server, transport: str, text: bytes, code: str, status: int
) -> None:
    """The texts beside one that is no text get the vectors they get without it."""
    good = embed(server, transport, "text", EmbedRequest(texts=[b"a cat", b"a dog"]))
    mixed = embed(server, transport, "text", EmbedRequest(texts=[b"a cat", text, b"a dog"]))
    only_the_middle_failed(good, mixed, code)


@pytest.mark.parametrize(("make", "code", "status"), BAD_IMAGES)
def test_a_bad_image_alone_is_an_http_status(
    server: Server, photograph: bytes, make: Callable[[bytes], bytes], code: str, status: int
) -> None:
    """Whoever posts one raw image reads from the status that, and from the code why, it has no vector."""
    response = post(server, "vision", make(photograph), "image/jpeg")
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize(("text", "code", "status"), BAD_TEXTS)
def test_a_bad_text_alone_is_an_http_status(server: Server, text: bytes, code: str, status: int) -> None:
    """Whoever posts one raw text reads from the status that, and from the code why, it has no vector."""
    response = post(server, "text", text, "application/octet-stream")
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize(("text", "code", "status"), BAD_TEXTS[2:])
def test_a_bad_plain_text_is_an_http_status(server: Server, text: bytes, code: str, status: int) -> None:
    """The same holds for text/plain, which TorchServe decodes before the handler sees it."""
    response = post(server, "text", text, "text/plain")
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("tower", ["text", "vision"])
def test_an_item_for_the_other_tower_is_named_so(
    server: Server, images: list[bytes], transport: str, tower: str
) -> None:
    """An image sent to the text tower, or a text sent to the vision tower, says where it belongs."""
    request = EmbedRequest(texts=[b"a cat"], images=images[:1])
    answer = embed(server, transport, tower, request)
    assert [error.code for error in answer.errors] == ["wrong_tower"]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("tower", ["text", "vision"])
def test_another_space_is_refused(server: Server, images: list[bytes], transport: str, tower: str) -> None:
    """Vectors of another space than the caller's index are never handed out."""
    items: dict[str, Any] = {"texts": [b"a cat"]} if tower == "text" else {"images": images[:1]}
    answer = embed(server, transport, tower, EmbedRequest(space="0" * 16, **items))
    assert answer.error.code == "space_mismatch"
    assert server.space in answer.error.message
    assert not answer.vectors


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param(b"\xff\xff\xff\xff not protobuf", "malformed_request", id="garbage"),
        pytest.param(b"", "empty_request", id="no-bytes"),
        pytest.param(EmbedRequest(texts=[b"a"] * 2049).SerializeToString(), "too_many_items", id="too-many"),
    ],
)
def test_a_request_that_cannot_be_served_is_refused_whole(
    server: Server, transport: str, body: bytes, code: str
) -> None:
    """A request that is no request, or too large a one, is answered with a code of the wire format."""
    if transport == "grpc":
        answer = predict(server, "text", request=body)
    else:
        answer = EmbedResponse.FromString(post(server, "text", body, PROTOBUF).content)
    assert answer.error.code == code


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        pytest.param(b"{not json", "application/json", 400, "malformed_request", id="no-json"),
        pytest.param(b"[]", "application/json", 400, "malformed_request", id="json-list"),
        pytest.param(b'{"inputs": []}', "application/json", 400, "empty_request", id="no-inputs"),
        pytest.param(b"a,b", "application/x-www-form-urlencoded", 415, "unsupported_media_type", id="form"),
    ],
)
def test_http_requests_that_are_none_have_their_status(
    server: Server, body: bytes, content_type: str, status: int, code: str
) -> None:
    """A person trying the service out is told what to send instead."""
    response = post(server, "text", body, content_type)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


def test_json_items_fail_one_by_one(server: Server) -> None:
    """In a JSON list, too, each item has its own outcome: an address is not fetched, a number is no text."""
    body = json.dumps({"inputs": ["http://127.0.0.1/cat.png", "not base64!", 7]}).encode()
    answer = post(server, "vision", body, "application/json").json()
    assert answer["embeddings"] == [None] * 3
    assert [error["code"] for error in answer["errors"]] == ["invalid_item"] * 3


def test_a_neighbour_in_the_same_batch_is_not_harmed(
    server: Server, images: list[bytes], photograph: bytes
) -> None:
    """Requests that TorchServe batches together stay apart: the good ones succeed whoever comes with them."""
    bad = [photograph[:900], b"no image", b"", claim()]
    bodies = [item for pair in zip(bad * 4, images * 6, strict=False) for item in pair]
    with ThreadPoolExecutor(16) as pool:
        requests = [EmbedRequest(images=[body]) for body in bodies]
        answers = list(pool.map(lambda request: embed(server, "http", "vision", request), requests))
        answers += pool.map(lambda request: embed(server, "grpc", "vision", request), requests)
    assert [len(answer.errors) for answer in answers] == [1, 0] * (len(answers) // 2)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_wrong_token_is_refused(server: Server, transport: str) -> None:
    """Without the key of this start nothing is embedded, and the client says that it is the token."""
    for token in ("wrong", server.key("management")):
        with Client(server.url(transport), token=token) as client, pytest.raises(AuthenticationError):
            client.embed_texts(["a cat"])


def test_only_the_metrics_are_open(server: Server) -> None:
    """Inference and management ask for a token; the metrics, on loopback, do not."""
    assert httpx.get(f"{server.http}/ping").status_code == 400
    assert httpx.get(f"{server.management}/models").status_code == 400
    assert httpx.get(server.metrics).status_code == 200


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("options", [{"text_model": "nothing"}, {"version": "9.9"}])
def test_an_unknown_model_or_version_is_named_so(
    server: Server, transport: str, options: dict[str, Any]
) -> None:
    """A wrong name or version is an error of its own, not an empty answer."""
    with (
        Client(server.url(transport), token_file=server.token_file, **options) as client,
        pytest.raises(ModelNotFound),
    ):
        client.embed_texts(["a cat"])


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_message_over_the_servers_limit_is_sent_in_smaller_ones(
    server: Server, transport: str, images: list[bytes]
) -> None:
    """A message of 33 MiB is refused unread: its items are answered, but the one that is too large."""
    items = [b"x" * 11_500_000, b"x" * 11_500_000, images[0], b"x" * 35_000_000, b"x" * 11_500_000]
    with Client(server.url(transport), token_file=server.token_file, max_message_bytes=40_000_000) as client:
        result = client.embed_images(items, errors="return")
    broken = "image_undecodable"
    codes = {error.index: error.code for error in result.errors}
    assert codes == {0: broken, 1: broken, 3: "image_too_many_bytes", 4: broken}


def test_a_streaming_call_does_not_kill_the_worker(server: Server) -> None:
    """StreamPredictions would end an ordinary worker of TorchServe 0.12; the handler's answer prevents it."""
    request = PredictionsRequest(
        model_name="text", input={"request": EmbedRequest(texts=[b"a cat"]).SerializeToString()}
    )
    with grpc.insecure_channel(server.grpc.removeprefix("grpc://")) as channel:
        stream = channel.unary_stream(
            "/org.pytorch.serve.grpc.inference.InferenceAPIsService/StreamPredictions",
            request_serializer=PredictionsRequest.SerializeToString,
            response_deserializer=PredictionResponse.FromString,
        )
        answers = list(stream(request, metadata=bearer(server.key("inference")), timeout=60.0))
    assert [EmbedResponse.FromString(answer.prediction).space for answer in answers] == [server.space]


@pytest.mark.parametrize("path", ["file:///etc", "http://127.0.0.1:9/x.mar", "https://127.0.0.1:9/x.mar"])
def test_nothing_is_registered_from_an_address(server: Server, path: str) -> None:
    """Not even with the management key does the server fetch a model from somewhere."""
    headers = {"authorization": f"Bearer {server.key('management')}"}
    for kind in ("models", "workflows"):
        response = httpx.post(f"{server.management}/{kind}", params={"url": path}, headers=headers)
        assert response.status_code == 404
        assert "allowed URL" in response.text
