"""Calls of other services, addresses and encodings that are not served: each is told what is."""

from __future__ import annotations

import gzip
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.embedding_pb2 import EmbedRequest
from handlers.protocol.foreign import is_kserve_v2, of_objects, refusal
from tests.handlers.conftest import DIM
from tests.handlers.worker import Call, Worker, http

JSON = "application/json"
V2 = {"inputs": [{"name": "TEXT", "shape": [1], "datatype": "BYTES", "data": ["a cat"]}]}
GOOD = {"inputs": ["a red heart"]}


def post(body: Any, content_type: str = JSON, **headers: str) -> Call:
    return http(json.dumps(body).encode(), content_type, **headers)


def message(body: bytes) -> str:
    """The sentence of an error, in whichever form."""
    error = json.loads(body)["error"]
    return str(error if isinstance(error, str) else error["message"])


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (V2, "KServe's V2"),
        ({"id": "1", "inputs": [{"name": "a", "shape": [1, 2], "data": [1, 2]}]}, "KServe's V2"),
        ({"messages": [{"role": "user", "content": "hi"}], "model": "m"}, "chat"),
        ({"texts": ["a"], "input_type": "search_query", "embedding_types": ["float"]}, "Cohere"),
        ({"images": ["data:image/png;base64,AA=="], "model": "embed-v4.0"}, "Cohere"),
        ({"inputs": [{"content": [{"type": "text", "text": "a"}]}], "model": "embed-v4.0"}, "objects"),
        ({"data": [{"text": "a"}], "execEndpoint": "/"}, "clip-as-service"),
        ({"input": [{"text": "a"}], "model": "jina-clip-v2"}, "OpenAI"),
        ({"input": ["a"], "model": "m"}, "OpenAI"),
        ({"content": {"parts": [{"text": "a"}]}}, "Google"),
        ({"requests": []}, "Google"),
        ({"model": "m", "prompt": "a"}, "Ollama"),
        ({"inputs": [{"text": "a"}]}, "objects"),
        ({}, '"inputs"'),
        (["a", "b"], "a list"),
        ("a", "no object"),
        (None, "no object"),
    ],
)
def test_each_foreign_call_is_told_what_is_spoken(text: Worker, body: Any, named: str) -> None:
    """A 4xx with one sentence: whose call it is as far as its shape tells, and what is accepted instead."""
    refused, good = text.send(post(body), post(GOOD))
    assert refused.status == 400
    said = message(refused.body)
    assert named in said
    for spoken in ('{"inputs": ["…", …]}', "/v1/models/MODEL:predict", "v1/embeddings"):
        assert spoken in said
    assert json.loads(good.body)["embeddings"][0]


def test_kserve_v2_is_refused_in_its_own_form(text: Worker, vision: Worker) -> None:
    """At /v2/models/MODEL/infer TorchServe passes the body on; a V2 client reads a string in `error`."""
    pixels = {"inputs": [{"name": "IMAGE", "shape": [1], "datatype": "BYTES", "data": ["AAAA"]}]}
    for worker, body in ((text, V2), (vision, pixels)):
        (reply,) = worker.send(post(body))
        assert reply.status == 400
        assert json.loads(reply.body)["error"].startswith("malformed_request: KServe's V2 protocol")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"messages": []}, "chat"),
        ({"texts": ["a"]}, "Cohere"),
        ({"input": [{"text": "a"}, {"image": "b"}]}, "Jina"),
        ({"input": [["a", "b"]]}, "strings"),
        ({"inputs": ["a"]}, '"input"'),
        ({"instances": ["a"]}, '"input"'),
    ],
)
def test_foreign_calls_at_openais_address(text: Worker, body: Any, said: str) -> None:
    """The same, in OpenAI's form of an error."""
    (reply,) = text.send(post(body, url_path="v1/embeddings"))
    assert reply.status == 400
    assert said in message(reply.body)
    assert json.loads(reply.body)["error"]["type"] == "invalid_request_error"


def test_instances_of_other_objects_are_refused(text: Worker) -> None:
    """Vertex's instances are answered by a refusal, not by predictions that are all null."""
    refused, mixed = text.send(
        post({"instances": [{"content": "a"}, {"text": "b"}]}), post({"instances": ["a", {"text": "b"}]})
    )
    assert refused.status == 400
    assert '{"b64": …}' in message(refused.body)
    assert [error["index"] for error in json.loads(mixed.body)["errors"]] == [1]


