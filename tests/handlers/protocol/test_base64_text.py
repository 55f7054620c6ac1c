"""Images in base64 as shells, browsers and other programs write it, in every form that has a place for it."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.embedding_pb2 import EmbedRequest
from handlers.protocol.base64_text import decode, read_data_uri
from tests.handlers.conftest import DIM
from tests.handlers.images import encoded, motif
from tests.handlers.worker import Call, Reply, Worker, form, grpc, http

IMAGE = encoded(motif(37, 53))
PLAIN = base64.b64encode(IMAGE).decode()
SAFE = base64.urlsafe_b64encode(IMAGE).decode()
# With this one all three can be told apart.
assert SAFE != PLAIN
assert PLAIN.endswith("=")

SPELLINGS = {
    "newline": PLAIN + "\n",
    "wrapped": base64.encodebytes(IMAGE).decode(),
    "wrapped for Windows": base64.encodebytes(IMAGE).decode().replace("\n", "\r\n"),
    "spaces": "  " + " \t".join(PLAIN[at : at + 5] for at in range(0, len(PLAIN), 5)),
    "URL alphabet": SAFE,
    "no padding": PLAIN.rstrip("="),
    "URL alphabet, no padding, wrapped": SAFE.rstrip("=")[:60] + "\n" + SAFE.rstrip("=")[60:],
}
URIS = {
    "data URI": "data:image/png;base64," + PLAIN,
    "with a newline": "data:image/png;base64," + PLAIN + "\n",
    "wrapped": "data:image/png;base64,\n" + base64.encodebytes(IMAGE).decode(),
    "percent-encoded": "data:image/png;base64," + quote(PLAIN, safe=""),
    "with a parameter": "data:image/png;charset=utf-8;base64," + PLAIN,
    "with parameters": 'data:image/png;name="a b.png";charset=UTF-8;base64,' + PLAIN,
    "upper case": "DATA:Image/PNG;BASE64," + PLAIN,
    "of an unknown kind": "data:application/octet-stream;base64," + PLAIN,
    "of no kind": "data:;base64," + PLAIN,
    "URL alphabet": "data:image/png;base64," + SAFE.rstrip("="),
}


def as_json(item: str) -> Call:
    return http(json.dumps({"inputs": [item]}).encode(), "application/json")


def as_openai(item: str) -> Call:
    return http(json.dumps({"input": [item]}).encode(), "application/json", url_path="v1/embeddings")


def as_kserve(name: str) -> Callable[[str], Call]:
    return lambda item: http(json.dumps({"instances": [{name: item}]}).encode(), "application/json")


FORMS: dict[str, Callable[[str], Call]] = {
    "json": as_json,
    "openai": as_openai,
    "kserve b64": as_kserve("b64"),
    "kserve data": as_kserve("data"),
    "text/plain": lambda item: http(item.encode(), "text/plain"),
    "octet-stream": lambda item: http(item.encode(), "application/octet-stream"),
    "no type": lambda item: http(item.encode()),
    "image/png": lambda item: http(item.encode(), "image/png"),
    "form field": lambda item: form("multipart/form-data; boundary=x", data=item.encode()),
    "urlencoded": lambda item: form("application/x-www-form-urlencoded", data=item.encode()),
    "gRPC": lambda item: grpc(data=item.encode()),
}


def vector(reply: Reply) -> np.ndarray:
    assert reply.status == 200, reply.body
    if reply.content_type != "application/json":
        assert not reply.message.errors, reply.message
        return np.frombuffer(reply.message.vectors, "<f4")
    answer = json.loads(reply.body)
    assert not answer.get("errors"), answer
    if "data" in answer:
        return np.array(answer["data"][0]["embedding"])
    return np.array((answer.get("embeddings") or answer.get("predictions"))[0])


@pytest.fixture(scope="module")
def clean(vision: Worker) -> np.ndarray:
    """The image's vector by the protobuf."""
    (reply,) = vision.send(grpc(request=EmbedRequest(images=[IMAGE]).SerializeToString()))
    assert not reply.message.errors
    return np.frombuffer(reply.message.vectors, "<f4").reshape(DIM)


