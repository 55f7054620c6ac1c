"""The fields of a body, each of the kind that it must be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from babelclip import Embeddings
from gateway.embedding import Item
from gateway.errors import ApiError, malformed
from gateway.http import items


def body_of(body: Any) -> Mapping[str, Any]:
    """The parsed body, which must be an object.

    Raises:
        ApiError: it is not.
    """
    if not isinstance(body, dict):
        raise malformed(f"the body must be a JSON object, not {items.named(body)}")
    return body


def of(body: Mapping[str, Any], field: str, kind: type, allowed: str, default: Any) -> Any:
    """The value of a field; `default` where it is absent or null.

    Args:
        kind: what the value must be, in Python; `allowed` says so to people.

    Raises:
        ApiError: it is of another kind.
    """
    value = body.get(field)
    if value is None:
        return default
    if type(value) is not kind:
        raise malformed(f'"{field}" must be {allowed}, not {items.named(value)}', field)
    return value


def number_of(body: Mapping[str, Any], field: str) -> float | None:
    """A number; None where the field is absent or null.

    Raises:
        ApiError: it is none.
    """
    value = body.get(field)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise malformed(f'"{field}" must be a number, not {items.named(value)}', field)
    return value


def choice(body: Mapping[str, Any], field: str, default: str, other: str) -> str:
    """One of two words.

    Raises:
        ApiError: it is neither.
    """
    value = body.get(field)
    if value is None:
        return default
    if value not in (default, other):
        raise malformed(f'"{field}" must be "{default}" or "{other}"', field)
    return str(value)


def items_of(body: Mapping[str, Any], field: str, max_items: int, modality: str = "text") -> list[Item]:
    """The items of a field: a list of them, or one.

    Args:
        modality: what a string is that is no data URI, "text" or "image".

    Raises:
        ApiError: there are none, or more than `max_items`.
    """
    value = body.get(field)
    if isinstance(value, str | dict):
        value = [value]
    if not isinstance(value, list):
        raise malformed(
            f'"{field}" must be a string, an object, or a list of them, not {items.named(value)}', field
        )
    require_count(value, field, max_items)
    return [items.read(item, modality=modality) for item in value]


def strings_of(body: Mapping[str, Any], field: str, max_items: int) -> list[str] | None:
    """A list of strings; None where the field is absent or null.

    Raises:
        ApiError: it is no such list, or has none, or more than `max_items`.
    """
    value = body.get(field)
    if value is None:
        return None
    if not isinstance(value, list):
        raise malformed(f'"{field}" must be a list of strings, not {items.named(value)}', field)
    require_count(value, field, max_items)
    for index, text in enumerate(value):
        if not isinstance(text, str):
            raise malformed(f"{field}[{index}] must be a string, not {items.named(text)}", field)
    return value


def require_count(value: list[Any], field: str, max_items: int) -> None:
    """Raises ApiError where a list is empty, or longer than `max_items`."""
    if not value:
        raise ApiError(400, "empty_request", f'"{field}" must hold at least one item', param=field)
    if len(value) > max_items:
        message = f'"{field}" holds {len(value):,} items; at most {max_items:,} are allowed'
        raise ApiError(413, "too_many_items", message, param=field)


def errors(outcomes: Embeddings) -> list[dict[str, Any]]:
    """The errors of items, as JSON."""
    return [{"index": error.index, "code": error.code, "message": error.message} for error in outcomes.errors]