ODD: tuple[tuple[Any, str], ...] = (
    ({"\ud800": 1}, '"\\ud800"'),
    ({"text": 1, "b": 2, "c": 3, "d": 4}, '"text", "b", "c"'),
    ({}, "an object"),
    (["a"], "a list"),
    (None, "null"),
    (True, "true or false"),
    (2.5, "a number"),
)


def test_items_of_other_types_are_named(text: Worker, vision: Worker) -> None:
    """Whatever stands in the place of a string costs only itself, and the answer says what it was."""
    for worker in (text, vision):
        (reply,) = worker.send(post({"inputs": [*(item for item, _ in ODD), "a"]}))
        assert reply.status == 200
        for error, (_, said) in zip(json.loads(reply.body)["errors"], ODD, strict=False):
            assert error["code"] == "invalid_item"
            assert said in error["message"]


@pytest.mark.parametrize("body", [GOOD, {"instances": ["a"]}, V2])
def test_there_are_no_explanations(text: Worker, body: Any) -> None:
    """/explanations/MODEL and :explain are answered with 404 and what there is, not with embeddings."""
    (reply,) = text.send(post(body, explain="True"))
    assert reply.status == 404
    assert "explanations" in message(reply.body)


@pytest.mark.parametrize("coding", ["gzip", "br", "GZIP", "deflate, gzip", "zstd"])
@pytest.mark.parametrize("content_type", [JSON, "text/plain", "application/x-protobuf", ""])
def test_a_compressed_body_is_refused_by_its_name(text: Worker, coding: str, content_type: str) -> None:
    """A compressed body is no broken one: the answer says that it must come uncompressed."""
    sent = {"Content-Encoding": coding, "Accept": JSON}
    refused, good = text.send(
        http(gzip.compress(json.dumps(GOOD).encode()), content_type, **sent),
        post(GOOD, **{"Content-Encoding": "identity"}),
    )
    assert refused.status == 415
    assert "uncompressed" in message(refused.body)
    assert good.status == 200


@pytest.mark.parametrize(
    "content_type",
    [
        "Application/JSON",
        "application/json; charset=UTF-8",
        "text/json",
        "TEXT/JSON;charset=utf-8",
        "text/x-json",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_json_by_its_other_names(text: Worker, content_type: str, encoding: str) -> None:
    """JSON that TorchServe does not take for it is JSON all the same, and no text to embed."""
    plain, kserve, openai = (
        http(json.dumps(body).encode(encoding), content_type, **headers)
        for body, headers in (
            (GOOD, {}),
            ({"instances": GOOD["inputs"]}, {}),
            ({"input": GOOD["inputs"], "encoding_format": "float"}, {"url_path": "v1/embeddings"}),
        )
    )
    expected = EmbedRequest(texts=[b"a red heart"]).SerializeToString()
    *replies, clean = text.send(plain, kserve, openai, http(expected, "application/x-protobuf"))
    row = np.frombuffer(clean.message.vectors, "<f4").reshape(DIM)
    answers = [json.loads(reply.body) for reply in replies]
    found = [answers[0]["embeddings"][0], answers[1]["predictions"][0], answers[2]["data"][0]["embedding"]]
    for vector in found:
        np.testing.assert_allclose(vector, row, atol=1e-6)


def test_an_address_without_torchserves_header_is_http(text: Worker) -> None:
    """At /models/MODEL/invoke TorchServe adds no header, and that of gRPC would swallow the answer."""
    sent = {"Host": "127.0.0.1:8080", "Content-Length": "27", "Content-Type": JSON}
    (reply,) = text.send(Call(sent, [("body", JSON, json.dumps(GOOD).encode())]))
    assert "ts_stream_next" not in reply.headers
    assert json.loads(reply.body)["embeddings"][0]


def test_a_grpc_sequence_is_still_grpc(text: Worker) -> None:
    """A sequence id comes as a header that is a string; the answer must end the stream all the same."""
    (reply,) = text.send(Call({"ts_request_sequence_id": "7"}, [("data", "", b"a red heart")]))
    assert reply.headers["ts_stream_next"] == "false"
    assert reply.message.vectors


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["inputs", "data", "messages", "texts", "name", "shape", "datatype", "text"]),
            inner,
        )
    ),
    max_leaves=8,
)


@given(values)
def test_any_value_has_a_sentence(value: Any) -> None:
    """No JSON value breaks the recognition, and each gets one line."""
    assert "\n" not in refusal(value)
    is_kserve_v2(value)
    of_objects(value if isinstance(value, list) else [value])
