"""KServe's V1 protocol, `POST /v1/models/NAME:predict`; NAME may be NAME@VERSION.

    {"instances": ["…", {"text": "…"}, {"image": {"b64": "…"}}, {"b64": "…"}, …]}
    {"predictions": [[…], null, …], "errors": [{"index": 1, "code": "…", "message": "…"}],
     "model": "clip@1.0", "space": "…", "dim": 512, "logit_scale": 100.0, "truncated": [], "unknown": []}

`{"b64": …}` is the protocol's word for bytes, and bytes are an image. The predictions have a place for what
fails: null, with the error in `errors`, which is there only then. A text that is too long is cut and listed.
`"space"` and `"language"` may stand beside the instances, as in OpenAI's call.
"""

from __future__ import annotations

import json
from typing import Any

from babelclip import Embeddings
from gateway.embedding import Item
from gateway.errors import malformed
from gateway.http.dialects import items
from gateway.http.dialects.dialect import (
    EmbedRequest,
    body_object,
    check_count,
    error_entries,
    facts_of,
    failed_items,
    field_of,
    number_rows,
    sentence_body,
)
from gateway.towers.base import ModelVersion

error_body = sentence_body


def read(body: Any, max_items: int, model: str) -> EmbedRequest:
    """The parsed body of a request for a model.

    Raises:
        ApiError: the body as a whole is none of this call.
    """
    body = body_object(body)
    if "instances" not in body:
        raise malformed('the body must hold "instances", a list', "instances")
    sent = field_of(body, "instances", list, "a list", [])
    check_count(len(sent), max_items, "instances")
    return EmbedRequest(
        model,
        [_instance(value) for value in sent],
        space=field_of(body, "space", str, "a string", ""),
        language=field_of(body, "language", str, "a string", ""),
    )


def render(request: EmbedRequest, name: str, version: ModelVersion, outcomes: Embeddings) -> bytes:
    """The answer, as JSON."""
    errors = failed_items(outcomes, None)
    facts = facts_of(name, version, outcomes)
    if errors:
        facts["errors"] = error_entries(errors.values())
    return f'{{"predictions":[{",".join(number_rows(outcomes, errors))}],{json.dumps(facts)[1:]}'.encode()


def _instance(value: Any) -> Item:
    if isinstance(value, dict):
        if set(value) == {"b64"}:
            return items.read({"image": value["b64"]})
        image = value.get("image")
        if isinstance(image, dict) and set(image) == {"b64"}:
            return items.read({**value, "image": image["b64"]})
    return items.read(value)
