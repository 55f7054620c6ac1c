"""The Open Inference Protocol, by Triton's own client and by hand, over a real server."""

import asyncio
import base64
import json
import struct
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.http import aio
from tritonclient.utils import InferenceServerException

from babelclip import Embeddings, Unavailable
from babelclip.embedding_pb2 import EmbedRequest
from babelclip.testing import InMemoryTransport
from gateway.errors import ApiError
from gateway.http.dialects.binary_tensors import HEADER, read_elements, split, write_elements
from gateway.http.dialects.inference import InferRequest, read, render
from gateway.towers.base import ModelVersion
from tests.gateway.engine import Engine
from tests.gateway.front import Front, gateway

TEXTS = ["a red heart", "ein rotes Herz", "красное сердце"]
IMAGE = b"\xff\xd8\xff and some pixels, which are no UTF-8"
CALL = "/v2/models/clip/infer"


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A gateway before two versions; no test of this file changes them."""
    old = InMemoryTransport(failing={"poison": ("text_too_long", "the text has too many bytes")})
    engine = Engine(old, InMemoryTransport(space="new", version="2.0", dim=8))
    with gateway(engine, tmp_path_factory.mktemp("front")) as front:
        yield front


@pytest.fixture
def client(front: Front) -> Iterator[triton.InferenceServerClient]:
    """Triton's client, set to the gateway."""
    with triton.InferenceServerClient(urlsplit(front.addresses.http).netloc, network_timeout=60) as client:
        yield client


def bearer(front: Front) -> dict[str, str]:
    """What each call carries; Triton's client changes what it is given."""
    return {"authorization": f"Bearer {front.key}"}


def tensor(name: str, items: list[str] | list[bytes], *, binary: bool = True) -> triton.InferInput:
    """An input of Triton's client."""
    made = triton.InferInput(name, [len(items)], "BYTES")
    made.set_data_from_numpy(np.array(items, dtype=np.object_), binary_data=binary)
    return made


def vectors(front: Front, *items: str | bytes, version: str = "1.0") -> np.ndarray:
    """What the engine gives for these items."""
    return np.array([front.engine.versions[version].vector(item) for item in items])


def test_tritons_client_finds_server_and_models(front: Front, client: triton.InferenceServerClient) -> None:
    """Health needs no key; the metadata of server and model are what its tools read before they call."""
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("clip", headers=bearer(front))
    assert client.is_model_ready("clip", "2.0", headers=bearer(front))
    assert not client.is_model_ready("clip", "3.0", headers=bearer(front))
    assert not client.is_model_ready("other", headers=bearer(front))
    assert "binary_tensor_data" in client.get_server_metadata(headers=bearer(front))["extensions"]
    found = client.get_model_metadata("clip", "2.0", headers=bearer(front))
    assert (found["name"], found["platform"]) == ("clip", "babelclip")
    assert {"1.0", "2.0"} <= set(found["versions"])
    assert found["inputs"] == [
        {"name": "text", "datatype": "BYTES", "shape": [-1]},
        {"name": "image", "datatype": "BYTES", "shape": [-1]},
    ]
    assert {"name": "image_embedding", "datatype": "FP32", "shape": [-1, 8]} in found["outputs"]
    with pytest.raises(InferenceServerException, match="there are clip"):
        client.get_model_metadata("other", headers=bearer(front))
    with pytest.raises(InferenceServerException, match="needs a key"):
        client.get_server_metadata()


@pytest.mark.parametrize("binary_output", [True, False])
def test_tritons_client_embeds_texts_and_images(
    front: Front, client: triton.InferenceServerClient, binary_output: bool
) -> None:
    """Both towers are inputs of one model, in one request and in the binary form, images as they are."""
    inputs = [tensor("image", [IMAGE]), tensor("text", TEXTS)]
    names = ("text_embedding", "image_embedding")
    outputs = [triton.InferRequestedOutput(name, binary_data=binary_output) for name in names]
    answer = client.infer("clip", inputs, outputs=outputs, request_id="mine", headers=bearer(front))
    np.testing.assert_allclose(answer.as_numpy("text_embedding"), vectors(front, *TEXTS), atol=1e-6)
    np.testing.assert_allclose(answer.as_numpy("image_embedding"), vectors(front, IMAGE), atol=1e-6)
    found = answer.get_response()
    assert (found["model_name"], found["model_version"], found["id"]) == ("clip", "1.0", "mine")
    assert found["parameters"] == {"space": "in-memory", "logit_scale": 50.0}


