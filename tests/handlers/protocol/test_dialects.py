"""OpenAI's embeddings call, KServe's V1 protocol, and what clients of TorchServe's own handlers send."""

from __future__ import annotations

import base64
import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.config import Settings
from handlers.embedding_pb2 import EmbedRequest
from tests.handlers.conftest import DIM, MAX_TOKENS, SPACE
from tests.handlers.images import encoded, motif
from tests.handlers.worker import Call, Reply, Worker, form, grpc, http

TEXTS = ["a red heart", "blue star"]
IMAGES = [encoded(motif()), encoded(motif(32, 60), "JPEG")]


def openai(body: Any, **headers: str) -> Call:
    return http(json.dumps(body).encode(), "application/json", url_path="v1/embeddings", **headers)


def kserve(*instances: Any) -> Call:
    return http(json.dumps({"instances": instances}).encode(), "application/json")


def uri(image: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(image).decode()


def expected(worker: Worker, **items: Any) -> np.ndarray:
    (reply,) = worker.send(grpc(request=EmbedRequest(**items).SerializeToString()))
    assert not reply.message.errors
    return np.frombuffer(reply.message.vectors, "<f4").reshape(-1, DIM)


def rows(reply: Reply) -> np.ndarray:
    """The vectors of an OpenAI answer, in numbers or in base64."""
    assert reply.status == 200, reply.body
    answer = json.loads(reply.body)
    assert (answer["object"], answer["model"]) == ("list", SPACE)
    assert [row["index"] for row in answer["data"]] == list(range(len(answer["data"])))
    assert {row["object"] for row in answer["data"]} == {"embedding"}
    raw = [row["embedding"] for row in answer["data"]]
    return np.array(
        [np.frombuffer(base64.b64decode(r), "<f4") if isinstance(r, str) else r for r in raw], np.float32
    )


@pytest.mark.parametrize("encoding", [{}, {"encoding_format": "float"}, {"encoding_format": "base64"}])
def test_openai_vectors_are_the_towers(text: Worker, encoding: dict[str, str]) -> None:
    """OpenAI's call gives the same bits as the protobuf, in either encoding, and counts the tokens."""
    reply, one = text.send(
        openai({"input": TEXTS, "model": "any", "user": "u", **encoding}),
        openai({"input": TEXTS[0], "dimensions": DIM, "space": SPACE, **encoding}),
    )
    clean = expected(text, texts=[t.encode() for t in TEXTS])
    np.testing.assert_allclose(rows(reply), clean, atol=1e-6)
    np.testing.assert_allclose(rows(one), clean[:1], atol=1e-6)
    kind = str if encoding.get("encoding_format") == "base64" else list
    assert isinstance(json.loads(reply.body)["data"][0]["embedding"], kind)
    assert json.loads(reply.body)["usage"] == {"prompt_tokens": 9, "total_tokens": 9}


def test_the_protobuf_counts_the_tokens_of_each_text(text: Worker, vision: Worker) -> None:
    """The sum is the same by every way in; a text that failed has none, and images are not counted."""
    sent = EmbedRequest(texts=[*(t.encode() for t in TEXTS), b"\xff"])
    (reply,) = text.send(grpc(request=sent.SerializeToString()))
    *counts, failed = reply.message.tokens
    assert (sum(counts), failed, len(reply.message.errors)) == (9, 0, 1)
    (reply,) = vision.send(grpc(request=EmbedRequest(images=[encoded(motif())]).SerializeToString()))
    assert (list(reply.message.tokens), len(reply.message.errors)) == ([], 0)


def test_openai_takes_as_many_texts_as_openai(text: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default one call may hold 2,048 texts, which is OpenAI's limit; more are refused with the number."""
    most = dataclasses.replace(text.handler.settings, max_items=Settings().max_items)
    monkeypatch.setattr(text.handler, "settings", most)
    texts = [TEXTS[index % 2] for index in range(2049)]
    taken, refused = text.send(openai({"input": texts[:2048], "model": "m"}), openai({"input": texts}))
    clean = expected(text, texts=[t.encode() for t in TEXTS])
    np.testing.assert_allclose(rows(taken), np.tile(clean, (1024, 1)), atol=1e-6)
    assert refused.status == 413
    assert "2,049" in json.loads(refused.body)["error"]["message"]
    assert "2,048" in json.loads(refused.body)["error"]["message"]


def test_openai_takes_images_as_data_uris(vision: Worker) -> None:
    """The vision tower answers the same call for images."""
    (reply,) = vision.send(openai({"input": [uri(IMAGES[0]), base64.b64encode(IMAGES[1]).decode()]}))
    np.testing.assert_allclose(rows(reply), expected(vision, images=IMAGES), atol=1e-6)


LONG = " ".join(["red"] * (MAX_TOKENS + 3))


@pytest.mark.parametrize(
    ("body", "code", "status", "said"),
    [
        (
            {"input": ["a", LONG]},
            "context_length_exceeded",
            400,
            f"input[1]: the text has {MAX_TOKENS + 5} tok",
        ),
        ({"input": ["", "a", "a poison"]}, "empty_item", 400, "input[2]: "),
        ({"input": "a poison"}, "internal", 500, "input[0]: "),
        ({"input": [1, 2]}, "malformed_request", 400, "token ids"),
        ({"input": [[1, 2]]}, "malformed_request", 400, "token ids"),
        ({"input": {"a": 1}}, "malformed_request", 400, '"input"'),
        ({"input": []}, "empty_request", 400, "no items"),
        ({"inputs": ["a"]}, "malformed_request", 400, '"input"'),
        ({"input": "a", "encoding_format": "hex"}, "malformed_request", 400, "base64"),
        ({"input": "a", "dimensions": 3}, "malformed_request", 400, f"{DIM}"),
        ({"input": "a", "space": 3}, "malformed_request", 400, "space"),
        ({"input": "a", "space": "another"}, "space_mismatch", 409, SPACE),
        ({"input": ["a"] * 17}, "too_many_items", 413, "17"),
        ({"input": [None]}, "invalid_item", 400, "input[0]: "),
        ({"input": uri(IMAGES[0])}, "wrong_tower", 400, "vision tower"),
    ],
)
def test_openai_errors_have_openais_form(
    text: Worker, body: dict[str, object], code: str, status: int, said: str
) -> None:
    """OpenAI's SDKs find message, type, parameter and code where they look for them."""
    reply, good = text.send(openai(body), openai({"input": TEXTS}))
    error = json.loads(reply.body)["error"]
    assert (reply.status, error["code"]) == (status, code)
    assert said in error["message"]
    assert error["type"] == ("server_error" if status == 500 else "invalid_request_error")
    assert set(error) == {"message", "type", "param", "code"}
    assert len(rows(good)) == 2


@pytest.mark.parametrize(
    ("call", "status"),
    [
        (http(b"{", "application/json", url_path="v1/embeddings"), 400),
        (http(b"", url_path="v1/embeddings"), 415),
        (http(b"a cat", "text/plain", url_path="v1/embeddings"), 415),
    ],
)
def test_openai_bodies_that_are_no_json(text: Worker, call: Call, status: int) -> None:
    """A body that cannot be read is refused in OpenAI's form too."""
    (reply,) = text.send(call)
    assert reply.status == status
    assert json.loads(reply.body)["error"]["type"] == "invalid_request_error"


def test_many_items_at_fault_are_counted(text: Worker) -> None:
    """A message names the first items at fault and says how many more there are."""
    (reply,) = text.send(openai({"input": [""] * 9}))
    message = json.loads(reply.body)["error"]["message"]
    assert "input[4]" in message
    assert "input[5]" not in message
    assert "4 more" in message


@pytest.mark.parametrize("wrap", [lambda item: item, lambda item: {"data": item}, lambda item: {"b64": item}])
def test_kserve_instances_become_predictions(text: Worker, vision: Worker, wrap: Any) -> None:
    """KServe's V1 protocol gives the towers' vectors, in order."""
    (texts,) = text.send(kserve(*map(wrap, TEXTS)))
    (images,) = vision.send(kserve(*(wrap(base64.b64encode(image).decode()) for image in IMAGES)))
    for reply, clean in (
        (texts, expected(text, texts=[t.encode() for t in TEXTS])),
        (images, expected(vision, images=IMAGES)),
    ):
        answer = json.loads(reply.body)
        np.testing.assert_allclose(np.array(answer["predictions"]), clean, atol=1e-6)
        assert (set(answer), answer["space"]) == ({"predictions", "space"}, SPACE)


def test_a_bad_instance_costs_only_itself(text: Worker) -> None:
    """The predictions beside a bad instance are those of a clean run."""
    (reply,) = text.send(kserve(TEXTS[0], {"data": ""}, {"x": "a"}, {"data": "a", "b64": "a"}, 3, TEXTS[1]))
    answer = json.loads(reply.body)
    assert reply.status == 200
    assert [error["index"] for error in answer["errors"]] == [1, 2, 3, 4]
    assert {error["code"] for error in answer["errors"]} == {"empty_item", "invalid_item"}
    clean = expected(text, texts=[t.encode() for t in TEXTS])
    np.testing.assert_allclose([answer["predictions"][0], answer["predictions"][5]], clean, atol=1e-6)


@pytest.mark.parametrize(
    ("body", "status"), [({"instances": 3}, 400), ({"instances": []}, 400), ({"instances": ["a"] * 17}, 413)]
)
def test_kserve_refusals_are_sentences(text: Worker, body: dict[str, object], status: int) -> None:
    """A refused KServe request has its error where KServe's clients look: a string."""
    (reply,) = text.send(http(json.dumps(body).encode(), "application/json"))
    assert reply.status == status
    assert isinstance(json.loads(reply.body)["error"], str)


@pytest.mark.parametrize(
    "call",
    [
        http(IMAGES[0]),
        http(IMAGES[0], "application/octet-stream"),
        http(base64.b64encode(IMAGES[0]), "text/plain"),
        http(uri(IMAGES[0]).encode(), "text/plain; charset=utf-8"),
        form("multipart/form-data; boundary=x", data=IMAGES[0]),
        form("multipart/form-data; boundary=x", picture=IMAGES[0]),
        grpc(data=IMAGES[0]),
    ],
)
def test_what_torchserves_own_clients_send(vision: Worker, call: Call) -> None:
    """An image arrives in every form that TorchServe's own vision handlers take."""
    (reply,) = vision.send(call)
    clean = expected(vision, images=IMAGES[:1])
    if reply.content_type == "application/json":
        np.testing.assert_allclose(json.loads(reply.body)["embeddings"], clean, atol=1e-6)
    else:
        np.testing.assert_allclose(np.frombuffer(reply.message.vectors, "<f4")[None], clean, atol=1e-6)


def test_fields_of_a_form_are_items(vision: Worker) -> None:
    """Several files in one form are answered together, in their order, each with its own outcome."""
    files: dict[str, Any] = {"first": IMAGES[0], "broken": b"no image", "second": IMAGES[1]}
    (reply,) = vision.send(form("multipart/form-data; boundary=x", **files))
    answer = json.loads(reply.body)
    assert reply.status == 200
    assert [(error["index"], error["code"]) for error in answer["errors"]] == [(1, "image_undecodable")]
    clean = expected(vision, images=IMAGES)
    np.testing.assert_allclose([answer["embeddings"][0], answer["embeddings"][2]], clean, atol=1e-6)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["input", "instances", "data", "b64", "space", "dimensions"]), inner
        )
    ),
    max_leaves=8,
)


@settings(max_examples=150)
@given(value=values, path=st.sampled_from(["", "v1/embeddings", "v1", "..", "a/b"]))
def test_any_json_is_answered(text: Worker, value: Any, path: str) -> None:
    """No JSON value in any dialect fails the batch or reaches the catch-all of unexpected errors."""
    call = http(json.dumps(value).encode(), "application/json", url_path=path)
    reply, good = text.send(call, grpc(data=b"a"))
    assert reply.status != 500
    assert json.loads(reply.body)
    assert good.message.vectors
