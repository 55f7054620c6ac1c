"""OpenAI's embeddings call and what others added to it, by the real SDK and by hand, over a real server."""

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from babelclip import Embeddings, Unavailable
from babelclip.testing import InMemoryTransport
from gateway.errors import ApiError
from gateway.http.dialects import images
from gateway.http.dialects.items import NO_JOINT_VECTOR
from gateway.http.dialects.openai import EmbeddingsRequest, read, render
from gateway.settings import ModelSettings
from gateway.towers.base import ModelVersion
from tests.gateway.engine import Engine
from tests.gateway.front import Front, gateway

TEXTS = ["a red heart", "ein rotes Herz", "красное сердце"]
IMAGE = b"\x89PNG\r\n\x1a\n and some pixels?>"
ENCODED = base64.b64encode(IMAGE).decode()
URI = f"data:image/png;base64,{ENCODED}"


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A gateway before two versions; no test of this file changes them."""
    old = InMemoryTransport(failing={"poison": ("text_too_long", "the text has too many bytes")})
    engine = Engine(old, InMemoryTransport(space="new", version="2.0", dim=8))
    with gateway(engine, tmp_path_factory.mktemp("front"), max_body_bytes=8_000_000) as front:
        yield front


def vectors(front: Front, *items: str | bytes, version: str = "1.0") -> np.ndarray:
    """What the engine gives for these items."""
    return np.array([front.engine.versions[version].vector(item) for item in items])


def embedded(front: Front, **body: Any) -> np.ndarray:
    """The vectors of a call that must succeed."""
    answer = front.post(json=body)
    assert answer.status_code == 200, answer.text
    return np.array([row["embedding"] for row in answer.json()["data"]], np.float32)


def refused(answer: httpx.Response, status: int, code: str) -> str:
    """The message of a call that must fail, in OpenAI's form."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code
    return str(error["message"])


@pytest.mark.parametrize("encoding", [openai.omit, "float", "base64"])
def test_openais_sdk_embeds_texts_and_images_at_one_address(front: Front, encoding: Any) -> None:
    """A program written for OpenAI's embeddings gets vectors of both kinds by a change of address and key."""
    with front.sdk() as client:
        answer = client.embeddings.create(model="clip", input=[*TEXTS, URI], encoding_format=encoding)
    rows = [row.embedding for row in answer.data]
    if encoding == "base64":  # Asked for by name, it is handed on as it came.
        rows = [np.frombuffer(base64.b64decode(str(row)), "<f4") for row in rows]  # type: ignore[misc]
    np.testing.assert_allclose(np.array(rows, np.float32), vectors(front, *TEXTS, IMAGE), atol=1e-6)
    assert [row.index for row in answer.data] == [0, 1, 2, 3]
    tokens = sum(len(text.split()) for text in TEXTS)
    assert (answer.model, answer.object, answer.usage.total_tokens) == ("clip@1.0", "list", tokens)
    assert answer.usage.prompt_tokens == tokens


def test_openais_largest_call_is_taken_and_a_larger_one_refused(front: Front) -> None:
    """2,048 inputs come back in their order; one more is refused before any is embedded."""
    inputs = [f"text {index}" for index in range(2048)]
    with front.sdk() as client:
        answer = client.embeddings.create(model="clip", input=inputs)
        with pytest.raises(openai.APIStatusError) as caught:
            client.embeddings.create(model="clip", input=[*inputs, "more"])
    np.testing.assert_allclose(
        np.array([row.embedding for row in answer.data], np.float32), vectors(front, *inputs), atol=1e-6
    )
    assert (caught.value.status_code, caught.value.code) == (413, "too_many_items")
    assert "2,049" in str(caught.value)
    assert "2,048" in str(caught.value)


