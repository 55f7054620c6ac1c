"""Cohere's embeddings call, by the real SDK and by hand, over a real server."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import cohere
import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from babelclip import Embeddings
from babelclip.testing import InMemoryTransport
from gateway.errors import ApiError
from gateway.http.dialects.cohere import CohereRequest, read, render
from gateway.http.dialects.items import NO_JOINT_VECTOR
from gateway.towers.base import ModelVersion
from tests.gateway.engine import Engine
from tests.gateway.front import Front, gateway

TEXTS = ["a red heart", "ein rotes Herz", "красное сердце"]
IMAGE = b"\x89PNG\r\n\x1a\n and some pixels?>"
URI = f"data:image/png;base64,{base64.b64encode(IMAGE).decode()}"
IMAGE_PART = {"type": "image_url", "image_url": {"url": URI}}


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A gateway; no test of this file changes what is behind it."""
    engine = Engine(InMemoryTransport(failing={"poison": ("text_too_long", "the text has too many bytes")}))
    with gateway(engine, tmp_path_factory.mktemp("front")) as front:
        yield front


@pytest.fixture(scope="module")
def sdk(front: Front) -> Iterator[cohere.ClientV2]:
    """Cohere's SDK, set to the gateway as docs/dialects.md says."""
    with httpx.Client(timeout=60) as caller:
        yield cohere.ClientV2(front.key, base_url=front.addresses.http, httpx_client=caller)


def vectors(front: Front, *items: str | bytes) -> np.ndarray:
    """What the engine gives for these items."""
    return np.array([front.engine.versions["1.0"].vector(item) for item in items])


def refused(front: Front, body: Any, status: int, path: str = "/v2/embed") -> str:
    """The message of a call that must fail, in Cohere's form."""
    answer = front.post(path, content=json.dumps(body))
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"message", "code"}
    return str(answer.json()["message"])


def test_coheres_sdk_embeds_texts(front: Front, sdk: cohere.ClientV2) -> None:
    """A program written for Cohere's embeddings gets vectors by a change of address and key."""
    answer = sdk.embed(
        model="clip", texts=TEXTS, input_type="search_document", embedding_types=["float", "base64"]
    )
    np.testing.assert_allclose(answer.embeddings.float_ or [], vectors(front, *TEXTS), atol=1e-6)
    rows = [np.frombuffer(base64.b64decode(row), "<f4") for row in answer.embeddings.base64 or []]
    np.testing.assert_allclose(rows, vectors(front, *TEXTS), atol=1e-6)
    assert (answer.texts, answer.response_type) == (TEXTS, "embeddings_by_type")
    assert answer.meta is not None
    assert answer.meta.api_version is not None
    assert answer.meta.api_version.version == "2"
    assert answer.meta.billed_units is not None
    assert answer.meta.billed_units.input_tokens == sum(len(text.split()) for text in TEXTS)


def test_coheres_sdk_embeds_images_and_mixed_inputs(front: Front, sdk: cohere.ClientV2) -> None:
    """Images as data URIs and lists of both kinds come back in order, without embedding_types too."""
    images = sdk.embed(model="clip", images=[URI, URI], input_type="image", embedding_types=["float"])
    np.testing.assert_allclose(images.embeddings.float_ or [], vectors(front, IMAGE, IMAGE), atol=1e-6)
    inputs: Any = [{"content": [{"type": "text", "text": "a"}]}, {"content": [IMAGE_PART]}]
    mixed = sdk.embed(model="clip@1.0", inputs=inputs, input_type="search_query")
    np.testing.assert_allclose(mixed.embeddings.float_ or [], vectors(front, "a", IMAGE), atol=1e-6)
    assert mixed.texts is None


# The SDK puts its batches together in a way that pydantic warns of.
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")
def test_coheres_older_call_is_answered_in_its_own_form(front: Front) -> None:
    """Programs of the older SDK get a plain list, or lists by type, in its batches of 96 too."""
    with httpx.Client(timeout=60) as caller:
        sdk = cohere.Client(front.key, base_url=front.addresses.http, httpx_client=caller)
        texts = [f"text {index}" for index in range(100)]
        plain = sdk.embed(model="clip", texts=texts, input_type="search_query")
        typed = sdk.embed(model="clip", texts=["a"], input_type="clustering", embedding_types=["float"])
    assert plain.response_type == "embeddings_floats"
    np.testing.assert_allclose(plain.embeddings, vectors(front, *texts), atol=1e-6)
    assert plain.texts == texts
    assert typed.response_type == "embeddings_by_type"
    np.testing.assert_allclose(typed.embeddings.float_ or [], vectors(front, "a"), atol=1e-6)


