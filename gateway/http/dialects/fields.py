"""Fields of a body that hold lists or numbers; `gateway.http.dialects.dialect` reads the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.embedding import Item
from gateway.errors import malformed
from gateway.http.dialects import items
from gateway.http.dialects.dialect import check_count


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
    check_count(len(value), max_items, field)
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
    check_count(len(value), max_items, field)
    for index, text in enumerate(value):
        if not isinstance(text, str):
            raise malformed(f"{field}[{index}] must be a string, not {items.named(text)}", field)
    return value