def test_tritons_client_needs_to_name_no_output(front: Front, client: triton.InferenceServerClient) -> None:
    """Without outputs it gets the embeddings of its inputs, in the version it asks for, from JSON too."""
    answer = client.infer("clip", [tensor("text", TEXTS, binary=False)], "2.0", headers=bearer(front))
    np.testing.assert_allclose(
        answer.as_numpy("text_embedding"), vectors(front, *TEXTS, version="2.0"), atol=1e-6
    )
    assert answer.as_numpy("image_embedding") is None
    assert answer.get_response()["model_version"] == "2.0"


def test_tritons_client_for_event_loops_embeds(front: Front) -> None:
    """The client that most services use inside of an event loop works as the other does."""

    async def run() -> np.ndarray:
        async with aio.InferenceServerClient(urlsplit(front.addresses.http).netloc) as client:
            answer = await client.infer("clip", [tensor("text", TEXTS)], headers=bearer(front))
            found: np.ndarray = answer.as_numpy("text_embedding")
            return found

    np.testing.assert_allclose(asyncio.run(run()), vectors(front, *TEXTS), atol=1e-6)


def test_an_item_that_fails_has_its_place_where_it_is_asked_for(
    front: Front, client: triton.InferenceServerClient
) -> None:
    """A request fails by the name of its item, unless it takes the errors as an output of their own."""
    inputs = [tensor("image", [IMAGE]), tensor("text", [b"a", b"poison", b"\xff"])]
    with pytest.raises(InferenceServerException, match=r"text\[1\]: the text has too many bytes; text\[2\]"):
        client.infer("clip", inputs, headers=bearer(front))
    for binary in (True, False):
        outputs = [
            triton.InferRequestedOutput(name, binary_data=binary) for name in ("text_error", "text_embedding")
        ]
        answer = client.infer("clip", inputs, outputs=outputs, headers=bearer(front))
        said = [bytes(text).decode() if binary else text for text in answer.as_numpy("text_error")]
        assert said == ["", "the text has too many bytes", "the text is not valid UTF-8"]
        rows = answer.as_numpy("text_embedding")
        np.testing.assert_allclose(rows[0], vectors(front, "a")[0], atol=1e-6)
        assert not rows[1:].any()


def test_a_request_by_hand_needs_no_bytes(front: Front) -> None:
    """curl's JSON is enough: images in base64 or as data URI, and nested lists as their shape says."""
    encoded = base64.b64encode(IMAGE).decode()
    data = [encoded, f"data:image/jpeg;base64,{encoded}"]
    inputs = [
        {"name": "text", "datatype": "BYTES", "shape": [2, 1], "data": [["a"], ["b"]]},
        {"name": "image", "datatype": "BYTES", "shape": [2], "data": data},
    ]
    answer = front.post(CALL, json={"inputs": inputs, "parameters": {"space": "in-memory"}})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    text, image = answer.json()["outputs"]
    assert (text["name"], text["datatype"], text["shape"]) == ("text_embedding", "FP32", [2, 32])
    np.testing.assert_allclose(np.reshape(text["data"], (2, 32)), vectors(front, "a", "b"), atol=1e-6)
    np.testing.assert_allclose(np.reshape(image["data"], (2, 32)), vectors(front, IMAGE, IMAGE), atol=1e-6)