def test_the_sdk_raises_its_own_errors(front: Front, sdk: cohere.ClientV2) -> None:
    """A wrong key, model or item is what a program already catches, with our sentence."""
    with pytest.raises(cohere.NotFoundError) as missing:
        sdk.embed(model="embed-v4.0", texts=["a"], input_type="search_query")
    assert "there are clip" in missing.value.body["message"]
    with pytest.raises(cohere.BadRequestError) as wrong:
        sdk.embed(model="clip", images=[URI, "https://example.org/a.png"], input_type="image")
    assert "images[1]: an address is not an image" in wrong.value.body["message"]
    with pytest.raises(cohere.NotFoundError) as unranked:
        sdk.rerank(model="rerank-v4.0", query="a", documents=["b"])
    assert "there are clip" in unranked.value.body["message"]
    with httpx.Client(timeout=60) as caller, pytest.raises(cohere.UnauthorizedError) as stranger:
        cohere.ClientV2("wrong", base_url=front.addresses.http, httpx_client=caller).embed(
            model="clip", texts=["a"], input_type="search_query"
        )
    assert "the key is wrong" in stranger.value.body["message"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ([], "must be a JSON object, not a list"),
        ({}, 'one of "texts", "images" and "inputs"'),
        ({"texts": ["a"], "images": [URI]}, 'one of "texts", "images" and "inputs"'),
        ({"texts": "a"}, '"texts" must be a list, not a string'),
        ({"texts": []}, '"texts" must hold at least one item'),
        ({"texts": ["a"], "embedding_types": ["int8"]}, '"float" and "base64"'),
        ({"texts": ["a"], "embedding_types": "float"}, "must be a list of strings"),
        ({"texts": ["a"], "output_dimension": 16}, "have 32 values and are not shortened"),
        ({"texts": ["a"], "truncate": "MIDDLE"}, '"END", "NONE" or "START"'),
        ({"texts": ["a"], "max_tokens": 10}, 'leave "max_tokens" out'),
        ({"texts": ["a"], "errors": "ignore"}, '"raise" or "return"'),
        ({"texts": ["a", 7]}, 'texts[1]: "texts" must hold strings, each a text, and not a number'),
        ({"images": [{"url": URI}]}, "each an image in a data URI, and not an object"),
        ({"inputs": [{"content": [{"type": "text", "text": "a"}, IMAGE_PART]}]}, NO_JOINT_VECTOR),
        ({"inputs": [{"content": [IMAGE_PART, IMAGE_PART]}]}, "send several inputs"),
        ({"inputs": [{"content": []}]}, "with one text or one image"),
        ({"inputs": ["a"]}, "with one text or one image"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(front: Front, body: Any, says: str) -> None:
    """The caller learns which field or item is at fault, and what is allowed, in Cohere's form."""
    assert says in refused(front, body, 400)
    assert says in refused(front, body, 400, "/v1/embed")


def test_a_switch_keeps_the_vectors_of_the_others(front: Front) -> None:
    """One item that fails fails the request by name, or, where that is asked, costs only itself."""
    body: dict[str, Any] = {"texts": ["a", "poison"]}
    assert refused(front, body, 413) == "texts[1]: the text has too many bytes"
    answer = front.post("/v2/embed", json={**body, "errors": "return"}).json()
    assert answer["embeddings"]["float"][1] is None
    np.testing.assert_allclose(answer["embeddings"]["float"][:1], vectors(front, "a"), atol=1e-6)
    assert answer["errors"] == [
        {"index": 1, "code": "text_too_long", "message": "the text has too many bytes"}
    ]
    assert (answer["model"], answer["space"], answer["dim"]) == ("clip@1.0", "in-memory", 32)


@pytest.mark.parametrize(("truncate", "says"), [("NONE", "more tokens"), ("START", "at its end alone")])
def test_texts_are_cut_at_their_end_or_not_at_all(truncate: str, says: str) -> None:
    """Cohere's END cuts and tells which, NONE is an error, and so is START, which no tower can."""
    outcomes = Embeddings(np.eye(2, dtype=np.float32), "s", 1.0, truncated=(1,))
    version = ModelVersion("1.0", "s", 2, 1.0)
    cut = json.loads(render(read({"texts": ["a", "long"]}, 10), "clip", version, outcomes))
    assert (cut["embeddings"]["float"], cut["truncated"]) == ([[1.0, 0.0], [0.0, 1.0]], [1])
    with pytest.raises(ApiError, match=says) as caught:
        render(read({"texts": ["a", "long"], "truncate": truncate}, 10), "clip", version, outcomes)
    assert (caught.value.status, caught.value.code) == (400, "context_length_exceeded")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(URI),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["content", "text", "image_url", "url"]), inner, max_size=3)
    ),
    max_leaves=8,
)
FIELDS = ["texts", "images", "inputs", "embedding_types", "truncate", "output_dimension", "model", "errors"]


@given(body=st.dictionaries(st.sampled_from(FIELDS), values) | values, api=st.sampled_from(["1", "2"]))
def test_no_body_breaks_the_reader(body: Any, api: str) -> None:
    """Whatever JSON is sent, it becomes items or an error with a sentence."""
    try:
        found = read(body, 2048, api)
    except ApiError as error:
        sentence = error.message
    else:
        assert isinstance(found, CohereRequest)
        assert len(found.items) >= 1
        return
    assert sentence
