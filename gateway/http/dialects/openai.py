"""OpenAI's embeddings call, `POST /v1/embeddings`, with what others have added to it.

    {"model": "clip", "input": "…" or ["…", {"text": "…"}, {"image": "…"}, …], "encoding_format": "float"}
    {"model": "clip", "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {…}}]}]}

    {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": […]}, …],
     "model": "clip@1.0", "space": "…", "dim": 512, "logit_scale": 100.0,
     "usage": {"prompt_tokens": 12, "total_tokens": 12}}

The call has no place for the error of one item: if an item fails, the request fails, with the code of the
first one and all of them in the message. Who sends `"errors": "return"` gets the others' vectors, and for
that item `"embedding": null` and an `error`. A text of more tokens than the model takes is an error as well,
unless `"truncate": true` lets it be cut. `"language": "bn"` says what language the texts are in, to a model
that is told it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from babelclip import Embeddings, ItemError
from gateway.embedding import Item
from gateway.errors import ApiError, malformed
from gateway.http.dialects import items
from gateway.http.dialects.dialect import (
    EmbedRequest,
    base64_rows,
    body_object,
    check_count,
    choice_of,
    facts_of,
    failed_items,
    failure,
    field_of,
    number_rows,
)
from gateway.http.dialects.items import NO_JOINT_VECTOR
from gateway.towers.base import ModelVersion

_CUT = 'the text has more tokens than the model takes; shorten it, or send "truncate": true to have it cut'


@dataclass(frozen=True)
class EmbeddingsRequest(EmbedRequest):
    """A request, read.

    Attributes:
        in_base64: vectors come as base64 of their little-endian float32 values, else as numbers.
        truncate: a text that is too long is cut.
        keep: an item that fails leaves the others their vectors.
    """

    in_base64: bool = False
    truncate: bool = False
    keep: bool = False


def read(body: Any, max_items: int) -> EmbeddingsRequest:
    """The parsed body of a request.

    Raises:
        ApiError: the body as a whole is none of this call, or asks for what is not to be had.
    """
    body = body_object(body)
    if ("input" in body) == ("messages" in body):
        raise malformed('the body must hold either "input" or "messages"', "input")
    _refuse_other_vectors(body)
    if "input" in body:
        found = _input(body["input"], choice_of(body, "modality", "text", "image"), max_items)
    else:
        found = [_message(body["messages"])]
    return EmbeddingsRequest(
        model=field_of(body, "model", str, "a string", ""),
        items=found,
        in_base64=_in_base64(body),
        dim=field_of(body, "dimensions", int, "a whole number", None),
        space=field_of(body, "space", str, "a string", ""),
        language=field_of(body, "language", str, "a string", ""),
        truncate=field_of(body, "truncate", bool, "true or false", False),
        keep=choice_of(body, "errors", "raise", "return") == "return",
    )


def render(request: EmbeddingsRequest, name: str, version: ModelVersion, outcomes: Embeddings) -> bytes:
    """The answer, as JSON.

    Raises:
        ApiError: an item failed, and the request is one that fails with it.
    """
    errors = failed_items(outcomes, None if request.truncate else _CUT)
    if errors and not request.keep:
        raise failure(errors.values(), lambda index: f"input[{index}]", "input")
    data = []
    for index, row in enumerate((base64_rows if request.in_base64 else number_rows)(outcomes, errors)):
        error = f',"error":{_error(errors[index])}' if index in errors else ""
        data.append(f'{{"object":"embedding","index":{index},"embedding":{row}{error}}}')
    tokens = sum(outcomes.tokens)
    facts = {
        **facts_of(name, version, outcomes),
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return f'{{"object":"list","data":[{",".join(data)}],{json.dumps(facts)[1:]}'.encode()


def error_body(error: ApiError) -> bytes:
    """OpenAI's form of an error."""
    kind = "server_error" if error.status >= 500 else "invalid_request_error"
    facts = {"message": error.message, "type": kind, "param": error.param, "code": error.code}
    return json.dumps({"error": facts}).encode()


def _input(value: Any, modality: str, max_items: int) -> list[Item]:
    if isinstance(value, str | dict):
        value = [value]
    if not isinstance(value, list):
        raise malformed(
            f'"input" must be a string, an object, or a list of them, not {items.named(value)}', "input"
        )
    check_count(len(value), max_items, "input")
    if any(isinstance(item, int | float | list) and not isinstance(item, bool) for item in value):
        raise malformed(
            '"input" holds numbers or lists; send strings: token ids would be of another tokenizer'
            " (in LangChain's OpenAIEmbeddings, set check_embedding_ctx_length=False)",
            "input",
        )
    return [items.read(item, modality=modality) for item in value]


def _message(messages: Any) -> Item:
    """vLLM's way: the one content of one message → its one item."""
    if not isinstance(messages, list) or len(messages) != 1 or not isinstance(messages[0], dict):
        raise malformed(
            '"messages" must be a list of one message: a request of this kind has one vector;'
            ' send several items as "input"',
            "messages",
        )
    content = messages[0].get("content")
    parts = content if isinstance(content, list) else [content]
    found = [items.read(part) for part in parts[:2]]
    if len(parts) == 1 and content is not None:
        return found[0]
    if {str, bytes} <= {type(part) for part in found}:
        raise malformed(NO_JOINT_VECTOR, "messages")
    raise malformed("a message's content must be one text or one image", "messages")


def _refuse_other_vectors(body: Mapping[str, Any]) -> None:
    """What would change the vectors and is not to be had must not be passed over."""
    if body.get("normalized") is False:
        raise malformed('vectors always have length 1; leave "normalized" out', "normalized")
    if body.get("late_chunking"):
        raise malformed('a text has one vector; leave "late_chunking" out', "late_chunking")


def _in_base64(body: Mapping[str, Any]) -> bool:
    # Jina's name for it is embedding_type, which may be a list of one.
    field = "encoding_format" if body.get("encoding_format") is not None else "embedding_type"
    asked = body.get(field)
    if isinstance(asked, list) and len(asked) == 1:
        asked = asked[0]
    if asked not in (None, "float", "base64"):
        raise malformed(f'"{field}" must be "float" or "base64"', field)
    return bool(asked == "base64")


def _error(error: ItemError) -> str:
    return json.dumps({"code": error.code, "message": error.message})