def text_input(**changed: Any) -> dict[str, Any]:
    """An input of one text, with what a case changes of it."""
    return {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a"], **changed}


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ([], 400, "must be a JSON object, not a list"),
        ({}, 400, '"text", "image" or both'),
        ({"inputs": {}}, 400, "a list of tensors, not an empty object"),
        ({"inputs": [7]}, 400, "must be a list of objects"),
        ({"inputs": [text_input(name="audio")]}, 400, "one of text, image"),
        ({"inputs": [text_input(), text_input()]}, 400, 'two tensors "text"'),
        ({"inputs": [text_input(datatype="FP32")]}, 400, "must be BYTES"),
        ({"inputs": [text_input(shape=[1, 2])]}, 400, "[N] or [N, 1]"),
        ({"inputs": [text_input(shape=[-1])]}, 400, "[N] or [N, 1]"),
        ({"inputs": [text_input(shape=[True])]}, 400, "[N] or [N, 1]"),
        ({"inputs": [text_input(shape=[0], data=[])]}, 400, "at least one item"),
        ({"inputs": [text_input(shape=[2049])]}, 413, "at most 2,048"),
        ({"inputs": [text_input(shape=[2])]}, 400, "a list of 2, as its shape says, not a list of 1"),
        ({"inputs": [text_input(data="a")]}, 400, "not a string"),
        ({"inputs": [text_input(data=[7])]}, 400, "text[0]: an element must be a string, not a number"),
        ({"inputs": [text_input(parameters={"binary_data_size": 5})]}, 400, "either"),
        ({"inputs": [text_input(parameters={"shared_memory_region": "x"})]}, 400, "shared memory"),
        ({"inputs": [text_input()], "outputs": [{"name": "image_embedding"}]}, 400, "text_embedding"),
        (
            {
                "inputs": [text_input()],
                "outputs": [{"name": "text_embedding", "parameters": {"classification": 3}}],
            },
            400,
            "no classes",
        ),
        ({"inputs": [text_input()], "parameters": {"space": "other"}}, 409, "in-memory"),
        ({"inputs": [text_input()], "parameters": {"timeout": "1"}}, 400, "microseconds"),
        ({"inputs": [text_input()], "id": "\ud800"}, 400, '"id" must be Unicode'),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(front: Front, body: Any, status: int, says: str) -> None:
    """The caller learns which tensor is at fault, and what is allowed, in the protocol's form of an error."""
    answer = front.post(CALL, content=json.dumps(body))
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error", "code"}
    assert says in answer.json()["error"]


def test_addresses_that_there_are_not_are_named_in_the_same_form(front: Front) -> None:
    """Triton's client shows what is in `error`, so it stands there at every address of the protocol."""
    for path, code in (("/v2/none", "unknown_path"), (f"{CALL}/x", "model_not_found")):
        answer = front.get(path, **bearer(front))
        assert (answer.status_code, set(answer.json())) == (404, {"error", "code"})
        assert answer.json()["code"] == code
    assert front.post("/v2/models//infer", json={}).json()["error"] == "the address must have a model's name"
    assert (
        front.post("/v2/models/clip/versions/3.0/infer", json={"inputs": [text_input()]}).status_code == 404
    )


def test_the_callers_time_reaches_the_tower(front: Front) -> None:
    """Triton's timeout is in microseconds, and one of many digits is as good as none."""
    for timeout, expected in ((2_500_000, 2_500), (10**400, 30_000)):
        sent = {"inputs": [text_input(data=["in time"])], "parameters": {"timeout": timeout}}
        assert front.post(CALL, json=sent).status_code == 200
        last = [call for call in front.engine.calls if b"in time" in call.body][-1]
        assert EmbedRequest.FromString(last.body).timeout_ms == expected


def test_readiness_is_that_of_the_towers(tmp_path: Any) -> None:
    """A model whose engine is away is not ready, for Triton's client and for KServe's agent."""
    away = Engine()
    away.fail_with(Unavailable("no answer from 127.0.0.1:7070", retryable=False))
    with gateway(away, tmp_path) as front:
        assert front.get("/v2/health/live").json() == {"live": True}
        for path in ("/v2/health/ready", "/v2/models/clip/ready", "/v2/models/clip/versions/1.0/ready"):
            answer = front.get(path, **bearer(front))
            assert (answer.status_code, answer.json()["ready"]) == (503, False)


def test_a_text_that_would_be_cut_is_an_error_unless_the_caller_lets_it() -> None:
    """Nobody compares the beginning of a text for the whole without knowing it."""
    outcomes = Embeddings(np.eye(2, dtype=np.float32), "s", 1.0, truncated=(1,))
    version = ModelVersion("1.0", "s", 2, 1.0)
    body: dict[str, Any] = {"inputs": [text_input(shape=[2], data=["a", "a long text"])]}
    with pytest.raises(ApiError, match=r"text\[1\]: the text has more tokens than the model takes"):
        render(read(json.dumps(body).encode(), None, 10, "clip"), "clip", version, outcomes)
    body["parameters"] = {"truncate": True}
    answer = render(read(json.dumps(body).encode(), None, 10, "clip"), "clip", version, outcomes)
    assert json.loads(answer.body)["outputs"][0]["data"] == [1.0, 0.0, 0.0, 1.0]


@given(
    elements=st.lists(st.binary(max_size=20), max_size=5), cut=st.integers(0, 200), count=st.integers(0, 6)
)
def test_no_bytes_break_the_reader_of_elements(elements: list[bytes], cut: int, count: int) -> None:
    """What was written is read as it was; less, or more, or another count is an error with a sentence."""
    data = write_elements(elements)
    assert read_elements(memoryview(data), len(elements), "text") == elements
    if cut < len(data):
        with pytest.raises(ApiError, match="the bytes of"):
            read_elements(memoryview(data[:cut]), len(elements), "text")
    if count != len(elements):
        with pytest.raises(ApiError, match="its shape says"):
            read_elements(memoryview(data), count, "text")


@given(data=st.binary(max_size=60), count=st.integers(0, 5))
def test_no_lengths_are_believed(data: bytes, count: int) -> None:
    """Bytes of anyone's making are elements of the right number, or an error; nothing is read beyond them."""
    try:
        found = read_elements(memoryview(data), count, "image")
    except ApiError as error:
        status = error.status
    else:
        assert write_elements(found) == data
        return
    assert status == 400


@given(body=st.binary(max_size=40), header=st.none() | st.text(max_size=25) | st.integers(-1, 50).map(str))
def test_no_header_breaks_a_body(body: bytes, header: str | None) -> None:
    """The JSON and what is behind it are the body, wherever the header says that one ends."""
    try:
        text, behind = split(body, header)
    except ApiError as error:
        sentence = error.message
    else:
        assert text + bytes(behind) == body
        assert len(text) == (len(body) if header is None else int(header))
        return
    assert HEADER in sentence


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=6,
)
tensors = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["text", "image", "text_embedding", "text_error"]) | values,
        "datatype": st.just("BYTES") | values,
        "shape": st.lists(st.integers(-1, 3), max_size=2) | values,
        "data": st.lists(st.text(max_size=5), max_size=3) | values,
        "parameters": st.dictionaries(
            st.sampled_from(["binary_data_size", "binary_data", "classification"]),
            st.integers(0, 30) | values,
        )
        | values,
    },
)
bodies = st.fixed_dictionaries(
    {"inputs": st.lists(tensors, max_size=3) | values},
    optional={
        "outputs": st.lists(tensors, max_size=3) | values,
        "id": values,
        "parameters": st.dictionaries(
            st.sampled_from(["space", "timeout", "truncate", "binary_data_output"]), values
        ),
    },
)