@pytest.mark.parametrize("way", FORMS)
def test_every_spelling_arrives_in_every_form(vision: Worker, clean: np.ndarray, way: str) -> None:
    """A newline at the end, lines, the alphabet of URLs, missing padding and data URIs are the same image."""
    items = {**SPELLINGS, **{f"URI {name}": uri for name, uri in URIS.items()}}
    replies = vision.send(*(FORMS[way](item) for item in items.values()))
    for name, reply in zip(items, replies, strict=True):
        np.testing.assert_allclose(vector(reply), clean, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    "garbage",
    [
        PLAIN[:-5] + "!" + PLAIN[-4:],
        PLAIN[:20] + "=" + PLAIN[20:],
        PLAIN + "==",
        PLAIN.rstrip("=") + "===",
        PLAIN[: len(PLAIN) // 4 * 4 - 3],
        "-" + PLAIN[1:],
        "a red heart",
        "words words",
        "data:image/png," + PLAIN,
        "data:image/png;base64;charset=utf-8," + PLAIN,
        "data:text/plain;base64," + PLAIN,
        "data:image/svg+xml;utf8,<svg/>",
    ],
)
def test_garbage_is_refused_with_a_sentence(vision: Worker, garbage: str) -> None:
    """What leaves a doubt about the bytes is no image, and the caller is told what one would be."""
    (reply,) = vision.send(as_json(garbage))
    (error,) = json.loads(reply.body)["errors"]
    assert error["code"] == "invalid_item"
    assert "base64" in error["message"]
    (raw,) = vision.send(http(garbage.encode(), "text/plain"))
    assert raw.status == 400
    assert json.loads(raw.body)["error"]["code"] in ("wrong_tower", "invalid_item")


def test_an_image_as_data_uri_is_no_text(text: Worker) -> None:
    """Whoever sends an image to the text tower is told so, however its URI is written."""
    (reply,) = text.send(http(json.dumps({"inputs": list(URIS.values())}).encode(), "application/json"))
    codes = {error["index"]: error["code"] for error in json.loads(reply.body)["errors"]}
    for index, name in enumerate(URIS):
        assert (codes[index] == "wrong_tower") is not name.startswith("of "), name


def test_a_file_that_is_no_image_stays_as_it_came(vision: Worker) -> None:
    """Bytes are taken for base64 only where an image comes of it."""
    replies = vision.send(*(http(body, "application/octet-stream") for body in (b"a cat", b"BM", b"AAAA")))
    for reply in replies:
        assert json.loads(reply.body)["error"]["code"] == "image_undecodable"


@given(data=st.binary(max_size=200), seed=st.integers(0, 999), safe=st.booleans(), padded=st.booleans())
def test_any_bytes_come_back(data: bytes, seed: int, safe: bool, padded: bool) -> None:
    """Whatever is encoded, with either alphabet, with padding or without, is decoded to the same bytes."""
    text = (base64.urlsafe_b64encode if safe else base64.b64encode)(data).decode()
    text = text if padded else text.rstrip("=")
    assert decode(text) == data
    rng = random.Random(seed)
    uri = "data:image/*;base64," + "".join(
        f"%{ord(letter):02{rng.choice('xX')}}" if rng.random() < 0.3 else letter for letter in text
    )
    found = read_data_uri(uri)
    assert found is not None
    assert (found.base64, decode(found.data)) == (True, data)


@given(st.text() | st.text(st.sampled_from("AZaz09+/-_= \n;,:data%")))
def test_any_text_is_decoded_or_refused(text: str) -> None:
    """No text raises, and what is decoded is what Python's own decoder makes of it."""
    found = decode(text)
    if found is not None:
        standard = text.replace("-", "+").replace("_", "/")
        assert base64.b64decode(standard + "=" * (-len(standard) % 4)) == found
    uri = read_data_uri("data:" + text)
    assert uri is None or "," in text
