"""What the dialects of the embeddings call share: what a request comes to, and how its outcomes are said.

A dialect is a module with a `read` (the body → an `EmbedRequest`, or one with what the dialect adds), a
`render` (that and the outcomes → the answer's body) and, where its form of an error is its own, `error_body`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from babelclip import Embeddings, ItemError
from gateway.embedding import Item
from gateway.errors import CONTEXT_LENGTH_EXCEEDED, ApiError, items_failed, malformed
from gateway.http.dialects import items
from gateway.towers.base import ModelVersion


@dataclass(frozen=True)
class EmbedRequest:
    """A request of any dialect, read.

    Attributes:
        model: NAME, NAME@VERSION, or "" for the default.
        items: at least one.
        space: the embedding space that the caller insists on; "" for any.
        dim: the number of values that the caller insists on; None for the model's.
        timeout: seconds that the caller waits; None where it does not say.
        language: that of the texts, by BCP 47; "" for the model's default.
    """

    model: str
    items: list[Item]
    space: str = ""
    dim: int | None = None
    timeout: float | None = None
    language: str = ""


def body_object(body: Any) -> dict[str, Any]:
    """A parsed body that is an object.

    Raises:
        ApiError: it is another value of JSON.
    """
    if not isinstance(body, dict):
        raise malformed(f"the body must be a JSON object, not {items.named(body)}")
    return body


def field_of(body: Mapping[str, Any], field: str, kind: type, allowed: str, default: Any) -> Any:
    """A field of a body that must be of one kind; `default` where it is absent or null.

    Raises:
        ApiError: it is of another; the message says what is `allowed`.
    """
    value = body.get(field)
    if value is None:
        return default
    if type(value) is not kind:
        raise malformed(f'"{field}" must be {allowed}, not {items.named(value)}', field)
    return value


def choice_of(body: Mapping[str, Any], field: str, *allowed: str) -> str:
    """A field of a body that must be one of a few words; the first of them where it is absent or null.

    Raises:
        ApiError: it is another.
    """
    value = body.get(field)
    if value is None:
        return allowed[0]
    if value not in allowed:
        words = [f'"{word}"' for word in allowed]
        raise malformed(f'"{field}" must be {", ".join(words[:-1])} or {words[-1]}', field)
    return str(value)


def check_count(count: int, max_items: int, field: str) -> None:
    """Check the number of a request's items.

    Raises:
        ApiError: there is none, or more than are allowed.
    """
    if not count:
        raise ApiError(400, "empty_request", f'"{field}" must hold at least one item', param=field)
    if count > max_items:
        message = f'"{field}" holds {count:,} items; at most {max_items:,} are allowed'
        raise ApiError(413, "too_many_items", message, param=field)


def failed_items(outcomes: Embeddings, cut: str | None) -> dict[int, ItemError]:
    """The errors of items by index, in ascending order.

    Args:
        cut: what is said of a text that was too long; None where it may be cut.
    """
    errors = {error.index: error for error in outcomes.errors}
    if cut is not None and outcomes.truncated:
        errors |= {index: ItemError(index, CONTEXT_LENGTH_EXCEEDED, cut) for index in outcomes.truncated}
        errors = {index: errors[index] for index in sorted(errors)}
    return errors


def failure(errors: Iterable[ItemError], named: Callable[[int], str], param: str | None = None) -> ApiError:
    """The error of a request that fails because items do, in a dialect that has no place for those.

    It has the code of the first, and the first few of them in its message.

    Args:
        named: an index → what the caller knows the item by.
    """
    return items_failed({named(error.index): error for error in errors}, param)


def number_rows(outcomes: Embeddings, errors: Mapping[int, ItemError]) -> list[str]:
    """Each item's vector as a JSON list of numbers, null for an item that failed."""
    vectors = np.ascontiguousarray(outcomes.vectors, dtype=np.float32)
    return [
        "null" if index in errors else orjson.dumps(vector, option=orjson.OPT_SERIALIZE_NUMPY).decode()
        for index, vector in enumerate(vectors)
    ]


def base64_rows(outcomes: Embeddings, errors: Mapping[int, ItemError]) -> list[str]:
    """Each item's vector as a JSON string, base64 of its little-endian float32 values; null as above."""
    vectors = np.ascontiguousarray(outcomes.vectors, dtype="<f4")
    return [
        "null" if index in errors else f'"{base64.b64encode(vector.data).decode()}"'
        for index, vector in enumerate(vectors)
    ]


def model_name(name: str, version: ModelVersion) -> str:
    """What a caller names who wants this very version again."""
    return f"{name}@{version.version}" if version.version else name


def facts_of(name: str, version: ModelVersion, outcomes: Embeddings) -> dict[str, Any]:
    """What every answer says of its vectors."""
    return {
        "model": model_name(name, version),
        "space": version.space,
        "dim": version.dim,
        "logit_scale": version.logit_scale,
        "truncated": list(outcomes.truncated),
        "unknown": list(outcomes.unknown),
    }


def error_entries(errors: Iterable[ItemError]) -> list[dict[str, Any]]:
    """Items that failed, where an answer has a list of them."""
    return [{"index": error.index, "code": error.code, "message": error.message} for error in errors]


def sentence_body(error: ApiError) -> bytes:
    """The Open Inference Protocol's and KServe's form of an error: a sentence, and beside it the code."""
    return json.dumps({"error": error.message, "code": error.code}).encode()