@pytest.mark.parametrize(
    ("body", "items"),
    [
        ({"input": "a"}, ["a"]),
        ({"input": {"text": "a"}}, ["a"]),
        ({"input": [{"text": "a"}, {"image": ENCODED}, {"image": URI}, "b"]}, ["a", IMAGE, IMAGE, "b"]),
        ({"input": [{"image": {"url": URI}}, {"text": "a", "image": None}]}, [IMAGE, "a"]),
        ({"input": [URI, ENCODED], "modality": "image"}, [IMAGE, IMAGE]),
        ({"input": ["a"], "modality": "text"}, ["a"]),
        (
            {"input": [{"type": "image_url", "image_url": {"url": URI}}, {"type": "text", "text": "a"}]},
            [IMAGE, "a"],
        ),
        ({"messages": [{"role": "user", "content": "a"}]}, ["a"]),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]}, ["a"]),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": URI}}]}]},
            [IMAGE],
        ),
        ({"input": "a", "embedding_type": ["float"], "normalized": True, "user": "me", "task": "any"}, ["a"]),
        ({"input": "a", "dimensions": 32, "space": "in-memory", "model": None}, ["a"]),
    ],
)
def test_every_form_of_the_call_gives_the_same_vectors(
    front: Front, body: dict[str, Any], items: list[str | bytes]
) -> None:
    """What Jina's, SGLang's, vLLM's and Infinity's clients send is understood."""
    np.testing.assert_allclose(embedded(front, **body), vectors(front, *items), atol=1e-6)


def test_base64_is_embedded_as_the_float32_it_is(front: Front) -> None:
    """Jina's name for the encoding works, and the bytes are little-endian float32."""
    answer = front.post(json={"input": ["a"], "embedding_type": "base64"}).json()
    row = np.frombuffer(base64.b64decode(answer["data"][0]["embedding"]), "<f4")
    np.testing.assert_array_equal(row, vectors(front, "a")[0].astype("<f4"))
    assert (answer["space"], answer["dim"], answer["logit_scale"]) == ("in-memory", 32, 50.0)


