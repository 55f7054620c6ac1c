"""Jina's and Cohere's rerank, `POST /v1/rerank` and `POST /v2/rerank`, with images as well as texts.

    {"model": "clip", "query": "ein Apfel", "documents": ["…", {"text": "…"}, {"image": "…"}], "top_n": 3,
     "return_documents": true}

    {"id": "…", "object": "list", "model": "clip@1.0", "space": "…", "results": [
      {"index": 2, "relevance_score": 0.31, "match": 0.88, "document": {"image": "…"}}, …],
     "errors": [], "truncated": [], "unknown": [], "query_truncated": false, "query_unknown": false,
     "usage": {"prompt_tokens": 9, "total_tokens": 9},
     "meta": {"api_version": {"version": "2"}}}

The score is the cosine. A document that fails has an entry in `errors` and none in `results`, where the
request says `"errors": "return"`; otherwise the request fails with it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.errors import items_failed, malformed
from gateway.http.dialects import fields, images, items
from gateway.http.dialects.dialect import body_object, choice_of, error_entries, field_of
from gateway.scoring.messages import Ranked, Reranked, RerankRequest


@dataclass(frozen=True)
class Asked:
    """A request, read.

    Attributes:
        model: NAME, NAME@VERSION, or "" for the default.
        documents: as the body has them, to be returned; None where they are not.
        keep: a document that fails leaves the others their ranks.
    """

    model: str
    request: RerankRequest
    documents: list[Any] | None
    keep: bool


def read(body: Any, max_items: int) -> Asked:
    """The parsed body of a request.

    Raises:
        ApiError: the body as a whole is none of this call.
    """
    body = body_object(body)
    for field in ("query", "documents"):
        if body.get(field) is None:
            raise malformed('the body must hold "query" and "documents"', field)
    if not isinstance(body["documents"], list):
        raise malformed(f'"documents" must be a list, not {items.named(body["documents"])}', "documents")
    back = field_of(body, "return_documents", bool, "true or false", False)
    return Asked(
        model=field_of(body, "model", str, "a string", ""),
        request=RerankRequest(
            query=items.read(body["query"]),
            documents=fields.items_of(body, "documents", max_items),
            top_n=field_of(body, "top_n", int, "a whole number", None),
            space=field_of(body, "space", str, "a string", ""),
            language=field_of(body, "language", str, "a string", ""),
        ),
        documents=body["documents"] if back else None,
        keep=choice_of(body, "errors", "raise", "return") == "return",
    )


def render(asked: Asked, found: Reranked, api_version: str) -> bytes:
    """The answer, as JSON.

    Args:
        api_version: what Cohere's clients are told, "1" or "2".

    Raises:
        ApiError: a document failed, and the request is one that fails with it.
    """
    outcomes = found.documents
    if outcomes.errors and not asked.keep:
        raise items_failed({f"documents[{error.index}]": error for error in outcomes.errors}, "documents")
    tokens = sum(found.query.tokens) + sum(outcomes.tokens)
    answer = {
        "id": str(uuid.uuid4()),
        "object": "list",
        "model": found.model,
        "space": found.version.space,
        "results": [_row(result, asked.documents) for result in found.results],
        "errors": error_entries(outcomes.errors),
        "truncated": outcomes.truncated,
        "unknown": outcomes.unknown,
        "query_truncated": bool(found.query.truncated),
        "query_unknown": bool(found.query.unknown),
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        "meta": {"api_version": {"version": api_version}},
    }
    # ASCII: a document may be no Unicode.
    return json.dumps(answer).encode()


def _row(result: Ranked, documents: list[Any] | None) -> Mapping[str, Any]:
    row: dict[str, Any] = {
        "index": result.index,
        "relevance_score": result.score,
        "match": result.match,
    }
    if documents is not None:
        row["document"] = _document(documents[result.index])
    return row


def _document(sent: Any) -> Mapping[str, str]:
    """A document that was read, without whatever else stood in its object."""
    if isinstance(sent, str):
        return {"image" if images.is_data_uri(sent) else "text": sent}
    if sent.get("text") is not None:
        return {"text": sent["text"]}
    image = sent["image"] if sent.get("image") is not None else sent["image_url"]
    return {"image": image["url"] if isinstance(image, dict) else image}
