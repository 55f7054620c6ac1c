"""Cohere's embeddings call, `POST /v2/embed`, and its older form, `POST /v1/embed`.

    {"model": "clip", "texts": ["…", …], "input_type": "search_document", "embedding_types": ["float"]}
    {"model": "clip", "images": ["data:image/png;base64,…", …]}
    {"model": "clip", "inputs": [{"content": [{"type": "text", "text": "…"}]},
                                 {"content": [{"type": "image_url", "image_url": {"url": "data:…"}}]}]}

    {"id": "…", "response_type": "embeddings_by_type", "embeddings": {"float": [[…], …]}, "texts": ["…", …],
     "model": "clip@1.0", "space": "…", "dim": 512, "logit_scale": 100.0, "meta": {…}}

In the older form `embeddings` is the list of vectors itself unless the request has `embedding_types`.
`input_type` is passed over: a text has one vector, whether it is a query or a document. A text that is too
long is cut at its end, as Cohere does, unless `truncate` is "NONE". The call has no place for the error of
one item: if an item fails, the request fails, unless `"errors": "return"` leaves the others their vectors;
then the answer has null in its place and a list `errors`.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from babelclip import Embeddings, ItemError
from gateway.embedding import Item
from gateway.errors import INVALID_ITEM, ApiError, malformed
from gateway.http.dialects import images, items
from gateway.http.dialects.dialect import (
    EmbedRequest,
    base64_rows,
    body_object,
    check_count,
    choice_of,
    error_entries,
    facts_of,
    failed_items,
    failure,
    field_of,
    number_rows,
)
from gateway.http.dialects.items import NO_JOINT_VECTOR
from gateway.towers.base import ModelVersion

# The addresses whose errors have Cohere's form; /v1/rerank is Jina's as well.
PATHS = frozenset({"/v1/embed", "/v2/embed", "/v2/rerank"})
_FIELDS = ("texts", "images", "inputs")
_TYPES = ("float", "base64")
# By `truncate`: what is said of a text that was too long.
_CUT = {
    "END": None,
    "NONE": 'the text has more tokens than the model takes; shorten it, or send "truncate": "END"',
    "START": 'a text that is too long is cut at its end alone; shorten it, or send "truncate": "END"',
}


@dataclass(frozen=True)
class CohereRequest(EmbedRequest):
    """A request, read.

    Attributes:
        api: the number of the form, "1" or "2".
        field: where the items stood.
        texts: the texts as they were sent, which the answer repeats; None where there were others.
        types: how vectors are sent; empty for the older form's plain list.
        cut: what is said of a text that was too long; None where it is cut.
        keep: an item that fails leaves the others their vectors.
    """

    api: str = "2"
    field: str = "texts"
    texts: list[str] | None = None
    types: tuple[str, ...] = ("float",)
    cut: str | None = None
    keep: bool = False


def read(body: Any, max_items: int, api: str = "2") -> CohereRequest:
    """The parsed body of a request.

    Raises:
        ApiError: the body as a whole is none of this call, or asks for what is not to be had.
    """
    body = body_object(body)
    given = [field for field in _FIELDS if body.get(field) is not None]
    if len(given) != 1:
        raise malformed('the body must hold one of "texts", "images" and "inputs"', "texts")
    (field,) = given
    sent = field_of(body, field, list, "a list", None)
    check_count(len(sent), max_items, field)
    if body.get("max_tokens") is not None:
        raise malformed('a text is cut at the model\'s own limit; leave "max_tokens" out', "max_tokens")
    return CohereRequest(
        model=field_of(body, "model", str, "a string", ""),
        items=[_item(value, field) for value in sent],
        space=field_of(body, "space", str, "a string", ""),
        dim=field_of(body, "output_dimension", int, "a whole number", None),
        api=api,
        field=field,
        texts=sent if field == "texts" and all(isinstance(text, str) for text in sent) else None,
        types=_types(body, () if api == "1" else ("float",)),
        cut=_CUT[choice_of(body, "truncate", "END", "NONE", "START")],
        keep=choice_of(body, "errors", "raise", "return") == "return",
    )


def render(request: CohereRequest, name: str, version: ModelVersion, outcomes: Embeddings) -> bytes:
    """The answer, as JSON.

    Raises:
        ApiError: an item failed, and the request is one that fails with it.
    """
    errors = failed_items(outcomes, request.cut)
    if errors and not request.keep:
        raise failure(errors.values(), lambda index: f"{request.field}[{index}]", request.field)
    rows = {"float": number_rows, "base64": base64_rows}
    lists = {kind: f"[{','.join(rows[kind](outcomes, errors))}]" for kind in request.types or ("float",)}
    by_type = ",".join(f'"{kind}":{vectors}' for kind, vectors in lists.items())
    embeddings = f"{{{by_type}}}" if request.types else lists["float"]
    facts: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "response_type": "embeddings_by_type" if request.types else "embeddings_floats",
        **({} if request.texts is None else {"texts": request.texts}),
        "meta": {
            "api_version": {"version": request.api},
            "billed_units": {"input_tokens": sum(outcomes.tokens)},
        },
        **facts_of(name, version, outcomes),
        **({"errors": error_entries(errors.values())} if errors else {}),
    }
    return f'{json.dumps(facts)[:-1]},"embeddings":{embeddings}}}'.encode()


def error_body(error: ApiError) -> bytes:
    """Cohere's form of an error, and beside it the code."""
    return json.dumps({"message": error.message, "code": error.code}).encode()


def _item(value: Any, field: str) -> Item:
    if field == "inputs":
        return _content(value)
    if isinstance(value, str):
        return images.read(value) if field == "images" else items.read(value)
    kind = "a text" if field == "texts" else "an image in a data URI"
    return _wrong(f'"{field}" must hold strings, each {kind}, and not {items.named(value)}')


def _content(value: Any) -> Item:
    parts = value.get("content") if isinstance(value, dict) else None
    if not isinstance(parts, list) or not parts:
        return _wrong('an input must be {"content": […]} with one text or one image')
    found = [items.read(part) for part in parts[:2]]
    if len(parts) == 1:
        return found[0]
    if {str, bytes} <= {type(part) for part in found}:
        return _wrong(NO_JOINT_VECTOR)
    return _wrong("an input's content must be one text or one image; send several inputs")


def _types(body: Mapping[str, Any], default: tuple[str, ...]) -> tuple[str, ...]:
    asked = field_of(body, "embedding_types", list, "a list of strings", None)
    if not asked:
        return default
    if any(kind not in _TYPES for kind in asked):
        raise malformed(
            '"embedding_types" may hold "float" and "base64"; vectors are not quantised', "embedding_types"
        )
    return tuple(kind for kind in _TYPES if kind in asked)


def _wrong(message: str) -> ItemError:
    return ItemError(0, INVALID_ITEM, message)