def test_the_version_is_part_of_the_models_name(front: Front) -> None:
    """`NAME@VERSION` chooses the version, and the answer says which it was."""
    answer = front.post(json={"input": "a", "model": "clip@2.0"}).json()
    assert (answer["model"], answer["space"], answer["dim"]) == ("clip@2.0", "new", 8)
    message = refused(front.post(json={"input": "a", "model": "clip@3.0"}), 404, "model_not_found")
    assert "version" in message
    assert "there are clip" in refused(
        front.post(json={"input": "a", "model": "text-embedding-3-small"}), 404, "model_not_found"
    )


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        ([], "malformed_request", "must be a JSON object, not a list"),
        ({}, "malformed_request", 'either "input" or "messages"'),
        ({"input": "a", "messages": []}, "malformed_request", 'either "input" or "messages"'),
        ({"input": []}, "empty_request", "at least one item"),
        ({"input": None}, "malformed_request", "not null"),
        ({"input": 7}, "malformed_request", "not a number"),
        ({"input": [1, 2]}, "malformed_request", "check_embedding_ctx_length=False"),
        ({"input": [[1, 2], [3]]}, "malformed_request", "token ids would be of another tokenizer"),
        ({"input": "a", "dimensions": 16}, "malformed_request", "have 32 values and are not shortened"),
        ({"input": "a", "dimensions": "16"}, "malformed_request", '"dimensions" must be a whole number'),
        ({"input": "a", "encoding_format": "int8"}, "malformed_request", '"float" or "base64"'),
        ({"input": "a", "embedding_type": ["float", "base64"]}, "malformed_request", "embedding_type"),
        ({"input": "a", "modality": "audio"}, "malformed_request", '"text" or "image"'),
        ({"input": "a", "normalized": False}, "malformed_request", "always have length 1"),
        ({"input": "a", "late_chunking": True}, "malformed_request", "a text has one vector"),
        ({"input": "a", "model": 7}, "malformed_request", '"model" must be a string'),
        ({"input": "a", "errors": "ignore"}, "malformed_request", '"raise" or "return"'),
        ({"input": "a", "truncate": "yes"}, "malformed_request", "true or false"),
        ({"messages": "a"}, "malformed_request", "a list of one message"),
        ({"messages": [{"content": []}]}, "malformed_request", "one text or one image"),
        ({"messages": [{"content": None}]}, "malformed_request", "one text or one image"),
        (
            {
                "messages": [
                    {"content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": URI}]}
                ]
            },
            "malformed_request",
            NO_JOINT_VECTOR,
        ),
        ({"input": {"text": "a", "image": URI}}, "invalid_item", NO_JOINT_VECTOR),
        (
            {"input": ["a", {"image": "https://example.org/a.png"}]},
            "invalid_item",
            "input[1]: an address is not",
        ),
        ({"input": ["a", {"image": "data:image/png,x"}]}, "invalid_item", "holds no image in base64"),
        ({"input": [{"image": "a*b"}, {"image": 7}]}, "invalid_item", "input[1]: an image must be a string"),
        ({"input": [{"audio": "x"}, True]}, "invalid_item", 'either "text" or "image"'),
        ({"input": ["\ud800"]}, "invalid_utf8", "half of a surrogate pair"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(front: Front, body: Any, code: str, says: str) -> None:
    """The caller learns which field or item is at fault, and what is allowed."""
    assert says in refused(front.post(content=json.dumps(body)), 400, code)


def test_another_space_is_refused(front: Front) -> None:
    """Who keeps vectors of one space never gets some of another."""
    assert "in-memory" in refused(front.post(json={"input": "a", "space": "x"}), 409, "space_mismatch")


def test_an_item_that_fails_fails_the_request_by_name(front: Front) -> None:
    """The call has no place for an item's error, so the message has all of them."""
    items: Any = ["a", "poison", "b", {"image": "?"}]  # an image is no input of OpenAI's own
    with front.sdk() as client, pytest.raises(openai.APIStatusError) as caught:
        client.embeddings.create(model="clip", input=items)
    assert (caught.value.status_code, caught.value.code) == (413, "text_too_long")
    assert caught.value.type == "invalid_request_error"
    assert "input[1]: the text has too many bytes; input[3]: the image is not valid base64" in str(
        caught.value
    )
    many = refused(front.post(json={"input": ["poison"] * 9}), 413, "text_too_long")
    assert many.endswith("; and 4 more")


def test_a_switch_keeps_the_vectors_of_the_others(front: Front) -> None:
    """Who asks for errors per item loses nothing to one that is broken, with OpenAI's SDK too."""
    with front.sdk() as client:
        answer = client.embeddings.create(
            model="clip", input=["a", "poison", URI], extra_body={"errors": "return"}
        )
    good = np.array([answer.data[0].embedding, answer.data[2].embedding], np.float32)
    np.testing.assert_allclose(good, vectors(front, "a", IMAGE), atol=1e-6)
    failed = answer.data[1].to_dict()
    assert failed["embedding"] is None
    assert failed["error"] == {"code": "text_too_long", "message": "the text has too many bytes"}


def test_a_text_that_would_be_cut_is_an_error_unless_the_caller_lets_it() -> None:
    """As with OpenAI, nobody compares the beginning of a text for the whole without knowing it."""
    outcomes = Embeddings(np.eye(2, dtype=np.float32), "s", 1.0, truncated=(1,))
    version = ModelVersion("1.0", "s", 2, 1.0)
    asked = EmbeddingsRequest("clip", ["a", "a long text"])
    with pytest.raises(ApiError, match="more tokens than the model takes") as caught:
        render(asked, "clip", version, outcomes)
    assert (caught.value.status, caught.value.code) == (400, "context_length_exceeded")
    kept = json.loads(render(replace(asked, keep=True), "clip", version, outcomes))
    assert [row["embedding"] for row in kept["data"]] == [[1.0, 0.0], None]
    assert kept["data"][1]["error"]["code"] == "context_length_exceeded"
    cut = json.loads(render(replace(asked, truncate=True), "clip", version, outcomes))
    assert ([row["embedding"] for row in cut["data"]], cut["truncated"]) == ([[1.0, 0.0], [0.0, 1.0]], [1])


def test_models_are_listed_with_their_spaces(front: Front) -> None:
    """A client finds the model, its space and its limits, and one that is not there is not found."""
    with front.sdk() as client:
        client.embeddings.create(model="clip@2.0", input="a")
        found = {model.id: model.to_dict() for model in client.models.list().data}
        one = client.models.retrieve("clip@2.0").to_dict()
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("other")
    assert {"clip", "clip@1.0", "clip@2.0"} <= set(found)
    assert (found["clip"]["space"], found["clip"]["version"], found["clip"]["dim"]) == (
        "in-memory",
        "1.0",
        32,
    )
    assert one == {**found["clip@2.0"], "ready": True}
    assert one["space"] == "new"


def test_what_the_operator_says_of_a_model_is_told(tmp_path: Any) -> None:
    """Who chooses a model reads its licence and languages beside its space, where the settings name them."""
    said = ModelSettings(license="Apache-2.0", languages=("am", "de"))
    with gateway(Engine(), tmp_path, models={"clip": said}) as front, front.sdk() as client:
        for model in (*client.models.list().data, client.models.retrieve("clip@1.0")):
            found = model.to_dict()
            assert (found["license"], found["languages"]) == ("Apache-2.0", ["am", "de"])


def test_an_engine_that_is_away_is_a_503_with_the_time_to_come_again(front: Front, tmp_path: Any) -> None:
    """Clients that honour Retry-After come again; nothing of what stands behind is told."""
    engine = Engine()
    with gateway(engine, tmp_path) as other:
        engine.fail_with(Unavailable("no answer from 127.0.0.1:7070", retryable=False))
        answer = other.post(json={"input": "a"})
        assert "127.0.0.1" not in refused(answer, 503, "unavailable")
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["error"]["type"] == "server_error"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(URI),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["text", "image", "image_url", "url", "content", "role", "type"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
FIELDS = [*EmbeddingsRequest.__dataclass_fields__, "input", "messages", "modality", "dimensions", "errors"]
FIELDS += ["encoding_format", "embedding_type", "normalized", "late_chunking"]


@given(body=st.dictionaries(st.sampled_from(FIELDS), json_values) | json_values)
def test_no_body_breaks_the_reader(body: Any) -> None:
    """Whatever JSON is sent, it becomes items or an error with a sentence."""
    try:
        found = read(body, 2048)
    except ApiError as error:
        sentence = error.message
    else:
        assert len(found.items) >= 1
        return
    assert sentence


def test_no_body_breaks_the_gateway(front: Front) -> None:
    """Whatever is sent, the answer is one of the documented statuses, and never a mistake of ours."""
    headers = {"authorization": f"Bearer {front.key}"}
    with httpx.Client(base_url=front.addresses.http, headers=headers, timeout=60) as caller:

        @settings(max_examples=100)
        @given(
            body=st.dictionaries(st.sampled_from(FIELDS), json_values)
            | st.fixed_dictionaries({"input": json_values})
        )
        def send(body: Any) -> None:
            answer = caller.post("/v1/embeddings", content=json.dumps(body))
            assert answer.status_code in (200, 400, 404, 409, 413), answer.text
            assert answer.json()

        send()


@given(data=st.binary())
def test_base64_of_every_kind_is_the_same_image(data: bytes) -> None:
    """In lines, in the alphabet of URLs, without padding: the bytes are those that were encoded."""
    plain, urls = base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode()
    in_lines = base64.encodebytes(data).decode()
    for text in (
        plain,
        urls,
        plain.rstrip("="),
        in_lines,
        f"data:image/png;base64,{plain}",
        f"data:;base64,{urls}",
    ):
        assert images.read(text) == data
