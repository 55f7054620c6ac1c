"""KServe's V1 protocol at the gateway, over a real server."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from babelclip.testing import InMemoryTransport
from gateway.errors import ApiError
from gateway.http.dialects.kserve import read
from tests.gateway.engine import Engine
from tests.gateway.front import Front, gateway

IMAGE = b"\x89PNG\r\n\x1a\n and some pixels?>"
ENCODED = base64.b64encode(IMAGE).decode()
CALL = "/v1/models/clip:predict"


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A gateway before two versions; no test of this file changes them."""
    old = InMemoryTransport(failing={"poison": ("text_too_long", "the text has too many bytes")})
    engine = Engine(old, InMemoryTransport(space="new", version="2.0", dim=8))
    with gateway(engine, tmp_path_factory.mktemp("front")) as front:
        yield front


def vectors(front: Front, *items: str | bytes, version: str = "1.0") -> np.ndarray:
    """What the engine gives for these items."""
    return np.array([front.engine.versions[version].vector(item) for item in items])


def test_every_form_of_an_instance_is_embedded(front: Front) -> None:
    """Texts and images mixed, bytes in the protocol's own word for them, come back in their order."""
    instances = ["a", {"text": "b"}, {"image": {"b64": ENCODED}}, {"b64": ENCODED}, {"image": ENCODED}]
    answer = front.post(CALL, json={"instances": instances, "signature_name": "passed over"})
    assert answer.status_code == 200, answer.text
    expected = vectors(front, "a", "b", IMAGE, IMAGE, IMAGE)
    np.testing.assert_allclose(answer.json()["predictions"], expected, atol=1e-6)
    assert (answer.json()["model"], answer.json()["space"]) == ("clip@1.0", "in-memory")
    assert "errors" not in answer.json()


def test_the_address_names_the_version(front: Front) -> None:
    """`NAME@VERSION:predict` chooses the version, as it does everywhere."""
    answer = front.post("/v1/models/clip@2.0:predict", json={"instances": ["a"]}).json()
    np.testing.assert_allclose(answer["predictions"], vectors(front, "a", version="2.0"), atol=1e-6)
    assert answer["model"] == "clip@2.0"


def test_an_instance_that_fails_costs_only_itself(front: Front) -> None:
    """The predictions have null in its place, and the error stands beside them."""
    sent = ["a", "poison", {"image": {"b64": "?"}}, {"text": "a", "image": {"b64": ENCODED}}]
    answer = front.post(CALL, json={"instances": sent}).json()
    np.testing.assert_allclose(answer["predictions"][:1], vectors(front, "a"), atol=1e-6)
    assert answer["predictions"][1:] == [None, None, None]
    assert [(error["index"], error["code"]) for error in answer["errors"]] == [
        (1, "text_too_long"),
        (2, "invalid_item"),
        (3, "invalid_item"),
    ]
    assert "two towers" in answer["errors"][2]["message"]


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        (CALL, [], 400, "must be a JSON object"),
        (CALL, {"inputs": ["a"]}, 400, '"instances", a list'),
        (CALL, {"instances": "a"}, 400, "must be a list, not a string"),
        (CALL, {"instances": []}, 400, "at least one item"),
        (CALL, {"instances": ["a"] * 2049}, 413, "at most 2,048"),
        (CALL, {"instances": ["a"], "space": "other"}, 409, "in-memory"),
        ("/v1/models/other:predict", {"instances": ["a"]}, 404, "there are clip"),
        ("/v1/models/:predict", {"instances": ["a"]}, 400, "a model's name"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    front: Front, path: str, body: Any, status: int, says: str
) -> None:
    """The caller learns what is at fault, and what is allowed, in KServe's form of an error."""
    answer = front.post(path, content=json.dumps(body))
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error", "code"}
    assert says in answer.json()["error"]


def test_models_are_listed_and_ready_as_kserve_asks(front: Front) -> None:
    """OpenAI's and KServe's clients ask at the same address, and each finds its own fields."""
    bearer = {"authorization": f"Bearer {front.key}"}
    listed = front.get("/v1/models", **bearer).json()
    assert (listed["models"], listed["object"]) == (["clip"], "list")
    one = front.get("/v1/models/clip", **bearer).json()
    assert (one["name"], one["ready"], one["id"], one["object"]) == ("clip", True, "clip", "model")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(ENCODED),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["b64", "text", "image", "instances"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(body=st.fixed_dictionaries({"instances": values}) | values)
def test_no_body_breaks_the_reader(body: Any) -> None:
    """Whatever JSON is sent, it becomes items or an error with a sentence."""
    try:
        found = read(body, 2048, "clip")
    except ApiError as error:
        sentence = error.message
    else:
        assert len(found.items) >= 1
        return
    assert sentence
