"""Reranking over HTTP, by hand and by Cohere's SDK: hand-made vectors whose scores are known."""

from typing import Any

import cohere
import httpx
import numpy as np
import pytest

from tests.gateway.front import Front
from tests.gateway.scored import BROKEN, CAR, CAT, DOG, answered, front, image, refused, unit

__all__ = ["front"]


@pytest.mark.parametrize(("path", "version"), [("/v1/rerank", "1"), ("/v2/rerank", "2")])
def test_documents_of_both_kinds_are_ranked(front: Front, path: str, version: str) -> None:
    """Jina's and Cohere's call: best first, by index, with the documents where the caller wants them."""
    uri = f"data:image/png;base64,{image(CAR)['image']}"
    documents = ["dog", {"text": "cat"}, {**image(CAT), "note": "mine"}, uri]
    answer = answered(front, path, model="clip", query="cat", documents=documents, return_documents=True)
    scores = [unit("cat") @ unit(item) for item in ("dog", "cat", CAT, CAR)]
    order = sorted(range(4), key=lambda index: -scores[index])
    assert [result["index"] for result in answer["results"]] == order == [1, 2, 3, 0]
    got = [result["relevance_score"] for result in answer["results"]]
    np.testing.assert_allclose(got, [scores[index] for index in order], atol=1e-6)
    shown = [result["document"] for result in answer["results"]]
    assert shown == [{"text": "cat"}, image(CAT), {"image": uri}, {"text": "dog"}]
    assert [result["match"] is None for result in answer["results"]] == [True, False, False, True]
    assert answer["meta"]["api_version"]["version"] == version
    assert answer["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    best = answered(front, path, query="cat", documents=documents, top_n=1)["results"]
    assert [(result["index"], "document" in result) for result in best] == [(1, False)]


def test_an_image_may_be_the_query(front: Front) -> None:
    """Search by image over the same call."""
    answer = answered(front, "/v1/rerank", query=image(DOG), documents=["cat", image(DOG), "dog"])
    assert [result["index"] for result in answer["results"]] == [1, 2, 0]


def test_a_broken_document_costs_only_itself(front: Front) -> None:
    """It has no rank; where the caller does not want that, the request fails and names it."""
    body: dict[str, Any] = {"query": "cat", "documents": ["dog", image(BROKEN), 7, "cat"]}
    answer = answered(front, "/v1/rerank", **body, errors="return")
    assert [result["index"] for result in answer["results"]] == [3, 0]
    assert [(e["index"], e["code"]) for e in answer["errors"]] == [
        (1, "image_undecodable"),
        (2, "invalid_item"),
    ]
    message = refused(front.post("/v1/rerank", json=body), 400, "image_undecodable")
    assert message.startswith("documents[1]: it is broken; documents[2]: ")
    body["query"] = "poison"
    answer = front.post("/v1/rerank", json={**body, "errors": "return"})
    assert refused(answer, 413, "text_too_long") == "query: it is too long"


def test_coheres_sdk_reranks(front: Front) -> None:
    """A program written for Cohere's rerank gets its results by a change of address and key."""
    where: dict[str, Any] = {"api_key": front.key, "base_url": front.addresses.http}
    with httpx.Client() as connections:
        newer = cohere.ClientV2(**where, httpx_client=connections)
        answer = newer.rerank(model="clip", query="cat", documents=["dog", "cat"], top_n=1)
        with pytest.raises(cohere.NotFoundError) as caught:
            newer.rerank(model="other", query="cat", documents=["dog"])
        older = cohere.Client(**where, httpx_client=connections)
        found = older.rerank(model="clip", query="cat", documents=["dog", "cat"], return_documents=True)
    assert [(result.index, round(result.relevance_score, 5)) for result in answer.results] == [(1, 1.0)]
    documents = [result.document for result in found.results]
    assert [document and document.text for document in documents] == ["cat", "dog"]
    assert caught.value.body["message"] == "there is no model 'other'; there are clip"
