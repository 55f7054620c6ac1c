"""Similarity, classification and reranking in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Schema = dict[str, Any]
_STRING: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "number"}
_INDICES: Schema = {"type": "array", "items": {"type": "integer"}}
_ITEM: Schema = {
    "oneOf": [
        {"type": "string", "description": "a text, or an image as data URI"},
        {"type": "object", "properties": {"text": _STRING}, "required": ["text"]},
        {
            "type": "object",
            "properties": {"image": {"type": "string", "description": "base64 or data URI"}},
            "required": ["image"],
        },
    ]
}
_LANGUAGE: Schema = {
    "type": "string",
    "description": "of all texts, by BCP 47, for models that are told it; passed over by others",
}
_COMMON: Schema = {
    "model": {"type": "string", "description": "NAME or NAME@VERSION; the first model if absent"},
    "space": {"type": "string", "description": "refuse the request unless the model is of this space"},
    "errors": {
        "enum": ["raise", "return"],
        "description": "return: an item that fails has an error, the others their scores",
    },
}
_FACTS: Schema = {
    "model": {"type": "string", "description": "NAME@VERSION that answered"},
    "space": {"type": "string", "description": "the embedding space that was scored in"},
    "logit_scale": _NUMBER,
}
_MATCH: Schema = {
    "type": ["number", "null"],
    "description": "the probability that it matches at all; null without a calibration",
}
_ERRORS: Schema = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"index": {"type": "integer"}, "code": _STRING, "message": _STRING},
    },
}


@dataclass(frozen=True)
class Call:
    """One call: the schema of its body by the most items that it may hold, and of its answer."""

    summary: str
    request: Callable[[int], Schema]
    answers: str
    answer: Schema


def _items(max_items: int, item: Schema = _ITEM) -> Schema:
    return {"type": "array", "items": item, "minItems": 1, "maxItems": max_items}


def _one_or_many(max_items: int) -> Schema:
    return {"oneOf": [_ITEM, _items(max_items)]}


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties}


def _similarity(max_items: int) -> Schema:
    sides = ("queries", "candidates", "images", "texts")
    fields = {**{name: _one_or_many(max_items) for name in sides}, "language": _LANGUAGE}
    alternatives = [{"required": ["queries", "candidates"]}, {"required": ["images", "texts"]}]
    return {**_object(**_COMMON, **fields), "oneOf": alternatives}


def _classify(max_items: int) -> Schema:
    fields = {
        "input": _one_or_many(max_items),
        "modality": {"enum": ["text", "image"], "description": "what the strings of input are"},
        "labels": _items(max_items, _STRING),
        "templates": {**_items(max_items, _STRING), "description": "sentences with one {} or {c} each"},
        "language": {
            "type": "string",
            "description": "built-in templates, and the texts' language, by ISO 639-1",
        },
        "threshold": {
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "description": "the least match at which there is a label; takes a calibration",
        },
        "top": {"type": "integer", "minimum": 1, "description": "how many labels of each item to tell"},
    }
    return {**_object(**_COMMON, **fields), "required": ["input", "labels"]}


def _rerank(max_items: int) -> Schema:
    fields = {
        "query": _ITEM,
        "documents": _items(max_items - 1),
        "top_n": {"type": "integer", "minimum": 1},
        "return_documents": {"type": "boolean"},
        "language": _LANGUAGE,
    }
    return {**_object(**_COMMON, **fields), "required": ["query", "documents"]}


def _similarity_answer() -> Schema:
    rows: Schema = {"type": "array", "items": {"type": "array", "items": {"type": ["number", "null"]}}}
    side = _object(errors=_ERRORS, truncated=_INDICES, unknown=_INDICES)
    return _object(
        object={"const": "similarity"},
        **_FACTS,
        cosines=rows,
        probabilities={**rows, "description": "softmax of logit scale × cosine; a row sums to 1"},
        matches={"oneOf": [rows, {"type": "null"}]},
        queries=side,
        candidates=side,
    )


def _classify_answer() -> Schema:
    label = {"type": ["string", "null"]}
    row = _object(
        object={"const": "classification"},
        index={"type": "integer"},
        label={**label, "description": "null where none matches, or the item failed"},
        best=label,
        probability=_NUMBER,
        match=_MATCH,
        scores={"type": "array", "items": _object(label=_STRING, cosine=_NUMBER, probability=_NUMBER)},
        error=_object(code=_STRING, message=_STRING),
    )
    return _object(
        object={"const": "list"},
        **_FACTS,
        data={"type": "array", "items": row},
        truncated=_INDICES,
        unknown=_INDICES,
        truncated_labels=_INDICES,
        unknown_labels=_INDICES,
    )


def _rerank_answer() -> Schema:
    row = _object(
        index={"type": "integer"},
        relevance_score={"type": "number", "description": "the cosine"},
        match=_MATCH,
        document=_object(text=_STRING, image=_STRING),
    )
    return _object(
        id=_STRING,
        object={"const": "list"},
        **_FACTS,
        results={"type": "array", "items": row, "description": "best first"},
        errors=_ERRORS,
        truncated=_INDICES,
        unknown=_INDICES,
        query_truncated={"type": "boolean"},
        query_unknown={"type": "boolean"},
        usage=_object(prompt_tokens={"type": "integer"}, total_tokens={"type": "integer"}),
        meta=_object(api_version=_object(version=_STRING)),
    )


_RERANK = "Rank documents, texts or images, by how well they fit a query"
SCORING = {
    "/v1/similarity": Call(
        "Compare every query with every candidate, texts or images",
        _similarity,
        "A row of scores for each query.",
        _similarity_answer(),
    ),
    "/v1/classify": Call(
        "Which of some labels an image or a text shows, or none of them",
        _classify,
        "A classification for each item.",
        _classify_answer(),
    ),
    "/v1/rerank": Call(f"{_RERANK}: Jina's call", _rerank, "The documents, best first.", _rerank_answer()),
    "/v2/rerank": Call(f"{_RERANK}: Cohere's call", _rerank, "The documents, best first.", _rerank_answer()),
}
"""The calls by their addresses."""