@given(body=bodies | values, behind=st.binary(max_size=40), surplus=st.integers(-3, 3))
def test_no_body_breaks_the_reader(body: Any, behind: bytes, surplus: int) -> None:
    """Whatever is sent, with bytes behind it, it becomes items or an error with a sentence."""
    text = json.dumps(body).encode()
    try:
        found = read(text + behind, str(len(text) + surplus), 2048, "clip")
    except ApiError as error:
        sentence = error.message
    else:
        assert isinstance(found, InferRequest)
        assert len(found.items) == sum(one.count for one in found.inputs.values()) >= 1
        return
    assert sentence


def test_no_body_breaks_the_gateway(front: Front) -> None:
    """Whatever is sent, the answer is one of the documented statuses, and never a mistake of ours."""
    with httpx.Client(base_url=front.addresses.http, headers=bearer(front), timeout=60) as caller:

        @settings(max_examples=60)
        @given(body=bodies, texts=st.lists(st.binary(max_size=9), min_size=1, max_size=3), good=st.booleans())
        def send(body: Any, texts: list[bytes], good: bool) -> None:
            behind = write_elements(texts)
            if good:
                size = {"binary_data_size": len(behind)}
                body["inputs"] = [text_input(shape=[len(texts)], parameters=size)]
                del body["inputs"][0]["data"]
            text = json.dumps(body).encode()
            answer = caller.post(CALL, content=text + behind, headers={HEADER: str(len(text))})
            assert answer.status_code in (200, 400, 409, 413), answer.text

        send()


def test_lengths_are_little_endian() -> None:
    """The bytes are those of the protocol, so that clients in any language write and read them."""
    assert write_elements([b"ab", b""]) == struct.pack("<I", 2) + b"ab" + struct.pack("<I", 0)
