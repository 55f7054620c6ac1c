"""What similarity, classification and reranking over HTTP share: refusals, versions, the description."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from babelclip import Unavailable
from gateway.errors import ApiError
from gateway.http.dialects import classify, rerank, similarity
from gateway.scoring.scorer import MAX_LABEL
from tests.gateway.front import Front, gateway
from tests.gateway.scored import CAT, answered, embedded, engine, front, image, refused

__all__ = ["front"]


def test_what_the_model_does_not_know_is_told(front: Front) -> None:
    """Letters that are unknown give vectors that say nothing, of whichever part of a request."""
    strange = "ⴰⵣⵓⵍ"
    compared = answered(front, "/v1/similarity", queries=["cat"], candidates=["dog", strange])
    assert (compared["queries"]["unknown"], compared["candidates"]["unknown"]) == ([], [1])
    labels = ["cat", strange]
    classified = answered(front, "/v1/classify", input=[strange], labels=labels, templates=["{}", "the {}"])
    assert (classified["unknown"], classified["unknown_labels"]) == ([0], [1])
    assert classified["truncated_labels"] == []
    ranked = answered(front, "/v1/rerank", query=strange, documents=["cat", strange])
    assert (ranked["unknown"], ranked["query_unknown"], ranked["query_truncated"]) == ([1], True, False)


MANY = ["cat"] * 150


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        ("similarity", {}, 400, '"queries" and "candidates"'),
        ("similarity", {"queries": ["a"]}, 400, '"queries" and "candidates"'),
        (
            "similarity",
            {"queries": ["a"], "candidates": ["a"], "texts": []},
            400,
            '"queries" and "candidates"',
        ),
        ("similarity", {"queries": [], "candidates": ["a"]}, 400, '"queries" must hold at least one'),
        ("similarity", {"queries": 1, "candidates": ["a"]}, 400, '"queries" must be a string'),
        ("similarity", {"queries": MANY, "candidates": MANY}, 413, "300 items to embed"),
        ("similarity", {"queries": ["a"], "candidates": MANY * 2}, 413, "holds 300 items"),
        ("similarity", {"queries": ["a"], "candidates": ["a"], "errors": "x"}, 400, '"raise" or "return"'),
        ("classify", {"labels": ["a"]}, 400, '"input"'),
        ("classify", {"input": "a"}, 400, '"labels"'),
        ("classify", {"input": "a", "labels": "cat"}, 400, "list of strings"),
        ("classify", {"input": "a", "labels": []}, 400, "at least one"),
        ("classify", {"input": "a", "labels": [1]}, 400, "labels[0] must be a string"),
        ("classify", {"input": "a", "labels": ["a", "a"]}, 400, "stands once"),
        ("classify", {"input": "a", "labels": ["a" * (MAX_LABEL + 1)]}, 400, "1,001 characters"),
        ("classify", {"input": "a", "labels": ["a"], "templates": ["none"]}, 400, "one {c} or {} each"),
        ("classify", {"input": "a", "labels": ["a"], "templates": ["{}" * 600]}, 400, "1,200 characters"),
        ("classify", {"input": "a", "labels": ["a"], "language": "xx"}, 400, "no built-in templates in 'xx'"),
        ("classify", {"input": "a", "labels": ["a"], "language": "x" * 99}, 400, "ISO 639-1"),
        ("classify", {"input": "a", "labels": ["a"], "language": "de", "templates": ["{}"]}, 400, "not both"),
        ("classify", {"input": "a", "labels": ["a"], "threshold": 2}, 400, "from 0 to 1"),
        ("classify", {"input": "a", "labels": ["a"], "threshold": True}, 400, "must be a number"),
        ("classify", {"input": "a", "labels": ["a"], "threshold": 10**999}, 400, "from 0 to 1"),
        ("classify", {"input": "a", "labels": ["a"], "top": 0}, 400, "at least 1"),
        (
            "classify",
            {
                "input": "a",
                "labels": [str(n) for n in range(20)],
                "templates": [f"{n}{{}}" for n in range(20)],
            },
            413,
            "401 items to embed, a label once for each template",
        ),
        ("rerank", {"query": "a"}, 400, '"query" and "documents"'),
        ("rerank", {"documents": ["a"]}, 400, '"query" and "documents"'),
        ("rerank", {"query": "a", "documents": []}, 400, "at least one"),
        ("rerank", {"query": "a", "documents": "a"}, 400, "must be a list"),
        ("rerank", {"query": "a", "documents": ["a"] * 200}, 413, "201 items to embed"),
        ("rerank", {"query": "a", "documents": ["a"], "top_n": 0}, 400, "at least 1"),
        ("rerank", {"query": "a", "documents": ["a"], "top_n": "2"}, 400, "whole number"),
        ("rerank", {"query": ["a"], "documents": ["a"]}, 400, "query: an item must be"),
    ],
)
def test_what_cannot_be_scored_is_refused_with_a_sentence(
    front: Front, path: str, body: dict[str, Any], status: int, says: str
) -> None:
    """A field that is missing, wrong or over a limit is named, before anything is embedded."""
    before = embedded(front)
    answer = front.post(f"/v1/{path}", json=body)
    assert answer.status_code == status, answer.text
    assert says in answer.json()["error"]["message"]
    assert embedded(front) == before


def test_versions_spaces_and_refusals_are_those_of_embeddings(tmp_path: Path) -> None:
    """The calls share models, keys and errors with /v1/embeddings."""
    memory = engine()
    with gateway(memory, tmp_path) as front:
        body: dict[str, Any] = {"query": "cat", "documents": ["dog"]}
        assert answered(front, "/v1/rerank", **body, model="clip@2.0")["space"] == "new"
        refused(front.post("/v1/rerank", json={**body, "space": "new"}), 409, "space_mismatch")
        refused(front.post("/v1/rerank", json={**body, "model": "other"}), 404, "model_not_found")
        refused(front.post("/v1/rerank", content=b"{"), 400, "malformed_request")
        url = f"{front.addresses.http}/v1/similarity"
        refused(httpx.post(url, json=body), 401, "invalid_api_key")
        metrics = httpx.get(front.addresses.metrics).text
        assert 'items_total{model="clip",outcome="ok",tower="text"} 2.0' in metrics
        assert 'requests_total{call="/v1/rerank",key="test",model="clip",status="200"} 1.0' in metrics
        memory.fail_with(Unavailable("no answer", retryable=False))
        refused(front.post("/v1/rerank", json=body), 503, "unavailable")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)

FIELDS = ["queries", "candidates", "images", "texts", "input", "labels", "templates", "query", "documents"]

OPTIONS = [
    "model",
    "top",
    "top_n",
    "threshold",
    "language",
    "errors",
    "space",
    "return_documents",
    "modality",
]

ITEM = st.sampled_from(["cat", image(CAT), {"text": "dog"}, {"image_url": {"url": "data:"}}])


# JSON may hold what is no Unicode.
STRANGE = st.text(st.characters(exclude_categories=())) | st.sampled_from(
    ["a {}", "{c} {c}", "data:image/\ud800;base64,aaaa"]
)

ANY_ITEM = (
    ITEM
    | STRANGE
    | st.dictionaries(st.sampled_from(["text", "image", "image_url", "url", "\ud800"]), STRANGE)
    | JSON
)


@given(st.dictionaries(st.sampled_from(FIELDS + OPTIONS), ITEM | st.lists(ITEM, max_size=3) | JSON))
@settings(max_examples=60)
def test_any_body_is_a_request_or_an_error(body: dict[str, Any]) -> None:
    """No JSON makes a parser of these calls fail otherwise than with a sentence."""
    statuses = []
    for module in (similarity, classify, rerank):
        try:
            module.read(json.loads(json.dumps(body)), 100)
        except ApiError as error:
            statuses.append(error.status)
    assert set(statuses) <= {400, 413}


@given(
    st.sampled_from(["/v1/similarity", "/v1/classify", "/v1/rerank", "/v2/rerank"]),
    st.fixed_dictionaries(
        {"errors": st.just("return"), "return_documents": st.just(True)},
        optional={
            field: ANY_ITEM | st.lists(ANY_ITEM, min_size=1, max_size=3)
            for field in ("queries", "candidates", "input", "labels", "templates", "query", "documents")
        },
    ),
)
@settings(max_examples=40)
def test_no_request_is_a_failure_of_the_gateway(front: Front, path: str, body: dict[str, Any]) -> None:
    """Whatever the items of a request are, even what is no Unicode, the answer is one or a sentence."""
    answer = front.post(path, content=json.dumps(body), headers={"content-type": "application/json"})
    assert answer.status_code in (200, 400, 413), answer.text
    assert answer.json()


@pytest.mark.parametrize("path", ["/v1/similarity", "/v1/classify", "/v1/rerank", "/v2/rerank"])
def test_the_description_has_these_calls(front: Front, path: str) -> None:
    """A program that reads the OpenAPI document finds every field that the call takes."""
    described = front.get("/openapi.json").json()["paths"][path]["post"]
    body = described["requestBody"]["content"]["application/json"]["schema"]["properties"]
    module: Any = {"similarity": similarity, "classify": classify, "rerank": rerank}[path[4:]]
    for field in set(body) - {"query"}:  # An item of a wrong kind is that item's error.
        given = {"input": "a", "labels": ["a"], "query": "a", "documents": ["a"], field: 1j}
        with pytest.raises(ApiError) as caught:
            module.read({name: value for name, value in given.items() if name in body}, 100)
        assert caught.value.status == 400
